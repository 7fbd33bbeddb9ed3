"""Where the token comes from, and that it stays a secret."""

import asyncio
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from asyncsd import BackendError, Health, PermissionDeniedError, Query, Registration, TTLCheck
from asyncsd.backends.consul import ConsulBackend
from asyncsd.backends.consul._token import FileToken
from asyncsd.testing import FakeClock
from tests.support.consul import ClientKind
from tests.support.fake_agent import Asked, FakeAgent, Handler

USERS = Query("users")
ME = Registration(service="users", port=80, check=TTLCheck()).record(id="me", host="127.0.0.1")


@pytest.fixture(params=["aio", "direct"])
def client(request: pytest.FixtureRequest) -> ClientKind:
    kind: ClientKind = request.param
    return kind


def tokens(agent: FakeAgent) -> list[str | None]:
    return [asked.headers.get("X-Consul-Token") for asked in agent.asked]


async def test_a_string_goes_with_every_request(client: ClientKind) -> None:
    async with FakeAgent() as agent:
        async with ConsulBackend(agent.url, client=client, token="s3cret") as backend:
            await backend.fetch(USERS, None)
            lease = await backend.register(ME)
            await backend.renew(lease, Health("passing"))
            await backend.drain(lease, True)
            await backend.deregister(lease)
            agent.say("{}")
            await backend.fetch_names(None)
        assert tokens(agent) == ["s3cret"] * 6


async def test_a_callable_is_asked_for_each_request(client: ClientKind) -> None:
    names = iter(["one", "two", "three"])

    async def later() -> str:
        return next(names)

    async with FakeAgent() as agent:
        async with ConsulBackend(agent.url, client=client, token=lambda: next(names)) as backend:
            await backend.fetch(USERS, None)
            await backend.fetch(USERS, None)
        async with ConsulBackend(agent.url, client=client, token=later) as backend:
            await backend.fetch(USERS, None)
        assert tokens(agent) == ["one", "two", "three"]


async def test_a_callable_that_fails_is_a_backend_error_without_its_text(client: ClientKind) -> None:
    def broken() -> str:
        raise KeyError("s3cret")

    async with FakeAgent() as agent, ConsulBackend(agent.url, client=client, token=broken) as backend:
        with pytest.raises(BackendError, match=r"token callable failed: KeyError$"):
            await backend.fetch(USERS, None)
        assert agent.asked == []


async def test_a_file_is_read_again_when_it_changes(client: ClientKind, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("one\n")
    clock = FakeClock()
    async with FakeAgent() as agent:
        async with ConsulBackend(agent.url, client=client, token_file=file, clock=clock) as backend:
            await backend.fetch(USERS, None)
            replace(file, "two")
            await backend.fetch(USERS, None)  # Looked at a moment ago.
            await clock.advance(1.0)
            await backend.fetch(USERS, None)
        assert tokens(agent) == ["one", "one", "two"]


async def test_a_refused_token_is_read_again_at_once(client: ClientKind, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    async with FakeAgent() as agent:
        answer = agent.handle

        async def only_new(asked):  # type: ignore[no-untyped-def]
            agent.say("[]", 200 if asked.headers["X-Consul-Token"] == "new" else 403)
            return await answer(asked)

        async with ConsulBackend(agent.url, client=client, token_file=file, clock=FakeClock()) as backend:
            await backend.fetch(USERS, None)
            agent.handle = only_new
            replace(file, "new")
            await backend.fetch(USERS, None)
            assert tokens(agent) == ["old", "old", "new"]
            agent.handle = answer
            agent.say("denied", 403)
            with pytest.raises(PermissionDeniedError):
                await backend.fetch(USERS, None)
            assert len(agent.asked) == 4


async def test_many_requests_with_a_token_that_was_replaced_all_go_on_with_the_new_one(
    client: ClientKind, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    async with FakeAgent() as agent:
        async with ConsulBackend(agent.url, client=client, token_file=file, clock=FakeClock()) as backend:
            await backend.fetch(USERS, None)
            replace(file, "new")
            agent.handle = only("new")
            await asyncio.gather(*(backend.fetch(USERS, None) for _ in range(20)))


async def test_many_refusals_look_at_the_file_once(tmp_path: Path) -> None:
    class Counted(FileToken):
        reads = 0

        def _read(
            self, seen: tuple[int, int] | None, token: str | None
        ) -> tuple[tuple[int, int] | None, str | None]:
            self.reads += 1
            return super()._read(seen, token)

    (tmp_path / "token").write_text("old")
    source = Counted(tmp_path / "token", FakeClock())
    assert await source.get() == "old"
    assert await asyncio.gather(*(source.another("old") for _ in range(9))) == [None] * 9
    assert source.reads == 2


async def test_a_callable_whose_token_is_refused_is_asked_once_more(client: ClientKind) -> None:
    names = iter(["old", "new", "old", "old"])
    async with FakeAgent() as agent:
        agent.handle = only("new")
        async with ConsulBackend(agent.url, client=client, token=lambda: next(names)) as backend:
            await backend.fetch(USERS, None)
            with pytest.raises(PermissionDeniedError):
                await backend.fetch(USERS, None)
        assert tokens(agent) == ["old", "new", "old"]


@pytest.mark.parametrize(("given", "says"), [(None, "not NoneType"), ("s3cret s3cret ", "printable ASCII")])
async def test_a_callable_that_gives_no_token_is_told_so(given: Any, says: str) -> None:
    async with ConsulBackend("127.0.0.1:1", client="direct", token=lambda: given) as backend:
        with pytest.raises(BackendError, match=says) as error:
            await backend.fetch(USERS, None)
    assert "s3cret" not in str(error.value)


async def test_a_file_that_goes_leaves_the_token_it_held(
    client: ClientKind, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "token"
    clock = FakeClock()
    async with FakeAgent() as agent:
        async with ConsulBackend(agent.url, client=client, token_file=file, clock=clock) as backend:
            with pytest.raises(BackendError, match="can't be used: No such file"):
                await backend.fetch(USERS, None)
            file.write_text("s3cret")
            await backend.fetch(USERS, None)
            file.unlink()
            for _ in range(3):
                await clock.advance(1.0)
                await backend.fetch(USERS, None)
        assert tokens(agent) == ["s3cret"] * 4
    assert len([record for record in caplog.records if "token file" in record.getMessage()]) == 1


async def test_a_token_is_in_no_repr_error_or_log(
    client: ClientKind, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with FakeAgent() as agent:
        # An agent, or a proxy before it, that repeats what it was given.
        agent.say("no such token: s3cret", 403)
        backend = ConsulBackend(agent.url.replace("//", "//bob:p4ss@"), client=client, token="s3cret")
        shown = [repr(backend)]
        async with backend:
            for call in (backend.fetch(USERS, None), backend.register(ME), backend.fetch_names(None)):
                with pytest.raises(PermissionDeniedError) as error:
                    await call
                shown += [
                    str(error.value),
                    repr(error.value),
                    str(error.value.url),
                    repr(error.value.__cause__),
                ]
        assert agent.asked[0].headers["Authorization"].startswith("Basic ")
    shown.append("\n".join(r.getMessage() for r in caplog.records if r.name.startswith("asyncsd")))
    assert not [text for text in shown if "s3cret" in text or "p4ss" in text]
    assert "token='***'" in shown[0]


def only(token: str) -> Handler:
    """Refuse every other token."""

    async def handle(asked: Asked) -> web.StreamResponse:
        await asyncio.sleep(0)
        if asked.headers["X-Consul-Token"] != token:
            return web.Response(status=403, text="ACL not found")
        return web.json_response([], headers={"X-Consul-Index": "7"})

    return handle


def replace(file: Path, text: str) -> None:
    """Write as an agent of secrets does, and make sure that the time differs."""
    before = file.stat().st_mtime_ns
    file.write_text(text)
    os.utime(file, ns=(before + 1_000_000, before + 1_000_000))
