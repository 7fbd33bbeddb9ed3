"""What a read asks for, in the parameters that all reads share."""

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from multidict import CIMultiDictProxy, MultiMapping

from asyncsd.agent._decoding._duration import seconds
from asyncsd.agent._state._blocking import Wait

from ._errors import HTTPError

__all__ = ["Consistency", "Query", "check_enterprise", "parse_query"]

Consistency: TypeAlias = Literal["leader", "stale", "consistent"]

INDEX = re.compile(r"[0-9]+")
ENTERPRISE = (
    ("X-Consul-Namespace", "ns", "Namespaces"),
    ("X-Consul-Partition", "partition", "Partitions"),
)
WHOLE = re.compile(r"[+-]?[0-9]+")


@dataclass(frozen=True, slots=True)
class Query:
    """The shared parameters of a read.

    `cached` and the consistencies change nothing of the answer but its headers: there is one server, and it
    reads its own memory.
    """

    datacenter: str
    consistency: Consistency
    cached: bool
    wait: Wait
    filter: str
    near: str
    node_meta: dict[str, str]

    def has_meta(self, meta: dict[str, str] | None) -> bool:
        """Whether a node has all that `node-meta` names; a pair without a key asks for its value only."""
        return all((meta or {}).get(key) == value for key, value in self.node_meta.items())


def parse_query(params: MultiMapping[str], headers: CIMultiDictProxy[str]) -> Query:
    """What these parameters ask for. HTTPError, in Consul's words and order, for what makes no sense."""
    check_enterprise(params, headers)
    consistency = _consistency(params)
    _check_cache_control(headers.get("Cache-Control", ""))
    return Query(
        datacenter=params.get("dc", ""),
        consistency=consistency,
        cached="cached" in params,
        wait=_wait(params),
        filter=params.get("filter", ""),
        near=params.get("near", ""),
        node_meta=dict(_pair(text) for text in params.getall("node-meta", ())),
    )


def check_enterprise(params: MultiMapping[str], headers: CIMultiDictProxy[str]) -> None:
    """HTTPError for a namespace or a partition."""
    for header, name, feature in ENTERPRISE:
        if headers.get(header, ""):
            raise HTTPError(400, f'Invalid header: "{header}" - {feature} are a Consul Enterprise feature')
        if params.get(name, ""):
            raise HTTPError(
                400, f'Invalid query parameter: "{name}" - {feature} are a Consul Enterprise feature'
            )


def _consistency(params: MultiMapping[str]) -> Consistency:
    stale, consistent = "stale" in params, "consistent" in params
    if longest := params.get("max_stale", ""):
        try:
            stale = stale or seconds(longest) > 0
        except ValueError:
            raise HTTPError(400, f'Invalid max_stale value "{longest}"') from None
    if stale and consistent:
        raise HTTPError(400, "Cannot specify ?stale with ?consistent, conflicting semantics.")
    if consistent and "cached" in params:
        raise HTTPError(400, "Cannot specify ?cached with ?consistent, conflicting semantics.")
    return "consistent" if consistent else "stale" if stale else "leader"


def _check_cache_control(text: str) -> None:
    for directive in text.lower().split(","):
        name, is_there, value = directive.strip().partition("=")
        if is_there and name in ("max-age", "stale-if-error") and not WHOLE.fullmatch(value):
            raise HTTPError(400, "Invalid Cache-Control header.")


def _wait(params: MultiMapping[str]) -> Wait:
    default = Wait()
    try:
        longest = seconds(text) if (text := params.get("wait", "")) else default.seconds
    except ValueError:
        raise HTTPError(400, "Invalid wait time") from None
    index = params.get("index", "") or "0"
    if not INDEX.fullmatch(index) or int(index[:25]) >= 2**64:
        raise HTTPError(400, "Invalid index")
    return Wait(int(index), longest)


def _pair(text: str) -> tuple[str, str]:
    key, _, value = text.partition(":")
    return key, value
