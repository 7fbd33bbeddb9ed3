"""What a registry can't do is refused: passed over, it would promise too much."""

from collections.abc import Sequence

from asyncsd._checks import TTLCheck
from asyncsd._errors import UnsupportedError
from asyncsd._models import Query
from asyncsd._registration import Record

__all__ = ["refuse_checks", "refuse_unknown"]


def refuse_checks(record: Record, what: str) -> None:
    """UnsupportedError for a check that `what`, the registry, would have to run."""
    for check in record.checks:
        if not isinstance(check, TTLCheck):
            raise UnsupportedError(
                f"{what} runs no checks, and {type(check).__name__} needs a registry that does: "
                "use TTLCheck, or run_checks=True"
            )


def refuse_unknown(
    query: Query, what: str, names: Sequence[str] = ("datacenter", "filter", "node_meta")
) -> None:
    """UnsupportedError for those of `names` that are asked for: `what`, the registry, knows none of them."""
    for name in names:
        if getattr(query, name):
            raise UnsupportedError(f"{what} has no {name}, which Query.{name} asks for: use tags")
