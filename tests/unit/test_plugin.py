"""The fixture `consul_agent`, as the tests of somebody else's project use it."""

import asyncio
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from typing import Self

import pytest

from asyncsd.agent import Agent
from asyncsd.testing import AgentThread

pytest_plugins = ["pytester"]

BODY = """
import urllib.request, json, aiohttp, pytest

def names(agent):
    with urllib.request.urlopen(agent.url + "/v1/catalog/services") as answer:
        return set(json.load(answer))

def register(agent, name):
    data = json.dumps({"Name": name}).encode()
    request = urllib.request.Request(agent.url + "/v1/agent/service/register", data, method="PUT")
    urllib.request.urlopen(request).close()
"""

SYNC = """
def test_one(consul_agent):
    register(consul_agent, "web")
    assert names(consul_agent) == {"consul", "web"}

def test_each_test_has_an_empty_one(consul_agent):
    assert names(consul_agent) == {"consul"}
"""

ASYNC = """
MARK
async def test_with_a_loop(consul_agent):
    async with aiohttp.ClientSession() as session:
        with consul_agent.fail(503):
            async with session.get(consul_agent.url + "/v1/status/leader") as answer:
                assert answer.status == 503
        register(consul_agent, "web")  # Though the loop is blocked.
        async with session.get(consul_agent.url + "/v1/catalog/services") as answer:
            assert set(await answer.json()) == {"consul", "web"}
        consul_agent.restart()
        async with session.get(consul_agent.url + "/v1/catalog/services") as answer:
            assert set(await answer.json()) == {"consul"}
"""


def run(pytester: pytest.Pytester, tests: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(BODY + tests)
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-W", "error", *options)


def test_in_tests_without_a_loop_or_a_plugin_for_loops(pytester: pytest.Pytester) -> None:
    result = run(pytester, SYNC, "-p", "no:asyncio", "-p", "no:anyio")
    result.assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("mode", "mark"),
    [("strict", "@pytest.mark.asyncio"), ("auto", ""), ("strict", '@pytest.mark.anyio(backend="asyncio")')],
)
def test_in_tests_with_a_loop(pytester: pytest.Pytester, mode: str, mark: str) -> None:
    if "anyio" in mark:
        mark = "@pytest.mark.anyio"
        pytester.makeconftest("import pytest\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'")
    options = ["-o", f"asyncio_mode={mode}", "-o", "asyncio_default_fixture_loop_scope=function"]
    result = run(pytester, ASYNC.replace("MARK", mark), *options)
    result.assert_outcomes(passed=1)


def test_the_plugin_costs_nothing_until_the_fixture_is_used(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_nothing_is_imported():
            assert "pytest_asyncsd" in sys.modules
            assert "asyncsd" not in sys.modules
            assert "aiohttp" not in sys.modules
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_the_fixture_is_listed_with_what_it_does(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("--fixtures", "-p", "no:cacheprovider")
    result.stdout.fnmatch_lines(["consul_agent*", "*A registry that speaks Consul's HTTP API*"])


# The agent in a thread itself


def status(agent: AgentThread, path: str = "/v1/status/leader") -> int:
    try:
        with urllib.request.urlopen(agent.url + path, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code


def register(agent: AgentThread, name: str) -> None:
    url = agent.url + "/v1/agent/service/register"
    request = urllib.request.Request(url, f'{{"Name": "{name}"}}'.encode(), method="PUT")
    urllib.request.urlopen(request, timeout=30).close()


def read(agent: AgentThread) -> tuple[bytes, int]:
    with urllib.request.urlopen(agent.url + "/v1/catalog/services", timeout=30) as answer:
        return answer.read(), int(answer.headers["X-Consul-Index"])


def test_faults_have_taken_effect_when_their_calls_return() -> None:
    with AgentThread() as agent:
        with agent.fail(503) as fault:
            assert status(agent) == 503
            assert "503" in repr(fault)
        assert status(agent) == 200
        with agent.fail(path="/v1/catalog/"):
            assert status(agent) == 200
            assert status(agent, "/v1/catalog/services") == 500
        agent.fail(429)
        agent.heal()
        assert status(agent) == 200
        assert agent.requests == 5
        with agent.delay(0.05):
            started = time.monotonic()
            assert status(agent) == 200
            assert time.monotonic() - started >= 0.05


def test_a_hang_holds_a_request_of_another_thread() -> None:
    with AgentThread() as agent:
        seen: list[int] = []
        with agent.hang():
            client = threading.Thread(target=lambda: seen.append(status(agent)))
            client.start()
            while not agent.requests:
                time.sleep(0.001)
            assert not seen
        client.join(30)
        assert seen == [200]


def test_registrations_are_lost_and_indexes_reset_as_with_an_agent() -> None:
    with AgentThread() as agent:
        register(agent, "web")
        body, index = read(agent)
        agent.reset_index()
        assert read(agent)[0] == body
        assert read(agent)[1] < index
        agent.forget()
        assert b"web" not in read(agent)[0]
        register(agent, "web")
        url = agent.url
        agent.restart()
        assert agent.url == url
        assert b"web" not in read(agent)[0]
        agent.cut()
        assert status(agent) == 200


def test_it_may_be_opened_again_and_closed_twice() -> None:
    agent = AgentThread()
    with pytest.raises(RuntimeError, match="isn't open"):
        agent.forget()
    for _ in range(2):
        with agent:
            fault = agent.fail()
            with pytest.raises(RuntimeError, match="open already"):
                agent.__enter__()
            assert status(agent) == 500
            fault.heal()
            fault.heal()
        agent.close()
    fault.heal()
    assert not [thread for thread in threading.enumerate() if thread.name == "asyncsd:agent"]


def test_an_error_at_its_start_is_raised_where_it_was_started() -> None:
    with AgentThread() as first:
        port = int(first.url.rpartition(":")[2])
        with pytest.raises(OSError, match=f"port {port} of 127.0.0.1 is taken"):
            AgentThread(Agent(port=port)).__enter__()
    assert not [thread for thread in threading.enumerate() if thread.name == "asyncsd:agent"]


@pytest.mark.skipif(os.name != "posix", reason="needs signals to threads")
def test_a_start_that_is_interrupted_ends_at_once() -> None:
    main = threading.get_ident()

    class Slow(Agent):
        async def __aenter__(self) -> Self:
            signal.pthread_kill(main, signal.SIGINT)
            await asyncio.sleep(0.1)
            return await super().__aenter__()

    agent = AgentThread(Slow())
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        agent.__enter__()
    assert time.monotonic() - started < 10
    assert not [thread for thread in threading.enumerate() if thread.name == "asyncsd:agent"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # Python's own, where there are threads.
def test_in_a_forked_process_its_calls_are_refused_at_once() -> None:
    with AgentThread() as agent:
        child = os.fork()
        if child == 0:
            try:
                agent.fail()
            except RuntimeError:
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert status(agent) == 200
