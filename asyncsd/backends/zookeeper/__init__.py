"""ZooKeeper: ephemeral nodes and watches, by kazoo."""

from ._backend import ZooKeeperBackend
from ._from_url import from_url

__all__ = ["ZooKeeperBackend", "from_url"]
