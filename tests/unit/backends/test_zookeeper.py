"""ZooKeeperBackend without a server: what it takes, what it refuses, what stands in its nodes."""

import asyncio
import logging
import sys
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kazoo.exceptions import NoNodeError
from kazoo.protocol.states import Callback

from asyncsd import (
    BadRequestError,
    Clock,
    ClosedError,
    Discovery,
    Instance,
    Meta,
    Query,
    Record,
    UnreachableError,
)
from asyncsd._clock import LoopClock
from asyncsd.backends import from_url
from asyncsd.backends.zookeeper import ZooKeeperBackend
from asyncsd.backends.zookeeper._address import node_name, parse_addresses, parse_path, plain_name
from asyncsd.backends.zookeeper._codec import decode, encode
from asyncsd.backends.zookeeper._kazoo import Settings, _make_handler, load
from asyncsd.backends.zookeeper._log import KazooLog
from asyncsd.backends.zookeeper._session import Session, _deliver
from asyncsd.backends.zookeeper._threads import Submitter
from asyncsd.testing import FakeClock


def shown(hosts: Any) -> list[str]:
    return [str(address) for address in parse_addresses(hosts)]


@pytest.mark.parametrize(
    ("hosts", "addresses"),
    [
        ("zk1", ["zk1:2181"]),
        ("zk1:1,zk2:2, zk3", ["zk1:1", "zk2:2", "zk3:2181"]),
        (["10.0.0.1:1", "[::1]:2"], ["10.0.0.1:1", "[::1]:2"]),
        ("[2001:db8::1]", ["[2001:db8::1]:2181"]),
    ],
)
def test_hosts_are_a_string_or_a_list(hosts: Any, addresses: list[str]) -> None:
    assert shown(hosts) == addresses


@pytest.mark.parametrize(
    "hosts", ["", "a,,b", [], "a:x", "a:70000", "http://a", "a/chroot", "a,a:2181", "a b"]
)
def test_hosts_that_are_none_are_refused(hosts: Any) -> None:
    with pytest.raises(ValueError, match=r"ZooKeeperBackend\.hosts"):
        ZooKeeperBackend(hosts)


@pytest.mark.parametrize("hosts", [None, 1, [1]])
def test_hosts_of_another_type_are_refused(hosts: Any) -> None:
    with pytest.raises(TypeError, match=r"ZooKeeperBackend\.hosts"):
        ZooKeeperBackend(hosts)


@pytest.mark.parametrize(("path", "parsed"), [("/", ""), ("", ""), ("a", "/a"), ("/a/b/", "/a/b")])
def test_a_prefix_is_a_path(path: str, parsed: str) -> None:
    assert parse_path("prefix", path) == parsed


@pytest.mark.parametrize("path", ["/a//b", "/a/../b", "/./a", "/zookeeper", "/zookeeper/x", "/a\0"])
def test_a_prefix_that_no_server_takes_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"ZooKeeperBackend\.prefix"):
        ZooKeeperBackend(prefix=path)


@given(st.text(min_size=1).filter(lambda text: text.isprintable()))
def test_any_name_is_a_nodes_name_and_comes_back(name: str) -> None:
    node = node_name(name)
    assert "/" not in node
    assert node not in (".", "..")
    assert plain_name(node) == name


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"user": "me:sesame", "password": "x"}, "without ':'"),
        ({"user": "", "password": "sesame"}, "user is a string that isn't empty"),
        ({"user": "me"}, "one of password= and password_file="),
        ({"user": "me", "password": ""}, "password is a string that isn't empty"),
        ({"user": "me", "password": "sesame", "password_file": "f"}, "one of password= and password_file="),
        ({"password": "sesame"}, "go with user="),
        ({"password_file": "f"}, "go with user="),
        ({"ca": "ca.pem"}, "tls=True"),
        ({"verify": False}, "tls=True"),
        ({"tls": True, "key": "k"}, "goes with cert"),
        ({"session_timeout": 0}, "session_timeout"),
        ({"wait": -1}, "wait"),
        ({"connect_timeout": float("nan")}, "connect_timeout"),
    ],
)
def test_options_that_cant_be_are_refused_without_a_secret(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        ZooKeeperBackend(**options)
    assert "sesame" not in str(caught.value)


def test_its_repr_shows_no_password() -> None:
    backend = ZooKeeperBackend("a,b", prefix="/", user="me", password="sesame", tls=True)
    shown = "ZooKeeperBackend('a:2181,b:2181', prefix='/', user='me', password='***', tls=True)"
    assert repr(backend) == shown


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("zk://", "ZooKeeperBackend('127.0.0.1:2181')"),
        ("zk://a:1,b:2", "ZooKeeperBackend('a:1,b:2')"),
        ("zk://a:1/", "ZooKeeperBackend('a:1')"),
        ("zk://a:1/apps", "ZooKeeperBackend('a:1', prefix='/apps/services')"),
        ("zk://a:1/apps?prefix=/sd", "ZooKeeperBackend('a:1', prefix='/apps/sd')"),
        ("zk://a:1/apps?prefix=/", "ZooKeeperBackend('a:1', prefix='/apps')"),
        ("zk://a:1?prefix=/", "ZooKeeperBackend('a:1', prefix='/')"),
        (
            "zk://a?user=me&password_file=f&tls=true&ca=c",
            "ZooKeeperBackend('a:2181', user='me', password_file='f', tls=True)",
        ),
    ],
)
def test_from_url(url: str, expected: str) -> None:
    assert repr(from_url(url)) == expected


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("zk+x://a", "zk://"),
        ("zk://me:sesame@a", "password_file="),
        ("zk://a?password=sesame", "no parameter 'password'.*password_file"),
        ("zk://a?wait=x", "wait of a ZooKeeper URL"),
        ("zk://a?tls=yes", "tls of a ZooKeeper URL"),
    ],
)
def test_a_url_that_cant_be_is_refused_without_a_secret(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        from_url(url)
    assert "sesame" not in str(caught.value)


async def test_files_that_cant_be_read_are_told_of_when_it_opens(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    cases: list[tuple[dict[str, Any], str]] = [
        (
            {"user": "me", "password_file": tmp_path / "none"},
            "password file .*none can't be used: No such file",
        ),
        ({"user": "me", "password_file": empty}, "password file .*empty can't be used: it is empty"),
        ({"tls": True, "ca": tmp_path / "none"}, "ca .*none: No such file"),
        ({"tls": True, "cert": empty}, "cert .*empty"),
    ]
    for options, why in cases:
        backend = ZooKeeperBackend(**options)
        with pytest.raises(ValueError, match=why):
            await backend.__aenter__()
        with pytest.raises(ClosedError):
            await backend.fetch(Query("users"), None)


async def test_without_kazoo_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kazoo.client", None)
    with pytest.raises(ImportError, match=r"pip install 'asyncsd\[zookeeper\]'"):
        async with Discovery.from_url("zk://127.0.0.1:1"):
            pass


RECORD = Record(
    id="a/b",
    service="users",
    host="::1",
    port=80,
    tags=("v1",),
    meta=Meta({"zone": "a"}),
    weight=5,
    warning_weight=2,
    scheme="https",
)


def test_what_is_written_is_read() -> None:
    instance = Instance("a/b", "users", "::1", 80, ("v1",), {"zone": "a"}, 5, zone="a", scheme="https")
    assert decode("users", "a/b", encode(RECORD, "passing", drained=False)) == instance


@pytest.mark.parametrize(
    ("status", "drained", "expected"),
    [
        ("passing", False, ("passing", 5)),
        ("warning", False, ("warning", 2)),
        ("critical", False, ("critical", 5)),
        ("passing", True, ("critical", 5)),
    ],
)
def test_status_and_weight_go_together(status: Any, drained: bool, expected: tuple[str, int]) -> None:
    read = decode("users", "a", encode(RECORD, status, drained=drained))
    assert read is not None
    assert (read.status, read.weight) == expected


def test_what_no_server_takes_is_refused_before_it_is_sent() -> None:
    """A server hangs up on it, which looks like a lost connection, for ever."""
    large = Record(id="a", service="users", host="h", port=1, meta=Meta({"x": "x" * 1_000_000}))
    with pytest.raises(BadRequestError, match="1000000"):
        encode(large, "passing", drained=False)


@pytest.mark.parametrize(
    ("data", "address"),
    [
        (b"10.0.0.1:8080", "10.0.0.1:8080"),
        (b"db-1.example:80\n", "db-1.example:80"),
        (b"[::1]:80", "[::1]:80"),
        (b"http://10.0.0.1:8080", "10.0.0.1:8080"),
        (b"https://db/", "db:443"),
        (b'{"host":"h","port":1}', "h:1"),
        (b'{"host":"h","port":1,"from":"the future"}', "h:1"),
    ],
)
def test_a_bare_address_is_an_instance_too(data: bytes, address: str) -> None:
    read = decode("users", "x", data)
    assert read is not None
    assert (read.id, read.address, read.status, read.weight) == ("x", address, "passing", 1)


def test_the_address_may_be_the_nodes_name() -> None:
    read = decode("users", "10.0.0.1:8080", b"")
    assert read is not None
    assert (read.id, read.host, read.port, read.scheme) == ("10.0.0.1:8080", "10.0.0.1", 8080, None)
    assert decode("users", "10.0.0.1:8080", b"no address") is None


@given(
    st.binary()
    | st.text().map(str.encode)
    | st.text().map(lambda text: b'{"host":"h","port":' + text.encode())
)
def test_no_garbage_in_a_node_is_more_than_skipped(data: bytes) -> None:
    decode("users", "x", data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"host",
        b"grpc://h",
        b"http://h:1/path",
        b"h:99999",
        b"[]",
        b'{"host":"","port":1}',
        b'{"host":"h","port":"1"}',
        b'{"host":"h","port":1,"x":' + b"[" * 10_000,
    ],
)
def test_what_is_no_instance_is_skipped(data: bytes) -> None:
    assert decode("users", "x", data) is None


def test_kazoos_log_is_ours_at_debug_and_holds_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(1)
    log = KazooLog()
    log.warning("Connection dropped: %s", "refused")
    log.warning("Transition to CONNECTING")
    log.log(5, "Using session_passwd: %s", "sesame")
    log.debug("Sending request(xid=%s): %s", 1, "Auth('sesame')")
    assert "sesame" not in caplog.text
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}
    assert {record.name for record in caplog.records} == {"asyncsd.zookeeper.kazoo"}
    assert log.trouble == "Connection dropped: refused"


def test_an_answer_is_told_in_the_thread_that_sets_it_whether_it_is_asked_for_before_or_after() -> None:
    handler = _make_handler(load())
    for value in (7, KeyError("none")):
        for early in (True, False):
            told: list[tuple[Any, int]] = []

            def tell(result: Any, told: list[tuple[Any, int]] = told) -> None:
                got = result.value if result.successful() else result.exception
                told.append((got, threading.get_ident()))

            answer = handler.async_result()
            if early:
                answer.then(tell)
            setting = answer.set_exception if isinstance(value, Exception) else answer.set
            thread = threading.Thread(target=setting, args=(value,))
            thread.start()
            thread.join()
            if not early:
                answer.then(tell)
            assert told == [(value, thread.ident if early else threading.get_ident())]


def test_a_watch_is_told_in_the_thread_that_reads_it() -> None:
    handler, told = _make_handler(load()), list[tuple[str, int]]()
    for kind in ("watch", "session"):
        handler.dispatch_callback(
            Callback(kind, lambda event: told.append((event, threading.get_ident())), (kind,))
        )
    assert told == [("watch", threading.get_ident())]  # The other waits for kazoo's own thread.


async def test_answers_that_are_told_twice_or_at_once_count_once() -> None:
    """kazoo's thread may set an answer while another asks to be told of it."""

    class Twice:
        def __init__(self, value: Any) -> None:
            self.value = value
            self.exception = None

        def successful(self) -> bool:
            return True

        def then(self, callback: Any) -> None:
            callback(self)
            callback(self)

    class Late(Twice):
        def then(self, callback: Any) -> None:
            threading.Timer(0.1, super().then, (callback,)).start()

    session = offline(LoopClock())
    session._connected.set()
    client: Any = SimpleNamespace(kazoo=None)
    session._client, session._submitter = client, Submitter()
    try:
        starts: list[tuple[str, Any]] = [("a", lambda _: Twice(1)), ("b", lambda _: Late(2))]
        assert await session.run([*starts, ("c", lambda _: Twice(None))]) == [1, 2, None]
    finally:
        session._submitter.stop()


async def test_a_client_that_connects_at_the_last_moment_is_kept() -> None:
    clock = FakeClock()
    session = offline(clock)
    client: Any = SimpleNamespace(kazoo="kazoo", has_ended=False)
    session._client, session._was_connected = client, True
    session._tasks.spawn(session._supervise(), role="session", service="zookeeper")
    asking = asyncio.create_task(session._ready())
    await clock.settle()
    assert clock.skip(), "its time is over, and nobody has noticed yet"
    session._heard(client, "CONNECTED", (7, b""))
    await clock.settle()
    assert await asking == "kazoo"
    assert session._client is client
    await session._tasks.aclose()


async def test_a_connection_that_is_lost_at_once_is_not_asked() -> None:
    clock = FakeClock()
    session = offline(clock)
    client: Any = SimpleNamespace(kazoo="kazoo", has_ended=False)
    session._client = client
    asking = asyncio.create_task(session._ready())
    await clock.settle()
    session._heard(client, "CONNECTED", (7, b""))
    session._heard(client, "SUSPENDED", (7, b""))
    await clock.settle()
    assert not asking.done()
    session._heard(client, "CONNECTED", (7, b""))
    assert await asking == "kazoo"


class Silent:
    """A client that answers what it is told to, and notes that its connection was cut."""

    def __init__(self) -> None:
        self.kazoo = self
        self.cuts = 0
        self.answers: list[Any] = []
        self.taken = threading.Semaphore(0)

    def cut(self) -> None:
        self.cuts += 1

    def start(self, _: Any) -> Any:
        answer = _make_handler(load()).async_result()
        self.answers.append(answer)
        self.taken.release()
        return answer


async def asked(
    clock: FakeClock, session: Session, client: Silent, seconds: float = 1.0
) -> asyncio.Task[Any]:
    """A request that kazoo has taken, so many seconds after."""
    asking = asyncio.create_task(session.run([("a", client.start)]))
    await clock.settle()
    assert await asyncio.to_thread(client.taken.acquire, timeout=20.0)
    await clock.advance(seconds)
    return asking


async def test_a_server_that_is_silent_while_it_is_asked_ever_again_is_left() -> None:
    """kazoo would never notice: it pings only where it isn't asked to send anything else."""
    clock, client = FakeClock(), Silent()
    session = offline(clock, timeout=1.0, session_timeout=9.0)
    session._client, session._submitter = cast("Any", client), Submitter()
    session._heard(cast("Any", client), "CONNECTED", (7, b""))
    try:
        cuts = []
        for _ in range(7):
            with pytest.raises(UnreachableError, match="no answer"):
                await (await asked(clock, session, client))
            cuts.append(client.cuts)
        assert cuts == [0, 0, 1, 1, 1, 2, 2]
    finally:
        session._submitter.stop()


@pytest.mark.parametrize("answer", [None, NoNodeError()])
async def test_a_server_that_answers_something_is_not_left(answer: Any) -> None:
    clock, client = FakeClock(), Silent()
    session = offline(clock, timeout=1.0, session_timeout=9.0)
    session._client, session._submitter = cast("Any", client), Submitter()
    session._heard(cast("Any", client), "CONNECTED", (7, b""))
    try:
        for _ in range(9):
            waiting = await asked(clock, session, client, 0.5)
            quick = await asked(clock, session, client, 0.25)
            if answer is None:
                client.answers[-1].set("yes")
            else:
                client.answers[-1].set_exception(answer)
            await quick
            await clock.advance(0.25)
            with pytest.raises(UnreachableError, match="no answer"):
                await waiting
        assert client.cuts == 0
    finally:
        session._submitter.stop()


def offline(clock: Clock, *, timeout: float = 5.0, session_timeout: float = 2.0) -> Session:
    """A session that nobody has opened."""

    def lost() -> None:
        return

    settings = Settings((), session_timeout, None, None, None)
    return Session(settings, where="zk", timeout=timeout, connect_timeout=2.0, clock=clock, lost=lost)


def test_an_answer_for_a_loop_that_has_ended_is_dropped() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    answer = _make_handler(load()).async_result()
    answer.then(partial(_deliver, loop, list[Any]().insert, 0))
    answer.set(7)
    assert answer.value == 7
