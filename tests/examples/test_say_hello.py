import signal
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from tests.support.consul import ConsulAgent
from tests.support.process import free_ports

from .program import HeldQuery, Program, eventually, get, gone, in_flight, passing, registered

pytestmark = pytest.mark.server("consul")

SERVICE = "say_hello/service.py"
CLIENT = "say_hello/client.py"


@asynccontextmanager
async def services(
    agent: ConsulAgent, name: str, count: int = 3, *arguments: str
) -> AsyncGenerator[dict[str, Program], None]:
    """So many services, by their ids once they pass, on the one client and the other in turn."""
    async with AsyncExitStack() as stack:
        programs: dict[int, Program] = {}
        for port, kind in zip(free_ports(count), ("aio", "direct") * count, strict=False):
            command = (SERVICE, "--registry", agent.url, "--service", name, "--port", str(port))
            program = Program(*command, "--client", kind, *arguments)
            programs[port] = await stack.enter_async_context(program)
        ports = await passing(agent, name, count)
        yield {id: programs[port] for id, port in ports.items()}


def counted(output: str) -> dict[str, int]:
    """What the client prints at its end."""
    return {id: int(count) for id, count in (line.split() for line in output.splitlines() if "  " in line)}


async def test_each_of_three_gets_its_even_share(agent: ConsulAgent) -> None:
    async with services(agent, "even") as three:
        async with Program(CLIENT, "--registry", agent.url, "--service", "even", "--calls", "300") as client:
            assert counted(await client.ends_well()) == dict.fromkeys(three, 100)


async def test_a_port_of_the_systems_choice_is_registered(agent: ConsulAgent) -> None:
    async with Program(SERVICE, "--registry", agent.url, "--service", "any-port", "--port", "0"):
        ((id, port),) = (await passing(agent, "any-port", 1)).items()
        status, said = await get(f"http://127.0.0.1:{port}/sayHello", name="Ada")
        assert (status, said) == (200, {"message": "Hello, Ada!", "id": id})
        assert (await get(f"http://127.0.0.1:{port}/health"))[0] == 200


@pytest.mark.parametrize("client", ["aio", "direct"])
async def test_each_tells_who_else_is_there(agent: ConsulAgent, client: str) -> None:
    name = f"listed-{client}"
    async with services(agent, name):
        ports = await passing(agent, name, 3)
        url = f"http://127.0.0.1:{next(iter(ports.values()))}/discovery"

        status, listed = await get(url, serviceName=name)
        assert status == 200
        assert {one["id"]: one["url"] for one in listed} == {
            id: f"http://127.0.0.1:{port}/" for id, port in ports.items()
        }
        assert await get(url, serviceName="nobody-has-this-name") == (200, [])
        status, why = await get(url)
        assert status == 400
        assert "serviceName=" in why


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_on_a_signal_it_deregisters_first_then_finishes_what_is_in_flight(
    agent: ConsulAgent, number: signal.Signals
) -> None:
    name = f"ends-by-{number.name.lower()}"
    async with HeldQuery("slow").before(agent) as held:
        arguments = ("--registry", held.url, "--service", name)
        async with Program(SERVICE, *arguments) as service:
            ((_, port),) = (await passing(agent, name, 1)).items()
            async with in_flight(f"http://127.0.0.1:{port}/discovery", serviceName="slow") as answer:
                await held.asked.wait()

                service.signal(number)
                await gone(agent, name)
                assert not answer.done()
                assert service.running

                held.let_go.set()
                assert await answer == (200, [])
            await service.ends_well()


async def test_with_a_drain_it_is_out_of_rotation_while_it_still_answers(agent: ConsulAgent) -> None:
    async with services(agent, "drained", 1, "--drain", "5") as one:
        ((id, service),) = one.items()
        port = (await registered(agent, "drained"))[id]
        service.signal(signal.SIGTERM)
        assert await passing(agent, "drained", 0) == {}
        assert id in await registered(agent, "drained")
        assert (await get(f"http://127.0.0.1:{port}/sayHello"))[0] == 200
        await gone(agent, "drained")
        await service.ends_well()


async def test_an_agent_that_is_not_there_ends_it_with_the_reason() -> None:
    (port,) = free_ports(1)
    async with Program(SERVICE, "--registry", f"http://127.0.0.1:{port}") as service:
        assert await service.status() == 1
        assert "could not start: can't connect" in service.errors
        assert f"127.0.0.1:{port}" in service.errors
        assert "Traceback" not in service.errors


@pytest.mark.parametrize("client", ["aio", "direct"])
async def test_a_token_without_rights_ends_it_with_the_reason(client: str) -> None:
    acl: dict[str, Any] = {
        "enabled": True,
        "default_policy": "deny",
        "tokens": {"initial_management": "all"},
    }
    async with ConsulAgent(acl=acl) as agent:
        async with Program(SERVICE, "--registry", agent.url, "--client", client) as service:
            assert await service.status() == 1
            assert "could not start: 403" in service.errors
            assert "Permission denied" in service.errors
            assert "Traceback" not in service.errors


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
async def test_no_call_fails_when_one_of_three_dies(agent: ConsulAgent, number: signal.Signals) -> None:
    name = f"dies-by-{number.name.lower()}"
    async with services(agent, name) as three:
        arguments = (
            "--registry",
            agent.url,
            "--service",
            name,
            "--calls",
            "600",
            "--rate",
            "100",
            "--verbose",
        )
        async with Program(CLIENT, *arguments) as client:
            victim, dying = next(iter(three.items()))
            await eventually(lambda: victim in client.output, "the victim was called")
            dying.signal(number)
            answered = counted(await client.ends_well())
    assert sum(answered.values()) == 600
    assert 0 < answered[victim] < 200
    assert all(answered[id] > 200 for id in three if id != victim)
