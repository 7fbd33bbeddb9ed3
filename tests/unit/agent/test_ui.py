"""/ui as HTTP has it: the page's files, and the stream of events."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import asyncsd.agent
from asyncsd.agent import Agent
from asyncsd.agent._routes import ui
from asyncsd.testing import FakeClock

from .waiting import until

FILES = sorted(path.name for path in (Path(asyncsd.agent.__file__).parent / "ui").iterdir())


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    async with Agent() as agent:
        yield agent


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


class Stream:
    """Reads server-sent events."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer
        self.last = ""
        self.lines: list[str] = []

    async def next(self) -> tuple[str, Any]:
        """The next event with its data; a comment as ("", None)."""
        async with asyncio.timeout(10):
            while line := (await self.answer.content.readline()).decode().rstrip("\n"):
                self.lines.append(line)
        lines, self.lines = self.lines, []
        if not lines:
            raise EOFError
        if lines == [":"]:
            return "", None
        fields = dict(line.split(": ", 1) for line in lines)
        self.last = fields.get("id", self.last)
        return fields["event"], json.loads(fields["data"])

    async def update(self) -> Any:
        name, data = await self.next()
        return data if name == "update" else await self.update()


@asynccontextmanager
async def events(agent: Agent, session: aiohttp.ClientSession, **headers: str) -> AsyncIterator[Stream]:
    # A line may be as long as all instances.
    async with session.get(
        f"{agent.url}/ui/events",
        headers={k.replace("_", "-"): v for k, v in headers.items()},
        read_bufsize=2**23,
    ) as answer:
        assert answer.status == 200
        yield Stream(answer)


async def register(agent: Agent, session: aiohttp.ClientSession, id: str, **more: object) -> None:
    body = {"Name": "web", "ID": id, "Port": 80, **more}
    async with session.put(f"{agent.url}/v1/agent/service/register", json=body) as answer:
        assert answer.status == 200, await answer.text()


async def test_the_root_leads_to_the_page_as_consul_s_does(
    agent: Agent, session: aiohttp.ClientSession
) -> None:
    for path in ("/", "/ui"):
        async with session.get(agent.url + path, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (301, "/ui/")
    async with session.get(f"{agent.url}/elsewhere") as answer:
        assert answer.status == 404


@pytest.mark.parametrize("name", ["", *FILES])
async def test_each_file_is_served_so_that_nothing_else_can_run(
    agent: Agent, session: aiohttp.ClientSession, name: str
) -> None:
    async with session.get(f"{agent.url}/ui/{name}") as answer:
        text = await answer.text()
        headers = answer.headers
    assert answer.status == 200
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "Access-Control-Allow-Origin" not in headers
    assert answer.charset == "utf-8"
    assert "innerHTML" not in text
    assert "https://" not in text
    assert " style=" not in text


@pytest.mark.parametrize(
    "path",
    [
        "nothing.js",
        "%2e%2e/_agent.py",
        "..%2f_agent.py",
        "..%2f..%2f__init__.py",
        "%2fetc%2fpasswd",
        "a%00.js",
        "%ff.js",
        "x" * 4_000 + ".js",
        "sub/index.html",
    ],
)
async def test_no_other_file_is_served(agent: Agent, session: aiohttp.ClientSession, path: str) -> None:
    url = aiohttp.client.URL(f"{agent.url}/ui/{path}", encoded=True)
    async with session.get(url, allow_redirects=False) as answer:
        assert answer.status in (301, 400, 404)
        assert "import" not in await answer.text()


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("dc1/services", "/ui/#/"),
        ("dc1/services/web/instances", "/ui/#/services/web"),
        ("dc1/services/a:%20%22b%3f", "/ui/#/services/a%3A%20%22b%3F"),
    ],
)
async def test_a_link_to_consul_s_page_leads_to_the_same_service(
    agent: Agent, session: aiohttp.ClientSession, path: str, to: str
) -> None:
    url = aiohttp.client.URL(f"{agent.url}/ui/{path}", encoded=True)
    async with session.get(url, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (302, to)


async def test_a_page_hears_everything_and_then_each_change(
    agent: Agent, session: aiohttp.ClientSession
) -> None:
    async with events(agent, session) as stream:
        assert await stream.next() == ("agent", {"node": "asyncsd", "dc": "dc1"})
        first = await stream.update()
        assert first["whole"]
        assert [instance["id"] for instance in first["put"]] == ["consul"]
        await register(agent, session, "web-1", Tags=["a"], Meta={"zone": "x"})
        update = await stream.update()
        [instance] = update["put"]
        assert (instance["id"], instance["tags"], instance["meta"]) == ("web-1", ["a"], {"zone": "x"})
        assert [change["kind"] for change in update["changes"]] == ["registered"]


async def test_a_page_that_comes_back_hears_what_it_missed(
    agent: Agent, session: aiohttp.ClientSession
) -> None:
    async with events(agent, session) as stream:
        await stream.update()
    await register(agent, session, "web-1")
    async with events(agent, session, Last_Event_ID=stream.last) as again:
        update = await again.update()
        assert not update["whole"]
        assert [instance["id"] for instance in update["put"]] == ["web-1"]
    await agent.restart()
    async with events(agent, session, Last_Event_ID=again.last) as anew:
        update = await anew.update()
        assert update["whole"]
        assert update["changes"] == []


async def test_updates_come_ten_times_a_second_at_most_and_none_is_lost() -> None:
    clock = FakeClock()
    async with Agent(clock=clock) as agent, aiohttp.ClientSession() as session:
        async with events(agent, session) as stream:
            await stream.update()
            for number in range(30):
                await register(agent, session, f"web-{number}")
            await clock.advance(ui.PACE)
            assert len((await stream.update())["put"]) == 30


async def test_a_quiet_stream_says_that_it_lives() -> None:
    clock = FakeClock()
    async with Agent(clock=clock) as agent, aiohttp.ClientSession() as session:
        async with events(agent, session) as stream:
            await stream.update()
            await clock.advance(ui.PACE)
            await clock.advance(ui.HEARTBEAT)
            assert await stream.next() == ("", None)
            await clock.advance(ui.HEARTBEAT)
            assert await stream.next() == ("", None)


async def test_the_stream_ends_with_the_agent(session: aiohttp.ClientSession) -> None:
    async with Agent() as agent, asyncio.timeout(10):
        async with events(agent, session) as stream:
            await stream.update()
            await agent.aclose()
            with pytest.raises((EOFError, aiohttp.ClientError)):
                await stream.update()


async def test_a_reader_that_goes_leaves_nothing(agent: Agent, session: aiohttp.ClientSession) -> None:
    waiters = agent._opened.catalog.waiters
    before = len(waiters)
    async with events(agent, session) as stream:
        await stream.update()
        await until(lambda: len(waiters) == before + 1)
    await until(lambda: len(waiters) == before)


async def test_a_reader_that_reads_nothing_costs_no_more_than_one_update(
    agent: Agent, session: aiohttp.ClientSession
) -> None:
    host, _, port = agent.url.removeprefix("http://").rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port), limit=1024)
    writer.write(f"GET /ui/events HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    serving = agent._server._serving
    assert serving is not None
    meta = {f"key-{number}": "x" * 512 for number in range(60)}  # 30 KB

    def held() -> int:
        return max(transport.get_write_buffer_size() for _, transport in serving.protocols._clients.values())

    most = 0
    for number in range(300):  # 9 MB in all, more than the system's own buffers take
        await register(agent, session, f"web-{number % 10}", Meta={**meta, "turn": str(number)})
        if number % 10 == 9:
            await asyncio.sleep(ui.PACE)
        most = max(most, held())
    assert 0 < most < 1_000_000
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_another_site_can_t_open_the_stream(
    agent: Agent, session: aiohttp.ClientSession, site: str
) -> None:
    async with session.get(f"{agent.url}/ui/events", headers={"Sec-Fetch-Site": site}) as answer:
        assert answer.status == 403


async def test_where_tokens_are_needed_the_stream_needs_one(session: aiohttp.ClientSession) -> None:
    async with Agent(token="all", read_token="read") as agent:
        for headers in ({}, {"X-Consul-Token": "wrong"}):
            async with session.get(f"{agent.url}/ui/events", headers=headers) as answer:
                assert answer.status == 403
        for token in ("read", "all"):
            async with events(agent, session, X_Consul_Token=token) as stream:
                assert (await stream.update())["whole"]
        async with session.get(f"{agent.url}/ui/") as answer:
            assert answer.status == 200
