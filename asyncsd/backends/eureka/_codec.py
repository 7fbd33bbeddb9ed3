"""An instance as Eureka has it, with everything where Spring's clients look for it."""

import math
from typing import Any
from urllib.parse import quote, unquote

from asyncsd._models import Instance, Status
from asyncsd._registration import Record
from asyncsd._values import Meta, url_host

from ._messages import Info

__all__ = ["DRAINED", "application_of", "body_of", "instance_of", "segment", "status_of", "tags_of"]

TAGS, WEIGHT, SCHEME, ZONE = "tags", "weight", "scheme", "zone"
"""Keys of the metadata. Spring's balancers read `weight` and `zone` there too."""
ID, WARNING, DRAINED = "asyncsd.id", "asyncsd.warning", "asyncsd.drained"
HIDDEN = {TAGS, ID, WARNING, DRAINED}
"""What an instance tells elsewhere than in its meta."""

LEASE = 90.0
"""Seconds: Eureka's own, for what has no TTL. Somebody looks every 10 s whether it still stands."""

UP, DOWN, OUT_OF_SERVICE, UNKNOWN = "UP", "DOWN", "OUT_OF_SERVICE", "UNKNOWN"


def segment(name: str) -> str:
    """A name as one segment of a path.

    Tomcat and Spring Security refuse paths with a quoted "/", "%" or ";": "~" stands for "%".
    """
    text = quote(name, safe=".:_-").replace("~", "%7E").replace("%", "~")
    return text.replace(".", "~2E") if text in (".", "..") else text  # These would be steps of the path.


def application_of(service: str) -> str:
    """The application under which a service stands: Eureka knows only upper case."""
    return segment(service).upper()


def status_of(info: Info) -> Status:
    """What a reader makes of it."""
    if info.status != UP:
        return "critical"
    return "warning" if info.metadata.get(WARNING) == "true" else "passing"


def eureka_status(status: Status) -> str:
    """UP for what can be called."""
    return DOWN if status == "critical" else UP


def body_of(record: Record, status: Status, *, zone: str | None, drained: bool, dirty: int) -> dict[str, Any]:
    """What a registration posts. `dirty` is its version: a number that grows with each change."""
    is_secure = record.scheme == "https"
    used = {"$": record.port, "@enabled": "true" if record.port or is_secure else "false"}
    unused = {"$": record.port, "@enabled": "false"}
    scheme = "https" if is_secure else "http"
    host = url_host(record.host)  # Spring makes URLs of it as it stands.
    ttl = LEASE if record.ttl is None else record.ttl
    instance: dict[str, Any] = {
        "instanceId": segment(record.id),
        "app": application_of(record.service),
        "vipAddress": record.service,
        "secureVipAddress": record.service,
        # Spring calls hostName; a program of its that prefers addresses has its address there too.
        "hostName": host,
        "ipAddr": record.host,
        "port": unused if is_secure else used,
        "securePort": used if is_secure else unused,
        "status": eureka_status(status),
        "overriddenStatus": OUT_OF_SERVICE if drained else UNKNOWN,
        "dataCenterInfo": {
            "@class": "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo",
            "name": "MyOwn",
        },
        "leaseInfo": {
            "renewalIntervalInSecs": max(1, int(ttl / 3)),
            "durationInSecs": max(1, math.ceil(ttl)),
        },
        "metadata": _metadata(record, status, zone=zone, drained=drained),
        "lastDirtyTimestamp": str(dirty),
    }
    if record.port and record.scheme in (None, "http", "https"):
        instance["homePageUrl"] = f"{scheme}://{host}:{record.port}/"
    return {"instance": instance}


def _metadata(record: Record, status: Status, *, zone: str | None, drained: bool) -> dict[str, str]:
    told = dict(record.meta)
    weight = record.warning_weight if status == "warning" else record.weight
    if zone is not None:
        told.setdefault(ZONE, zone)
    if record.tags:
        told[TAGS] = ",".join(quote(tag, safe=":/=?#&+@") for tag in record.tags)
    if weight != 1:
        told[WEIGHT] = str(weight)
    if record.scheme not in (None, "https"):
        told[SCHEME] = str(record.scheme)
    if segment(record.id) != record.id:
        told[ID] = record.id
    if status == "warning":
        told[WARNING] = "true"
    if drained:
        told[DRAINED] = "true"
    return told


def instance_of(info: Info, service: str, *, prefer_ip: bool) -> Instance | None:
    """The instance, None for one without an address or with another nonsense."""
    metadata = {key: value for key, value in info.metadata.items() if value is not None and key != "@class"}
    host = (info.ip_addr or info.host_name) if prefer_ip else (info.host_name or info.ip_addr)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    is_secure = info.secure_port.is_enabled
    port = info.secure_port if is_secure else info.port
    # On Amazon the zone stands beside the machine's other data.
    amazon = info.data_center_info.metadata.get("availability-zone")
    try:
        return Instance(
            id=metadata.get(ID) or info.id,
            service=service,
            host=host,
            port=port.number,
            tags=tags_of(info),
            meta=Meta({key: value for key, value in metadata.items() if key not in HIDDEN}),
            weight=_weight(metadata.get(WEIGHT)),
            zone=metadata.get(ZONE) or (amazon if isinstance(amazon, str) else None),
            status=status_of(info),
            scheme=metadata.get(SCHEME) or ("https" if is_secure else None),
        )
    except (ValueError, TypeError):
        return None


def tags_of(info: Info) -> tuple[str, ...]:
    """An instance's tags: commas stand between them."""
    text = info.metadata.get(TAGS)
    return tuple(unquote(tag.strip()) for tag in text.split(",")) if text else ()


def _weight(text: str | None) -> int:
    """A weight; 1 for what is none, as Spring has it."""
    try:
        return max(0, int(text)) if text is not None else 1
    except ValueError:
        return 1
