"""Connections, and what is said of those that fail, in the words of Go's `net` and `crypto/tls`."""

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Callable
from typing import TypeVar, cast

from ._output import ProbeError

__all__ = [
    "HIGHEST_PORT",
    "NO_TLS",
    "DialError",
    "HandshakeError",
    "dial",
    "dial_text",
    "split_address",
    "tls_text",
]

P = TypeVar("P", bound=asyncio.BaseProtocol)

HIGHEST_PORT = 65_535

UNKNOWN_AUTHORITY = {2, 18, 19, 20, 21}
"""OpenSSL's codes for a chain that ends in nobody known (`X509_V_ERR_…`)."""

HOSTNAME_MISMATCH, ADDRESS_MISMATCH = 62, 64
EXPIRED = {9, 10}

NO_TLS = "tls: first record does not look like a TLS handshake"
NOT_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"}
"""OpenSSL's reasons for an answer that is something else; which of them it gives goes by its version."""

TRIED = re.compile(r"\('([^']+)', (\d+)")
"""The address in what asyncio says of a connection that failed."""


class DialError(ProbeError):
    """A connection that couldn't be made."""


class HandshakeError(ProbeError):
    """A TLS handshake that failed."""


def split_address(address: str) -> tuple[str, str]:
    """Host and port, which may be a name. DialError for what isn't an address."""
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif not colon or address.endswith("]"):
        raise DialError(f"dial tcp: address {address}: missing port in address")
    elif ":" in host:
        raise DialError(f"dial tcp: address {address}: too many colons in address")
    if port.isdecimal() and int(port) > HIGHEST_PORT:
        raise DialError(f"dial tcp: address {port}: invalid port")
    return host, port


async def dial(
    address: str,
    make: Callable[[], P],
    *,
    tls: ssl.SSLContext | None = None,
    server_name: str = "",
) -> tuple[asyncio.Transport, P]:
    """Connect to "host:port". DialError, or HandshakeError. It takes as long as the system lets it.

    On cancellation the connection is given up.
    """
    host, port = split_address(address)
    loop = asyncio.get_running_loop()
    # No host is this machine, as in Go; asyncio would take it for the address to listen on.
    target = host or "localhost"
    name = (server_name or target) if tls else None
    try:
        # The port as text: getaddrinfo, which gets it, knows services by name too.
        return await loop.create_connection(make, target, cast(int, port), ssl=tls, server_hostname=name)
    except ssl.SSLError as exc:
        raise HandshakeError(tls_text(exc)) from exc
    except (OSError, ValueError) as exc:
        raise DialError(dial_text(exc, host, port)) from exc


def dial_text(exc: Exception, host: str, port: str) -> str:
    """What Go says of a connection to `host` that failed so."""
    if isinstance(exc, socket.gaierror) and exc.errno == socket.EAI_SERVICE:
        return f"dial tcp: lookup tcp/{port}: unknown port"
    if isinstance(exc, socket.gaierror | ValueError):
        return f"dial tcp: lookup {host}: no such host"
    tried = TRIED.search(str(exc))
    host, port = tried.groups() if tried else (host, port)
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    number = exc.errno if isinstance(exc, OSError) else None
    if number is None:
        return f"dial tcp {where}: {exc}"
    return f"dial tcp {where}: connect: {os.strerror(number).lower()}"


def tls_text(exc: ssl.SSLError) -> str:
    """What Go says of a handshake that failed so."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"tls: failed to verify certificate: x509: {_certificate_text(exc)}"
    if exc.reason in NOT_TLS:
        return NO_TLS
    return f"tls: {(exc.reason or str(exc)).replace('_', ' ').lower()}"


def _certificate_text(exc: ssl.SSLCertVerificationError) -> str:
    if exc.verify_code in UNKNOWN_AUTHORITY:
        return "certificate signed by unknown authority"
    if exc.verify_code in (HOSTNAME_MISMATCH, ADDRESS_MISMATCH):
        wanted = re.search(r"'([^']*)'", exc.verify_message)
        return f"certificate is not valid for {wanted.group(1) if wanted else 'that name'}"
    if exc.verify_code in EXPIRED:
        return "certificate has expired or is not yet valid"
    return exc.verify_message
