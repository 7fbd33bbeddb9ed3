"""How an agent is set up."""

import ipaddress
import math
from dataclasses import dataclass, field
from uuid import uuid4

__all__ = ["AgentConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """What an agent is told at its start. Times are seconds, sizes bytes."""

    host: str = "127.0.0.1"
    port: int = 0
    node: str = "asyncsd"
    datacenter: str = "dc1"
    advertise: str = ""
    """The address of services that register without one; `host` when it is empty."""
    node_id: str = field(default_factory=lambda: str(uuid4()))
    token: str | None = field(default=None, repr=False)
    read_token: str | None = field(default=None, repr=False)
    connections: int = 200
    body_size: int = 512 * 1024
    deregister_after_min: float = 60.0
    reap_interval: float = 30.0
    sync_interval: float = 60.0
    check_update_interval: float = 300.0

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port {self.port}: it is from 0 (a free one) to 65535")
        if self.connections < 1:
            raise ValueError(f"connections {self.connections}: a client needs at least one")
        if "" in (self.token, self.read_token):
            raise ValueError("a token that is empty would let everybody in: give None for no token")
        if self.read_token is not None and self.token is None:
            raise ValueError("read_token without token: nobody could register")
        if self.read_token is not None and self.read_token == self.token:
            raise ValueError("read_token is the same as token")
        for name in ("reap_interval", "sync_interval"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} {getattr(self, name)}: seconds, more than 0")
        for name in ("deregister_after_min", "check_update_interval"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} {getattr(self, name)}: seconds, 0 or more")
        for name in ("host", "node", "datacenter"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty")
        if not self.advertise:
            object.__setattr__(self, "advertise", self.reach)

    @property
    def reach(self) -> str:
        """An address by which this machine reaches the agent: loopback for one that listens on all."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def is_private(self) -> bool:
        """Whether it trusts all programs of this machine, and nobody else."""
        return self.is_local and self.token is None
