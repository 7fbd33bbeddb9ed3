"""The catalog: what moves which index, and whom a write wakes."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsd.agent._state._catalog import Catalog, MissingService
from asyncsd.agent._state._found import Found
from asyncsd.agent._state._structs import HealthCheck, Node, Service, Status

NODE = Node(node="n1", address="10.0.0.1", datacenter="dc1")
OTHER = Node(node="n2", address="10.0.0.2", datacenter="dc1")


def service(name: str, id: str = "", **fields: Any) -> Service:
    return Service(id=id or name, service=name, **fields)


def check(id: str, service_id: str = "", status: Status = "passing", node: str = "n1") -> HealthCheck:
    return HealthCheck(node=node, check_id=id, name=id, status=status, service_id=service_id)


@pytest.fixture
def catalog() -> Catalog:
    catalog = Catalog()
    catalog.register(NODE, [service("web"), service("db")], [check("web-up", "web"), check("alive")])
    catalog.register(OTHER, [service("web", "web2"), service("cache")])
    return catalog


Read = Callable[[Catalog], Found[Any]]

READS: dict[str, Read] = {
    "nodes": lambda catalog: catalog.nodes(),
    "node n1": lambda catalog: catalog.node("n1"),
    "names": lambda catalog: catalog.names(),
    "service web": lambda catalog: catalog.service("web"),
    "health web": lambda catalog: catalog.health("web"),
    "health db": lambda catalog: catalog.health("db"),
    "health cache": lambda catalog: catalog.health("cache"),
    "health none": lambda catalog: catalog.health("none"),
    "checks of web": lambda catalog: catalog.checks_of_service("web"),
    "checks of n1": lambda catalog: catalog.checks_of_node("n1"),
    "checks of n2": lambda catalog: catalog.checks_of_node("n2"),
    "checks": lambda catalog: catalog.checks(),
}

WRITES: dict[str, tuple[Callable[[Catalog], None], set[str]]] = {
    "nothing new": (lambda c: c.register(NODE, [service("web")], [check("web-up", "web")]), set()),
    "a check of a service": (
        lambda c: c.register(NODE, [], [check("web-up", "web", "critical")]),
        {"health web", "checks of web", "checks of n1", "checks"},
    ),
    "a check of a node": (
        lambda c: c.register(NODE, [], [check("alive", status="critical")]),
        {"health web", "health db", "checks of web", "checks of n1", "checks"},
    ),
    "another instance": (
        lambda c: c.register(NODE, [service("cache", "cache2")]),
        {"health cache", "names", "node n1"},
    ),
    "a new service": (lambda c: c.register(NODE, [service("none")]), {"health none", "names", "node n1"}),
    "an address of a node": (
        lambda c: c.register(Node(node="n2", address="10.0.0.9", datacenter="dc1")),
        {"nodes", "health web", "service web", "checks of web", "health cache"},
    ),
    "the end of an instance": (
        lambda c: c.deregister("n2", service_id="web2"),
        {"health web", "service web", "checks of web", "names"},
    ),
    "the end of a check": (
        lambda c: c.deregister("n1", check_id="web-up"),
        {"health web", "checks of web", "checks of n1", "checks"},
    ),
    "another name": (
        lambda c: c.register(OTHER, [service("none", "cache")]),
        {"health cache", "health none", "names"},
    ),
}


@pytest.mark.parametrize("write", WRITES)
async def test_a_write_wakes_those_whom_it_concerns_and_nobody_else(catalog: Catalog, write: str) -> None:
    do, concerned = WRITES[write]
    tasks: dict[str, asyncio.Task[None]] = {}
    for name, read in READS.items():
        tasks[name] = asyncio.create_task(catalog.waiters.changed(read(catalog).keys))
    before = {name: read(catalog).index for name, read in READS.items()}
    await asyncio.sleep(0)
    do(catalog)
    for _ in range(3):
        await asyncio.sleep(0)
    woken = {name for name, task in tasks.items() if task.done()}
    assert woken == concerned
    after = {name: read(catalog).index for name, read in READS.items()}
    assert {name for name in concerned if after[name] <= before[name]} == set()
    for task in tasks.values():
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    assert not len(catalog.waiters)


def test_no_index_is_ever_0() -> None:
    catalog = Catalog()
    assert {read(catalog).index for read in READS.values()} == {1}


def test_the_index_of_a_service_that_is_gone_grows_on(catalog: Catalog) -> None:
    known = catalog.health("db").index
    catalog.deregister("n1", service_id="db")
    gone = catalog.health("db")
    assert (gone.value, gone.index > known) == ([], True)
    catalog.register(OTHER, [service("more")])
    assert catalog.health("db").index == gone.index
    catalog.register(NODE, [service("db")])
    assert catalog.health("db").index > gone.index


def test_names_that_are_gone_leave_nothing_behind(catalog: Catalog) -> None:
    def kept() -> int:
        return sum(len(part) for part in vars(catalog).values() if isinstance(part, dict))

    before = kept()
    for number in range(100):
        name = f"short-lived-{number}"
        catalog.register(NODE, [service(name)], [check(name, name)])
        for read in (catalog.health, catalog.service, catalog.checks_of_service):
            read(name)
            read(f"never-{name}")
        catalog.deregister("n1", service_id=name)
        catalog.register(Node(node=name, address="10.0.0.3", datacenter="dc1"))
        catalog.deregister(name)
    assert kept() - before < 10


def test_a_check_of_a_service_that_isn_t_there_writes_nothing(catalog: Catalog) -> None:
    index = catalog.index
    with pytest.raises(MissingService):
        catalog.register(Node(node="n3", address="", datacenter="dc1"), [], [check("c", "nope", node="n3")])
    assert (catalog.index, [node.node for node in catalog.nodes().value]) == (index, ["n1", "n2"])


def test_a_check_bears_the_name_and_the_tags_of_its_service(catalog: Catalog) -> None:
    catalog.register(NODE, [service("tagged", tags=["a"])], [check("c", "tagged")])
    (entry,) = catalog.health("tagged").value
    assert [(one.service_name, one.service_tags) for one in entry.checks if one.check_id == "c"] == [
        ("tagged", ["a"])
    ]


def test_a_service_that_changed_its_name_hears_of_the_end_of_an_old_check(catalog: Catalog) -> None:
    catalog.register(NODE, [service("shop", "web")])
    before = catalog.health("shop").index
    catalog.deregister("n1", check_id="web-up")
    after = catalog.health("shop")
    assert after.index > before
    assert [one.check_id for one in after.value[0].checks] == ["alive"]


def test_a_node_goes_with_all_that_it_has(catalog: Catalog) -> None:
    catalog.deregister("n1")
    assert [node.node for node in catalog.nodes().value] == ["n2"]
    assert set(catalog.names().value) == {"cache", "web"}
    assert catalog.checks().value == []


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["service", "check", "drop service", "drop check", "drop node"]),
        st.sampled_from([NODE, OTHER]),
        st.sampled_from("ab"),
        st.sampled_from("xy"),
        st.sampled_from(["passing", "critical"]),
    ),
    max_size=30,
)


@given(STEPS)
def test_what_is_kept_of_reads_is_what_a_read_from_nothing_says(steps: list[Any]) -> None:
    catalog = Catalog()
    for what, node, id, name, status in steps:
        before = {key: read(catalog) for key, read in SOME.items()}
        if what == "service":
            catalog.register(node, [service(name, id, tags=[status])])
        elif what == "check":
            held = id if id in catalog.services_on(node.node) else ""
            catalog.register(node, [], [check(name, held, status, node.node)])
        elif what == "drop service":
            catalog.deregister(node.node, service_id=id)
        elif what == "drop check":
            catalog.deregister(node.node, check_id=name)
        else:
            catalog.deregister(node.node)
        kept = {key: read(catalog) for key, read in SOME.items()}
        catalog._made.clear()  # pyright: ignore[reportPrivateUsage]
        catalog._tags_made.clear()  # pyright: ignore[reportPrivateUsage]
        for key, read in SOME.items():
            assert read(catalog) == kept[key]
            assert kept[key].index >= before[key].index
            assert kept[key].value == before[key].value or kept[key].index > before[key].index


SOME: dict[str, Read] = {
    "names": lambda catalog: catalog.names(),
    "x": lambda catalog: catalog.health("x"),
    "y": lambda catalog: catalog.health("y"),
    "instances": lambda catalog: catalog.service("x"),
    "checks": lambda catalog: catalog.checks_of_service("x"),
    "nodes": lambda catalog: catalog.nodes(),
}
