"""What is registered with this agent itself, and what its checks say; the catalog follows."""

import logging
import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from msgspec.structs import replace

from asyncsd._protocols import Clock

from ._catalog import Catalog
from ._definitions import CheckDefinition
from ._structs import HealthCheck, Node, Service, Status
from ._waiters import Waiters

__all__ = ["CONSUL", "SERF", "Local", "LocalCheck", "Runs", "UnknownCheck", "UnknownService"]

logger = logging.getLogger("asyncsd.agent")

CONSUL, SERF = "consul", "serfHealth"
"""The service and the check that speak of the agent itself: the catalog has them, `/v1/agent` doesn't."""

NODE_MAINTENANCE, SERVICE_MAINTENANCE = "_node_maintenance", "_service_maintenance:"


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
    """A check and its state; `output_due` is when an output that the catalog hasn't got goes there."""

    definition: CheckDefinition
    state: HealthCheck
    output_due: float | None = None


@dataclass(frozen=True, slots=True)
class _Drift:
    """Where the catalog says something else of this node than the agent."""

    services: list[Service] = field(default_factory=list[Service])
    checks: list[HealthCheck] = field(default_factory=list[HealthCheck])
    foreign_services: list[str] = field(default_factory=list[str])
    foreign_checks: list[str] = field(default_factory=list[str])


class Local:
    """The services and checks of this agent, as `/v1/agent` shows them.

    It is the source of what the catalog says of this node: each change is written through at once, and
    `sync` mends what others wrote there. An output alone, with the status as it was, is written by and by:
    between a half and one and a half of `output_interval` seconds later (Consul's `check_update_interval`),
    at the next `sync`. All methods are synchronous, so each is atomic.
    """

    def __init__(
        self,
        catalog: Catalog,
        node: Node,
        runs: Runs,
        *,
        clock: Clock,
        rng: random.Random,
        output_interval: float = 300.0,
    ) -> None:
        self.node = node
        self.services: dict[str, Service] = {}
        self.checks: dict[str, LocalCheck] = {}
        self.waiters = Waiters()
        self._ids_by_name: defaultdict[str, set[str]] = defaultdict(set)
        self._checks_by_service: defaultdict[str, set[str]] = defaultdict(set)  # "": of the node
        self._catalog = catalog
        self._runs = runs
        self._clock = clock
        self._rng = rng
        self._output_interval = output_interval

    def __repr__(self) -> str:
        return f"Local({self.node.node}, {len(self.services)} services, {len(self.checks)} checks)"

    def named(self, name: str) -> list[Service]:
        """The services of this name, by id."""
        return [self.services[service_id] for service_id in sorted(self._ids_by_name.get(name, ()))]

    def checks_of(self, service_id: str) -> list[HealthCheck]:
        """The checks that speak of a service: its own and those of the node, by id."""
        ids = self._checks_by_service.get(service_id, set[str]()) | self._checks_by_service.get("", set())
        return [self.checks[check_id].state for check_id in sorted(ids)]

    def add_service(
        self, service: Service, checks: Iterable[CheckDefinition] = (), *, replace_checks: bool = False
    ) -> None:
        """Register a service with its checks, or change what stands under its id.

        A check that was there already keeps its state, were it another service's. With `replace_checks`,
        those of the service that aren't among `checks` go, its maintenance too.
        """
        definitions = {check.check_id: check for check in checks}
        if (old := self.services.get(service.id)) is not None:
            self._forget_name(old)
        if old != service:
            where = f"{service.address or self.node.address}:{service.port}"
            what = "registered" if old is None else "changed"
            logger.info("%s %s: %s at %s", what, service.service, service.id, where)
        self.services[service.id] = service
        self._ids_by_name[service.service].add(service.id)
        # In one, with its checks: without them it would be passing for a moment.
        self._catalog.register(
            self.node, [service], [self._put_check(check) for check in definitions.values()]
        )
        if replace_checks:
            for check_id in self._checks_by_service.get(service.id, set[str]()) - definitions.keys():
                self.remove_check(check_id)
        self.waiters.wake(("service", service.id))

    def remove_service(self, service_id: str) -> None:
        """Remove a service with its checks. UnknownService if it isn't there."""
        service = self.services.pop(service_id, None)
        if service is None:
            raise UnknownService(service_id)
        self._forget_name(service)
        logger.info("deregistered %s: %s", service.service, service.id)
        for check_id in self._checks_by_service.pop(service_id, ()):
            del self.checks[check_id]
            self._runs.stop(check_id)
        self._catalog.deregister(self.node.node, service_id=service_id)
        self.waiters.wake(("service", service_id))

    def add_check(self, check: CheckDefinition) -> None:
        """Register a check, or change it; one that was there keeps its state.

        UnknownService for one of a service that isn't there.
        """
        if check.service_id and check.service_id not in self.services:
            raise UnknownService(check.service_id)
        self._write(self._put_check(check))

    def remove_check(self, check_id: str) -> None:
        """Remove a check. UnknownCheck if it isn't there."""
        if check_id not in self.checks:
            raise UnknownCheck(check_id)
        self._drop_check(check_id)
        self._catalog.deregister(self.node.node, check_id=check_id)

    def update_check(self, check_id: str, status: Status, output: str) -> None:
        """Say how a check went. UnknownCheck if it isn't there."""
        check = self.checks.get(check_id)
        if check is None:
            raise UnknownCheck(check_id)
        if (check.state.status, check.state.output) == (status, output):
            return
        state = replace(check.state, status=status, output=output)
        if status != check.state.status or not self._output_interval:
            self.checks[check_id] = LocalCheck(check.definition, state)
            self._write(state)
            return
        due = check.output_due
        if due is None:
            spread = self._rng.uniform(0, self._output_interval)
            due = self._clock.time() + self._output_interval / 2 + spread
        self.checks[check_id] = LocalCheck(check.definition, state, due)

    def enter_maintenance(self, service_id: str, reason: str) -> None:
        """Let a service, or with "" the node, be critical for as long as it is in maintenance.

        UnknownService if it isn't there. A reason that was given before stays.
        """
        if service_id and service_id not in self.services:
            raise UnknownService(service_id)
        check_id = _maintenance(service_id)
        if check_id in self.checks:
            return
        what, whom = ("Service", "service") if service_id else ("Node", "node")
        default = f"Maintenance mode is enabled for this {whom}, but no reason was provided."
        self.add_check(
            CheckDefinition(
                check_id=check_id,
                name=f"{what} Maintenance Mode",
                notes=reason or f"{default} This is a default message.",
                service_id=service_id,
                maintenance=True,
            )
        )

    def leave_maintenance(self, service_id: str) -> None:
        """End the maintenance of a service, or with "" of the node. UnknownService if it isn't there."""
        if service_id and service_id not in self.services:
            raise UnknownService(service_id)
        if _maintenance(service_id) in self.checks:
            self.remove_check(_maintenance(service_id))

    def sync(self) -> None:
        """Let the catalog say of this node what the agent says, whoever wrote there: anti-entropy.

        The tags of a service with `enable_tag_override` are others' to write: they are taken over.
        """
        drift = self._drift()
        for service_id in drift.foreign_services:
            self._catalog.deregister(self.node.node, service_id=service_id)
        for check_id in drift.foreign_checks:
            self._catalog.deregister(self.node.node, check_id=check_id)
        self._catalog.register(self.node, drift.services, drift.checks)

    def _drift(self) -> _Drift:
        drift = _Drift()
        services = dict(self._catalog.services_on(self.node.node))
        checks = dict(self._catalog.checks_on(self.node.node))
        for service_id, service in self.services.items():
            entry = services.pop(service_id, None)
            if service.enable_tag_override and entry is not None and entry.tags != service.tags:
                service = self.services[service_id] = replace(service, tags=entry.tags)
                self.waiters.wake(("service", service_id))
            if entry is None or replace(entry, create_index=0, modify_index=0) != service:
                drift.services.append(service)
        for check_id, check in self.checks.items():
            held = checks.pop(check_id, None)
            late = check.output_due is not None and check.output_due > self._clock.time()
            said = check.state if held is None or not late else replace(check.state, output=held.output)
            if held is None or replace(held, create_index=0, modify_index=0) != said:
                drift.checks.append(check.state)
            if not late and check.output_due is not None:
                self.checks[check_id] = LocalCheck(check.definition, check.state)
        drift.foreign_services.extend(services.keys() - {CONSUL})
        drift.foreign_checks.extend(
            check_id
            for check_id, check in checks.items()
            if check_id != SERF and (not check.service_id or check.service_id in self.services)
        )
        return drift

    def _put_check(self, check: CheckDefinition) -> HealthCheck:
        """Keep a check, and run it; what the catalog is to say of it."""
        service = self.services.get(check.service_id)
        old = self.checks.get(check.check_id)
        if old is not None:
            self._unlist(old.state)
        self._checks_by_service[check.service_id].add(check.check_id)
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
            interval=check.interval_text,
            timeout=check.timeout_text,
        )
        self.checks[check.check_id] = LocalCheck(check, state)
        self._runs.start(check)
        return state

    def _drop_check(self, check_id: str) -> None:
        self._unlist(self.checks.pop(check_id).state)
        self._runs.stop(check_id)

    def _unlist(self, check: HealthCheck) -> None:
        ids = self._checks_by_service[check.service_id]
        ids.discard(check.check_id)
        if not ids:
            del self._checks_by_service[check.service_id]

    def _forget_name(self, service: Service) -> None:
        ids = self._ids_by_name[service.service]
        ids.discard(service.id)
        if not ids:
            del self._ids_by_name[service.service]

    def _write(self, check: HealthCheck) -> None:
        """Write a check to the catalog, with its service if somebody removed it there."""
        id = check.service_id
        lost = id and id not in self._catalog.services_on(self.node.node)
        self._catalog.register(self.node, [self.services[id]] if lost else (), [check])


def _maintenance(service_id: str) -> str:
    """The id of the check that stands for it."""
    return f"{SERVICE_MAINTENANCE}{service_id}" if service_id else NODE_MAINTENANCE
