"""Several backends as one: `Merge` gives the instances of all, `Failover` those of the first that can."""

from ._backend import Composite
from ._failover import Failover
from ._merge import Merge

__all__ = ["Composite", "Failover", "Merge"]
