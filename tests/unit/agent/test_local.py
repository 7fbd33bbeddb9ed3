"""What is registered with the agent, and how the catalog follows."""

import random
from collections.abc import Callable

import pytest

from asyncsd.agent._state._catalog import Catalog
from asyncsd.agent._state._definitions import CheckDefinition
from asyncsd.agent._state._local import Local, UnknownCheck, UnknownService
from asyncsd.agent._state._structs import HealthCheck, Node, Service
from asyncsd.testing import FakeClock

NODE = Node(node="here", address="127.0.0.1", datacenter="dc1")


class Running:
    """Who runs the checks: it remembers which."""

    def __init__(self) -> None:
        self.checks: set[str] = set()

    def start(self, definition: CheckDefinition) -> None:
        self.checks.add(definition.check_id)

    def stop(self, check_id: str) -> None:
        self.checks.discard(check_id)


class World:
    """An agent's state and its catalog."""

    def __init__(self, output_interval: float = 300.0) -> None:
        self.clock = FakeClock()
        self.catalog = Catalog()
        self.running = Running()
        self.local = Local(
            self.catalog,
            NODE,
            self.running,
            clock=self.clock,
            rng=random.Random(7),
            output_interval=output_interval,
        )

    def statuses(self, service: str = "web") -> dict[str, str]:
        """What the catalog says of the checks of a service."""
        entries = self.catalog.health(service).value
        return {check.check_id: check.status for entry in entries for check in entry.checks}

    def register(self, service_id: str = "web1", name: str = "web", *checks: str, tags: str = "") -> None:
        self.local.add_service(
            Service(id=service_id, service=name, tags=tags.split()),
            [CheckDefinition(check_id=id, name=id, ttl=10, service_id=service_id) for id in checks],
        )


@pytest.fixture
def world() -> World:
    return World()


def test_a_service_is_never_seen_without_its_checks(world: World) -> None:
    seen: list[int] = []
    world.catalog.observer = lambda _node, _old, _new: seen.append(world.catalog.index)
    world.register("web1", "web", "c1", "c2")
    assert world.statuses() == {"c1": "critical", "c2": "critical"}
    (entry,) = world.catalog.health("web").value
    assert entry.service.create_index == entry.checks[0].create_index == entry.checks[1].create_index
    assert set(seen) == {1}  # one write: its index is only seen once all stands


def test_registering_the_same_again_moves_no_index(world: World) -> None:
    world.register("web1", "web", "c1")
    world.local.update_check("c1", "passing", "fine")
    before = world.catalog.index
    world.register("web1", "web", "c1")
    world.local.sync()
    assert world.catalog.index == before
    assert world.statuses() == {"c1": "passing"}


def test_checks_run_from_their_registration_to_their_end(world: World) -> None:
    world.register("web1", "web", "c1", "c2")
    world.local.remove_check("c1")
    assert world.running.checks == {"c2"}
    world.local.remove_service("web1")
    assert world.running.checks == set()
    assert not world.local.checks
    assert not world.catalog.checks().value


def test_replacing_checks_ends_those_that_are_not_named_and_maintenance(world: World) -> None:
    world.register("web1", "web", "c1", "c2")
    world.local.enter_maintenance("web1", "")
    check = CheckDefinition(check_id="c2", name="c2", ttl=1, service_id="web1")
    world.local.add_service(Service(id="web1", service="web"), [check], replace_checks=True)
    assert set(world.local.checks) == set(world.statuses()) == world.running.checks == {"c2"}


def test_a_check_that_moves_leaves_its_service(world: World) -> None:
    world.register("a", "a", "shared")
    world.register("b", "b", "shared")
    assert [check.check_id for check in world.local.checks_of("a")] == []
    assert world.statuses("a") == {}
    world.local.remove_service("a")
    assert world.statuses("b") == {"shared": "critical"}
    assert world.running.checks == {"shared"}


def test_names_are_followed(world: World) -> None:
    world.register("1", "old")
    world.register("1", "new")
    world.register("2", "new")
    assert world.local.named("old") == []
    assert [service.id for service in world.local.named("new")] == ["1", "2"]
    world.local.remove_service("1")
    world.local.remove_service("2")
    assert world.local.named("new") == []


def test_maintenance_is_critical_and_its_first_reason_stays(world: World) -> None:
    world.register()
    world.local.enter_maintenance("web1", "why")
    world.local.enter_maintenance("web1", "other")
    world.local.enter_maintenance("", "")
    assert set(world.statuses().values()) == {"critical"}
    assert world.local.checks["_service_maintenance:web1"].state.notes == "why"
    world.local.leave_maintenance("web1")
    world.local.leave_maintenance("")
    assert world.statuses() == {}


ON_A_SERVICE: list[Callable[[Local], None]] = [
    lambda local: local.remove_service("x"),
    lambda local: local.enter_maintenance("x", ""),
    lambda local: local.leave_maintenance("x"),
    lambda local: local.add_check(CheckDefinition(check_id="c", name="c", service_id="x")),
]


@pytest.mark.parametrize("do", ON_A_SERVICE)
def test_what_is_said_of_a_service_that_isn_t_there_is_refused(
    world: World, do: Callable[[Local], None]
) -> None:
    with pytest.raises(UnknownService):
        do(world.local)
    assert not world.local.checks


def test_what_is_said_of_a_check_that_isn_t_there_is_refused(world: World) -> None:
    with pytest.raises(UnknownCheck):
        world.local.remove_check("x")
    with pytest.raises(UnknownCheck):
        world.local.update_check("x", "passing", "")


async def test_an_output_alone_reaches_the_catalog_by_and_by(world: World) -> None:
    world.register("web1", "web", "c1")
    world.local.update_check("c1", "passing", "one")
    index = world.catalog.index

    def said() -> str:
        return world.catalog.health("web").value[0].checks[0].output

    world.local.update_check("c1", "passing", "two")
    assert world.local.checks["c1"].state.output == "two"
    world.local.sync()
    assert (said(), world.catalog.index) == ("one", index)
    await world.clock.advance(450)
    world.local.sync()
    assert said() == "two"
    world.local.update_check("c1", "passing", "three")
    world.local.update_check("c1", "warning", "four")
    assert said() == "four"


def test_an_output_is_written_at_once_where_that_is_asked() -> None:
    world = World(output_interval=0)
    world.register("web1", "web", "c1")
    world.local.update_check("c1", "critical", "said")
    assert world.catalog.health("web").value[0].checks[0].output == "said"


def test_what_others_wrote_of_this_node_is_mended(world: World) -> None:
    world.register("web1", "web", "c1")
    world.register("web2", "web", "c2")
    lie = HealthCheck(node="here", check_id="c1", name="lie", status="passing", service_id="web1")
    stranger = HealthCheck(node="here", check_id="stranger", name="stranger")
    world.catalog.register(NODE, [Service(id="foreign", service="foreign")], [lie, stranger])
    world.catalog.deregister("here", service_id="web2")
    world.local.sync()
    assert world.statuses() == {"c1": "critical", "c2": "critical"}
    assert set(world.catalog.names().value) == {"web"}
    assert {check.check_id for check in world.catalog.checks().value} == {"c1", "c2"}
    before = world.catalog.index
    world.local.sync()
    assert world.catalog.index == before


def test_another_node_s_entries_are_left_alone(world: World) -> None:
    there = Node(node="there", address="10.0.0.1", datacenter="dc1")
    check = HealthCheck(node="there", check_id="c", name="c", status="passing", service_id="db")
    world.catalog.register(there, [Service(id="db", service="db")], [check])
    world.local.sync()
    assert world.statuses("db") == {"c": "passing"}


@pytest.mark.parametrize("override", [True, False])
def test_tags_are_others_to_write_where_a_service_lets_them(world: World, override: bool) -> None:
    world.local.add_service(Service(id="1", service="web", tags=["mine"], enable_tag_override=override))
    theirs = Service(id="1", service="web", tags=["theirs"], enable_tag_override=override)
    world.catalog.register(NODE, [theirs])
    world.local.sync()
    wanted = ["theirs"] if override else ["mine"]
    assert world.local.services["1"].tags == wanted
    assert world.catalog.names().value == {"web": wanted}


def test_a_check_s_news_bring_back_a_service_that_somebody_removed(world: World) -> None:
    world.register("web1", "web", "c1")
    world.catalog.deregister("here", service_id="web1")
    world.local.update_check("c1", "passing", "")
    assert world.statuses() == {"c1": "passing"}
