"""What the servers' lists say, kept up by their changes."""

from collections import Counter
from collections.abc import Iterable, Mapping

from asyncsd._models import Instance

from ._codec import application_of, instance_of, tags_of
from ._messages import Info

__all__ = ["Catalog"]

Found = tuple[tuple[Instance, ...], int]


class Catalog:
    """All instances of all services. `version` grows with each change of any.

    `epoch` grows when what comes next may lack what is known, since the server began anew or is another.
    """

    def __init__(self, *, prefer_ip: bool) -> None:
        self._prefer_ip = prefer_ip
        self._known: dict[tuple[str, str], Info] = {}
        self._decoded: dict[tuple[str, str, str], tuple[Info, Instance | None]] = {}
        self._services: dict[str, tuple[int, Found]] = {}
        self._named: dict[str, list[Info]] = {}
        self.version = 1
        self.epoch = 0

    def replace(self, infos: Iterable[Info]) -> None:
        """Know nothing but a whole list."""
        before, self._known = self._known, {}
        for info in infos:
            key = (info.app, info.id)
            known = before.get(key)
            info.action_type = None
            self._known[key] = known if known is not None and known == info else info
        if len(self._known) != len(before) or any(before.get(k) is not v for k, v in self._known.items()):
            self._changed()

    def apply(self, infos: Iterable[Info]) -> None:
        """Take in the changes of the last minutes, most of which are known, and some may be outdated."""
        changed = False
        for info in infos:
            key = (info.app, info.id)
            known = self._known.get(key)
            kind, info.action_type = info.action_type, None
            if known is not None and known.last_updated_timestamp > info.last_updated_timestamp:
                continue
            if kind == "DELETED":
                changed |= self._known.pop(key, None) is not None
            elif known != info:
                self._known[key] = info
                changed = True
        if changed:
            self._changed()

    def differing(self, infos: Iterable[Info]) -> tuple[tuple[str, str], Info | None] | None:
        """An instance of which a whole list says something else than what is known, and what it says.

        The application and the id; None in place of what it says where it doesn't have the instance.
        """
        told = {(info.app, info.id): info for info in infos}
        for key in (*told, *self._known):
            known, info = self._known.get(key), told.get(key)
            if known is None or info is None or known.last_updated_timestamp != info.last_updated_timestamp:
                return key, info
        return None

    def forget(self) -> None:
        """What comes next is to be doubted where it lacks something."""
        self.epoch += 1

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
        tags: dict[str, set[str]] = {}
        for (app, _), info in sorted(self._known.items()):
            alike = info.vip_address and application_of(info.vip_address) == app
            names.setdefault(app, info.vip_address if alike else app.lower())
            tags.setdefault(app, set()).update(tags_of(info))
        return {name: tuple(sorted(tags[app])) for app, name in sorted(names.items())}

    def _changed(self) -> None:
        self.version += 1
        self._named = _by_name(self._known.values())
        self._decoded = {key: value for key, value in self._decoded.items() if key[1:] in self._known}


def _by_name(infos: Iterable[Info]) -> dict[str, list[Info]]:
    """Instances under each of their names, in upper case."""
    named: dict[str, list[Info]] = {}
    for info in infos:
        virtual = (name.strip().upper() for name in info.vip_address.split(","))
        for name in {info.app, *virtual} - {""}:
            named.setdefault(name, []).append(info)
    return named
