"""The bodies of registrations with this agent: their fields, what is refused, and what is made of them."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET

from asyncsd.agent._state._definitions import OUTPUT_SIZE, CheckDefinition
from asyncsd.agent._state._structs import Service, Status, TaggedAddress, Weights

from ._duration import written
from ._json import Decoder, Shape, boolean, duration, integer, list_of, map_of, string
from ._services import (
    ADDRESSES,
    NO_MESH,
    PAIRS,
    STRINGS,
    UNSPECIFIED,
    WEIGHTS,
    Fields,
    anything,
    tagged_addresses,
    wants_mesh,
)

__all__ = ["InvalidRegistration", "ServiceRegistration", "check_of", "check_meta", "service_of"]

STATUSES: tuple[Status, ...] = ("passing", "warning", "critical")

ASKING = ("ScriptArgs", "HTTP", "TCP", "UDP", "GRPC", "H2PING", "OSService")
"""The fields of a check that say what to ask, at each interval."""

META_PAIRS, META_KEY, META_VALUE = 64, 128, 512
"""The most pairs that meta may have, and the longest key and value in bytes (Consul's `metaMax...`)."""

NO_SCRIPTS = (
    "Scripts are disabled on this agent from remote calls; to enable, configure "
    "'enable_script_checks' to true"
)


class InvalidRegistration(Exception):
    """A registration that is refused, with the status and the text of the answer."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.text = text
        self.status = status


CHECK_FIELDS: dict[str, Decoder] = {
    "Name": string,
    "Status": string,
    "Notes": string,
    "ServiceID": string,
    "ScriptArgs": STRINGS,
    "HTTP": string,
    "H2PING": string,
    "H2PingUseTLS": boolean,
    "Header": map_of(list_of(string, "[]string"), "map[string][]string", empty=()),
    "Method": string,
    "Body": string,
    "DisableRedirects": boolean,
    "TCP": string,
    "UDP": string,
    "Interval": duration,
    "AliasNode": string,
    "AliasService": string,
    "DockerContainerID": string,
    "Shell": string,
    "GRPC": string,
    "GRPCUseTLS": boolean,
    "OSService": string,
    "TLSServerName": string,
    "TLSSkipVerify": boolean,
    "Timeout": duration,
    "TTL": duration,
    "SuccessBeforePassing": integer,
    "FailuresBeforeWarning": integer,
    "FailuresBeforeCritical": integer,
    "DeregisterCriticalServiceAfter": duration,
    "OutputMaxSize": integer,
}
CHECK_ALIASES = {
    "args": "ScriptArgs",
    "script_args": "ScriptArgs",
    "deregister_critical_service_after": "DeregisterCriticalServiceAfter",
    "docker_container_id": "DockerContainerID",
    "tls_server_name": "TLSServerName",
    "tls_skip_verify": "TLSSkipVerify",
    "grpc_use_tls": "GRPCUseTLS",
    "h2ping_use_tls": "H2PingUseTLS",
    "service_id": "ServiceID",
}

SERVICE_CHECK = Shape(
    "structs.CheckType",
    {**CHECK_FIELDS, "CheckID": string, "ProxyHTTP": string, "ProxyGRPC": string},
    aliases=CHECK_ALIASES,
)
CHECK = Shape(
    "structs.CheckDefinition",
    {**CHECK_FIELDS, "ID": string, "Token": string},
    aliases={**CHECK_ALIASES, "disable_redirects": "DisableRedirects"},
)
SERVICE = Shape(
    "structs.ServiceDefinition",
    {
        "Kind": string,
        "ID": string,
        "Name": string,
        "Tags": STRINGS,
        "Address": string,
        "TaggedAddresses": ADDRESSES,
        "Meta": PAIRS,
        "Port": integer,
        "SocketPath": string,
        "Check": SERVICE_CHECK.decode,
        "Checks": list_of(SERVICE_CHECK.decode, "structs.CheckTypes", empty={}),
        "Weights": WEIGHTS.decode,
        "Token": string,
        "EnableTagOverride": boolean,
        "Proxy": anything,
        "Connect": anything,
    },
    aliases={"enable_tag_override": "EnableTagOverride", "tagged_addresses": "TaggedAddresses"},
)


@dataclass(frozen=True, slots=True)
class ServiceRegistration:
    """A service with its checks."""

    service: Service
    checks: list[CheckDefinition]


def service_of(body: Any) -> ServiceRegistration:
    """What the body of /v1/agent/service/register asks for.

    DecodeError for one of another shape, InvalidRegistration for what can't be, in Consul's order.
    """
    fields = SERVICE.decode(body)
    name = fields.get("Name", "")
    if not name:
        raise InvalidRegistration("Missing service name")
    if fields.get("Address") in UNSPECIFIED:
        raise InvalidRegistration("Invalid service address")
    weights = _weights(fields.get("Weights"))
    check_meta(fields.get("Meta", {}))
    if wants_mesh(fields):
        raise InvalidRegistration(NO_MESH)
    checks = [check for check in [fields.get("Check", {})] if any(check.values())] + fields.get("Checks", [])
    for check in checks:
        _check_kind(check)
    if any(check.get("Status") not in (None, "", *STATUSES) for check in checks):
        raise InvalidRegistration("Status for checks must 'passing', 'warning', 'critical'")
    for check in checks:
        _check_runs(check)
    service_id = fields.get("ID") or name
    service = Service(
        id=service_id,
        service=name,
        tags=fields.get("Tags", []),
        address=fields.get("Address", ""),
        tagged_addresses=_tagged_addresses(fields) or UNSET,
        meta=fields.get("Meta"),
        port=fields.get("Port", 0),
        socket_path=fields.get("SocketPath") or UNSET,
        weights=weights,
        enable_tag_override=fields.get("EnableTagOverride", False),
    )
    several = len(checks) > 1
    definitions = [
        _definition(
            check,
            check_id=check.get("CheckID") or f"service:{service_id}{f':{number}' if several else ''}",
            name=check.get("Name") or f"Service '{name}' check",
            service_id=service_id,
            interval_text=written(check["Interval"]) if check.get("Interval") else "",
            timeout_text=written(check["Timeout"]) if check.get("Timeout") else "",
        )
        for number, check in enumerate(checks, 1)
    ]
    return ServiceRegistration(service, definitions)


def check_of(body: Any) -> CheckDefinition:
    """What the body of /v1/agent/check/register asks for.

    DecodeError for one of another shape, InvalidRegistration for what can't be, in Consul's order.
    """
    fields = CHECK.decode(body)
    name = fields.get("Name", "")
    if not name:
        raise InvalidRegistration("Missing check name")
    if fields.get("Status") not in (None, "", *STATUSES):
        raise InvalidRegistration("Bad check status")
    _check_kind(fields)
    _check_runs(fields)
    return _definition(
        fields,
        check_id=fields.get("ID") or name,
        name=name,
        service_id=fields.get("ServiceID", ""),
        interval_text=written(fields.get("Interval", 0)),
        timeout_text=written(fields.get("Timeout", 0)),
    )


def check_meta(meta: dict[str, str]) -> None:
    """InvalidRegistration for meta that Consul doesn't take."""
    if len(meta) > META_PAIRS:
        text = f"Node metadata cannot contain more than {META_PAIRS} key/value pairs"
        raise InvalidRegistration(f"Invalid Service Meta: {text}")
    for key, value in meta.items():
        if wrong := _wrong_with(key, value):
            text = f"Couldn't load metadata pair ('{key}', '{value}'): {wrong}"
            raise InvalidRegistration(f"Invalid Service Meta: {text}")


def _wrong_with(key: str, value: str) -> str:
    if not key:
        return "Key cannot be blank"
    if not re.fullmatch(r"[a-zA-Z0-9_-]+", key):
        return "Key contains invalid characters"
    if len(key) > META_KEY:
        return f"Key is too long (limit: {META_KEY} characters)"
    if key.startswith("consul-"):
        return "Key prefix 'consul-' is reserved for internal use"
    if len(value.encode()) > META_VALUE:
        return f"Value is too long (limit: {META_VALUE} characters)"
    return ""


def _weights(fields: Fields | None) -> Weights:
    if fields is None:
        return Weights()
    weights = Weights(fields.get("Passing", 0), fields.get("Warning", 0))
    if weights.passing < 1:
        raise InvalidRegistration("Invalid Weights: Passing must be greater than 0")
    if weights.warning < 0:
        raise InvalidRegistration("Invalid Weights: Warning must be greater or equal than 0")
    if max(weights.passing, weights.warning) > 65535:
        raise InvalidRegistration("Invalid Weights: DNS Weight must be between 0 and 65535")
    return weights


def _tagged_addresses(fields: Fields) -> dict[str, TaggedAddress]:
    """The further addresses; a service whose own is an IP has it under the tags of its family too."""
    tagged = tagged_addresses(fields)
    for tag, version in (("lan_ipv4", 4), ("wan_ipv4", 4), ("lan_ipv6", 6)):
        if tag in tagged and _version(tagged[tag].address) != version:
            text = f'Service tagged address "{tag}" must be a valid ipv{version} address'
            raise InvalidRegistration(text, 500)
    address = fields.get("Address", "")
    if version := _version(address):
        for tag in (f"lan_ipv{version}", f"wan_ipv{version}"):
            tagged.setdefault(tag, TaggedAddress(address, fields.get("Port", 0)))
    return tagged


def _version(address: str) -> int:
    """4 or 6, 0 for what is no IP address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return 0
    if parsed.version == 6 and (parsed.ipv4_mapped or parsed.scope_id):
        return 4 if parsed.ipv4_mapped else 0  # As Go's net.ParseIP has it.
    return parsed.version


def _check_kind(check: Fields) -> None:
    """InvalidRegistration for a check that is of no kind, or of several."""
    asks = any(check.get(kind) for kind in ASKING)
    alias = bool(check.get("AliasNode") or check.get("AliasService"))
    interval, ttl = check.get("Interval", 0), check.get("TTL", 0)
    wrong = ""
    if interval > 0 and ttl > 0:
        wrong = "Interval and TTL cannot both be specified"
    elif asks and interval <= 0:
        wrong = "Interval must be > 0 for Script, HTTP, H2PING, TCP, UDP or OSService checks"
    elif asks and alias:
        wrong = "Interval cannot be set for Alias checks"
    elif alias and ttl > 0:
        wrong = "TTL must be not be set for Alias checks"
    elif not asks and not alias and ttl <= 0:
        wrong = "TTL must be > 0 for TTL checks"
    elif check.get("OutputMaxSize", 0) < 0:
        wrong = "MaxOutputMaxSize must be positive"
    elif check.get("FailuresBeforeWarning", 0) > check.get("FailuresBeforeCritical", 0):
        wrong = "FailuresBeforeWarning can't be higher than FailuresBeforeCritical"
    if wrong:
        raise InvalidRegistration(f"Invalid check: {wrong}")


def _check_runs(check: Fields) -> None:
    """InvalidRegistration for a check that no agent of ours runs."""
    if check.get("ScriptArgs"):
        raise InvalidRegistration(NO_SCRIPTS, 500)
    if any(check.get(kind) for kind in ("GRPC", "HTTP", "TTL", "TCP", "AliasNode", "AliasService")):
        return
    if check.get("OSService"):
        raise InvalidRegistration("not implemented", 500)
    raise InvalidRegistration("Invalid check: UDP and H2PING checks aren't part of this agent")


def _definition(check: Fields, **known: Any) -> CheckDefinition:
    return CheckDefinition(
        **known,
        notes=check.get("Notes", ""),
        status=check.get("Status") or "critical",
        ttl=max(check.get("TTL", 0), 0),
        http=check.get("HTTP", ""),
        header={name: list(values) for name, values in check.get("Header", {}).items()},
        method=check.get("Method", ""),
        body=check.get("Body", ""),
        disable_redirects=check.get("DisableRedirects", False),
        tcp=check.get("TCP", ""),
        grpc=check.get("GRPC", ""),
        grpc_use_tls=check.get("GRPCUseTLS", False),
        tls_skip_verify=check.get("TLSSkipVerify", False),
        tls_server_name=check.get("TLSServerName", ""),
        alias_node=check.get("AliasNode", ""),
        alias_service=check.get("AliasService", ""),
        interval=check.get("Interval", 0),
        timeout=check.get("Timeout", 0),
        success_before_passing=check.get("SuccessBeforePassing", 0),
        failures_before_warning=check.get("FailuresBeforeWarning") or check.get("FailuresBeforeCritical", 0),
        failures_before_critical=check.get("FailuresBeforeCritical", 0),
        deregister_after=check.get("DeregisterCriticalServiceAfter", 0),
        output_max_size=min(check.get("OutputMaxSize") or OUTPUT_SIZE, OUTPUT_SIZE),
    )
