"""Services in DNS: SRV records, or addresses with a port that is given."""

try:
    from ._backend import DNSBackend
except ModuleNotFoundError as _missing:
    if (_missing.name or "").partition(".")[0] != "dns":
        raise
    raise ImportError("DNSBackend needs dnspython: pip install 'asyncsd[dns]'") from _missing
from ._from_url import from_url

__all__ = ["DNSBackend", "from_url"]
