"""etcd v3, over the JSON gateway of its servers."""

from ._backend import EtcdBackend
from ._from_url import from_url

__all__ = ["EtcdBackend", "from_url"]
