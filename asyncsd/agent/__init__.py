"""A registry in the process, or in one of its own, that speaks Consul's HTTP API for discovery.

Development, tests and demonstrations run on it without a Consul; the same program then runs on a Consul by
changing a URL. `Agent` keeps its state in memory.
"""

from ._agent import Agent
from ._http._faults import Fault

__all__ = ["Agent", "Fault"]
