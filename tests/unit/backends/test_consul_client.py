"""A client of the user's own, from the documented protocol alone."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from asyncsd import (
    Backend,
    ClosedError,
    Health,
    NotRegisteredError,
    Query,
    Registration,
    RegistryBackend,
    Status,
    TTLCheck,
    UnreachableError,
)
from asyncsd.backends.consul import Answer, ConsulBackend, ConsulClient


class Recorded:
    """Answers from memory, and notes what it was asked."""

    where = "http://10.0.0.9:8500"

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.status = 200
        self.before: Callable[[], object] | None = None

    async def _answer(self, *asked: object, body: object = None) -> Answer:
        self.asked.append(asked)
        if "hang" in asked:
            await asyncio.get_running_loop().create_future()
        return Answer(self.status, {"X-Consul-Index": "7"}, json.dumps(body).encode())

    async def agent(self) -> Answer:
        return await self._answer("agent", body={"Member": {"Addr": "10.0.0.9"}})

    async def health(self, query: Query, *, index: int | None = None, wait: float | None = None) -> Answer:
        item = {
            "Node": {"Node": "n", "Address": "10.0.0.1"},
            "Service": {"ID": "u1", "Service": query.service},
        }
        return await self._answer("health", query.service, index, wait, body=[item])

    async def services(
        self, *, datacenter: str | None = None, index: int | None = None, wait: float | None = None
    ) -> Answer:
        return await self._answer("services", datacenter, index, wait, body={"users": ["v1"]})

    async def service(self, id: str, *, content_hash: str | None = None, wait: float | None = None) -> Answer:
        return await self._answer("service", id, content_hash, wait, body={"ContentHash": "abc"})

    async def register(self, body: bytes, *, replace_checks: bool = True) -> Answer:
        return await self._answer("register", json.loads(body)["ID"])

    async def deregister(self, id: str) -> Answer:
        return await self._answer("deregister", id)

    async def ttl(self, check_id: str, status: Status, note: str = "") -> Answer:
        return await self._answer("ttl", check_id, status, note)

    async def maintenance(self, id: str, on: bool, reason: str = "") -> Answer:
        return await self._answer("maintenance", id, on, reason)


async def test_a_client_of_ones_own_does_the_whole_job() -> None:
    client: ConsulClient = (mine := Recorded())
    record = Registration(service="users", port=80, check=TTLCheck()).record(id="me", host="10.0.0.2")
    async with ConsulBackend(client=client, wait=5.0, datacenter="dc2") as backend:
        reply = await backend.fetch(Query("users"), None)
        await backend.fetch(Query("users"), reply.cursor)
        names = await backend.fetch_names(None)
        lease = await backend.register(record)
        await backend.renew(lease, Health("warning", "slow"))
        assert await backend.observe(lease, None) == "abc"
        await backend.observe(lease, "abc")
        await backend.drain(lease, True)
        await backend.deregister(lease)
        mine.status = 404
        with pytest.raises(NotRegisteredError):
            await backend.renew(lease, Health("passing"))
    assert [i.host for i in reply.instances] == ["10.0.0.1"]
    assert names.services == {"users": ("v1",)}
    assert lease.where == mine.where
    assert mine.asked == [
        ("health", "users", None, None),
        ("health", "users", 7, 5.0),
        ("services", "dc2", None, None),
        ("register", "me"),
        ("ttl", "service:me", "warning", "slow"),
        ("service", "me", None, None),
        ("service", "me", "abc", 5.0),
        ("maintenance", "me", True, "draining"),
        ("deregister", "me"),
        ("ttl", "service:me", "passing", ""),
    ]


async def test_an_older_client_that_lacks_a_method_still_registers_on_this_machine(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Older(Recorded):
        where = "http://127.0.0.1:8500"
        agent = None  # type: ignore[assignment]

    older: Any = Older()
    async with ConsulBackend(client=older) as backend:
        assert await backend.local_host() == "127.0.0.1"
    assert "other machines can't call" in caplog.text


@pytest.mark.parametrize("error", [OSError("refused"), TimeoutError(), aiohttp.ClientError("cut")])
async def test_what_a_client_lets_through_of_the_network_is_unreachable(error: Exception) -> None:
    class Loose(Recorded):
        async def deregister(self, id: str) -> Answer:
            raise error

    record = Registration(service="users", port=80).record(id="me", host="10.0.0.2")
    async with ConsulBackend(client=Loose()) as backend:
        with pytest.raises(UnreachableError, match=type(error).__name__) as raised:
            await backend.deregister(await backend.register(record))
    assert raised.value.__cause__ is error


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"url": "http://other:8500"}, "url"),
        ({"token": "s3cret", "verify": False, "ca": "ca.pem"}, "token, ca, verify"),
        ({"token_file": "t", "session": object()}, "token_file, session"),
    ],
)
def test_what_only_our_clients_heed_is_refused_beside_another(options: dict[str, Any], names: str) -> None:
    with pytest.raises(ValueError, match=f"{names}: a client of your own sees to that") as error:
        ConsulBackend(client=Recorded(), **options)
    assert "s3cret" not in str(error.value)


def test_what_is_no_client_is_refused() -> None:
    wrong: Any = object()
    for other in (5, wrong, None):
        with pytest.raises(TypeError, match="is 'aio', 'direct' or a ConsulClient"):
            ConsulBackend(client=other)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"ConsulBackend\.session is an aiohttp\.ClientSession"):
        ConsulBackend(session=wrong)


async def test_closing_the_backend_ends_what_its_own_client_waits_for() -> None:
    backend = ConsulBackend(client=Recorded())
    await backend.__aenter__()
    waiting = asyncio.create_task(backend.fetch(Query("hang"), None))
    await asyncio.sleep(0)
    await backend.aclose()
    with pytest.raises(ClosedError):
        await waiting


def test_the_backend_is_what_the_core_asks_for() -> None:
    backend: Backend = ConsulBackend(client="direct")
    registry: RegistryBackend = ConsulBackend(client="direct")
    assert not backend.is_open
    assert not registry.is_open
