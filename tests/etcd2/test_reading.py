"""What is read from a real server, and what a waiting fetch hears of."""

import asyncio
import json
from typing import Any

import pytest

from asyncsd import Query, RegistryBackend, UnsupportedError
from asyncsd.backends import from_url
from asyncsd.backends.etcd2 import Etcd2Backend
from tests.support.etcd import EtcdServer, call_v2
from tests.support.running import fetched

pytestmark = pytest.mark.server("etcd34")


@pytest.fixture
def server(shared_server: EtcdServer) -> EtcdServer:
    return shared_server


async def flood(server: EtcdServer, count: int) -> None:
    """Write so often beside what is watched that etcd forgets what was before."""

    def write(number: int) -> None:
        for _ in range(number):
            call_v2("PUT", f"{server.url}/v2/keys/elsewhere", None, None, {"value": "x"})

    await asyncio.gather(*(asyncio.to_thread(write, count // 20) for _ in range(20)))


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
    server: EtcdServer, backend: Etcd2Backend, root: str, value: str, address: object
) -> None:
    await server.v2("PUT", f"/keys{root}/users/a", value=value)
    [instance] = (await fetched(backend, "users", bool)).instances
    assert (instance.scheme, instance.host, instance.port) == address
    assert (instance.id, instance.service, instance.status) == ("a", "users", "passing")


async def test_malformed_values_are_counted_and_left_out(
    server: EtcdServer, backend: Etcd2Backend, root: str
) -> None:
    for number, value in enumerate(["", "{", "[]", '{"host": 1}', '{"host": ""}', "a b", "h:99999999"]):
        await server.v2("PUT", f"/keys{root}/users/bad-{number}", value=value)
    await server.v2("PUT", f"/keys{root}/users/good", value="10.0.0.7:80")
    await server.v2("PUT", f"/keys{root}/lonely", value="10.0.0.7:80")
    reply = await backend.fetch(Query("users"), None)
    assert [instance.id for instance in reply.instances] == ["good"]
    assert reply.skipped == 7
    # A key where a service's folder should be.
    lonely = await backend.fetch(Query("lonely"), None)
    assert (lonely.instances, lonely.skipped) == ((), 1)
    assert dict((await backend.fetch_names(None)).services) == {"users": ()}


async def test_folders_in_a_service_are_read_too(
    server: EtcdServer, backend: Etcd2Backend, root: str
) -> None:
    await server.v2("PUT", f"/keys{root}/users/eu/a", value="10.0.0.7:80")
    await server.v2("PUT", f"/keys{root}/users/empty", dir="true")
    assert [i.id for i in (await backend.fetch(Query("users"), None)).instances] == ["eu/a"]


async def test_an_instance_keeps_its_object_while_its_value_stays(
    server: EtcdServer, backend: Etcd2Backend, root: str
) -> None:
    await server.v2("PUT", f"/keys{root}/users/b", value="10.0.0.7:80")
    [before] = (await backend.fetch(Query("users"), None)).instances
    await server.v2("PUT", f"/keys{root}/users/a", value="10.0.0.8:80")
    after = (await backend.fetch(Query("users"), None)).instances
    assert [instance.id for instance in after] == ["a", "b"]
    assert after[1] is before


async def test_all_who_wait_share_one_long_poll(server: EtcdServer, backend: Etcd2Backend) -> None:
    me: Any = backend
    replies = [await backend.fetch(Query(f"service-{number}"), None) for number in range(20)]
    waiting = [
        asyncio.create_task(backend.fetch(Query(f"service-{number}"), reply.cursor))
        for number, reply in enumerate(replies)
    ]
    waiting.append(asyncio.create_task(me.fetch_names(replies[0].cursor)))
    await server.listened(1)
    assert not any(task.done() for task in waiting)
    await backend.aclose()
    await asyncio.gather(*waiting, return_exceptions=True)
    await server.listened(0)


async def test_a_change_wakes_those_whom_it_concerns_alone(
    server: EtcdServer, backend: Etcd2Backend, root: str
) -> None:
    replies = {name: await backend.fetch(Query(name), None) for name in ("user", "users", "users2")}
    waiting = {
        name: asyncio.create_task(backend.fetch(Query(name), reply.cursor)) for name, reply in replies.items()
    }
    await server.listened()
    await server.v2("PUT", "/keys/elsewhere", value="10.0.0.9:80")
    await server.v2("PUT", f"/keys{root}/users/a", value="10.0.0.7:80")
    async with asyncio.timeout(20):
        assert len((await waiting.pop("users")).instances) == 1
    await server.v2("DELETE", f"/keys{root}/users/a")
    await fetched(backend, "users", lambda found: not found)
    assert not any(task.done() for task in waiting.values())
    for task in waiting.values():
        task.cancel()
    await asyncio.wait(waiting.values())


@pytest.mark.parametrize("gone", ["/users/?recursive=true", "/?recursive=true"])
async def test_a_folder_that_is_removed_takes_its_instances_along(
    server: EtcdServer, backend: Etcd2Backend, root: str, gone: str
) -> None:
    await server.v2("PUT", f"/keys{root}/users/a", value="10.0.0.7:80")
    before = await backend.fetch(Query("users"), None)
    waiting = asyncio.create_task(backend.fetch(Query("users"), before.cursor))
    await server.listened()
    await server.v2("DELETE", f"/keys{root}{gone}")
    async with asyncio.timeout(20):
        assert (await waiting).instances == ()


async def test_a_folder_that_expires_takes_its_instances_along(
    server: EtcdServer, backend: Etcd2Backend, root: str
) -> None:
    await server.v2("PUT", f"/keys{root}/users", dir="true", ttl="1")
    await server.v2("PUT", f"/keys{root}/users/a", value="10.0.0.7:80")
    await fetched(backend, "users", lambda found: not found)


async def test_a_cursor_older_than_etcd_remembers_is_read_from_anew(
    server: EtcdServer, backend: Etcd2Backend, root: str
) -> None:
    before = await backend.fetch(Query("users"), None)
    await server.v2("PUT", f"/keys{root}/users/a", value="10.0.0.7:80")
    await flood(server, 1_100)
    async with asyncio.timeout(20):
        reply = await backend.fetch(Query("users"), before.cursor)
        assert [instance.host for instance in reply.instances] == ["10.0.0.7"]
        # And goes on from there.
        coming = asyncio.create_task(backend.fetch(Query("users"), reply.cursor))
        await server.v2("PUT", f"/keys{root}/users/b", value="10.0.0.8:80")
        assert len((await coming).instances) == 2


async def test_what_others_write_meanwhile_costs_those_who_wait_nothing(
    server: EtcdServer, backend: Etcd2Backend, root: str
) -> None:
    before = await backend.fetch(Query("users"), None)
    waiting = asyncio.create_task(backend.fetch(Query("users"), before.cursor))
    await server.listened()
    await flood(server, 1_100)
    assert not waiting.done()
    await server.v2("PUT", f"/keys{root}/users/a", value="10.0.0.7:80")
    async with asyncio.timeout(20):
        assert len((await waiting).instances) == 1


async def test_a_large_change_is_no_trouble(server: EtcdServer, backend: Etcd2Backend, root: str) -> None:
    before = await backend.fetch(Query("users"), None)
    coming = asyncio.create_task(backend.fetch(Query("users"), before.cursor))
    value = json.dumps({"host": "10.0.0.7", "meta": {"x": "y" * 1_000_000}})
    await server.v2("PUT", f"/keys{root}/users/a", value=value)
    async with asyncio.timeout(20):
        assert len((await coming).instances) == 1


async def test_what_etcd_cannot_choose_by_is_refused(backend: RegistryBackend) -> None:
    for query in (Query("u", datacenter="x"), Query("u", filter="x"), Query("u", node_meta={"a": "b"})):
        with pytest.raises(UnsupportedError):
            await backend.fetch(query, None)


async def test_every_consistency_reads_the_same_when_all_is_well(
    server: EtcdServer, backend: Etcd2Backend, root: str
) -> None:
    await server.v2("PUT", f"/keys{root}/users/a", value="10.0.0.7:80")
    for query in (Query("users", consistency="stale"), Query("users", consistency="consistent")):
        reply = await backend.fetch(query, None)
        assert len(reply.instances) == 1
        coming = asyncio.create_task(backend.fetch(query, reply.cursor))
        await server.listened()
        await server.v2("PUT", f"/keys{root}/users/b", value="10.0.0.8:80")
        assert len((await coming).instances) == 2
        await server.v2("DELETE", f"/keys{root}/users/b")


async def test_a_backend_from_a_url(server: EtcdServer, root: str) -> None:
    await server.v2("PUT", f"/keys{root}/users/a", value="10.0.0.7:80")
    async with from_url(f"etcd2://127.0.0.1:{server.port}{root}?wait=5") as backend:
        assert len((await backend.fetch(Query("users"), None)).instances) == 1


async def test_an_empty_prefix_is_the_whole_store(server: EtcdServer, root: str) -> None:
    await server.v2("PUT", f"/keys{root}/a", value="10.0.0.7:80")
    async with Etcd2Backend(server.url, prefix="/") as backend:
        before = await backend.fetch(Query(root[1:]), None)
        assert [instance.id for instance in before.instances] == ["a"]
        assert root[1:] in (await backend.fetch_names(None)).services
        coming = asyncio.create_task(backend.fetch(Query(root[1:]), before.cursor))
        await server.listened()
        await server.v2("DELETE", f"/keys{root}/a")
        async with asyncio.timeout(20):
            assert (await coming).instances == ()


@pytest.mark.server("etcd")
@pytest.mark.parametrize("program", ["etcd", "etcd34"])
async def test_a_server_without_the_api_says_how_to_get_it(program: str) -> None:
    async with EtcdServer(program=program) as server, Etcd2Backend(server.url) as backend:
        with pytest.raises(UnsupportedError, match=r"--enable-v2=true.*EtcdBackend"):
            await backend.fetch(Query("users"), None)


async def test_a_change_is_followed_without_a_reading(
    server: EtcdServer, backend: Etcd2Backend, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = f"/keys{root}/users"
    await server.v2("PUT", f"{users}/a", value="10.0.0.7:80")
    reply = await backend.fetch(Query("users"), None)
    reads = counted(backend, monkeypatch)
    for key, value, hosts in (
        ("b", "10.0.0.8:80", ["10.0.0.7", "10.0.0.8"]),
        ("b", "10.0.0.9:80", ["10.0.0.7", "10.0.0.9"]),
        ("a", None, ["10.0.0.9"]),
    ):
        coming = asyncio.create_task(backend.fetch(Query("users"), reply.cursor))
        await server.listened()
        if value is None:
            await server.v2("DELETE", f"{users}/{key}")
        else:
            await server.v2("PUT", f"{users}/{key}", value=value)
        before, reply = reply, await coming
        assert [instance.host for instance in reply.instances] == hosts
        assert reply.index is not None
        assert before.index is not None
        assert reply.index > before.index
    # Several that came while nobody waited are followed too.
    for port in (81, 82):
        await server.v2("PUT", f"{users}/c", value=f"10.0.0.1:{port}")
    while len(reply.instances) == 1 or reply.instances[1].port != 82:
        reply = await backend.fetch(Query("users"), reply.cursor)
    assert reads == []
    assert set(reply.instances) == set((await backend.fetch(Query("users"), None)).instances)


async def test_what_becomes_of_a_folder_is_read(
    server: EtcdServer, backend: Etcd2Backend, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.v2("PUT", f"/keys{root}/users/a", value="10.0.0.7:80")
    await server.v2("PUT", f"/keys{root}/users/more/b", value="10.0.0.8:80")
    reply = await backend.fetch(Query("users"), None)
    assert len(reply.instances) == 2
    reads = counted(backend, monkeypatch)
    coming = asyncio.create_task(backend.fetch(Query("users"), reply.cursor))
    await server.listened()
    await server.v2("DELETE", f"/keys{root}/users/more?recursive=true")
    assert [instance.host for instance in (await coming).instances] == ["10.0.0.7"]
    assert len(reads) == 1


def counted(backend: Etcd2Backend, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is read from now on."""
    reads: list[object] = []
    get = backend._get

    async def counting(path: str, **options: Any) -> Any:
        reads.append(path)
        return await get(path, **options)

    monkeypatch.setattr(backend, "_get", counting)
    return reads
