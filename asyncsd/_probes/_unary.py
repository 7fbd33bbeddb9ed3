"""One gRPC call, of one message each way, on a connection of its own.

On h2 and not on grpcio, whose client can't leave a certificate unverified, as a check may ask, takes 18 MB
and brings threads of its own. The protocol: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

import asyncio
import os
from http import HTTPStatus
from urllib.parse import unquote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError

from ._output import ProbeError, quoted, text_of

__all__ = ["RPCError", "call"]

CODES = (
    *("OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists"),
    *("PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange"),
    *("Unimplemented", "Internal", "Unavailable", "DataLoss", "Unauthenticated"),
)

HTTP_CODES = {
    400: "Internal",
    401: "Unauthenticated",
    403: "PermissionDenied",
    404: "Unimplemented",
    429: "Unavailable",
    502: "Unavailable",
    503: "Unavailable",
    504: "Unavailable",
}
"""https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md"""

RESET_CODES = {
    "REFUSED_STREAM": "Unavailable",
    "CANCEL": "Canceled",
    "ENHANCE_YOUR_CALM": "ResourceExhausted",
    "INADEQUATE_SECURITY": "PermissionDenied",
}

MOST = 2**17
"""Bytes that the answer may take, with all that comes around it. Its body is bounded by HTTP/2's own first
window, 64 KB."""

PREFIX = 5
"""Bytes before a message: whether it is compressed, and its length."""


class RPCError(ProbeError):
    """A call that failed; its text is that of Go's client."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"rpc error: code = {code} desc = {text}")


async def call(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    message: bytes,
    *,
    path: str,
    authority: str,
    scheme: str,
) -> bytes:
    """The message that `path` answers with. RPCError for any other answer, and for none.

    On cancellation close the connection.
    """
    connection = H2Connection(H2Configuration(client_side=True))
    connection.initiate_connection()
    stream = connection.get_next_available_stream_id()
    headers = {
        ":method": "POST",
        ":scheme": scheme,
        ":path": path,
        ":authority": authority,
        "te": "trailers",
        "content-type": "application/grpc",
        "user-agent": "asyncsd",
    }
    connection.send_headers(stream, list(headers.items()))
    connection.send_data(stream, b"\0" + len(message).to_bytes(PREFIX - 1) + message, end_stream=True)
    answer = _Answer()
    room = MOST
    while not answer.ended:
        writer.write(connection.data_to_send())
        try:
            data = await reader.read(room)
            room -= len(data)
            if not data:
                raise answer.broken("EOF")
            # h2 would wait for the end of a frame of any length, which is what HTTP/1 looks like to it.
            if not room or (not answer.greeted and data.startswith(b"HTTP/")):
                raise answer.broken("http2: frame too large")
            events = connection.receive_data(data)
        except ProtocolError as exc:
            raise answer.broken(str(exc)) from exc
        except OSError as exc:
            raise answer.broken(os.strerror(exc.errno).lower() if exc.errno else str(exc)) from exc
        for event in events:
            answer.take(event)
    return answer.message()


class _Answer:
    """What came, one event after the other."""

    def __init__(self) -> None:
        self.ended = False
        self.greeted = False
        self._headers: dict[str, str] = {}
        self._body = b""

    def take(self, event: Event) -> None:
        match event:
            case RemoteSettingsChanged():
                self.greeted = True
            case ResponseReceived() | TrailersReceived():
                self._headers |= {text_of(bytes(n)): text_of(bytes(v)) for n, v in event.headers or ()}
            case DataReceived():
                self._body += event.data or b""
            case StreamEnded():
                self.ended = True
            case StreamReset():
                name = event.error_code.name if isinstance(event.error_code, ErrorCodes) else "UNKNOWN"
                text = f"stream terminated by RST_STREAM with error code: {name}"
                raise RPCError(RESET_CODES.get(name, "Internal"), text)
            case ConnectionTerminated():
                raise RPCError("Unavailable", "the connection is draining")
            case _:
                pass

    def broken(self, text: str) -> RPCError:
        """The error of a connection that ended so."""
        if self.greeted:
            return RPCError("Unavailable", f"error reading from server: {text}")
        return RPCError("Unavailable", f'connection error: desc = "error reading server preface: {text}"')

    def message(self) -> bytes:
        """What was answered, once it has ended. RPCError for a refusal."""
        headers = self._headers
        kind = headers.get("content-type", "")
        status = int(headers.get(":status", "0"))
        if status != HTTPStatus.OK or not kind.startswith("application/grpc"):
            wrong = f"transport: received unexpected content-type {quoted(kind)}"
            text = wrong if kind else "malformed header: missing HTTP content-type"
            raise RPCError(
                HTTP_CODES.get(status, "Unknown"),
                f"unexpected HTTP status code received from server: {status} ({_phrase(status)}); {text}",
            )
        code = headers.get("grpc-status", "")
        if code != "0":
            number = int(code) if code.isascii() and code.isdecimal() else CODES.index("Unknown")
            name = CODES[number] if number < len(CODES) else f"Code({number})"
            raise RPCError(name, unquote(headers.get("grpc-message", "")))
        length = int.from_bytes(self._body[1:PREFIX])
        if self._body[:1] != b"\0" or len(self._body) != PREFIX + length:
            raise RPCError("Internal", "the answer isn't one message without compression")
        return self._body[PREFIX:]


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
