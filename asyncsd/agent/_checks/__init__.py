"""The checks that the agent runs."""

from ._runners import NoTTL, Runners, cannot_run

__all__ = ["NoTTL", "Runners", "cannot_run"]
