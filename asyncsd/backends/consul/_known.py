"""What a feed knows of a datacenter, and which services each new answer concerns."""

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


_NOTHING: dict[tuple[str | None, str], int] = {}

_nodes = msgspec.json.Decoder(list[_Node])
_checks = msgspec.json.Decoder(list[_Check])
_services = msgspec.json.Decoder(_Services | None)
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
        self._well: dict[str, dict[tuple[str | None, str], int] | None] | None = None
        """Of each service when its instances, or their nodes, were written last; None where a check fails."""
        self.nodes: dict[str, int] = {}
        """Each node's ModifyIndex."""

    def __repr__(self) -> str:
        instances = sum(map(len, self._of_node.values()))
        return f"Known({len(self.nodes)} nodes, {instances} instances)"

    def hear_nodes(self, answer: Answer) -> set[str]:
        """Of /v1/catalog/nodes: what stands on a node that changed, or is gone."""
        nodes = {node.name: node.index for node in _decode(_nodes.decode, answer, "a list of nodes")}
        changed = {name for name, _ in nodes.items() ^ self.nodes.items()}
        services = self._on(changed)
        for name in self._of_node.keys() - nodes.keys():
            del self._of_node[name]
        self.nodes, self._well = nodes, None
        return services

    def hear_node(self, name: str, answer: Answer) -> set[str]:
        """Of /v1/catalog/node-services/NODE: whatever came, went, or was written."""
        found = _decode(_services.decode, answer, "a node's services")
        listed = (found.services if found is not None else None) or ()
        instances = {one.id: (one.service, one.index) for one in listed}
        before = self._of_node.get(name, {})
        self._of_node[name], self._well = instances, None
        return {service for _, (service, _) in instances.items() ^ before.items()}

    def hear_state(self, state: str, answer: Answer) -> set[str]:
        """Of /v1/health/state/STATE: whatever a check is of that came into the state, or left it."""
        checks = {
            (check.node, check.id): check.service
            for check in _decode(_checks.decode, answer, "a list of checks")
        }
        moved = checks.items() ^ self._failing.get(state, {}).items()
        self._failing[state], self._well = checks, None
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
        if self._well is None:
            self._well = self._find_well()
        known = self._well.get(service, _NOTHING)
        return (
            known is not None
            and all(one.status == "passing" for one in instances)
            and {(one.node, one.id) for one in instances} == known.keys()
            and all(written <= index for written in known.values())
        )

    def _find_well(self) -> dict[str, dict[tuple[str | None, str], int] | None]:
        ill = {service for checks in self._failing.values() for service in checks.values()}
        ill_nodes = {
            node for checks in self._failing.values() for (node, _), service in checks.items() if not service
        }
        found: dict[str, dict[tuple[str | None, str], int] | None] = dict.fromkeys(ill | self._on(ill_nodes))
        for node, listed in self._of_node.items():
            for id, (service, written) in listed.items():
                known = found.setdefault(service, {})
                if known is not None:
                    known[node, id] = max(written, self.nodes.get(node, 0))
        return found

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
