"""What the reads of the catalog and of health have in common."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from asyncsd.agent._http._call import Call
from asyncsd.agent._http._query import Query
from asyncsd.agent._state._structs import Service

__all__ = ["chosen", "has_tags", "near_first"]

T = TypeVar("T")


def chosen(results: list[T], *conditions: Callable[[T], bool] | None) -> list[T]:
    """The results that all conditions are true of; None is none."""
    asked = [condition for condition in conditions if condition is not None]
    return [result for result in results if all(holds(result) for holds in asked)] if asked else results


def has_tags(service: Service, wanted: Sequence[str]) -> bool:
    """Whether a service has all of these tags, whatever their case."""
    tags = {tag.lower() for tag in service.tags}
    return all(tag.lower() in tags for tag in wanted)


def near_first(call: Call, query: Query, results: list[T], node: Callable[[T], str]) -> list[T]:
    """The results, those on the node that `near` names first.

    Only this agent's own node has a place in Consul's coordinates; all others are equally far.
    """
    own = call.registry.node.node
    if query.near not in ("_agent", own):
        return results
    return sorted(results, key=lambda result: node(result) != own)
