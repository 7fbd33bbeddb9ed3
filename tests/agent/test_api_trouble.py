"""What clients see of an agent in trouble, as they see it of a real Consul."""

import asyncio

import aiohttp
import pytest

from asyncsd.agent import Agent
from tests.agent.parity import NODE, Client
from tests.support.consul import ConsulAgent


async def refused(url: str, most: int) -> bytes:
    """What one connection more than allowed reads, byte by byte."""
    port = int(url.rpartition(":")[2])
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(most)]
    try:
        async with asyncio.timeout(10):
            while True:  # A connection that was just closed may still count.
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                answer = await reader.read()
                writer.close()
                if answer:
                    return answer
    finally:
        for _, writer in held:
            writer.close()


@pytest.mark.server("consul")
async def test_a_client_with_too_many_connections_reads_the_same_bytes() -> None:
    async with ConsulAgent(limits={"http_max_conns_per_client": 5}) as consul, Agent(connections=5) as agent:
        assert await refused(agent.url, 5) == await refused(consul.url, 5)


async def enter(client: Client, name: str) -> None:
    """Enter a service into the catalog, on a node without an agent that would enter it again."""
    body = {"Node": "other", "Address": "10.0.0.1", "Service": {"Service": name}}
    assert (await client.put("/v1/catalog/register", body)).status == 200


@pytest.mark.server("consul")
async def test_a_reset_of_the_index_is_what_the_restore_of_a_snapshot_is(http: aiohttp.ClientSession) -> None:
    async with ConsulAgent(node_name=NODE) as consul, Agent(node=NODE) as agent:
        path = "/v1/catalog/node/other"
        for client in (Client(consul.url, [], http), Client(agent.url, [], http)):
            await enter(client, "web")
            async with http.get(client.url + "/v1/snapshot") as answer:
                snapshot = await answer.read()
            for number in range(5):
                await enter(client, f"other-{number}")
            before = await client.get(path)
            waiting = asyncio.create_task(client.get(f"{path}?index={before.index}&wait=30s"))
            await asyncio.sleep(1.0)  # It waits; nothing tells when.
            if client.url == agent.url:
                agent.reset_index()
            else:
                async with http.put(client.url + "/v1/snapshot", data=snapshot) as answer:
                    assert answer.status == 200
            woken = await waiting
            assert woken.seconds < 10
            assert (woken.index, woken.json) == (before.index, before.json)
            after = await client.get(path)
            assert 0 < after.index < before.index
            assert "web" in after.json["Services"]
            stuck = await client.get(f"{path}?index={before.index}&wait=50ms")
            assert stuck.seconds >= 0.05
            assert stuck.index < before.index
