"""What the servers' lists say, kept up by their changes."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from asyncsd._models import Instance

from ._codec import application_of, instance_of
from ._messages import Applications, Info, decode_info

__all__ = ["Catalog"]

Found = tuple[tuple[Instance, ...], int]


class Catalog:
    """All instances of all services. `version` grows with each change of any.

    `epoch` grows when the server has lost what it knew; `version` begins anew then.
    """

    def __init__(self, *, prefer_ip: bool) -> None:
        self._prefer_ip = prefer_ip
        self._known: dict[tuple[str, str], Info] = {}
        self._decoded: dict[tuple[str, str, str], tuple[Info, Instance | None]] = {}
        self._services: dict[str, tuple[int, Found]] = {}
        self._named: dict[str, list[Info]] = {}
        self.version = 1
        self.epoch = 0

    def replace(self, told: Applications) -> bool:
        """Know nothing but a whole list; whether that is another than the one before."""
        return self._set({(info.app, info.id): info for info in _infos(told)})

    def apply(self, told: Applications) -> bool:
        """Take in the changes of the last minutes, most of which are known; whether one was not."""
        now = self._known.copy()
        for info in _infos(told):
            kind, info.action_type = info.action_type, None
            if kind == "DELETED":
                now.pop((info.app, info.id), None)
            else:
                now[info.app, info.id] = info
        return self._set(now)

    def forget(self) -> None:
        """The server has lost what it knew: its versions begin anew."""
        self.epoch += 1
        self.version = 1
        self._services.clear()

    @property
    def hashcode(self) -> str:
        """How many instances of each status there are, as a server tells it."""
        counted = Counter(info.status for info in self._known.values())
        return "".join(f"{status}_{count}_" for status, count in sorted(counted.items()))

    def find(self, service: str) -> Found:
        """The instances of a service, and how many were left out as malformed.

        They are those of the application of that name, and those that have it as a virtual address, which is
        what Spring goes by. Upper and lower case are the same.
        """
        version, found = self._services.get(service, (0, ((), 0)))
        if version == self.version:
            return found
        wanted = dict.fromkeys((application_of(service), service.upper()))
        infos = {(info.app, info.id): info for name in wanted for info in self._named.get(name, ())}
        instances: list[Instance] = []
        skipped = 0
        for key, info in infos.items():
            before, instance = self._decoded.get((service, *key), (None, None))
            if before is not info:
                instance = instance_of(info, service, prefer_ip=self._prefer_ip)
                self._decoded[service, *key] = (info, instance)
            if instance is None:
                skipped += 1
            else:
                instances.append(instance)
        instances.sort(key=lambda instance: instance.id)
        found = (tuple(instances), skipped)
        self._services[service] = (self.version, found)
        return found

    def names(self) -> Mapping[str, tuple[str, ...]]:
        """All services with their tags. Eureka knows names in upper case; a virtual address is nearer."""
        names: dict[str, str] = {}
        for (app, _), info in sorted(self._known.items()):
            alike = info.vip_address and application_of(info.vip_address) == app
            names.setdefault(app, info.vip_address if alike else app.lower())
        told: dict[str, tuple[str, ...]] = {}
        for name in sorted(names.values()):
            instances, _ = self.find(name)
            told[name] = tuple(sorted({tag for instance in instances for tag in instance.tags}))
        return told

    def _set(self, now: dict[tuple[str, str], Info]) -> bool:
        before = self._known
        kept: dict[tuple[str, str], Info] = {}
        for key, info in now.items():
            info.action_type = None
            known = before.get(key)
            kept[key] = known if known is not None and known == info else info
        changed = len(kept) != len(before) or any(before.get(key) is not info for key, info in kept.items())
        if changed:
            self._known = kept
            self._named = _by_name(kept.values())
            self.version += 1
            self._decoded = {key: value for key, value in self._decoded.items() if key[1:] in kept}
        return changed


def _infos(told: Applications) -> Iterator[Info]:
    for application in told.application:
        for raw in application.instance:
            info = decode_info(msgspec.Raw(raw))
            if info is not None:
                info.app = application.name.upper()
                yield info


def _by_name(infos: Iterable[Info]) -> dict[str, list[Info]]:
    """Instances under each of their names, in upper case."""
    named: dict[str, list[Info]] = {}
    for info in infos:
        virtual = (name.strip().upper() for name in info.vip_address.split(","))
        for name in {info.app, *virtual} - {""}:
            named.setdefault(name, []).append(info)
    return named
