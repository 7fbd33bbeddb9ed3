"""What a registry can't do is refused: passed over, it would promise too much."""

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


def refuse_unknown(query: Query, what: str) -> None:
    """UnsupportedError for what `what`, the registry, knows nothing of."""
    for name in ("datacenter", "filter", "node_meta"):
        if getattr(query, name):
            raise UnsupportedError(f"{what} has no {name}, which Query.{name} asks for: use tags")
