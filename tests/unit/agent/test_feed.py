"""What a reader of the feed hears: the newest state of what changed, and each thing once."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from asyncsd.agent._page import _feed
from asyncsd.agent._page._feed import Cursor, Feed
from asyncsd.agent._page._timeline import Timeline
from asyncsd.agent._state._catalog import Catalog
from asyncsd.agent._state._structs import HealthCheck, Node, Service, Status
from asyncsd.testing import FakeClock


class Fed:
    """A catalog with its feed."""

    def __init__(self) -> None:
        self.catalog = Catalog()
        clock = FakeClock()
        timeline = Timeline(clock)
        self.catalog.observer = timeline.observe
        self.feed = Feed(self.catalog, timeline, clock)

    def put(self, id: str, status: Status = "passing", *, service: str = "web", node: str = "n1") -> None:
        self.catalog.register(
            Node(node=node, address="10.0.0.1", datacenter="dc1"),
            [Service(id=id, service=service, port=80)],
            [HealthCheck(node=node, check_id=f"c-{id}", name="c", status=status, service_id=id)],
        )

    def drop(self, id: str, *, node: str = "n1") -> None:
        self.catalog.deregister(node, service_id=id)


class Reader:
    """Follows a feed as the page does."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.cursor = Cursor()
        self.held: dict[str, tuple[str, str, str]] = {}

    def read(self) -> dict[str, Any] | None:
        frame = self.feed.since(self.cursor)
        if frame is None:
            return None
        assert frame.cursor != self.cursor
        self.cursor = Cursor.parse(str(frame.cursor))
        update = msgspec.json.decode(frame.data)
        if update["whole"]:
            self.held.clear()
        for key in update["drop"]:
            self.held.pop(key, None)  # It may have come and gone while this one was away.
        for instance in update["put"]:
            status = instance["checks"][0]["status"]
            self.held[instance["key"]] = (instance["service"], instance["id"], status)
        return update


def test_the_first_update_is_the_whole_and_then_only_what_changed() -> None:
    fed = Fed()
    fed.put("a")
    fed.put("b")
    reader = Reader(fed.feed)
    update = reader.read()
    assert update is not None
    assert update["whole"]
    assert len(update["put"]) == 2
    assert reader.read() is None
    fed.put("b", "critical")
    update = reader.read()
    assert update is not None
    assert not update["whole"]
    assert [instance["id"] for instance in update["put"]] == ["b"]
    assert [change["kind"] for change in update["changes"]] == ["status"]


def test_many_changes_are_one_update_for_a_reader_that_was_away() -> None:
    fed = Fed()
    fed.put("a")
    reader = Reader(fed.feed)
    reader.read()
    for status in ("critical", "passing", "warning"):
        fed.put("a", status)
        fed.feed.since(Cursor())  # Another reader looks at each step.
    fed.put("b")
    fed.drop("b")
    update = reader.read()
    assert update is not None
    assert [instance["checks"][0]["status"] for instance in update["put"]] == ["warning"]
    assert update["drop"] == []  # It came and went unseen.
    assert len(update["changes"]) == 5


def test_a_removal_is_told_and_one_that_came_back_is_no_removal() -> None:
    fed = Fed()
    fed.put("a")
    reader = Reader(fed.feed)
    reader.read()
    fed.drop("a")
    fed.feed.since(Cursor())
    fed.put("a", service="shop")
    update = reader.read()
    assert update is not None
    assert update["drop"] == []
    assert list(reader.held.values()) == [("shop", "a", "passing")]
    fed.drop("a")
    reader.read()
    assert reader.held == {}


def test_who_missed_more_removals_than_are_kept_hears_the_whole() -> None:
    fed = Fed()
    for number in range(_feed.MOST_GONE + 5):
        fed.put(f"{number}")
    reader, other = Reader(fed.feed), Reader(fed.feed)
    reader.read()
    other.read()
    for number in range(_feed.MOST_GONE + 3):
        fed.drop(f"{number}")
        other.read()
    update = reader.read()
    assert update is not None
    assert update["whole"]
    assert reader.held == other.held
    assert len(reader.held) == 2


def test_a_cursor_of_another_life_hears_the_whole() -> None:
    one, other = Fed(), Fed()
    one.put("a")
    reader = Reader(one.feed)
    reader.read()
    reader.feed = other.feed
    other.put("b")
    update = reader.read()
    assert update is not None
    assert update["whole"]
    assert [id for _, id, _ in reader.held.values()] == ["b"]


def test_two_places_never_share_a_key() -> None:
    fed = Fed()
    fed.put("b/c", node="a")
    fed.put("c", node="a/b")
    reader = Reader(fed.feed)
    reader.read()
    assert len(reader.held) == 2


@given(st.text())
def test_any_text_is_a_cursor(text: str) -> None:
    assert Fed().feed.since(Cursor.parse(text)) is not None
    assert Fed().feed.since(Cursor.parse(f"{text}.1.²")) is not None


def test_a_cursor_ahead_of_its_feed_hears_the_whole() -> None:
    fed = Fed()
    fed.put("a")
    frame = fed.feed.since(Cursor(fed.feed.id, 99, 99))
    assert frame is not None
    assert msgspec.json.decode(frame.data)["whole"]


STEPS = st.lists(
    st.tuples(
        st.sampled_from("pdr"),
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["web", "shop"]),
        st.sampled_from(["passing", "critical"]),
    )
)


@given(STEPS)
def test_whoever_reads_whenever_ends_with_what_the_catalog_has(
    steps: list[tuple[str, str, str, Status]],
) -> None:
    fed = Fed()
    often, seldom = Reader(fed.feed), Reader(fed.feed)
    for number, (step, id, service, status) in enumerate(steps):
        if step == "p":
            fed.put(id, status, service=service)
        elif step == "d":
            fed.drop(id)
        else:
            often.read()
        if number % 7 == 3:
            seldom.read()
    often.read()
    seldom.read()
    new = Reader(fed.feed)
    new.read()
    assert often.held == seldom.held == new.held
    there = {
        (name, entry.service.id, entry.checks[0].status)
        for name in fed.catalog.names().value
        for entry in fed.catalog.health(name).value
    }
    assert set(new.held.values()) == there
