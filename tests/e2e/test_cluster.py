"""A real cluster of three: leaders die, nobody leads, agents go and come back."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from asyncsd import (
    Balancer,
    Discovery,
    Instance,
    Registrar,
    Registration,
    RoundRobin,
    TTLCheck,
    UnreachableError,
)
from asyncsd.backends.consul import ConsulBackend
from tests.e2e.support import calling, eventually, fresh, greeter, watching
from tests.support.consul import ClientKind, ConsulCluster, call

pytestmark = [pytest.mark.server("consul"), pytest.mark.timeout(120)]

TTL = TTLCheck(ttl=12.0)


@pytest.fixture
async def cluster() -> AsyncIterator[ConsulCluster]:
    # How long a server waits for a leader before it says that there is none: 7 s unless it is told otherwise.
    fast = {"raft_multiplier": 1, "rpc_hold_timeout": "1s"}
    async with ConsulCluster(performance=fast) as cluster:
        yield cluster


async def catalog(url: str, service: str = "users") -> list[tuple[str, str, str]]:
    """Each instance's node, id and worst status, read beside the code under test; empty on an error."""
    try:
        entries = await asyncio.to_thread(call, f"{url}/v1/health/service/{service}")
    except OSError:
        return []
    found = []
    for entry in entries:
        statuses = {check["Status"] for check in entry["Checks"]}
        worst = next((status for status in ("critical", "warning") if status in statuses), "passing")
        found.append((entry["Node"]["Node"], entry["Service"]["ID"], worst))
    return sorted(found)


class Member:
    """One program: registered, and with a balancer of all programs of its kind."""

    def __init__(self, sd: Discovery[ConsulBackend], registrar: Registrar, port: int) -> None:
        self.sd = sd
        self.registrar = registrar
        self.port = port
        self.users: Balancer[Instance] = sd.balancer("users", RoundRobin())


@asynccontextmanager
async def program(urls: list[str] | str, client: ClientKind) -> AsyncGenerator[Member, None]:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(greeter())
        assert server.port is not None
        me = Registration(service="users", host="127.0.0.1", port=server.port, check=TTL)
        backend = ConsulBackend(urls, client=client, wait=5.0)
        sd = await stack.enter_async_context(Discovery(backend))
        registrar = await stack.enter_async_context(sd.register(me, required=True))
        yield Member(sd, registrar, server.port)


async def test_the_leader_dies_and_a_follower_s_program_goes_on(
    cluster: ConsulCluster, client: ClientKind
) -> None:
    leader = await cluster.leader()
    near, far = (cluster.urls[number] for number in range(3) if number != leader)
    async with program(near, client) as one, watching(one.sd, "users") as seen:
        async with program(far, client) as two:
            await seen.until(fresh(2))
            await eventually(lambda: len(two.users.instances) == 2)
            async with calling(one.users, two.users) as calls:
                cluster.kill(leader)

                async def elected() -> bool:
                    body = {"Name": "users", "ID": "late", "Address": "127.0.0.1", "Port": one.port}
                    try:
                        await asyncio.to_thread(call, f"{far}/v1/agent/service/register", "PUT", body)
                        return len(await catalog(far)) == 3
                    except OSError:
                        return False

                await eventually(elected, within=45.0)
                await seen.until(fresh(3), within=30.0)
            assert calls.good(30)
            assert min(seen.counts) >= 1
            assert 1 not in seen.counts[seen.counts.index(2) :]
            assert (one.registrar.state, two.registrar.state) == ("registered", "registered")


async def test_an_agent_that_comes_back_while_nobody_leads_does_not_empty_the_list(
    cluster: ConsulCluster, client: ClientKind
) -> None:
    leader = await cluster.leader()
    ours = (leader + 1) % 3
    others = [number for number in range(3) if number != ours]
    async with program(cluster.urls[ours], client) as one, watching(one.sd, "users") as seen:
        await seen.until(fresh(1))
        async with calling(one.users) as calls:
            for number in others:
                cluster.freeze(number)
            cluster.kill(ours)
            await seen.until(lambda event: isinstance(event.error, UnreachableError))
            starting = asyncio.ensure_future(cluster.start(ours))
            await seen.until(lambda event: "No cluster leader" in str(event.error), within=30.0)
            for number in others:
                cluster.thaw(number)
            await starting
            await seen.until(fresh(1), within=30.0)

            async def passing() -> bool:
                expected = [(f"server-{ours}", one.registrar.id, "passing")]
                return await catalog(cluster.urls[leader]) == expected

            await eventually(passing, within=30.0)
            await one.registrar.wait_for("registered")
        assert set(seen.counts) == {1}
        assert calls.good(30)


async def test_a_registration_moves_when_its_agent_stays_away_and_leaves_no_ghost(
    cluster: ConsulCluster,
) -> None:
    leader = await cluster.leader()
    order = [cluster.urls[(leader + number) % 3] for number in (1, 2, 0)]
    home = (leader + 1) % 3
    async with program(order, "aio") as one, program(order[1:], "direct") as two:
        async with watching(one.sd, "users") as near, watching(two.sd, "users") as far:
            await near.until(fresh(2))
            await far.until(fresh(2))
            async with calling(one.users, two.users) as calls:
                assert one.registrar.where == cluster.urls[home]
                cluster.kill(home)
                await eventually(lambda: one.registrar.where == order[1], within=40.0)
                new_home = f"server-{(home + 1) % 3}"
                wanted = sorted((new_home, each.registrar.id, "passing") for each in (one, two))

                async def all_pass() -> bool:
                    return [each for each in await catalog(order[1]) if each[2] == "passing"] == wanted

                async def no_ghost() -> bool:
                    # It came back with its data: the others learn of what it has there a moment later.
                    kept = await asyncio.to_thread(call, f"{order[0]}/v1/agent/services")
                    return not kept and await catalog(order[1]) == wanted

                await eventually(all_pass, within=30.0)
                await cluster.start(home)
                await eventually(no_ghost, within=30.0)
            assert calls.good(30)
            assert 0 not in near.counts + far.counts
