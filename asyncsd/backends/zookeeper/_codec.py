"""What stands in a node: JSON of ours, or a bare address, as go-kit writes it."""

import re
from typing import Annotated

import msgspec

from asyncsd._errors import BadRequestError
from asyncsd._models import Instance, Status
from asyncsd._registration import Record
from asyncsd._values import as_host, as_port

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
_ADDRESS = re.compile(
    r"((?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+)(:(?P<port>\d{1,5}))?/?\Z"
)
_PORTS = {"http": 80, "https": 443}


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
    """The instance that a node stands for, None for one that can't be read.

    go-kit writes the address as the data, and others name the node by it and leave the data empty.
    """
    try:
        value = _decoder.decode(data) if data[:1] == b"{" else _bare(data.decode() or id)
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
    except (
        ValueError,
        TypeError,
        RecursionError,
    ):  # msgspec's errors are ValueErrors, and so are those of Unicode.
        return None


def _bare(text: str) -> Value:
    """A bare address, "10.0.0.7:8080" or "http://10.0.0.7"; a ValueError for anything else."""
    found = _ADDRESS.match(text.strip())
    if found is None:
        raise ValueError("no address")
    scheme = found["scheme"] and found["scheme"].lower()
    port = found["port"] or _PORTS.get(scheme or "")
    if port is None:
        raise ValueError("no port")
    return Value(host=as_host("host", found["host"]), port=as_port("port", int(port)), scheme=scheme)
