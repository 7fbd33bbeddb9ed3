import copy
import json
import pickle
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsd import Change, Event, Instance, Meta, Query, Snapshot
from asyncsd._models import diff
from asyncsd._values import as_host
from tests.unit.strategies import instances, listings

A = Instance("a", "users", "10.0.0.1", 80)
B = Instance("b", "users", "10.0.0.2", 80)


class TestMeta:
    def test_reads_and_serialises_as_a_dict(self) -> None:
        meta = Meta({"zone": "a"})
        assert meta == {"zone": "a"}
        assert {**meta, "x": "y"} == {"zone": "a", "x": "y"}
        assert json.loads(json.dumps(meta)) == {"zone": "a"}

    def test_equal_ones_hash_alike_in_any_order(self) -> None:
        assert hash(Meta({"a": "1", "b": "2"})) == hash(Meta({"b": "2", "a": "1"}))

    @pytest.mark.parametrize(
        "change",
        [
            lambda m: m.__setitem__("a", "2"),
            lambda m: m.__delitem__("a"),
            lambda m: m.__ior__({"a": "2"}),
            lambda m: m.update(a="2"),
            lambda m: m.pop("a"),
            lambda m: m.popitem(),
            lambda m: m.setdefault("b", "2"),
            lambda m: m.clear(),
        ],
    )
    def test_refuses_every_change_and_says_what_to_do(self, change: Any) -> None:
        meta = Meta({"a": "1"})
        with pytest.raises(TypeError, match="make a new mapping"):
            change(meta)
        assert meta == {"a": "1"}

    @pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
    def test_can_be_copied_and_pickled(self, again: Any) -> None:
        assert again(Meta({"a": "1"})) == {"a": "1"}
        assert type(again(Meta({"a": "1"}))) is Meta


class TestInstance:
    @pytest.mark.parametrize(
        ("values", "error", "text"),
        [
            ({"id": ""}, ValueError, "Instance.id"),
            ({"service": ""}, ValueError, "Instance.service"),
            ({"host": ""}, ValueError, "Instance.host"),
            ({"port": -1}, ValueError, "Instance.port is from 0 to 65535"),
            ({"port": 65536}, ValueError, "Instance.port is from 0 to 65535"),
            ({"port": "80"}, TypeError, "Instance.port is a whole number"),
            ({"port": True}, TypeError, "Instance.port is a whole number"),
            ({"status": "ok"}, ValueError, "Instance.status is 'passing', 'warning' or 'critical'"),
            ({"weight": -1}, ValueError, "Instance.weight"),
            ({"tags": "v1"}, TypeError, r"write \('v1',\)"),
            ({"tags": [1]}, TypeError, "write '1'"),
            ({"id": 5}, TypeError, "Instance.id is a string; got int"),
            ({"service": b"users"}, TypeError, "Instance.service is a string; got bytes"),
            ({"host": 10}, TypeError, "Instance.host is a string; got int"),
            ({"datacenter": 5}, TypeError, "Instance.datacenter is a string or None; got int"),
            ({"scheme": 5}, TypeError, "Instance.scheme is a string or None; got int"),
            ({"origin": 5}, TypeError, "Instance.origin is a string or None; got int"),
            ({"meta": {"a": 1}}, TypeError, "Instance.meta is a mapping of strings to strings"),
            ({"meta": "zone=a"}, TypeError, "Instance.meta is a mapping of strings to strings"),
        ],
    )
    def test_refuses_a_bad_value_and_names_the_field(
        self, values: dict[str, Any], error: type[Exception], text: str
    ) -> None:
        good = {"id": "a", "service": "users", "host": "10.0.0.1", "port": 80}
        with pytest.raises(error, match=text):
            Instance(**(good | values))

    def test_lists_and_dicts_become_immutable(self) -> None:
        instance = Instance("a", "users", "h", 1, tags=["v1"], meta={"x": "y"})  # type: ignore[arg-type]
        assert instance.tags == ("v1",)
        assert type(instance.meta) is Meta
        assert hash(instance) == hash(Instance("a", "users", "h", 1, tags=("v1",), meta=Meta({"x": "y"})))

    @pytest.mark.parametrize(
        ("values", "path", "scheme", "url"),
        [
            ({}, "/", None, "http://10.0.0.1:80/"),
            ({}, "hello", None, "http://10.0.0.1:80/hello"),
            ({}, "/a?b=c", "https", "https://10.0.0.1:80/a?b=c"),
            ({"scheme": "https"}, "/", None, "https://10.0.0.1:80/"),
            ({"scheme": "https"}, "/", "http", "http://10.0.0.1:80/"),
            ({"host": "2001:db8::1"}, "/", None, "http://[2001:db8::1]:80/"),
            ({"host": "db.example"}, "/", "postgres", "postgres://db.example:80/"),
        ],
    )
    def test_url(self, values: dict[str, Any], path: str, scheme: str | None, url: str) -> None:
        good = {"id": "a", "service": "users", "host": "10.0.0.1", "port": 80}
        assert Instance(**(good | values)).url(path, scheme=scheme) == url

    def test_url_of_port_0_is_an_error_that_names_the_instance(self) -> None:
        with pytest.raises(ValueError, match="users instance a registered no port"):
            Instance("a", "users", "10.0.0.1", 0).url()

    def test_address_has_ipv6_in_brackets(self) -> None:
        assert Instance("a", "users", "::1", 80).address == "[::1]:80"
        assert A.address == "10.0.0.1:80"

    def test_the_same_id_on_two_nodes_is_two_instances(self) -> None:
        one, other = (Instance("a", "users", "h", 1, node=node) for node in ("n1", "n2"))
        assert one.key != other.key

    def test_the_same_id_from_two_members_of_a_composite_is_two_instances(self) -> None:
        one, other = (replace(A, origin=origin) for origin in ("east", "west"))
        assert one.key != other.key
        assert one != other

    @given(instances)
    def test_can_be_pickled(self, instance: Instance) -> None:
        assert pickle.loads(pickle.dumps(instance)) == instance


class TestHost:
    @pytest.mark.parametrize(
        ("given", "host"),
        [
            ("10.0.0.1", "10.0.0.1"),
            ("::1", "::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1%eth0"),
            ("localhost", "localhost"),
            ("api.example.com.", "api.example.com."),
            ("my_service-1", "my_service-1"),
            ("1a.example", "1a.example"),
        ],
    )
    def test_takes_names_and_addresses(self, given: str, host: str) -> None:
        assert as_host("host", given) == host

    @pytest.mark.parametrize(
        ("given", "advice"),
        [
            ("http://10.0.0.1", "use scheme="),
            ("10.0.0.1:80", "use port="),
            ("0.0.0.0", "leave host out"),
            ("::", "leave host out"),
            ("[::]", "leave host out"),
            ("", "host name, an IPv4 or an IPv6 address"),
            ("10.0.0.256", "host name, an IPv4 or an IPv6 address"),
            ("a b", "host name, an IPv4 or an IPv6 address"),
            ("-a.example", "host name, an IPv4 or an IPv6 address"),
            ("a..b", "host name, an IPv4 or an IPv6 address"),
            ("x" * 64, "host name, an IPv4 or an IPv6 address"),
            ("a/b", "host name, an IPv4 or an IPv6 address"),
        ],
    )
    def test_says_what_would_do(self, given: str, advice: str) -> None:
        with pytest.raises(ValueError, match=advice):
            as_host("Registration.host", given)


class TestQuery:
    def test_a_string_and_a_query_are_the_same(self) -> None:
        assert Query.of("users") == Query("users")
        query = Query("users", tags=("v1",))
        assert Query.of(query) is query

    @pytest.mark.parametrize(
        ("values", "error", "text"),
        [
            ({"service": ""}, ValueError, "Query.service"),
            ({"service": " users"}, ValueError, "Query.service"),
            ({"service": "a\nb"}, ValueError, "Query.service has no control characters"),
            ({"service": 5}, TypeError, "Query.service is a string"),
            ({"filter": "\udcff"}, ValueError, "Query.filter has a lone surrogate"),
            ({"server_filter": "x"}, TypeError, "Query.server_filter is True or False"),
            ({"tags": "v1"}, TypeError, "Query.tags"),
            ({"status": "any"}, ValueError, "Query.status"),
            ({"consistency": "strong"}, ValueError, "Query.consistency"),
            ({"datacenter": 5}, TypeError, "Query.datacenter is a string or None; got int"),
            ({"near": ["_agent"]}, TypeError, "Query.near is a string or None; got list"),
            ({"filter": 5}, TypeError, "Query.filter is a string or None; got int"),
            (
                {"max_stale": "5s", "consistency": "stale"},
                TypeError,
                "Query.max_stale is a number of seconds",
            ),
            ({"max_stale": 5.0}, ValueError, "Query.max_stale"),
            ({"max_stale": 0.0, "consistency": "stale"}, ValueError, "Query.max_stale"),
            ({"node_meta": {"a": None}}, TypeError, "Query.node_meta"),
        ],
    )
    def test_refuses_a_bad_value_and_names_the_field(
        self, values: dict[str, Any], error: type[Exception], text: str
    ) -> None:
        with pytest.raises(error, match=text):
            Query(**({"service": "users"} | values))

    def test_is_hashable_whatever_it_was_made_of(self) -> None:
        made = Query("users", tags=["v1"], node_meta={"a": "b"})  # type: ignore[arg-type]
        assert {made: 1}[Query("users", tags=("v1",), node_meta=Meta({"a": "b"}))] == 1

    @pytest.mark.parametrize(
        ("wanted", "fitting"),
        [
            ("passing", ["passing"]),
            ("warning", ["passing", "warning"]),
            ("critical", ["passing", "warning", "critical"]),
        ],
    )
    def test_status_is_the_worst_one_still_used(self, wanted: Any, fitting: list[str]) -> None:
        query = Query("users", status=wanted)
        every: tuple[Any, ...] = ("passing", "warning", "critical")
        assert [s for s in every if query.matches(Instance("a", "users", "h", 1, status=s))] == fitting

    def test_all_tags_have_to_be_there(self) -> None:
        query = Query("users", tags=("v1", "blue"))
        assert query.matches(Instance("a", "users", "h", 1, tags=("blue", "x", "v1")))
        assert not query.matches(Instance("a", "users", "h", 1, tags=("v1",)))


class TestSnapshot:
    def test_is_a_sequence_of_what_fits(self) -> None:
        bad = Instance("c", "users", "10.0.0.3", 80, status="critical")
        snapshot = Snapshot.of(Query("users"), [B, bad, A])
        assert list(snapshot) == [A, B]
        assert (len(snapshot), snapshot[0], snapshot[-1], snapshot[1:]) == (2, A, B, (B,))
        assert A in snapshot
        assert bad not in snapshot
        assert snapshot.unfit == (bad,)

    def test_what_lacks_the_tags_is_in_neither_part(self) -> None:
        snapshot = Snapshot.of(Query("users", tags=("v1",)), [A])
        assert (snapshot.instances, snapshot.unfit) == ((), ())

    def test_version_does_not_count_for_equality(self) -> None:
        assert Snapshot((A,), version=1) == Snapshot((A,), version=2)
        assert Snapshot((A,)) != Snapshot((), unfit=(A,))
        assert Snapshot((A,)) != (A,)

    @given(st.data(), listings)
    def test_order_and_equality_do_not_depend_on_how_the_registry_lists(
        self, data: st.DataObject, listing: list[Instance]
    ) -> None:
        query = Query("users", status=data.draw(st.sampled_from(["passing", "warning", "critical"])))
        one = Snapshot.of(query, listing)
        other = Snapshot.of(query, data.draw(st.permutations(listing)))
        assert one == other
        assert hash(one) == hash(other)
        assert one.instances == other.instances
        assert list(one) == sorted(one, key=lambda instance: instance.id)

    @given(listings)
    def test_every_instance_is_in_exactly_one_part(self, listing: list[Instance]) -> None:
        snapshot = Snapshot.of(Query("users"), listing)
        assert sorted(map(repr, (*snapshot, *snapshot.unfit))) == sorted(map(repr, listing))
        assert all(instance.status == "passing" for instance in snapshot)


class TestDiff:
    @given(listings, listings)
    def test_applied_to_before_it_gives_after(self, before: list[Instance], after: list[Instance]) -> None:
        found = diff(before, after)
        known = {instance.key: instance for instance in before}
        for instance in found.removed:
            assert known.pop(instance.key) == instance
        for old, new in found.changed:
            assert known[old.key] == old
            assert old != new
            known[new.key] = new
        for instance in found.added:
            assert instance.key not in known
            known[instance.key] = instance
        assert known == {instance.key: instance for instance in after}

    @given(listings)
    def test_nothing_changed_is_empty(self, listing: list[Instance]) -> None:
        again = [pickle.loads(pickle.dumps(instance)) for instance in reversed(listing)]
        assert diff(listing, again) == ((), (), ())

    def test_none_is_no_instances(self) -> None:
        assert diff(None, [A]).added == (A,)
        assert diff([A], None).removed == (A,)
        assert diff(None, None) == ((), (), ())

    def test_change_has_both_sides(self) -> None:
        after = Instance("a", "users", "10.0.0.1", 81)
        assert diff([A], [after]).changed == (Change(A, after),)


def test_event_of_nothing_heard_has_no_snapshot() -> None:
    event = Event(Query("users"), None, error=OSError("down"))
    assert event.snapshot is None
    assert (event.added, event.removed, event.changed) == ((), (), ())
