"""The parts of a feed of changes that need no agent: marks, what is known, and the pauses."""

import asyncio
import json
from typing import Any

import pytest

from asyncsd import Instance, ProtocolError
from asyncsd.backends.consul import Answer, _marks
from asyncsd.backends.consul._budget import BYTE, EACH, LEAST, MOST, MOST_IDLE, Budget, Interval
from asyncsd.backends.consul._known import Known
from asyncsd.backends.consul._marks import Marks
from asyncsd.testing import FakeClock

# -- marks


async def test_a_change_later_than_the_mark_ends_the_wait_of_its_service_alone() -> None:
    clock = FakeClock()
    marks = Marks(clock)
    waits = {name: asyncio.create_task(marks.wait(name, marks.now, 55.0)) for name in ("users", "orders")}
    await clock.advance(10)
    marks.mark({"users"})
    assert await waits["users"]
    assert not waits["orders"].done()
    await clock.advance(45)
    assert not await waits["orders"]
    assert "0 services waited for" in repr(marks)


async def test_a_change_between_the_mark_and_the_wait_is_not_lost() -> None:
    marks = Marks(FakeClock())
    before = marks.now
    marks.mark({"users"})
    assert await marks.wait("users", before, 55.0)
    assert not marks.changed("users", marks.now)
    assert not marks.changed("orders", before)


async def test_names_that_come_and_go_are_forgotten_and_no_change_of_theirs_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_marks, "MOST", 10)
    marks = Marks(FakeClock())
    marks.mark({"users"})
    marks.mark({"orders"})
    before = marks.now
    waiting = asyncio.create_task(marks.wait("users", before, 55.0))
    await asyncio.sleep(0)
    for number in range(1000):
        marks.mark({f"job-{number}"})
        assert len(marks._last) <= 12
    assert not waiting.done()
    assert not marks.changed("users", before)
    assert marks.changed("users", 0)
    assert marks.changed("job-990", before)
    assert marks.changed("job-0", before)
    assert not marks.changed("job-0", marks.now)
    waiting.cancel()


async def test_all_are_woken_in_the_order_of_their_coming() -> None:
    marks = Marks(FakeClock())
    order: list[str] = []

    async def wait(service: str) -> None:
        assert await marks.wait(service, 0, 55.0)
        order.append(service)

    tasks = [asyncio.create_task(wait(f"s{n}")) for n in (3, 1, 2)]
    await asyncio.sleep(0)
    marks.mark_all()
    await asyncio.gather(*tasks)
    assert order == ["s3", "s1", "s2"]
    assert marks.changed("never seen", 0)


async def test_a_cancelled_wait_leaves_nothing() -> None:
    marks = Marks(FakeClock())
    tasks = [asyncio.create_task(marks.wait("users", 0, 55.0)) for _ in range(2)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    marks.mark({"users"})
    assert await tasks[1]
    assert "0 services waited for" in repr(marks)


# -- what is known


def answer(body: object) -> Answer:
    return Answer(200, {}, json.dumps(body).encode())


def nodes(**indexes: int) -> Answer:
    return answer([{"Node": name, "ModifyIndex": index, "Address": "x"} for name, index in indexes.items()])


def services(*items: tuple[str, str, int]) -> Answer:
    listed = [{"ID": id, "Service": name, "ModifyIndex": index, "Port": 1} for id, name, index in items]
    return answer({"Node": {"Node": "n"}, "Services": listed})


def check(id: str, service: str = "", node: str = "n1") -> dict[str, Any]:
    return {"Node": node, "CheckID": id, "ServiceName": service, "Status": "critical"}


def known() -> Known:
    known = Known()
    known.hear_nodes(nodes(n1=1, n2=2))
    known.hear_node("n1", services(("a1", "a", 3), ("b1", "b", 4)))
    known.hear_node("n2", services(("a2", "a", 5), ("c1", "c", 6)))
    return known


def test_a_written_instance_concerns_its_service() -> None:
    before = ("a1", "a", 3), ("b1", "b", 4)
    for listed, changed in (
        (before, set()),
        ((("a1", "a", 9), before[1]), {"a"}),
        ((before[0],), {"b"}),
        ((*before, ("d1", "d", 9)), {"d"}),
        ((("a1", "z", 9), before[1]), {"a", "z"}),
        ((), {"a", "b"}),
    ):
        assert known().hear_node("n1", services(*listed)) == changed, listed
    assert known().hear_node("n1", answer({"Node": None, "Services": None})) == {"a", "b"}
    assert known().hear_node("n1", answer(None)) == {"a", "b"}


def test_all_nodes_in_one_answer_tell_what_their_lists_tell() -> None:
    def all_of(**of_node: list[tuple[str, str, int]]) -> Answer:
        def listed(items: list[tuple[str, str, int]]) -> list[dict[str, Any]]:
            return [{"ID": id, "Service": name, "ModifyIndex": index, "Port": 1} for id, name, index in items]

        return answer([{"Node": name, "Services": listed(items)} for name, items in of_node.items()])

    n1, n2 = [("a1", "a", 3), ("b1", "b", 4)], [("a2", "a", 5), ("c1", "c", 6)]
    it = known()
    assert it.hear_all(all_of(n1=n1, n2=n2)) == set()
    assert it.hear_all(all_of(n1=n1, n2=[("a2", "a", 5), ("c1", "c", 7)])) == {"c"}
    assert it.hear_all(all_of(n1=n1, n2=n2, n3=[("d1", "d", 9)])) == {"c", "d"}
    assert it.instances == 5
    assert it.hear_all(all_of(n2=n2)) == {"a", "b", "d"}
    assert it.instances == 2
    peer = {"Node": "n2", "PeerName": "other", "Services": [{"ID": "a2", "Service": "a", "ModifyIndex": 99}]}
    nothing = {"Node": "n1", "Services": None}
    found = [{"Node": "n2", "Services": [{"ID": "a2", "Service": "a", "ModifyIndex": 5}]}, nothing, peer]
    assert it.hear_all(answer(found)) == {"c"}


def test_a_changed_node_and_one_that_is_gone_concern_all_that_stands_there() -> None:
    assert known().hear_nodes(nodes(n1=1, n2=2)) == set()
    assert known().hear_nodes(nodes(n1=7, n2=2)) == {"a", "b"}
    assert known().hear_nodes(nodes(n1=1)) == {"a", "c"}
    assert known().hear_nodes(nodes(n1=1, n2=2, n3=8)) == set()  # Its list tells what stands there.


def test_a_check_that_comes_into_a_state_or_leaves_it_concerns_its_service() -> None:
    it = known()
    assert it.hear_state("critical", answer([])) == set()
    assert it.hear_state("critical", answer([check("k1", "a")])) == {"a"}
    assert it.hear_state("critical", answer([check("k1", "a"), check("k2", "b")])) == {"b"}
    assert it.hear_state("warning", answer([check("k1", "a")])) == {"a"}
    assert it.hear_state("critical", answer([])) == {"a", "b"}


def test_a_check_of_a_node_concerns_all_that_stands_there() -> None:
    it = known()
    assert it.hear_state("critical", answer([check("serfHealth", node="n2")])) == {"a", "c"}
    assert it.hear_state("critical", answer([check("serfHealth", node="gone")])) == {"a", "c"}


def test_names_that_come_and_go_or_have_other_tags_are_told() -> None:
    it = Known()
    assert it.hear_names(answer({"a": ["v1"], "b": [], "c": None})) == set()  # No news: they were there.
    assert it.hear_names(answer({"a": ["v1", "v2"], "b": None, "d": []})) == {"a", "c", "d"}


def test_it_knows_what_it_has_heard_of() -> None:
    def found(id: str, node: str) -> Instance:
        return Instance(id, "a", "10.0.0.1", 80, node=node)

    assert known().has([found("a1", "n1"), found("a2", "n2")])
    assert not known().has([found("a1", "n1"), found("a2", "n1")])
    assert not known().has([found("a1", "n3")])


def test_it_surely_shows_what_was_read_and_not_written_since() -> None:
    def found(id: str, node: str, **fields: Any) -> Instance:
        return Instance(id, "a", "10.0.0.1", 80, node=node, **fields)

    both = [found("a1", "n1"), found("a2", "n2")]
    it = known()
    assert it.shows("a", both, 5)
    assert it.shows("nobody", [], 1)
    assert not it.shows("a", both, 4)
    assert not it.shows("a", both[:1], 5)
    assert not it.shows("a", [*both, found("a3", "n2")], 5)
    assert not it.shows("a", [found("a1", "n1", status="critical"), both[1]], 5)
    it.hear_nodes(nodes(n1=1, n2=9))
    assert not it.shows("a", both, 8)
    assert it.shows("a", both, 9)
    it.hear_node("n1", services(("a1", "a", 12)))
    assert not it.shows("a", both, 9)
    assert it.shows("a", both, 12)
    it.hear_state("warning", answer([check("k", "a")]))
    assert not it.shows("a", both, 12)
    it.hear_state("warning", answer([check("k", node="n2")]))
    assert not it.shows("a", both, 12)
    assert not it.shows("c", [found("c1", "n2")], 12)
    it.hear_state("warning", answer([]))
    assert it.shows("a", both, 12)
    it.hear_nodes(nodes(n1=1))
    assert not it.shows("a", both, 12)
    assert it.shows("a", both[:1], 12)
    it.hear_node("n1", services())
    assert it.shows("a", [], 12)
    assert it.instances == 0


@pytest.mark.parametrize("body", ["null", "{}", "[1]", "<html>", '{"Services": 7}'])
def test_another_shape_is_an_error(body: str) -> None:
    wrong = Answer(200, {}, body.encode())
    with pytest.raises(ProtocolError):
        Known().hear_nodes(wrong)
    with pytest.raises(ProtocolError):
        Known().hear_state("critical", wrong)
    if body not in ("null", "{}"):
        with pytest.raises(ProtocolError):
            Known().hear_node("n1", wrong)
    with pytest.raises(ProtocolError):
        Known().hear_all(wrong)
    if body != "{}":
        with pytest.raises(ProtocolError):
            Known().hear_names(wrong)


# -- pauses


def test_a_change_is_followed_soon_and_answers_without_one_ever_later() -> None:
    interval = Interval()
    assert interval.heard(changed=True, moved=True, took=0.0) == LEAST
    woken = [interval.heard(changed=False, moved=True, took=0.0) for _ in range(9)]
    assert woken[-1] == MOST_IDLE  # An agent that wakes it for others' changes.
    assert interval.heard(changed=True, moved=True, took=0.0) == LEAST
    unheld = [interval.heard(changed=False, moved=False, took=0.0) for _ in range(9)]
    assert unheld[-1] == MOST  # An agent that doesn't hold it.
    assert interval.heard(changed=False, moved=False, took=27.0) == LEAST


def test_a_rest_is_as_long_as_the_work_and_all_queries_share_it() -> None:
    clock = FakeClock()
    budget = Budget(clock)
    large = EACH + 1_750_000 * BYTE
    assert budget.rest(1_750_000) == pytest.approx(large)
    assert budget.rest(0) == pytest.approx(large + EACH)
