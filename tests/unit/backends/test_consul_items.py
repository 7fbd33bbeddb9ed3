"""What is new in a list's JSON, beside the JSON before."""

import json
import random
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from asyncsd import Query
from asyncsd.backends.consul import _decode
from asyncsd.backends.consul._answers import Answer
from asyncsd.backends.consul._decode import Decoder
from asyncsd.backends.consul._items import NOTHING, Items, news

USERS = Query("users")


def encoded(items: list[Any], indent: int | None = None) -> bytes:
    return json.dumps(items, indent=indent).encode()


def items(body: bytes) -> Items:
    return news(NOTHING, body).items


def test_all_of_a_first_list_is_new() -> None:
    for indent in (None, 4):
        body = encoded([{"a": [1, "]},{"]}, 7, None, [[]], "x"], indent)
        new = news(NOTHING, b" " + body + b"\n")
        assert (new.same, new.rest, len(new.items)) == (0, 0, 5)
        assert [json.loads(raw) for raw in new.items.cut(0, 5)] == json.loads(body)


@pytest.mark.parametrize(
    ("before", "after", "same", "between", "rest"),
    [
        ("abc", "abc", 3, "", 0),
        ("abc", "axc", 1, "x", 1),
        ("abc", "xbc", 0, "x", 2),
        ("abc", "abx", 2, "x", 0),
        ("abc", "ac", 1, "", 1),
        ("abc", "ab", 2, "", 0),
        ("abc", "bc", 0, "b", 1),
        ("abc", "xabc", 0, "xa", 2),
        ("abc", "abcx", 3, "x", 0),
        ("abc", "", 0, "", 0),
        ("", "abc", 0, "abc", 0),
        ("aaa", "aa", 2, "", 0),
        ("aa", "aaa", 2, "a", 0),
        ("abcd", "acbd", 1, "cb", 1),
    ],
)
@pytest.mark.parametrize("indent", [None, 4])
def test_what_lies_between_the_first_change_and_the_last_is_new(
    before: str, after: str, same: int, between: str, rest: int, indent: int | None
) -> None:
    old = items(encoded([{"ID": id} for id in before], indent))
    body = encoded([{"ID": id} for id in after], indent)
    new = news(old, body)
    assert (new.same, new.rest) == (same, rest)
    assert [json.loads(bytes(raw))["ID"] for raw in new.between] == list(between)
    assert new.items == items(body)


@pytest.mark.parametrize(
    "body",
    [
        b'[{"ID": "a"}, {"ID": "b"}, {"ID": "c"}',
        b'[{"ID": "a"}, {"ID": "b"} {"ID": "c"}]',
        b'[{"ID": "a"}{"ID": "c"}]',
        b'[{"ID": "a"}, , {"ID": "c"}]',
        b'[{"ID": "a"}, ]',
        b'[, {"ID": "c"}]',
        b'[, {"ID": "b"}, {"ID": "c"}]',
        b'[{"ID": "a"}.5, {"ID": "c"}]',
        b'[{"ID": "a"}, {"ID": "c"}]]',
        b'{"ID": "a"}, {"ID": "c"}]',
        b'[{"ID": "a"}, {"ID": "x, {"ID": "c"}]',
        b"null",
        b"",
    ],
)
def test_what_is_no_list_is_refused_beside_any_list_before(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        news(items(b'[{"ID": "a"}, {"ID": "b"}, {"ID": "c"}]'), body)


def written(items: list[bytes], between: bytes, around: bytes) -> bytes:
    return around + b"[" + around + between.join(items) + around + b"]" + around


ITEMS = [b'{"ID": "a"}', b'{"ID":"\xc3\xa4"}', b'{"ID": "]}, [{"}', b'{"ID": "\\\\"}', b"[]", b"{}", b'""']
ODD = [b"1", b"12", b"1.5", b"-1", b"1e5", b"true", b"null", b'"1"', b'", "', b'"\\""', b"[1, 2]", b"[[1]]"]
BROKEN = [b"", b'{"ID"', b"1 2", b"01", b'"', b"]", b"[", b"},{", b"nul", b"\\"]
BODIES = st.builds(
    written,
    st.lists(st.sampled_from(ITEMS + ODD + BROKEN), max_size=6),
    st.sampled_from([b",", b", ", b",\n    "]),
    st.sampled_from([b"", b" ", b"\n    "]),
)


@given(st.lists(st.tuples(BODIES, st.integers(0, 40)), max_size=8))
@example([(b"[1, 2]", 0), (b"[12, 2]", 0)])
@example([(b"[1, 2]", 0), (b"[1, 12]", 0)])
def test_beside_any_list_before_all_is_read_as_a_plain_parse_would(bodies: list[tuple[bytes, int]]) -> None:
    before = NOTHING
    for body, cut in bodies:
        text = body[: len(body) - cut] if cut < len(body) // 2 else body
        try:
            plain = [bytes(raw) for raw in msgspec.json.decode(text, type=list[msgspec.Raw])]
        except msgspec.DecodeError:
            with pytest.raises(msgspec.DecodeError):
                news(before, text)
            continue
        new = news(before, text)
        assert new.items == items(text)
        assert new.items.cut(0, len(new.items)) == plain
        known = before.cut(0, len(before))
        between = [bytes(raw) for raw in new.between]
        assert known[: new.same] + between + known[len(known) - new.rest :] == plain
        before = new.items


def entry(id: str, port: int) -> dict[str, Any]:
    return {
        "Node": {"Node": "n1", "Address": "10.0.0.1"},
        "Service": {"ID": id, "Service": "users", "Port": port, "Tags": ["]}, {["], "Meta": {"zone": "ä"}},
    }


@pytest.mark.parametrize("seed", range(40))
def test_however_a_list_changes_it_is_read_as_if_it_were_the_first(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_decode, "LONG", seed % 2 * 1_000)
    rng = random.Random(seed)
    decoder = Decoder()
    now: list[Any] = [entry(f"u{number}", 80) for number in range(rng.randrange(20))]
    before: dict[str, Any] = {}
    for _ in range(30):
        for _ in range(rng.choice((0, 1, 1, 2, 10))):
            place = rng.randrange(len(now) + 1)
            match rng.randrange(5):
                case 0:
                    now.insert(place, entry(f"u{rng.randrange(30)}", rng.randrange(80, 82)))
                case 1:
                    del now[place : place + rng.randrange(3)]
                case 2 if place < len(now):
                    now[place] = rng.choice((7, None, "]", [], entry(f"u{place}", 81)))
                case 3:
                    rng.shuffle(now)
                case _:
                    now = now[place:] + now[:place]
        answer = Answer(200, {}, encoded(now, seed % 3 or None))
        found = decoder.decode(USERS, answer)
        assert found == Decoder().decode(USERS, answer)
        ids = [instance.id for instance in found.instances]
        for instance in found.instances:
            old = before.get(instance.id)
            if old == instance and ids.count(instance.id) == 1:
                assert old is instance
        before = {instance.id: instance for instance in found.instances if ids.count(instance.id) == 1}


def test_equal_parts_of_instances_are_one_object() -> None:
    decoder = Decoder()
    [one] = decoder.decode(USERS, Answer(200, {}, encoded([entry("a", 80)]))).instances
    [other] = decoder.decode(Query("others"), Answer(200, {}, encoded([entry("b", 81)]))).instances
    assert one.tags is other.tags
    assert one.meta is other.meta
    assert one.node is other.node


def test_what_instances_share_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_decode, "SHARED", 10)
    decoder = Decoder()
    for number in range(50):
        changed = entry("a", 80)
        changed["Service"]["Tags"] = [f"v{number}"]
        decoder.decode(USERS, Answer(200, {}, encoded([changed])))
        assert len(decoder._shared) <= 15


def test_the_bytes_of_a_short_answer_are_not_kept() -> None:
    decoder = Decoder()
    for count, kept in ((2, False), (5_000, True), (3, False)):
        decoder.decode(USERS, Answer(200, {}, encoded([entry(f"u{n}", 80) for n in range(count)])))
        known = decoder._known[USERS]
        assert (bool(known.items.body), len(known.digests)) == (kept, 0 if kept else count)
