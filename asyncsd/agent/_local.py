"""What is registered with this agent itself, and what its checks say; the catalog follows."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from msgspec.structs import replace

from ._catalog import Catalog
from ._definitions import CheckDefinition
from ._structs import HealthCheck, Node, Service, Status
from ._waiters import Waiters

__all__ = ["CONSUL", "SERF", "Local", "LocalCheck", "Runs", "UnknownCheck", "UnknownService"]


CONSUL, SERF = "consul", "serfHealth"
"""The service and the check that speak of the agent itself: the catalog has them, `/v1/agent` doesn't."""


class UnknownService(Exception):
    """No service with this id is registered here."""


class UnknownCheck(Exception):
    """No check with this id is registered here."""


class Runs(Protocol):
    """Who runs the checks."""

    def start(self, definition: CheckDefinition) -> None:
        """Run this check from now on, in place of one with its id."""
        ...

    def stop(self, check_id: str) -> None:
        """Run it no more; one that doesn't run is no error."""
        ...


@dataclass(frozen=True, slots=True)
class LocalCheck:
    """A check and its state."""

    definition: CheckDefinition
    state: HealthCheck


class Local:
    """The services and checks of this agent, as `/v1/agent` shows them.

    It is the source of what the catalog says of this node: each change is written through at once, and
    `sync` writes all again. All methods are synchronous, so each is atomic.
    """

    def __init__(self, catalog: Catalog, node: Node, runs: Runs) -> None:
        self.node = node
        self.services: dict[str, Service] = {}
        self.checks: dict[str, LocalCheck] = {}
        self.waiters = Waiters()
        self._catalog = catalog
        self._runs = runs

    def __repr__(self) -> str:
        return f"Local({self.node.node}, {len(self.services)} services, {len(self.checks)} checks)"

    def add_service(
        self, service: Service, checks: Iterable[CheckDefinition] = (), *, replace_checks: bool = False
    ) -> None:
        """Register a service with its checks, or change what stands under its id.

        A check that was there already keeps its state. With `replace_checks`, those of the service that
        aren't among `checks` go.
        """
        checks = list(checks)
        self.services[service.id] = service
        if replace_checks:
            keep = {check.check_id for check in checks}
            for check_id in [id for id in self._checks_of(service.id) if id not in keep]:
                self._drop_check(check_id)
        for check in checks:
            self._put_check(check)
        self._sync(service.id)

    def remove_service(self, service_id: str) -> None:
        """Remove a service with its checks. UnknownService if it isn't there."""
        if self.services.pop(service_id, None) is None:
            raise UnknownService(service_id)
        for check_id in self._checks_of(service_id):
            del self.checks[check_id]
            self._runs.stop(check_id)
        # With its checks in one: without them it would be passing for a moment.
        self._catalog.deregister(self.node.node, service_id=service_id)
        self.waiters.wake(("service", service_id))

    def add_check(self, check: CheckDefinition) -> None:
        """Register a check, or change it. UnknownService for one of a service that isn't there."""
        if check.service_id and check.service_id not in self.services:
            raise UnknownService(check.service_id)
        self._put_check(check)
        self._sync(check.service_id)

    def remove_check(self, check_id: str) -> None:
        """Remove a check. UnknownCheck if it isn't there."""
        if check_id not in self.checks:
            raise UnknownCheck(check_id)
        self._drop_check(check_id)

    def update_check(self, check_id: str, status: Status, output: str) -> None:
        """Say how a check went. UnknownCheck if it isn't there."""
        check = self.checks.get(check_id)
        if check is None:
            raise UnknownCheck(check_id)
        size = check.definition.output_max_size
        if len(output) > size:
            output = f"{output[:size]} ... (captured {size} of {len(output)} bytes)"
        if (check.state.status, check.state.output) == (status, output):
            return
        self.checks[check_id] = LocalCheck(
            check.definition, replace(check.state, status=status, output=output)
        )
        self._sync(check.state.service_id)

    def sync(self) -> None:
        """Write all to the catalog again, and remove from it what isn't here: Consul's anti-entropy."""
        self._catalog.register(self.node)
        there = self._catalog.node(self.node.node).value
        for service in there[1] if there else ():
            if service.id not in self.services and service.id != CONSUL:
                self._catalog.deregister(self.node.node, service_id=service.id)
        for check in self._catalog.checks_of_node(self.node.node).value:
            if check.check_id not in self.checks and check.check_id != SERF:
                self._catalog.deregister(self.node.node, check_id=check.check_id)
        for service_id in ["", *self.services]:
            self._sync(service_id)

    def _checks_of(self, service_id: str) -> list[str]:
        return [id for id, check in self.checks.items() if check.state.service_id == service_id]

    def _put_check(self, check: CheckDefinition) -> None:
        service = self.services.get(check.service_id)
        old = self.checks.get(check.check_id)
        state = HealthCheck(
            node=self.node.node,
            check_id=check.check_id,
            name=check.name,
            status=old.state.status if old else check.status,
            output=old.state.output if old else "",
            notes=check.notes,
            service_id=check.service_id,
            service_name=service.service if service else "",
            service_tags=service.tags if service else [],
            type=check.type,
        )
        self.checks[check.check_id] = LocalCheck(check, state)
        self._runs.start(check)

    def _drop_check(self, check_id: str) -> None:
        del self.checks[check_id]
        self._runs.stop(check_id)
        self._catalog.deregister(self.node.node, check_id=check_id)

    def _sync(self, service_id: str) -> None:
        """Write a service and its checks to the catalog, in one; with "" the checks of the node."""
        services = [self.services[service_id]] if service_id else []
        checks = [self.checks[id].state for id in self._checks_of(service_id)]
        self._catalog.register(self.node, services, checks)
        self.waiters.wake(("service", service_id))
