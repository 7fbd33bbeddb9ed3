"""The last changes of the catalog, for people."""

from collections import deque
from itertools import chain

import msgspec

from asyncsd._protocols import Clock
from asyncsd.agent._state._structs import HealthCheck, Service

__all__ = ["NODE_MAINTENANCE", "SERVICE_MAINTENANCE", "Change", "Timeline"]

NODE_MAINTENANCE, SERVICE_MAINTENANCE = "_node_maintenance", "_service_maintenance:"
"""The checks by which Consul takes a node, or the service whose id follows, out of rotation."""

OUTPUT_SIZE = 512
"""Characters kept of any text, so that `size` changes stay small whatever clients send."""


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One change: `kind` says which of the other fields speak.

    "registered", "deregistered", "reaped": an instance came, was removed, or was removed as critical for too
    long. "changed": `detail` names its fields that are new. "status": `check` went from `old` to `new`, and
    said `detail`. "check-added", "check-removed". "maintenance-on" with its reason, "maintenance-off".
    """

    number: int
    at: float
    kind: str
    node: str
    service: str = ""
    id: str = ""
    check: str = ""
    old: str = ""
    new: str = ""
    detail: str = ""


class Timeline:
    """The last `size` changes of services and checks, oldest first.

    `observe` is a catalog's observer, so it sees each single write; it keeps short texts only, and takes
    about 2 µs. What its catalog held before isn't told.
    """

    def __init__(self, clock: Clock, *, size: int = 200) -> None:
        self._clock = clock
        self._changes: deque[Change] = deque(maxlen=size)
        self._newest = ("", "", 0)  # The node, id and index of the last instance that came.
        self.count = 0

    def __repr__(self) -> str:
        return f"Timeline({len(self._changes)} of {self.count} changes)"

    def since(self, number: int) -> list[Change]:
        """The changes after this one; those that are kept still."""
        missed = min(self.count - number, len(self._changes))
        return list(self._changes)[len(self._changes) - missed :] if missed > 0 else []

    def observe(
        self, node: str, old: Service | HealthCheck | None, new: Service | HealthCheck | None
    ) -> None:
        """Note what became of an entry."""
        entry = new if new is not None else old
        if isinstance(entry, Service):
            self._observe_service(node, old if isinstance(old, Service) else None, new)
        elif isinstance(entry, HealthCheck):
            self._observe_check(old if isinstance(old, HealthCheck) else None, new, entry)

    def reaped(self, node: str, service_id: str) -> None:
        """Say that the instance just removed was removed for being critical too long."""
        if self._changes:
            last = self._changes[-1]
            if (last.kind, last.node, last.id) == ("deregistered", node, service_id[:OUTPUT_SIZE]):
                self._changes[-1] = msgspec.structs.replace(last, kind="reaped")

    def _observe_service(self, node: str, old: Service | None, new: object) -> None:
        if not isinstance(new, Service):
            if old is not None:
                self._add("deregistered", node, old.service, old.id)
        elif old is None or old.service != new.service:
            if old is not None:
                self._add("deregistered", node, old.service, old.id)
            self._newest = (node, new.id, new.create_index)
            self._add("registered", node, new.service, new.id, detail=_address(new))
        elif changed := _differences(old, new):
            self._add("changed", node, new.service, new.id, detail=", ".join(changed))

    def _observe_check(self, old: HealthCheck | None, new: object, entry: HealthCheck) -> None:
        kind, before, after = "status", old.status if old else "", ""
        maintenance = entry.check_id == NODE_MAINTENANCE or entry.check_id.startswith(SERVICE_MAINTENANCE)
        if not isinstance(new, HealthCheck):
            kind = "maintenance-off" if maintenance else "check-removed"
        elif old is None:
            if self._came_with(new):
                return
            kind, after = "maintenance-on" if maintenance else "check-added", new.status
        elif old.status != new.status:
            after = new.status
        else:
            return
        detail = (entry.notes if maintenance else entry.output) if new is not None else ""
        self._add(
            kind,
            entry.node,
            entry.service_name,
            entry.service_id,
            check=entry.name or entry.check_id,
            old=before,
            new=after,
            detail=detail,
        )

    def _came_with(self, check: HealthCheck) -> bool:
        """Whether this check is part of a registration that is told already."""
        return self._newest == (check.node, check.service_id, check.create_index)

    def _add(
        self,
        kind: str,
        node: str,
        service: str,
        id: str,
        *,
        check: str = "",
        old: str = "",
        new: str = "",
        detail: str = "",
    ) -> None:
        self.count += 1
        self._changes.append(
            Change(
                number=self.count,
                at=self._clock.time(),
                kind=kind,
                node=node[:OUTPUT_SIZE],
                service=service[:OUTPUT_SIZE],
                id=id[:OUTPUT_SIZE],
                check=check[:OUTPUT_SIZE],
                old=old,
                new=new,
                detail=detail[:OUTPUT_SIZE],
            )
        )


def _address(service: Service) -> str:
    host = f"[{service.address}]" if ":" in service.address else service.address
    return f"{host}:{service.port}" if service.port else host


def _differences(old: Service, new: Service) -> list[str]:
    """The fields that people know, as far as they differ, with what stands there now where it is short."""
    found: list[str] = []
    if (old.address, old.port) != (new.address, new.port):
        found.append(f"address {_address(new)}")
    if old.tags != new.tags:
        gone = (f"-{tag}" for tag in old.tags if tag not in new.tags)
        found.append("tags " + " ".join(chain((f"+{tag}" for tag in new.tags if tag not in old.tags), gone)))
    if old.meta != new.meta:
        was, now = old.meta or {}, new.meta or {}
        found.append("meta " + " ".join(sorted(key for key in was | now if was.get(key) != now.get(key))))
    if old.weights != new.weights:
        found.append(f"weights {new.weights.passing}/{new.weights.warning}")
    return found
