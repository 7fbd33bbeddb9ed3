"""The catalog: nodes, services and checks, the index of each part, and those who wait for a change."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, TypeVar

from msgspec.structs import replace

from ._found import Found
from ._structs import HealthCheck, HealthEntry, Node, Service
from ._waiters import Key, Waiters

__all__ = ["CHECKS", "NODES", "SERVICES", "Catalog", "MissingService", "Observer"]

T = TypeVar("T")
Entry = TypeVar("Entry", Node, Service, HealthCheck)

Place: TypeAlias = tuple[str, str]
"""Where an instance stands: its node and its id there."""

NODES: Key = ("nodes",)
SERVICES: Key = ("services",)
CHECKS: Key = ("checks",)
EXTINCT: Key = ("extinct",)
"""Moves when the last instance of a service goes: the index of services that aren't there."""


Observer: TypeAlias = Callable[[str, Service | HealthCheck | None, Service | HealthCheck | None], None]
"""Is told of a node's entry that was written or dropped: what stood there, and what stands there now."""


class MissingService(Exception):
    """A check was to speak of a service that isn't there."""

    def __init__(self) -> None:
        super().__init__("Missing service registration")


class Catalog:
    """The state that all queries read.

    Every write moves `index` and, with it, the index of each key that it touches: a query waits on its own
    keys and sleeps through the rest, as Consul's do (`agent/consul/state/catalog.go`). A write that changes
    nothing moves nothing. All methods are synchronous, so each is atomic.
    """

    def __init__(self, index: int = 1) -> None:
        self.index = index
        self.resets = 0
        self.observer: Observer | None = None
        self._indexes: dict[Key, int] = {}
        self.waiters = Waiters()
        self._nodes: dict[str, Node] = {}
        # What reads made, until a write touches the key: many wait for the same and read it at once.
        self._made: dict[Key, Found[Any]] = {}
        self._tags_made: dict[str, list[str]] = {}  # by service
        self._on_node: defaultdict[str, dict[str, Service]] = defaultdict(dict)  # by id
        self._by_name: defaultdict[str, dict[Place, Service]] = defaultdict(dict)
        self._checks: defaultdict[str, dict[str, HealthCheck]] = defaultdict(dict)  # by node, then id
        self._speak_of: defaultdict[Place, dict[str, HealthCheck]] = defaultdict(dict)  # "": of the node

    def __repr__(self) -> str:
        services = sum(map(len, self._on_node.values()))
        return f"Catalog(index {self.index}, {len(self._nodes)} nodes, {services} services)"

    # Writing

    def register(
        self, node: Node, services: Iterable[Service] = (), checks: Iterable[HealthCheck] = ()
    ) -> None:
        """Enter a node, and with it services and checks, or change what stands under their ids.

        All of it is one write. MissingService, and nothing written, for a check of an unknown service.
        """
        services, checks = list(services), list(checks)
        there, new = self._on_node.get(node.node, {}), {service.id for service in services}
        for check in checks:
            if check.service_id and check.service_id not in there and check.service_id not in new:
                raise MissingService
        touched: set[Key] = set()
        index = self.index + 1
        self._put_node(node, index, touched)
        for service in services:
            self._put_service(node.node, service, index, touched)
        for check in checks:
            self._put_check(check, index, touched)
        self._commit(touched, index)

    def deregister(self, node: str, *, service_id: str | None = None, check_id: str | None = None) -> None:
        """Remove a service with its checks, or one check, or else the node with all that it has."""
        touched: set[Key] = set()
        if service_id is not None:
            self._drop_service(node, service_id, touched)
        elif check_id is not None:
            self._drop_check(node, check_id, touched)
        elif node in self._nodes:
            for held in list(self._on_node.get(node, ())):
                self._drop_service(node, held, touched)
            for held in list(self._checks.get(node, ())):
                self._drop_check(node, held, touched)
            self._on_node.pop(node, None)
            self._checks.pop(node, None)
            del self._nodes[node]
            touched |= {NODES, ("node", node)}
        self._commit(touched, self.index + 1)

    def reset(self) -> None:
        """Begin the indexes anew at 1 and keep the rest, as a snapshot of a younger state that is restored.

        `resets` counts it: who waits is woken, and is to answer with what it knew.
        """
        self.resets += 1
        self.index = 1
        self._indexes = dict.fromkeys(self._indexes, 1)
        stamp = {"create_index": 1, "modify_index": 1}
        for name, node in self._nodes.items():
            self._nodes[name] = replace(node, **stamp)
        for name, services in self._on_node.items():
            for service_id, service in services.items():
                entry = services[service_id] = replace(service, **stamp)
                self._by_name[service.service][name, service_id] = entry
        for name, checks in self._checks.items():
            for check_id, check in checks.items():
                checks[check_id] = self._speak_of[name, check.service_id][check_id] = replace(check, **stamp)
        self._made.clear()
        self.waiters.wake_all()

    def _put_node(self, node: Node, index: int, touched: set[Key]) -> None:
        old = self._nodes.get(node.node)
        entry = _stamped(node, old, index)
        if entry is not old:
            self._nodes[node.node] = entry
            services = self._services_of(node.node)
            touched |= {NODES, ("node", node.node)} | services | {("instances", name) for _, name in services}

    def _put_service(self, node: str, service: Service, index: int, touched: set[Key]) -> None:
        place = (node, service.id)
        old = self._on_node[node].get(service.id)
        entry = _stamped(service, old, index)
        if entry is old:
            return
        if old is not None and old.service != service.service:
            self._forget_name(old.service, place, touched)
        self._on_node[node][service.id] = self._by_name[service.service][place] = entry
        touched |= {SERVICES, ("node", node), ("service", service.service), ("instances", service.service)}
        self._tell(node, old, entry)

    def _put_check(self, check: HealthCheck, index: int, touched: set[Key]) -> None:
        old = self._checks[check.node].get(check.check_id)
        if check.service_id:
            service = self._on_node[check.node][check.service_id]
            check = replace(check, service_name=service.service, service_tags=service.tags)
        entry = _stamped(check, old, index)
        if entry is old:
            return
        if old is not None and old.service_id != entry.service_id:
            self._drop_check(check.node, check.check_id, touched)
        self._checks[check.node][check.check_id] = entry
        self._speak_of[check.node, check.service_id][check.check_id] = entry
        touched |= {CHECKS, ("checks of node", check.node)} | self._concerned(entry)
        self._tell(check.node, old, entry)

    def _drop_service(self, node: str, service_id: str, touched: set[Key]) -> None:
        service = self._on_node.get(node, {}).pop(service_id, None)
        if service is None:
            return
        for check in self._speak_of.pop((node, service_id), ()):
            del self._checks[node][check]
            touched |= {CHECKS, ("checks of node", node)}
        touched |= {SERVICES, ("node", node), ("service", service.service)}
        self._forget_name(service.service, (node, service_id), touched)
        self._tell(node, service, None)  # Its checks went with it: they aren't told.

    def _drop_check(self, node: str, check_id: str, touched: set[Key]) -> None:
        check = self._checks.get(node, {}).pop(check_id, None)
        if check is None:
            return
        speaking = self._speak_of[node, check.service_id]
        del speaking[check_id]
        if not speaking:
            del self._speak_of[node, check.service_id]
        touched |= {CHECKS, ("checks of node", node)} | self._concerned(check)
        self._tell(node, check, None)

    def _tell(self, node: str, old: Service | HealthCheck | None, new: Service | HealthCheck | None) -> None:
        if self.observer is not None:
            self.observer(node, old, new)

    def _forget_name(self, name: str, place: Place, touched: set[Key]) -> None:
        del self._by_name[name][place]
        touched |= {("service", name), ("instances", name)}
        if not self._by_name[name]:
            del self._by_name[name]
            touched.add(EXTINCT)

    def _concerned(self, check: HealthCheck) -> set[Key]:
        """The services that a check speaks of: a node's check, of all that stand on the node."""
        if not check.service_id:
            return self._services_of(check.node)
        # By the service's name of today: a check keeps that of the day when it was written.
        return {("service", self._on_node[check.node][check.service_id].service)}

    def _services_of(self, node: str) -> set[Key]:
        return {("service", service.service) for service in self._on_node.get(node, {}).values()}

    def _commit(self, touched: set[Key], index: int) -> None:
        if not touched:
            return
        self.index = index
        for key in touched:
            self._indexes[key] = index
            self._made.pop(key, None)
            if key[0] == "instances":
                self._tags_made.pop(key[1], None)
        # A service that is gone has no index of its own, or every name ever used would stay.
        for kind, *name in touched:
            if (kind in ("service", "instances") and name[0] not in self._by_name) or (
                kind in ("node", "checks of node") and name[0] not in self._nodes
            ):
                del self._indexes[kind, name[0]]
        self.waiters.wake(*touched)

    # Reading

    def services_on(self, node: str) -> Mapping[str, Service]:
        """The services on a node, by id."""
        return self._on_node.get(node, {})

    def checks_on(self, node: str) -> Mapping[str, HealthCheck]:
        """All checks that stand on a node, by id."""
        return self._checks.get(node, {})

    def index_of(self, *keys: Key) -> int:
        """The highest index of these parts, at least 1."""
        return max(1, *(self._indexes.get(key, 0) for key in keys))

    def _found(self, value: T, *keys: Key) -> Found[T]:
        return Found(self.index_of(*keys), value, keys)

    def _of_service(self, key: Key, value: T, *tables: Key) -> Found[T]:
        """With the service's own index; that of the last extinction, or the tables', when it has none."""
        if key in self._indexes:
            return self._found(value, key)
        index = self._indexes.get(EXTINCT) or self.index_of(*tables)
        return Found(max(1, index), value, (key,))

    def nodes(self) -> Found[list[Node]]:
        """All nodes, by name."""
        return self._found([self._nodes[name] for name in sorted(self._nodes)], NODES)

    def node(self, name: str) -> Found[tuple[Node, list[Service]] | None]:
        """A node and the services on it, by id; None for one that isn't there."""
        if (node := self._nodes.get(name)) is None:
            return self._found(None, NODES, ("node", name))
        services = self._on_node.get(name, {})
        return self._found((node, [services[id] for id in sorted(services)]), ("node", name))

    def names(self) -> Found[dict[str, list[str]]]:
        """All names of services, each with the tags of all of its instances."""
        if (made := self._made.get(SERVICES)) is None:
            tags = {name: self._tags(name) for name in sorted(self._by_name)}
            made = self._made[SERVICES] = self._found(tags, SERVICES)
        return made

    def service(self, name: str) -> Found[list[tuple[Node, Service]]]:
        """The instances of a service with their nodes, by node and id."""
        key = ("instances", name)
        if (made := self._made.get(key)) is None:
            services = self._by_name.get(name, {})
            entries = [(self._nodes[place[0]], services[place]) for place in sorted(services)]
            made = self._keep(key, self._of_service(key, entries, NODES, SERVICES))
        return made

    def health(self, name: str) -> Found[list[HealthEntry]]:
        """The instances of a service with their nodes and checks, by node and id; its node's checks first."""
        key = ("service", name)
        if (made := self._made.get(key)) is None:
            services = self._by_name.get(name, {})
            of_node = {node: self._speaking_of(node, "") for node in {node for node, _ in services}}
            entries = [
                HealthEntry(
                    self._nodes[place[0]], services[place], of_node[place[0]] + self._speaking_of(*place)
                )
                for place in sorted(services)
            ]
            made = self._keep(key, self._of_service(key, entries, NODES, SERVICES, CHECKS))
        return made

    def _tags(self, name: str) -> list[str]:
        if (tags := self._tags_made.get(name)) is None:
            every = {tag for service in self._by_name[name].values() for tag in service.tags}
            tags = self._tags_made[name] = sorted(every)
        return tags

    def _speaking_of(self, node: str, service_id: str) -> list[HealthCheck]:
        checks = self._speak_of.get((node, service_id))
        return sorted(checks.values(), key=_by_id) if checks else []

    def _keep(self, key: Key, found: Found[T]) -> Found[T]:
        """Keep what was made, but for names that nobody bears: there is no end of them."""
        if key in self._indexes:
            self._made[key] = found
        return found

    def instance(self, node: str, service_id: str) -> Found[tuple[bool, list[HealthCheck]]]:
        """Whether an instance is there, and the checks that speak of it: its own and its node's, by id.

        With "" it is the node, which is there when it has checks.
        """
        service = self._on_node.get(node, {}).get(service_id)
        places = {(node, ""), (node, service_id)}
        checks = sorted((check for at in places for check in self._speak_of.get(at, {}).values()), key=_by_id)
        there = service is not None or (not service_id and bool(checks))
        if service is not None:
            return self._found((there, checks), ("service", service.service))
        return self._found((there, checks), ("node", node), ("checks of node", node))

    def checks(self) -> Found[list[HealthCheck]]:
        """All checks, by node and id."""
        every = [
            check
            for node in sorted(self._checks)
            for check in sorted(self._checks[node].values(), key=_by_id)
        ]
        return self._found(every, CHECKS)

    def checks_of_service(self, name: str) -> Found[list[HealthCheck]]:
        """The checks of a service's own, without those of its nodes."""
        places = self._by_name.get(name, ())
        every = [check for place in places for check in self._speak_of.get(place, {}).values()]
        every.sort(key=lambda check: (check.node, check.check_id))
        return self._of_service(("service", name), every, CHECKS)

    def checks_of_node(self, node: str) -> Found[list[HealthCheck]]:
        """All checks that stand on a node, by id. The index is that of all checks, as Consul's."""
        checks = sorted(self._checks.get(node, {}).values(), key=_by_id)
        return Found(self.index_of(CHECKS), checks, (("checks of node", node),))


def _by_id(check: HealthCheck) -> str:
    return check.check_id


def _stamped(entry: Entry, old: Entry | None, index: int) -> Entry:
    """`entry` as written at `index`; `old` itself when that says the same already."""
    if old is None:
        return replace(entry, create_index=index, modify_index=index)
    if replace(entry, create_index=old.create_index, modify_index=old.modify_index) == old:
        return old
    return replace(entry, create_index=old.create_index, modify_index=index)
