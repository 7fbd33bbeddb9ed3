"""Netflix's Eureka, over the REST interface that Spring Cloud's servers have."""

from ._backend import EurekaBackend
from ._from_url import from_url

__all__ = ["EurekaBackend", "from_url"]
