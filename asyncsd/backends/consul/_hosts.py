"""The default host of a registration: where others reach this machine."""

import logging
from typing import Any

from asyncsd._errors import PermissionDeniedError, UnsupportedError
from asyncsd.backends._shared._local import local_host

from ._answers import Answer, checked
from ._calls import Calls
from ._client import ConsulClient
from ._decode import decode_host
from ._url import Address

__all__ = ["Hosts"]

log = logging.getLogger("asyncsd.consul")

LOOPBACK = "127.0.0.1"


class Hosts:
    """Finds the address of this machine, by an agent on it or by the way to one elsewhere."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._warned = False

    async def local(self, address: Address, client: ConsulClient) -> str:
        """This machine's address; loopback, with a warning, where an agent on it doesn't tell its own."""
        if not address.is_local:
            return await local_host(address.host, address.port, url=str(address))
        host = await self._told(client)
        if host is not None:
            return host
        if address.socket is not None:
            raise UnsupportedError(
                f"the agent at {address} doesn't tell its address (that takes agent:read), and over a unix "
                "socket this machine has none to register: give the Registration a host="
            )
        if not self._warned:
            self._warned = True
            log.warning(
                "the agent at %s doesn't tell its address (that takes agent:read): what registers without "
                "host= gets %s, which other machines can't call",
                address,
                LOOPBACK,
            )
        return LOOPBACK

    async def _told(self, client: ConsulClient) -> str | None:
        # A client of the user's own may be older than this method.
        ask: Any = getattr(client, "agent", None)
        if ask is None:
            return None
        try:
            answer: Answer = await self._calls.ask(ask)
            return decode_host(checked(answer))
        except PermissionDeniedError:
            return None
