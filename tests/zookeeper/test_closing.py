"""Closing, whatever the server does: soon, and without a thread that stays."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from asyncsd import ClosedError, Query
from asyncsd.backends.zookeeper import ZooKeeperBackend, _backend, _session
from tests.support.process import free_ports
from tests.support.zookeeper import ZooKeeper
from tests.zookeeper.watching import ME, number, patient

pytestmark = pytest.mark.server("zookeeper")


@asynccontextmanager
async def no_thread_stays() -> AsyncGenerator[None, None]:
    """Every thread that begins inside has ended a moment after."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if "asyncio_" not in thread.name:  # Those are of the loop's own pool.
            await asyncio.to_thread(thread.join, 10.0)
            assert not thread.is_alive()


async def test_the_server_says_that_the_session_is_over(
    server: ZooKeeper, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_session, "GOODBYE", 15.0)  # It writes it to its disk first.
    monkeypatch.setattr(_backend, "CLOSE", 20.0)
    async with no_thread_stays(), patient(server.host) as backend:
        await backend.register(ME.record(id="one", host="127.0.0.1"))
        waiting = asyncio.create_task(backend.fetch(Query("absent"), await cursor(backend)))
        await asyncio.sleep(0)
    assert "doesn't answer" not in caplog.text
    with pytest.raises(ClosedError):
        await waiting
    assert await number(server, "ephemerals_count") == 0


async def cursor(backend: ZooKeeperBackend) -> int:
    return int((await backend.fetch(Query("absent"), None)).cursor)


async def test_a_frozen_server_is_given_a_second(server: ZooKeeper, caplog: pytest.LogCaptureFixture) -> None:
    async with no_thread_stays(), patient(server.host, session_timeout=10.0) as backend:
        await backend.fetch(Query("greeter"), None)
        server.freeze()
        asking = asyncio.create_task(backend.fetch(Query("greeter"), None))
        await asyncio.sleep(0.05)
        began = time.monotonic()
    assert time.monotonic() - began < 8.0
    with pytest.raises(ClosedError):
        await asking
    told = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.getMessage().endswith("its session ends by its timeout") for record in told] == [True]


async def test_a_server_that_isnt_there_is_not_waited_for() -> None:
    async with no_thread_stays(), patient(f"127.0.0.1:{free_ports(1)[0]}") as backend:
        asking = asyncio.create_task(backend.fetch(Query("greeter"), None))
        await asyncio.sleep(0.2)
        began = time.monotonic()
    assert time.monotonic() - began < 8.0
    with pytest.raises(ClosedError):
        await asking


async def test_a_server_that_takes_connections_and_says_nothing_is_not_waited_for() -> None:
    async def mute(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.set()
        writers.append(writer)

    taken, writers = asyncio.Event(), list[asyncio.StreamWriter]()
    listener = await asyncio.start_server(mute, "127.0.0.1", 0)
    try:
        host = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        async with no_thread_stays(), patient(host):
            await taken.wait()
            began = time.monotonic()
        assert time.monotonic() - began < 8.0
    finally:
        listener.close()
        for writer in writers:
            writer.close()
