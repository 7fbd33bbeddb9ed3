"""What asks a process how it is, over HTTP, TCP and gRPC: for a registrar, and for the agent.

What they say of it is in Consul's words.
"""

from ._grpc import GRPCProbe, missing_extra
from ._http import HTTPProbe, open_session
from ._output import Result, cut, quoted, valid
from ._tcp import TCPProbe
from ._thresholds import Thresholds
from ._tls import Contexts

__all__ = [
    "Contexts",
    "GRPCProbe",
    "HTTPProbe",
    "Result",
    "TCPProbe",
    "Thresholds",
    "cut",
    "missing_extra",
    "open_session",
    "quoted",
    "valid",
]
