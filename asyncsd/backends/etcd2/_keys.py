"""Where an instance stands: `/{prefix}/{service}/{id}`. A folder's path ends in a slash, a key's doesn't."""

from urllib.parse import unquote

from asyncsd._models import Instance
from asyncsd._registration import Record
from asyncsd.backends._shared._value import instance_of

__all__ = ["Keys"]


class Keys:
    """The keys under one prefix. Raises ValueError for a prefix that can't be one."""

    def __init__(self, prefix: str) -> None:
        segments = [segment for segment in prefix.split("/") if segment]
        if {".", ".."} & set(segments):
            raise ValueError(f"Etcd2Backend.prefix has no segments '.' and '..'; got {prefix!r}")
        self.root = "".join(f"/{segment}" for segment in segments) + "/"
        """The folder of all services."""

    def service(self, name: str) -> str:
        """The folder of a service."""
        return f"{self.root}{_segment(name)}/"

    def record(self, record: Record) -> str:
        """The key of a record."""
        return f"{self.service(record.service)}{_segment(record.id)}"

    def split(self, key: str) -> tuple[str, str] | None:
        """The service and the id in a key; None for one of another form."""
        service, slash, id = key.removeprefix(self.root).partition("/")
        return (unquote(service), unquote(id)) if service and slash and id else None

    def instance(self, key: str, value: bytes) -> Instance | None:
        """The instance under a key; None for one that can't be read."""
        place = self.split(key)
        return None if place is None else instance_of(*place, value)

    def scopes(self, path: str) -> list[str]:
        """What may be listened to for the changes of a service or a key, the widest first."""
        service, slash, id = path.removeprefix(self.root).partition("/")
        scopes = [self.root]
        if service:
            scopes.append(f"{self.root}{service}{slash}")
        if id:
            scopes.append(path)
        return scopes


def _segment(name: str) -> str:
    """A name as one segment of a key: etcd hides what begins with "_", and cleans dots out of a path."""
    name = name.replace("%", "%25").replace("/", "%2F")
    if name.startswith("_"):
        return f"%5F{name[1:]}"
    return f"%2E{name[1:]}" if name in (".", "..") else name
