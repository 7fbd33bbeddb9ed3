"""Connections to a server, over TLS too."""

import socket
import ssl
from contextlib import suppress

__all__ = ["Connector"]


class Connector:
    """What connects one client, in the place of kazoo's own, which leaks the socket of a failed handshake.

    kazoo gives an address, the name it was found by, and the seconds that it may take.
    """

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        self._socket: socket.socket | None = None
        self._aborted = False

    def __call__(
        self, address: tuple[str, int], hostname: str | None = None, timeout: float | None = None, **_: object
    ) -> socket.socket:
        """A connected socket; blocks."""
        if self._aborted:
            raise ConnectionAbortedError("the client is closed")
        plain = self._socket = socket.create_connection(address, timeout)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is None:
                return plain
            secure = self._socket = self._context.wrap_socket(
                plain, server_hostname=hostname or address[0], do_handshake_on_connect=False
            )
            secure.do_handshake()
            return secure
        except BaseException:
            self._socket.close()
            raise

    def abort(self) -> None:
        """End the connection, and refuse another: whoever waits for it hears at once. From any thread."""
        self._aborted = True
        self.cut()

    def cut(self) -> None:
        """End the connection, so that kazoo makes another. From any thread."""
        if self._socket is not None:
            with suppress(OSError):
                # Not SSLSocket's own, which takes its state away from the thread that reads.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
