"""What aiohttp says of a request that failed, in our words and as our errors."""

import ssl
from types import TracebackType

import aiohttp

from asyncsd._errors import ProtocolError, UnreachableError

__all__ = ["Body", "as_backend_error", "read_body", "reason"]

LARGEST = 64 << 20
"""Bytes of an answer that are taken, some 100,000 instances: one without an end mustn't fill the memory."""

_NOT_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"}
"""OpenSSL's reasons for an answer that is something else; which of them it gives goes by its version."""


def reason(exc: BaseException) -> str:
    """Why no answer came, in a few words."""
    match exc:
        case aiohttp.ClientConnectorCertificateError():
            return f"its certificate isn't trusted: {exc.certificate_error}"
        case aiohttp.ClientConnectorError():
            return f"can't connect: {_unconnected(exc.os_error)}"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError():
            return "the connection was closed before the answer was whole"
        case TimeoutError():
            return "no answer in time"
        case OSError(strerror=str(text)):
            return text
        case _:
            return str(exc) or type(exc).__name__


def _unconnected(error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason in _NOT_TLS:
        return f"no TLS is spoken on that port ({error.reason})"
    # Alone of all errors a connection that is closed while TLS begins has no text.
    return error.strerror or str(error) or "it was closed while TLS began: is TLS spoken on that port?"


class as_backend_error:  # noqa: N801 - used as a context, as contextlib's own
    """The network's errors as an UnreachableError, an answer that isn't HTTP as a ProtocolError."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        match exc:
            case aiohttp.ClientResponseError() | aiohttp.InvalidURL():
                # Not its cause: it holds the request's headers, and the secrets in them.
                raise ProtocolError("the answer isn't HTTP", url=self._url) from None
            case aiohttp.ClientError() | OSError():
                raise UnreachableError(reason(exc), url=self._url) from exc
            case _:
                return


class Body:
    """The pieces of an answer, put together up to a limit."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._read = bytearray()

    def take(self, piece: bytes) -> None:
        """One more piece. Raises ProtocolError once there are too many."""
        self._read += piece
        if len(self._read) > LARGEST:
            raise ProtocolError(f"the answer has more than {LARGEST >> 20} MiB", url=self._url)

    def whole(self) -> bytes:
        """All of them."""
        return bytes(self._read)


async def read_body(response: aiohttp.ClientResponse, url: str) -> bytes:
    """The body of an answer; ProtocolError for one that is too long."""
    body = Body(url)
    async for piece in response.content.iter_any():
        body.take(piece)
    return body.whole()
