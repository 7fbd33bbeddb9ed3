"""Consul's JSON: its shapes, and what they are in asyncsd's terms."""

from typing import Any
from urllib.parse import urlsplit

import msgspec

from asyncsd._checks import Check, GRPCCheck, HTTPCheck, TCPCheck, TTLCheck
from asyncsd._models import Instance, Query, Status
from asyncsd._registration import Record
from asyncsd._values import Meta

__all__ = [
    "Entry",
    "Self",
    "ServiceState",
    "Shared",
    "check_id",
    "go_duration",
    "health_params",
    "instance",
    "payload",
]

SCHEME = "scheme"
"""The key of an instance's meta that holds the scheme of its URLs."""
NO_META = Meta()


class Node(msgspec.Struct, rename="pascal", gc=False):
    node: str
    address: str = ""
    datacenter: str | None = None


class Weights(msgspec.Struct, rename="pascal", gc=False):
    passing: int = 1
    warning: int = 1


class Service(
    msgspec.Struct,
    rename={"id": "ID"} | {n: n.title() for n in ("service", "address", "port", "tags", "meta", "weights")},
):
    id: str
    service: str
    address: str = ""
    port: int = 0
    tags: list[str] | None = None
    meta: dict[str, str] | None = None
    weights: Weights | None = None


class CheckState(msgspec.Struct, rename="pascal", gc=False):
    status: str


class Entry(msgspec.Struct, rename="pascal"):
    """One item of /v1/health/service/NAME."""

    node: Node
    service: Service
    checks: list[CheckState] | None = None


class ServiceState(msgspec.Struct, rename="pascal", gc=False):
    """What of /v1/agent/service/ID matters here."""

    content_hash: str


class Member(msgspec.Struct, rename="pascal", gc=False):
    addr: str = ""


class Self(msgspec.Struct, rename="pascal", gc=False):
    """What of /v1/agent/self matters here."""

    member: Member


class Shared(dict[Any, Any]):
    """Gives the same object for equal ones: instances of a service have most of their strings in common."""

    def __missing__(self, value: Any) -> Any:
        self[value] = value
        return value


def instance(entry: Entry, shared: Shared) -> Instance:
    """The Instance that `entry` tells of. Raises ValueError or TypeError where that makes none."""
    service, node = entry.service, entry.node
    meta: Meta = shared[Meta(service.meta)] if service.meta else NO_META
    scheme, host, port = _address(service.address or node.address, service.port)
    status = _worst(entry.checks)
    weights = service.weights or Weights()
    return Instance(
        id=service.id,
        service=shared[service.service],
        host=host,
        port=shared[port],
        tags=shared[tuple(service.tags or ())],
        meta=meta,
        weight=weights.warning if status == "warning" else weights.passing,
        zone=meta.get("zone"),
        datacenter=shared[node.datacenter],
        node=shared[node.node],
        status=status,
        scheme=meta.get(SCHEME) or scheme,
    )


def _worst(checks: list[CheckState] | None) -> Status:
    """The status of a whole: the worst of its checks, maintenance and unknown ones being critical."""
    worst: Status = "passing"
    for check in checks or ():
        if check.status == "warning":
            worst = "warning"
        elif check.status != "passing":
            return "critical"
    return worst


def _address(address: str, port: int) -> tuple[str | None, str, int]:
    """Scheme, host and port of an address as it may have been registered.

    go-kit programs register "http://10.0.0.7", and others "10.0.0.7:8080"; the registered port goes first.
    """
    if "://" not in address and address.count(":") != 1 and not address.startswith("["):
        return None, address, port
    scheme, separator, rest = address.rpartition("://")
    parts = urlsplit(f"//{rest}" if separator else f"//{address}")
    return scheme.lower() or None, parts.hostname or "", port or parts.port or 0


def health_params(query: Query, index: int | None) -> list[tuple[str, str]]:
    """The parameters of /v1/health/service/NAME, but for the wait."""
    params = [("tag", tag) for tag in query.tags]
    if query.server_filter and query.status == "passing":
        params.append(("passing", "1"))
    for name, value in (("dc", query.datacenter), ("near", query.near), ("filter", query.filter)):
        if value is not None:
            params.append((name, value))
    params += [("node-meta", f"{key}:{value}") for key, value in query.node_meta.items()]
    if query.consistency != "default":
        params.append((query.consistency, ""))
    if index is not None:
        params.append(("index", str(index)))
    return params


def go_duration(seconds: float) -> str:
    """Seconds as Go writes a duration, in the largest unit that keeps it whole: "15s", "1500ms"."""
    nanoseconds = round(seconds * 1e9)
    for unit, size in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if nanoseconds % size == 0:
            return f"{nanoseconds // size}{unit}"
    return f"{nanoseconds}ns"


def check_id(record: Record, number: int) -> str:
    """The id of the record's check `number`: its own, else that which Consul gives to a single one."""
    if (own := record.checks[number].id) is not None:
        return own
    return f"service:{record.id}" if number == 0 else f"service:{record.id}:{number + 1}"


def payload(record: Record) -> bytes:
    """The body of a registration."""
    meta = dict(record.meta)
    if record.scheme is not None:
        meta.setdefault(SCHEME, record.scheme)
    return msgspec.json.encode(
        {
            "ID": record.id,
            "Name": record.service,
            "Address": record.host,
            "Port": record.port,
            "Tags": list(record.tags),
            "Meta": meta,
            "Weights": {"Passing": record.weight, "Warning": record.warning_weight},
            "TaggedAddresses": {
                label: {"Address": host, "Port": port}
                for label, (host, port) in record.tagged_addresses.items()
            },
            "EnableTagOverride": record.enable_tag_override,
            "Checks": [_check(check, check_id(record, n)) for n, check in enumerate(record.checks)],
        }
    )


def _check(check: Check, id: str) -> dict[str, object]:
    fields: dict[str, object] = {"CheckID": id, "Status": check.initial_status, "Notes": check.notes}
    if check.name is not None:
        fields["Name"] = check.name
    if check.deregister_after is not None:
        fields["DeregisterCriticalServiceAfter"] = go_duration(check.deregister_after)
    if isinstance(check, TTLCheck):
        return fields | {"TTL": go_duration(check.ttl)}
    fields["Interval"] = go_duration(check.interval)
    fields["Timeout"] = go_duration(check.timeout)
    # 0 is Consul's own default; a version that doesn't know these refuses nothing that isn't sent.
    if check.success_before_passing:
        fields["SuccessBeforePassing"] = check.success_before_passing
    if check.failures_before_critical:
        fields["FailuresBeforeCritical"] = check.failures_before_critical
    match check:
        case HTTPCheck():
            fields |= {
                "HTTP": check.url,
                "Method": check.method,
                "Header": {name: [value] for name, value in check.headers.items()},
                "Body": check.body,
            }
        case TCPCheck():
            fields["TCP"] = check.target
        case GRPCCheck():
            fields["GRPC"] = f"{check.target}/{check.service}" if check.service else check.target
            fields["GRPCUseTLS"] = check.tls
    if not isinstance(check, TCPCheck):
        fields["TLSSkipVerify"] = check.tls_skip_verify
        if check.tls_server_name is not None:
            fields["TLSServerName"] = check.tls_server_name
    return fields
