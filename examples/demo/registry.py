"""The demonstration's own registry: the embedded agent, as a process that can be killed and started again.

A Consul removes an instance that stays critical after a minute at the least; this one after a few seconds, so
that it can be seen.
"""

from fleet import Fleet, Member, free_port

AGENT = ("-m", "asyncsd", "agent", "--deregister-after-min", "1", "--reap-interval", "0.5")


class OwnRegistry:
    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._port = free_port()
        self._member: Member | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        assert self._member is not None, "it wasn't started"
        return self._member.pid

    async def start(self) -> None:
        """Start it, again too: on the same port, and empty."""
        self._member = await self._fleet.start("the agent", *AGENT, "--port", str(self._port))

    async def kill(self) -> None:
        """End it as a power cut would, and with it all that was registered."""
        assert self._member is not None, "it wasn't started"
        self._member.kill()
        await self._member.wait()
