"""What a feed knows of a datacenter, and which services each new answer concerns."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from asyncsd._models import Instance

from ._answers import Answer, shape_error

__all__ = ["Known"]


class _Node(msgspec.Struct, gc=False):
    """One item of /v1/catalog/nodes."""

    name: str = msgspec.field(name="Node")
    index: int = msgspec.field(name="ModifyIndex")


class _Check(msgspec.Struct, gc=False):
    """One item of /v1/health/state/STATE."""

    node: str = msgspec.field(name="Node")
    id: str = msgspec.field(name="CheckID")
    service: str = msgspec.field(name="ServiceName", default="")


class _Service(msgspec.Struct, gc=False):
    """An instance, as /v1/catalog/node-services/NODE tells it."""

    id: str = msgspec.field(name="ID")
    service: str = msgspec.field(name="Service")
    index: int = msgspec.field(name="ModifyIndex")


class _Services(msgspec.Struct, gc=False):
    services: list[_Service] | None = msgspec.field(name="Services", default=None)


class _Listed(msgspec.Struct, gc=False):
    """One item of /v1/internal/ui/nodes: a node with its instances."""

    name: str = msgspec.field(name="Node")
    services: list[_Service] | None = msgspec.field(name="Services", default=None)
    peer: str = msgspec.field(name="PeerName", default="")


_NOTHING: dict[str, tuple[str, int]] = {}

_nodes = msgspec.json.Decoder(list[_Node])
_checks = msgspec.json.Decoder(list[_Check])
_services = msgspec.json.Decoder(_Services | None)
_all = msgspec.json.Decoder(list[_Listed])
_names = msgspec.json.Decoder(dict[str, list[str] | None])


class Known:
    """Nodes, instances and failing checks: no more of each than tells that it changed.

    Every method takes an answer, and gives the names of the services that are no longer what they were by the
    answer before. Raises ProtocolError for an answer of another shape.
    """

    def __init__(self) -> None:
        self._of_node: dict[str, dict[str, tuple[str, int]]] = {}
        self._failing: dict[str, dict[tuple[str, str], str]] = {}
        self._names: dict[str, list[str] | None] | None = None
        self._count: Counter[str] = Counter()
        """How many instances each service has on all nodes."""
        self._ill: set[str] = set()
        """The services of which a check fails."""
        self._ill_nodes: set[str] = set()
        self.nodes: dict[str, int] = {}
        """Each node's ModifyIndex."""

    def __repr__(self) -> str:
        return f"Known({len(self.nodes)} nodes, {self.instances} instances)"

    @property
    def instances(self) -> int:
        """How many it has heard of."""
        return self._count.total()

    def hear_nodes(self, answer: Answer) -> set[str]:
        """Of /v1/catalog/nodes: what stands on a node that changed, or is gone."""
        nodes = {node.name: node.index for node in _decode(_nodes.decode, answer, "a list of nodes")}
        changed = {name for name, _ in nodes.items() ^ self.nodes.items()}
        services = self._on(changed)
        for name in self._of_node.keys() - nodes.keys():
            self._put(name, {})
            del self._of_node[name]
        self.nodes = nodes
        return services

    def hear_node(self, name: str, answer: Answer) -> set[str]:
        """Of /v1/catalog/node-services/NODE: whatever came, went, or was written."""
        found = _decode(_services.decode, answer, "a node's services")
        listed = (found.services if found is not None else None) or ()
        return self._put(name, {one.id: (one.service, one.index) for one in listed})

    def hear_all(self, answer: Answer) -> set[str]:
        """Of /v1/internal/ui/nodes: the same of all nodes."""
        listed = {
            node.name: {one.id: (one.service, one.index) for one in node.services or ()}
            for node in _decode(_all.decode, answer, "a list of nodes with their services")
            if not node.peer  # Another cluster's: it has names of its own.
        }
        gone = self._of_node.keys() - listed.keys()
        changed: set[str] = set()
        for name, instances in (listed | dict.fromkeys(gone, _NOTHING)).items():
            changed |= self._put(name, instances)
        return changed

    def _put(self, node: str, instances: dict[str, tuple[str, int]]) -> set[str]:
        before = self._of_node.get(node, {})
        self._of_node[node] = instances
        moved = instances.items() ^ before.items()
        for id, (service, index) in moved:
            self._count[service] += 1 if instances.get(id) == (service, index) else -1
            if not self._count[service]:
                del self._count[service]
        return {service for _, (service, _) in moved}

    def hear_state(self, state: str, answer: Answer) -> set[str]:
        """Of /v1/health/state/STATE: whatever a check is of that came into the state, or left it."""
        checks = {
            (check.node, check.id): check.service
            for check in _decode(_checks.decode, answer, "a list of checks")
        }
        moved = checks.items() ^ self._failing.get(state, {}).items()
        self._failing[state] = checks
        failing = [check for checks in self._failing.values() for check in checks.items()]
        self._ill = {service for _, service in failing if service}
        self._ill_nodes = {node for (node, _), service in failing if not service}
        services = {service for _, service in moved if service}
        # A check of a node itself is one of each service there.
        return services | self._on({node for (node, _), service in moved if not service})

    def hear_names(self, answer: Answer) -> set[str]:
        """Of /v1/catalog/services: those that came or went, or have other tags; of the first answer, none.

        The nodes' lists tell of the same, later: names that weren't heard before are no news.
        """
        names = _decode(_names.decode, answer, "an object of services")
        before, self._names = self._names, names
        if before is None:
            return set()
        return {
            name
            for name in names.keys() | before.keys()
            if name not in names or name not in before or set(names[name] or ()) != set(before[name] or ())
        }

    def shows(self, service: str, instances: Sequence[Instance], index: int) -> bool:
        """Whether it surely shows what was read: these, all passing, with this index and nothing since.

        False where it would take a closer look.
        """
        if service in self._ill or len({(one.node, one.id) for one in instances}) != self._count[service]:
            return False
        for one in instances:
            node = one.node or ""
            known, written = self._of_node.get(node, _NOTHING).get(one.id, ("", 0))
            if (
                one.status != "passing"
                or node in self._ill_nodes
                or known != service
                or max(written, self.nodes.get(node, 0)) > index
            ):
                return False
        return True

    def has(self, instances: Iterable[Instance]) -> bool:
        """Whether it has heard of all of them."""
        return all(one.id in self._of_node.get(one.node or "", ()) for one in instances)

    def _on(self, nodes: Iterable[str]) -> set[str]:
        return {service for name in nodes for service, _ in self._of_node.get(name, {}).values()}


def _decode(decode: Callable[[bytes], Any], answer: Answer, wanted: str) -> Any:
    try:
        return decode(answer.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise shape_error(answer, wanted, exc) from exc
