"""What stands in a node: JSON of ours, or the bare address that go-kit writes."""

import re
from typing import Annotated

import msgspec

from asyncsd._errors import BadRequestError
from asyncsd._models import Instance, Status
from asyncsd._registration import Record
from asyncsd._values import as_host

__all__ = ["decode", "encode"]

LARGEST = 1_000_000
"""A little less than the server's limit of a request (jute.maxbuffer, 0xfffff), past which it hangs up."""

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Weight = Annotated[int, msgspec.Meta(ge=0)]


class Value(msgspec.Struct, omit_defaults=True):
    """The JSON of a node. `host` and `port` have to be there."""

    host: str
    port: Port
    tags: tuple[str, ...] = ()
    meta: dict[str, str] = {}
    weight: Weight = 1
    warning_weight: Weight = 1
    scheme: str | None = None
    status: Status = "passing"
    drained: bool = False


_decoder = msgspec.json.Decoder(Value)
_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):(?P<port>\d{1,5})\Z")


def encode(record: Record, status: Status, *, drained: bool) -> bytes:
    """The value of a registration. Raises BadRequestError for one that no server would take."""
    value = Value(
        host=record.host,
        port=record.port,
        tags=record.tags,
        meta=dict(record.meta),
        weight=record.weight,
        warning_weight=record.warning_weight,
        scheme=record.scheme,
        status=status,
        drained=drained,
    )
    data = msgspec.json.encode(value)
    if len(data) > LARGEST:
        raise BadRequestError(
            f"{record.id!r} is {len(data)} bytes long, and a node of ZooKeeper takes {LARGEST}: "
            "shorten its tags and meta"
        )
    return data


def decode(service: str, id: str, data: bytes) -> Instance | None:
    """The instance that a node stands for, None for one that can't be read."""
    try:
        value = _decoder.decode(data) if data[:1] == b"{" else _bare(data)
        status: Status = "critical" if value.drained else value.status
        return Instance(
            id=id,
            service=service,
            host=value.host,
            port=value.port,
            tags=value.tags,
            meta=value.meta,
            weight=value.warning_weight if status == "warning" else value.weight,
            zone=value.meta.get("zone"),
            status=status,
            scheme=value.scheme,
        )
    except (ValueError, TypeError):  # msgspec's errors are ValueErrors, and so are those of Unicode.
        return None


def _bare(data: bytes) -> Value:
    """A bare "host:port"; a ValueError for anything else."""
    found = _ADDRESS.match(data.decode().strip())
    if found is None or int(found["port"]) > 65535:
        raise ValueError("no address")
    return Value(host=as_host("host", found["host"]), port=int(found["port"]))
