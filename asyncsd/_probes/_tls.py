"""TLS contexts of the checks."""

import asyncio
import ssl

__all__ = ["Contexts"]


class Contexts:
    """Makes each TLS context once, off the loop: reading the system's authorities takes some 10 ms."""

    def __init__(self) -> None:
        self._made: dict[tuple[bool, str], ssl.SSLContext] = {}

    async def get(self, *, skip_verify: bool, protocol: str) -> ssl.SSLContext:
        """The context for a protocol ("h2", "http/1.1"); with `skip_verify`, one that trusts anybody."""
        key = (skip_verify, protocol)
        if key not in self._made:
            self._made[key] = await asyncio.to_thread(_make, skip_verify, protocol)
        return self._made[key]


def _make(skip_verify: bool, protocol: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    return context
