"""The check that follows another instance, or a node."""

from collections.abc import Callable

from asyncsd._probes import Result, cut, quoted
from asyncsd.agent._state._catalog import Catalog
from asyncsd.agent._state._definitions import CheckDefinition
from asyncsd.agent._state._local import SERF
from asyncsd.agent._state._structs import HealthCheck, Status

__all__ = ["follow"]


async def follow(
    definition: CheckDefinition, say: Callable[[Status, str], None], *, catalog: Catalog, node: str
) -> None:
    """Say how the aliased instance, or node, fares: now, and whenever its checks change. Until cancelled.

    Without `alias_node` it is on `node`, the agent's own, whose life the agent's checks say nothing of.
    """
    local = not definition.alias_node
    while True:
        found = catalog.instance(definition.alias_node or node, definition.alias_service)
        there, checks = found.value
        # An alias that counted itself, as one of its own service would, could never recover.
        others = [
            check
            for check in checks
            if not (check.node == node and check.check_id == definition.check_id)
            and not (local and check.check_id == SERF)
        ]
        say(*_worst(definition, others, there=there))
        await catalog.waiters.changed(found.keys)


def _worst(definition: CheckDefinition, checks: list[HealthCheck], *, there: bool) -> Result:
    """As Consul's `CheckAlias.processChecks`."""
    if not there:
        text = f"Service {definition.alias_service} could not be found on node {definition.alias_node}"
        return Result("critical", text)
    for status in ("critical", "warning"):
        for check in checks:
            if check.status == status:
                # Cut, since two aliases of each other would quote each other without end.
                text = cut(check.output, definition.output_max_size)
                return Result(status, f"Aliased check {quoted(check.name)} failing: {text}")
    return Result("passing", "All checks passing." if checks else "No checks found.")
