"""Services in DNS: SRV records, or addresses with a port that is given."""

try:
    from ._backend import DNSBackend
except ModuleNotFoundError as exc:
    if (exc.name or "").partition(".")[0] != "dns":
        raise
    raise ImportError("DNSBackend needs dnspython: pip install asyncsd[dns]") from exc
from ._from_url import from_url

__all__ = ["DNSBackend", "from_url"]
