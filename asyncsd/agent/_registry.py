"""One life of an agent: all that it forgets when it is restarted."""

import random

from asyncsd._protocols import Clock
from asyncsd._tasks import TaskOwner

from ._checks import Runners
from ._config import AgentConfig
from ._page._feed import Feed
from ._page._timeline import Timeline
from ._state._catalog import Catalog
from ._state._local import CONSUL, SERF, Local
from ._state._structs import HealthCheck, Node, Service, Status

__all__ = ["Registry"]


class Registry:
    """The catalog, what is registered with this agent, and its checks, which run until `aclose`."""

    def __init__(self, config: AgentConfig, *, port: int, clock: Clock, rng: random.Random) -> None:
        self.config = config
        self.port = port
        self.clock = clock
        self.rng = rng
        self.catalog = Catalog()
        address = config.advertise
        self.node = Node(
            id=config.node_id,
            node=config.node,
            address=address,
            datacenter=config.datacenter,
            tagged_addresses=dict.fromkeys(("lan", "lan_ipv4", "wan", "wan_ipv4"), address),
            meta={"consul-network-segment": ""},
        )
        self.runners = Runners(
            self._checked,
            remove=self._late,
            catalog=self.catalog,
            node=config.node,
            clock=clock,
            rng=rng,
            deregister_after_min=config.deregister_after_min,
            reap_interval=config.reap_interval,
        )
        self.local = Local(
            self.catalog,
            self.node,
            self.runners,
            clock=clock,
            rng=rng,
            output_interval=config.check_update_interval,
        )
        self._enter()
        # From here on, so that its own entry is no news.
        self.timeline = Timeline(clock)
        self.catalog.observer = self.timeline.observe
        self.feed = Feed(self.catalog, self.timeline, clock)
        self._owner = TaskOwner()
        self._owner.spawn(self._keep_in_sync(), role="agent", service="sync")

    def __repr__(self) -> str:
        return f"Registry({self.catalog!r}, {self.local!r})"

    def forget(self) -> None:
        """Lose all registrations, those of other nodes too; the index goes on."""
        for service_id in list(self.local.services):
            self.local.remove_service(service_id)
        for check_id in list(self.local.checks):
            self.local.remove_check(check_id)
        for node in self.catalog.nodes().value:
            if node.node != self.node.node:
                self.catalog.deregister(node.node)

    async def aclose(self) -> None:
        """Stop running checks. Idempotent."""
        try:
            await self._owner.aclose()
        finally:
            await self.runners.aclose()

    async def _keep_in_sync(self) -> None:
        """Mend, at each interval, what the catalog says of this node. Until cancelled."""
        while True:
            await self.clock.sleep(self.config.sync_interval)
            self._enter()
            self.local.sync()

    def _checked(self, check_id: str, status: Status, output: str) -> None:
        self.local.update_check(check_id, status, output)

    def _late(self, service_id: str) -> None:
        self.local.remove_service(service_id)
        self.timeline.reaped(self.node.node, service_id)

    def _enter(self) -> None:
        """Enter the agent itself, and again if somebody removed it, as a server of Consul's does."""
        serf = HealthCheck(
            node=self.node.node,
            check_id=SERF,
            name="Serf Health Status",
            status="passing",
            output="Agent alive and reachable",
        )
        self.catalog.register(self.node, [Service(id=CONSUL, service=CONSUL, port=self.port)], [serf])
