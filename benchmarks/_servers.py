"""The real servers that the benchmarks run beside, of the tests' own support."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.support.consul import AgentProcess, ConsulAgent, ConsulCluster, EmbeddedAgent
from tests.support.etcd import V2, EtcdServer
from tests.support.eureka import EurekaServer
from tests.support.process import find, missing
from tests.support.zookeeper import ZooKeeper

__all__ = [
    "V2",
    "AgentProcess",
    "ConsulAgent",
    "ConsulCluster",
    "EmbeddedAgent",
    "EtcdServer",
    "EurekaServer",
    "ZooKeeper",
    "find",
    "missing",
    "need",
]


def need(*names: str) -> None:
    """End the program, as one that has succeeded, where a server wasn't built."""
    if absent := missing(*names):
        print(f"left out: {', '.join(absent)} isn't there (make servers)", file=sys.stderr)
        raise SystemExit(0)
