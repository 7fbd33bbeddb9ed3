"""The checks that the agent runs."""

from ._runners import Runners

__all__ = ["Runners"]
