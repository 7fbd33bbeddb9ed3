"""etcd v2, over the HTTP API that its servers had before version 3."""

from ._backend import Etcd2Backend
from ._from_url import from_url

__all__ = ["Etcd2Backend", "from_url"]
