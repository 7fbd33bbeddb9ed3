"""A service as /v1/agent shows it."""

from hashlib import blake2b

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from asyncsd.agent._state._structs import AgentService, Service

__all__ = ["agent_service", "hashed"]


def agent_service(service: Service, datacenter: str) -> AgentService:
    """The service in the fields of this part of the API."""
    return AgentService(
        id=service.id,
        service=service.service,
        tags=service.tags,
        meta=service.meta or {},
        port=service.port,
        address=service.address,
        socket_path=service.socket_path or UNSET,
        tagged_addresses=service.tagged_addresses or UNSET,
        weights=service.weights,
        enable_tag_override=service.enable_tag_override,
        datacenter=datacenter,
    )


def hashed(service: AgentService) -> AgentService:
    """With the hash of all that it says."""
    said = msgspec.json.encode(service, order="deterministic")
    return replace(service, content_hash=blake2b(said, digest_size=8).hexdigest())
