"""Consul, over the HTTP API of its agents."""

from ._answers import Answer
from ._backend import ConsulBackend
from ._client import ConsulClient

__all__ = ["Answer", "ConsulBackend", "ConsulClient"]
