"""Filter expressions, as `?filter=` takes them.

keep = create_filter('Service.Meta.zone == "eu"', CHECK_SERVICE_NODE)
[entry for entry in entries if keep(entry)]
"""

from ._compiler import Keep, compile_expression
from ._effort import Effort
from ._kinds import Kind
from ._parser import FilterError, parse
from ._selectors import AGENT_SERVICE, CHECK_SERVICE_NODE, HEALTH_CHECK, NODE, NODE_SERVICE, SERVICE_NODE

__all__ = [
    "AGENT_SERVICE",
    "CHECK_SERVICE_NODE",
    "HEALTH_CHECK",
    "NODE",
    "NODE_SERVICE",
    "SERVICE_NODE",
    "FilterError",
    "Keep",
    "Kind",
    "create_filter",
]


def create_filter(text: str, kind: Kind) -> Keep:
    """The function that tells whether `text` means a value of this kind; "" means all.

    FilterError, in Consul's words, for one that can't be read or doesn't fit the kind. The function raises
    it too, once all that it was asked took too much work.
    """
    if not text:
        return lambda _: True
    try:
        return compile_expression(parse(text), kind, Effort())
    except FilterError as exc:
        raise FilterError(f"Failed to create boolean expression evaluator: {exc}") from None
