"""Filter expressions by themselves: what they keep, what they refuse, and that nobody can hang them."""

import contextlib
import re
import time
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsd.agent._filter import CHECK_SERVICE_NODE, NODE_SERVICE, SERVICE_NODE, FilterError, create_filter
from asyncsd.agent._filter._quote import quote
from asyncsd.agent._filter._regexp import Regexp
from asyncsd.agent._filter._regexp_syntax import RegexpError
from asyncsd.agent._filter._unquote import unquote
from asyncsd.agent._state._structs import HealthCheck, HealthEntry, Node, Service, TaggedAddress, Weights

NODE = Node(node="n1", address="10.0.0.1", datacenter="dc1", meta={"rack": "r1"})
WEB = Service(
    id="web1",
    service="web",
    tags=["a", "b"],
    port=80,
    meta={"zone": "eu", "empty": ""},
    weights=Weights(3, 1),
    tagged_addresses={"lan": TaggedAddress("1.1.1.1", 5)},
)
BARE = Service(id="bare", service="web")
UP = HealthCheck(node="n1", check_id="up", name="Up", status="passing", service_id="web1")
DISK = HealthCheck(node="n1", check_id="disk", name="Disk", status="critical")


def keeps(expression: str, service: Service = WEB) -> bool:
    return create_filter(expression, NODE_SERVICE)(service)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "ID == web1",
        "ID != web2",
        "Port == 80",
        "Port == `0x50`",
        "a in Tags",
        "Tags contains b",
        "c not in Tags",
        "Tags is not empty",
        "Meta.zone == eu",
        'Meta["zone"] matches "^e"',
        "zone in Meta",
        "Meta.empty == ``",
        "Weights.Passing == 3",
        "TaggedAddresses.lan.Port == 5",
        "EnableTagOverride == false",
        "not Port == 81",
        "Port == 81 or ID == web1",
        "Port == 80 and (ID == nope or a in Tags)",
        "not (Port == 81 or ID == nope)",
    ],
)
def test_what_holds_is_kept(expression: str) -> None:
    assert keeps(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "ID == web2",
        "Port != 80",
        "c in Tags",
        "Tags is empty",
        "Meta.zone == us",
        "Meta.nope == x",
        "not Port == 80",
    ],
)
def test_what_doesnt_hold_isnt(expression: str) -> None:
    assert not keeps(expression)


def test_a_service_without_meta_is_one_with_empty_meta() -> None:
    assert keeps("Meta is empty", BARE)
    assert not keeps("Meta.zone == eu", BARE)
    assert keeps("Meta.zone != eu", BARE)
    assert keeps("TaggedAddresses is empty", BARE)
    assert keeps("SocketPath == ``", BARE)


def test_and_binds_closer_than_or() -> None:
    assert keeps("ID == web1 or ID == x and Port == 1")
    assert not keeps("(ID == web1 or ID == x) and Port == 1")


def test_one_of_several_checks_is_enough() -> None:
    entry = HealthEntry(NODE, WEB, [DISK, UP])
    for expression, wanted in {
        "Checks.Status == passing": True,
        "Checks.Status != passing": True,
        "not Checks.Status == critical": False,
        "Checks.Status == warning": False,
        "Checks is empty": False,
        "Node.Meta.rack == r1 and Service.Port == 80": True,
    }.items():
        assert create_filter(expression, CHECK_SERVICE_NODE)(entry) is wanted, expression


def test_a_node_and_its_service_are_one_result() -> None:
    for expression in ("NodeMeta.rack == r1", "ServiceMeta.zone == eu", "Node == n1", "ServiceName == web"):
        assert create_filter(expression, SERVICE_NODE)((NODE, WEB)), expression


def test_a_selector_that_there_isnt_is_never_all() -> None:
    with pytest.raises(FilterError) as caught:
        create_filter("Nope == 1", NODE_SERVICE)
    assert str(caught.value) == (
        'Failed to create boolean expression evaluator: Selector "Nope" is not valid'
    )


def test_a_hundred_comparisons_are_no_depth() -> None:
    assert keeps(" or ".join(f"ID == x{number}" for number in range(900)) + " or ID == web1")
    assert keeps(" and ".join(["ID == web1"] * 900))
    assert keeps("not " * 1000 + "ID == web1")


def test_parentheses_that_would_take_consul_for_ever_are_refused() -> None:
    assert keeps("(" * 50 + "ID == web1" + ")" * 50)
    with pytest.raises(FilterError, match="parentheses"):
        create_filter("(" * 4000 + "ID == web1" + ")" * 4000, NODE_SERVICE)


@given(st.text(alphabet='()[]"`.=! abnotrdcizeup19-\\\n\té', max_size=40))
def test_garbage_is_refused_or_read_and_nothing_else(text: str) -> None:
    with contextlib.suppress(FilterError):
        create_filter(text, NODE_SERVICE)(WEB)


# Regular expressions


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*$", "(a*)*b", "a*a*a*a*a*a*b", "(.*)(.*)(.*)(.*)x"])
def test_no_pattern_takes_longer_than_its_text(pattern: str) -> None:
    begun = time.process_time()
    Regexp(pattern).found_in("a" * 2000 + "!")
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("", "", True),
        ("^$", "", True),
        ("^$", "a", False),
        ("b", "abc", True),
        ("^b", "abc", False),
        ("a.c", "a\nc", False),
        ("(?s)a.c", "a\nc", True),
        ("(?m)^b$", "a\nb\nc", True),
        ("a{2,3}$", "a", False),
        ("^a{2,3}$", "aaa", True),
        ("^a{2,}$", "aaaaa", True),
        ("^(ab|cd)+$", "abcdab", True),
        ("(?i)^WÉ", "wé", True),
        (r"\bfoo\b", "a foo b", True),
        (r"\bfoo\b", "afoo", False),
        ("[^a-c]", "abc", False),
        ("[]a]", "]", True),
        (r"^\Q.*\E$", ".*", True),
    ],
)
def test_a_pattern_matches_as_gos(pattern: str, text: str, found: bool) -> None:
    assert Regexp(pattern).found_in(text) is found


@given(
    st.text(alphabet="ab()[]{}*+?|^$.\\-:,?Pi<>123dwsbAzQE", max_size=15),
    st.text(alphabet="ab-1 ", max_size=8),
)
def test_any_pattern_is_refused_or_run(pattern: str, text: str) -> None:
    with contextlib.suppress(RegexpError):
        Regexp(pattern).found_in(text)


@pytest.mark.parametrize(
    "pattern", ["a" * 20_000, "a{1000}" * 100, "(" * 90 + "a" * 9000 + ")*" * 90 + "a{999}" * 2]
)
def test_a_pattern_may_not_be_too_large(pattern: str) -> None:
    with pytest.raises(RegexpError, match="expression too large"):
        Regexp(pattern)


def test_a_filter_may_not_take_more_than_its_share_of_work() -> None:
    slow = "(a?){1000}a{1000}$"
    keep = create_filter(f"ID matches `{slow}`", NODE_SERVICE)
    with pytest.raises(FilterError, match="too much work"):
        keep(Service(id="a" * 2000 + "b", service="web"))
    with pytest.raises(FilterError, match="too much work"):
        create_filter(" or ".join([f"ID matches `{slow}`"] * 1000), NODE_SERVICE)


def test_a_filter_of_many_instances_is_no_work() -> None:
    keep = create_filter('ID matches "^web-[0-9]+$" and Meta.zone != eu', NODE_SERVICE)
    assert all(keep(Service(id=f"web-{number}", service="web")) for number in range(20_000))


@given(st.text("ab(|)*?+.[^]", max_size=12), st.lists(st.text("ab_ \n", max_size=6), max_size=4))
def test_a_pattern_finds_what_pythons_finds_and_remembers_nothing_wrong(
    pattern: str, texts: list[str]
) -> None:
    with contextlib.suppress(RegexpError, re.error), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, pythons = Regexp(pattern), re.compile(pattern)
        assert [ours.found_in(text) for text in texts] == [bool(pythons.search(text)) for text in texts]


def test_groups_may_not_nest_without_end() -> None:
    with pytest.raises(RegexpError, match="nests too deeply"):
        Regexp("(" * 2000 + ")" * 2000)
    with pytest.raises(RegexpError, match="invalid repeat count"):
        Regexp("((a{100}){100}){100}")


# Go's way of writing


@pytest.mark.parametrize(
    ("text", "value"),
    [('"a"', "a"), ('"\\n"', "\n"), ('"\\x41"', "A"), ('"\\u00e9"', "é"), ('"\\101"', "A"), ("`\\n`", "\\n")],
)
def test_quoted_text_is_read(text: str, value: str) -> None:
    assert unquote(text) == value


@pytest.mark.parametrize("text", ['"\\q"', '"\\x4"', '"\\ud800"', '"a\nb"', '"\\400"', '"\\U00110000"'])
def test_what_isnt_an_escape_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"escape|newline"):
        unquote(text)


@given(st.text(max_size=20))
def test_what_is_quoted_is_read_again(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    assert unquote(quote(text)) == text
