"""How an agent is set up."""

from dataclasses import dataclass, field
from uuid import uuid4

__all__ = ["AgentConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """What an agent is told at its start. Times are seconds."""

    host: str = "127.0.0.1"
    port: int = 0
    node: str = "asyncsd"
    datacenter: str = "dc1"
    advertise: str = "127.0.0.1"
    node_id: str = field(default_factory=lambda: str(uuid4()))
    token: str | None = field(default=None, repr=False)
    read_token: str | None = field(default=None, repr=False)
    connections: int = 200
    body_size: int = 512 * 1024
    deregister_after_min: float = 60.0
    reap_interval: float = 30.0
    sync_interval: float = 60.0
