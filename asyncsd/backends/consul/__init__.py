"""Consul, over the HTTP API of its agents."""

from ._answers import Answer
from ._backend import ConsulBackend
from ._client import ConsulClient
from ._from_url import from_url

__all__ = ["Answer", "ConsulBackend", "ConsulClient", "from_url"]
