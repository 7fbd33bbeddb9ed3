"""/v1/agent/self and /v1/agent/members: who this agent is."""

import os
import platform
from typing import Any

from aiohttp import web

from asyncsd.agent._http._call import Call
from asyncsd.agent._http._errors import HTTPError
from asyncsd.agent._http._routing import Route

__all__ = ["ROUTES"]

VERSION, METADATA = "1.14.11", "asyncsd"
"""The Consul whose API this is, and that it isn't one: "1.14.11+asyncsd", a semantic version."""

NO_SEGMENTS = "Network segments are not supported in this version of Consul"


async def this_agent(call: Call) -> web.Response:
    """The agent's configuration, as far as clients look at it."""
    registry = call.registry
    config, node = registry.config, registry.node
    checks = registry.local.checks.values()
    return call.answer(
        {
            "Config": {
                "Datacenter": config.datacenter,
                "PrimaryDatacenter": config.datacenter,
                "NodeName": node.node,
                "NodeID": node.id,
                "Revision": "",
                "Server": True,
                "Version": f"{VERSION}+{METADATA}",
                "BuildDate": "1970-01-01T00:00:01Z",
            },
            "DebugConfig": {},
            "Coord": {"Vec": [0] * 8, "Error": 1.5, "Adjustment": 0, "Height": 1e-05},
            "Member": _member(call),
            "Stats": {
                "agent": {
                    "check_monitors": "0",
                    "check_ttls": str(sum(check.definition.ttl > 0 for check in checks)),
                    "checks": str(len(checks)),
                    "services": str(len(registry.local.services)),
                },
                "build": {"prerelease": "", "revision": "", "version": VERSION, "version_metadata": METADATA},
                "consul": {
                    "acl": "disabled" if config.token is None else "enabled",
                    "bootstrap": "false",
                    "known_datacenters": "1",
                    "leader": "true",
                    "leader_addr": f"{node.address}:{registry.port}",
                    "server": "true",
                },
                "runtime": {
                    "arch": platform.machine(),
                    "cpu_count": str(os.cpu_count()),
                    "os": platform.system().lower(),
                    "version": f"python{platform.python_version()}",
                },
            },
            "Meta": node.meta,
        }
    )


async def members(call: Call) -> web.Response:
    """The agents that are known: this one."""
    segment, wan = call.param("segment"), bool(call.param("wan"))
    if segment not in ("", "_all"):
        if wan:
            raise HTTPError(400, "Cannot provide a segment with wan=true")
        raise HTTPError(500, NO_SEGMENTS)
    if call.param("filter"):
        raise HTTPError(400, "asyncsd's agent doesn't filter members: there is one")
    member = _member(call)
    if wan:
        member["Name"] += f".{call.registry.config.datacenter}"
        del member["Tags"]["wan_join_port"]
    return call.answer([member])


def _member(call: Call) -> dict[str, Any]:
    """The agent as Consul's gossip tells of it. It has one port for everything."""
    registry = call.registry
    return {
        "Name": registry.node.node,
        "Addr": registry.node.address,
        "Port": registry.port,
        "Tags": {
            "acls": "0" if registry.config.token is None else "1",
            "build": f"{VERSION}:",
            "dc": registry.config.datacenter,
            "ft_fs": "1",
            "ft_si": "1",
            "id": registry.node.id,
            "port": str(registry.port),
            "raft_vsn": "3",
            "role": "consul",
            "segment": "",
            "vsn": "2",
            "vsn_max": "3",
            "vsn_min": "2",
            "wan_join_port": str(registry.port),
        },
        "Status": 1,
        "ProtocolMin": 1,
        "ProtocolMax": 5,
        "ProtocolCur": 2,
        "DelegateMin": 2,
        "DelegateMax": 5,
        "DelegateCur": 4,
    }


ROUTES = (
    Route("/v1/agent/members", ("GET",), members),
    Route("/v1/agent/self", ("GET",), this_agent),
)
