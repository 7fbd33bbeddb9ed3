"""What is read from a real server, and how a watch ends."""

import asyncio
from typing import Any

import pytest

from asyncsd import Query, UnsupportedError
from asyncsd.backends import from_url
from asyncsd.backends._shared._spread import FEW
from asyncsd.backends.etcd import EtcdBackend
from asyncsd.backends.etcd._backend import WAITS
from asyncsd.testing import FakeClock
from tests.etcd.running import both
from tests.support.etcd import EtcdServer, b64
from tests.support.running import fetched, until

pytestmark = pytest.mark.server("etcd")


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("http://10.0.0.7:8080", ("http", "10.0.0.7", 8080)),
        ("10.0.0.7:8080", (None, "10.0.0.7", 8080)),
        ("https://users.example", ("https", "users.example", 443)),
        ("[2001:db8::1]:80", (None, "2001:db8::1", 80)),
        ('{"host": "10.0.0.7"}', (None, "10.0.0.7", 0)),
    ],
)
async def test_values_of_others_are_read(
    server: EtcdServer, backend: EtcdBackend, value: str, address: object
) -> None:
    await server.put("/services/users/a", value)
    [instance] = (await fetched(backend, "users", bool)).instances
    assert (instance.scheme, instance.host, instance.port) == address
    assert (instance.id, instance.service, instance.status) == ("a", "users", "passing")


async def test_malformed_values_are_counted_and_left_out(server: EtcdServer, backend: EtcdBackend) -> None:
    bad: list[str | bytes] = ["", "{", "[]", '{"host": 1}', '{"host": ""}', "a b", "h:99999999", b"\xff"]
    for number, value in enumerate(bad):
        await server.put(f"/services/users/bad-{number}", value)
    await server.put("/services/users/good", "10.0.0.7:80")
    reply = await backend.fetch(Query("users"), None)
    assert [instance.id for instance in reply.instances] == ["good"]
    assert reply.skipped == 8


async def test_an_instance_keeps_its_object_while_its_value_stays(
    server: EtcdServer, backend: EtcdBackend
) -> None:
    await server.put("/services/users/a", "10.0.0.7:80")
    [before] = (await backend.fetch(Query("users"), None)).instances
    await server.put("/services/users/b", "10.0.0.8:80")
    after = (await backend.fetch(Query("users"), None)).instances
    assert any(instance is before for instance in after)


@both
async def test_a_compacted_cursor_is_read_from_anew(server: EtcdServer, backend: EtcdBackend) -> None:
    before = await backend.fetch(Query("users"), None)
    for number in range(5):
        await server.put("/services/users/a", f"10.0.0.{number}:80")
    revision = (await backend.fetch(Query("users"), None)).index
    await server.post("/v3/kv/compaction", {"revision": str(revision), "physical": True})
    async with asyncio.timeout(20):
        reply = await backend.fetch(Query("users"), before.cursor)
        assert [instance.host for instance in reply.instances] == ["10.0.0.4"]
        # And goes on from there.
        coming = asyncio.create_task(backend.fetch(Query("users"), reply.cursor))
        await server.put("/services/users/b", "10.0.0.9:80")
        assert len((await coming).instances) == 2


async def test_a_large_change_is_no_trouble(server: EtcdServer, backend: EtcdBackend) -> None:
    before = await backend.fetch(Query("users"), None)
    coming = asyncio.create_task(backend.fetch(Query("users"), before.cursor))
    await server.put("/services/users/a", '{"host": "10.0.0.7", "meta": {"x": "' + "y" * 1_000_000 + '"}}')
    async with asyncio.timeout(20):
        assert len((await coming).instances) == 1


async def test_other_prefixes_and_services_of_like_names_wake_nobody(server: EtcdServer) -> None:
    async with EtcdBackend(server.url, prefix="/apps/eu/") as backend:
        await server.put("/apps/eu/users/a", "10.0.0.7:80")
        before = await backend.fetch(Query("users"), None)
        coming = asyncio.create_task(backend.fetch(Query("users"), before.cursor))
        for key in ("/apps/eu/users2/a", "/services/users/a", "/apps/eu/user/a"):
            await server.put(key, "10.0.0.9:80")
        done, _ = await asyncio.wait((coming,), timeout=0.5)
        assert not done
        await server.put("/apps/eu/users/b", "10.0.0.8:80")
        assert [instance.id for instance in (await coming).instances] == ["a", "b"]


@both
async def test_many_watches_are_few_connections_and_each_hears_of_its_own(
    server: EtcdServer, backend: EtcdBackend
) -> None:
    names = [f"service-{number}" for number in range(60)]
    before = [await backend.fetch(Query(name), None) for name in names]
    waits = [
        asyncio.create_task(backend.fetch(Query(name), reply.cursor))
        for name, reply in zip(names, before, strict=True)
    ]
    await server.watched(FEW + 1)
    for number in (59, 3):
        await server.put(f"/services/{names[number]}/a", "10.0.0.7:80")
        done, _ = await asyncio.wait(waits, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        assert done == {waits[number]}
        # Waiting on, it is one of many.
        waits[number] = asyncio.create_task(
            backend.fetch(Query(names[number]), waits[number].result().cursor)
        )
    async with asyncio.timeout(40):
        for number, name in enumerate(names):
            assert await asyncio.to_thread(server.watchers) <= FEW + 1
            await server.put(f"/services/{name}/b", "10.0.0.8:80")
            assert [instance.id for instance in (await waits[number]).instances][-1] == "b"


async def test_what_etcd_cannot_choose_by_is_refused(backend: EtcdBackend) -> None:
    for query in (Query("u", datacenter="x"), Query("u", filter="x"), Query("u", node_meta={"a": "b"})):
        with pytest.raises(UnsupportedError):
            await backend.fetch(query, None)


async def test_a_backend_from_a_url(server: EtcdServer) -> None:
    await server.put("/apps/users/a", "10.0.0.7:80")
    async with from_url(f"etcd://127.0.0.1:{server.port}/apps?wait=5") as backend:
        assert len((await backend.fetch(Query("users"), None)).instances) == 1


@both
@pytest.mark.parametrize("others", [0, FEW + 1])
async def test_a_change_is_followed_without_a_reading(
    server: EtcdServer, backend: EtcdBackend, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    await server.put("/services/users/a", "10.0.0.7:80")
    first = await backend.fetch(Query("x"), None)
    elsewhere = [asyncio.create_task(backend.fetch(Query(f"other-{n}"), first.cursor)) for n in range(others)]
    reply = await backend.fetch(Query("users"), None)
    reads = counted(backend, monkeypatch)
    for number, value in enumerate(["10.0.0.8:80", "10.0.0.9:80", None], 1):
        coming = asyncio.create_task(backend.fetch(Query("users"), reply.cursor))
        await asyncio.sleep(0.1)
        if value is None:
            await server.post("/v3/kv/deleterange", {"key": b64("/services/users/a")})
        else:
            await server.put("/services/users/b", value)
        before, reply = reply, await coming
        hosts = [instance.host for instance in reply.instances]
        assert hosts == [["10.0.0.7", "10.0.0.8"], ["10.0.0.7", "10.0.0.9"], ["10.0.0.9"]][number - 1]
        assert reply.index is not None
        assert before.index is not None
        assert reply.index > before.index
    assert reads == []
    assert reply.instances == (await backend.fetch(Query("users"), None)).instances
    for task in elsewhere:
        task.cancel()
    await asyncio.gather(*elsewhere, return_exceptions=True)


async def test_a_service_that_always_changes_is_read_whole_once_in_a_while(
    server: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, wait = FakeClock(), 10.0
    async with EtcdBackend(server.url, wait=wait, clock=clock) as backend:
        reply = await backend.fetch(Query("users"), None)
        reads, read_at = counted(backend, monkeypatch), list[int]()
        for number in range(2 * WAITS + 3):
            await server.put("/services/users/a", f"10.0.0.{number}:80")
            reply = await backend.fetch(Query("users"), reply.cursor)
            if reads:
                read_at.append(number)
                reads.clear()
            await clock.advance(wait)
        # The first is of a service that nobody knew.
        assert read_at == [0, WAITS, 2 * WAITS]


async def test_services_that_do_not_change_are_read_once_in_many_waits(
    server: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def watch(name: str) -> None:
        reply = await backend.fetch(Query(name), None)
        while True:
            before, reply = reply, await backend.fetch(Query(name), reply.cursor)
            waits[name] += 1
            assert reply.instances == before.instances

    names = [f"s{number}" for number in range(FEW + 12)]
    waits = dict.fromkeys(names, 0)
    for name in names:
        await server.put(f"/services/{name}/a", "10.0.0.7:80")
    clock, wait = FakeClock(), 0.3
    async with EtcdBackend(server.url, wait=wait, clock=clock) as backend:

        async def all_wait() -> bool:
            await asyncio.sleep(0.001)
            return backend._watch._waiting == len(names)

        reads = counted(backend, monkeypatch)
        tasks = [asyncio.create_task(watch(name)) for name in names]
        await until(all_wait)
        await server.watched(FEW + 1)
        for _ in range(12 * 8):
            await clock.advance(wait / 8)
            await until(all_wait)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    # Any eight may wait alone, which have to read.
    rare = [name for name in names if reads.count(backend._keys.service(name)) <= waits[name] / 2]
    assert len(rare) >= 12
    assert all(reads.count(backend._keys.service(name)) > 1 for name in names)


async def test_a_bound_on_its_age_makes_a_stale_reading_exact(
    server: EtcdServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.put("/services/users/a", "10.0.0.7:80")
    async with EtcdBackend(server.url) as backend:
        local: list[bool] = []
        read = backend._read

        async def noting(span: Any, *, is_local: bool = False) -> Any:
            local.append(is_local)
            return await read(span, is_local=is_local)

        monkeypatch.setattr(backend, "_read", noting)
        for max_stale, expected in ((None, [True]), (5.0, [False, False])):
            query = Query("users", consistency="stale", max_stale=max_stale)
            reply = await backend.fetch(query, None)
            coming = asyncio.create_task(backend.fetch(query, reply.cursor))
            await asyncio.sleep(0.1)
            await server.put("/services/users/a", "10.0.0.8:80")
            assert (await coming).index != reply.index
            # What isn't bounded is followed, and not read again.
            assert local == expected
            local.clear()


def counted(backend: EtcdBackend, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is read from now on."""
    reads: list[object] = []
    read = backend._read

    async def counting(span: Any, **options: Any) -> Any:
        reads.append(span)
        return await read(span, **options)

    monkeypatch.setattr(backend, "_read", counting)
    return reads
