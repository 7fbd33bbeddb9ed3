"""Balancers, and the policies by which they pick."""

from ._balancer import Balancer, BalancerStatistics
from ._ewma import PeakEWMA
from ._held import Held
from ._least import LeastOutstanding
from ._load import InstanceLoad
from ._random import Random
from ._round_robin import RoundRobin

__all__ = [
    "Balancer",
    "BalancerStatistics",
    "Held",
    "InstanceLoad",
    "LeastOutstanding",
    "PeakEWMA",
    "Random",
    "RoundRobin",
]
