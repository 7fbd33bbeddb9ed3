"""Instances that are written down: a list, or a file that is watched for changes."""

from ._backend import StaticBackend
from ._from_url import from_url

__all__ = ["StaticBackend", "from_url"]
