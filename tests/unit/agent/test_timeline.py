"""What the timeline tells of a catalog's writes."""

from msgspec.structs import replace

from asyncsd.agent._page._timeline import Change, Timeline
from asyncsd.agent._state._catalog import Catalog
from asyncsd.agent._state._structs import HealthCheck, Node, Service, Weights
from asyncsd.testing import FakeClock

NODE = Node(node="n1", address="10.0.0.1", datacenter="dc1")
WEB = Service(id="web-1", service="web", address="10.0.0.7", port=80, tags=["a"], meta={"zone": "x"})
BEAT = HealthCheck(node="n1", check_id="beat", name="Heartbeat", status="passing", service_id="web-1")


class Told:
    """A catalog with its timeline, and the changes as short words."""

    def __init__(self, size: int = 200) -> None:
        self.clock = FakeClock()
        self.catalog = Catalog()
        self.timeline = Timeline(self.clock, size=size)
        self.catalog.observer = self.timeline.observe
        self.heard = 0

    def put(self, service: Service | None = None, *checks: HealthCheck) -> list[Change]:
        self.catalog.register(NODE, [service] if service else [], checks)
        return self.news()

    def news(self) -> list[Change]:
        found = self.timeline.since(self.heard)
        self.heard = self.timeline.count
        return found


def words(changes: list[Change]) -> list[tuple[str, str, str]]:
    return [(change.kind, change.id, change.detail) for change in changes]


def test_a_registration_with_its_checks_is_one_change() -> None:
    told = Told()
    [change] = told.put(WEB, BEAT)
    assert change == Change(
        number=1,
        at=1000.0,
        kind="registered",
        node="n1",
        service="web",
        id="web-1",
        detail="10.0.0.7:80",
    )
    assert told.put(WEB, BEAT) == []


def test_a_status_is_told_with_what_it_was_and_why() -> None:
    told = Told()
    told.put(WEB, BEAT)
    [change] = told.put(None, replace(BEAT, status="critical", output="gone"))
    assert (change.kind, change.check, change.old, change.new) == (
        "status",
        "Heartbeat",
        "passing",
        "critical",
    )
    assert change.detail == "gone"
    assert told.put(None, replace(BEAT, status="critical", output="still gone")) == []


def test_what_is_new_of_an_instance_is_named() -> None:
    told = Told()
    told.put(WEB)
    changed = replace(
        WEB, port=81, tags=["b"], meta={"zone": "y", "rack": "1"}, weights=Weights(passing=5, warning=2)
    )
    assert words(told.put(changed)) == [
        ("changed", "web-1", "address 10.0.0.7:81, tags +b -a, meta rack zone, weights 5/2")
    ]


def test_an_instance_under_another_name_left_its_service() -> None:
    told = Told()
    told.put(WEB)
    changes = told.put(replace(WEB, service="shop"))
    assert [(change.kind, change.service) for change in changes] == [
        ("deregistered", "web"),
        ("registered", "shop"),
    ]


def test_an_instance_that_goes_takes_its_checks_without_a_word() -> None:
    told = Told()
    told.put(WEB, BEAT)
    told.catalog.deregister("n1", service_id="web-1")
    assert words(told.news()) == [("deregistered", "web-1", "")]


def test_what_was_reaped_is_told_from_what_was_deregistered() -> None:
    told = Told()
    told.put(WEB, BEAT)
    told.catalog.deregister("n1", service_id="web-1")
    told.timeline.reaped("n1", "another")
    told.timeline.reaped("n1", "web-1")
    assert words(told.news()) == [("reaped", "web-1", "")]


def test_checks_that_come_and_go_later_are_told() -> None:
    told = Told()
    told.put(WEB)
    assert words(told.put(None, BEAT)) == [("check-added", "web-1", "")]
    told.catalog.deregister("n1", check_id="beat")
    assert words(told.news()) == [("check-removed", "web-1", "")]


def test_maintenance_is_told_with_its_reason() -> None:
    told = Told()
    told.put(WEB)
    check_id = "_service_maintenance:web-1"
    check = replace(BEAT, check_id=check_id, status="critical", notes="new disk")
    assert words(told.put(None, check)) == [("maintenance-on", "web-1", "new disk")]
    told.catalog.deregister("n1", check_id=check_id)
    assert words(told.news()) == [("maintenance-off", "web-1", "")]
    node = replace(check, check_id="_node_maintenance", service_id="")
    assert words(told.put(None, node)) == [("maintenance-on", "", "new disk")]


def test_only_the_last_changes_are_kept_and_only_short_texts() -> None:
    told = Told(size=3)
    for number in range(5):
        told.put(replace(WEB, id=f"{number}" * 10_000, address="x" * 10_000))
    changes = told.timeline.since(0)
    assert [change.number for change in changes] == [3, 4, 5]
    assert max(len(change.id) + len(change.detail) for change in changes) <= 1024
    assert told.timeline.since(4) == changes[-1:]
    assert told.timeline.since(5) == told.timeline.since(99) == []
