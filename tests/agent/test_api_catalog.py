"""/v1/catalog on both servers: what is entered by hand, and all that is read."""

from typing import Any

import pytest

from tests.agent.parity import NODE, Answer, Both

pytestmark = pytest.mark.server("consul")

REGISTER, DEREGISTER = "/v1/catalog/register", "/v1/catalog/deregister"
ID = "f18f3a10-2153-40ae-af7d-68db0e856498"
EXT: dict[str, Any] = {"Node": "ext", "Address": "10.0.0.7"}

ENTRIES: list[dict[str, Any]] = [
    {**EXT, "ID": ID, "NodeMeta": {"rack": "r1"}, "TaggedAddresses": {"lan": "10.0.0.7"}},
    {
        **EXT,
        "SkipNodeUpdate": True,
        "Service": {"Service": "web", "ID": "web1", "Port": 80, "Tags": ["v1", "B"]},
    },
    {
        **EXT,
        "SkipNodeUpdate": True,
        "Service": {
            "Service": "web",
            "ID": "web2",
            "Port": 81,
            "Address": "10.0.0.8",
            "Tags": ["v1"],
            "Meta": {"zone": "eu"},
            "Weights": {"Passing": 3, "Warning": 1},
            "TaggedAddresses": {"wan": {"Address": "1.1.1.1", "Port": 90}},
            "EnableTagOverride": True,
        },
        "Checks": [
            {"Name": "up", "ServiceID": "web2", "Status": "passing", "Output": "fine"},
            {"CheckID": "disk", "Name": "Disk", "Status": "warning", "Notes": "of the node"},
        ],
    },
    {"Node": "other", "Address": "10.0.0.9", "Service": {"Service": "db", "Port": 5432}},
]


@pytest.fixture
async def filled(both: Both) -> Both:
    """Both, with two nodes and two services on them."""
    for entry in ENTRIES:
        await both.put(REGISTER, entry)
    return both


def names(answer: Answer) -> dict[str, list[str]]:
    """What /v1/catalog/services says; Consul gives the tags in no order."""
    return {name: sorted(tags) for name, tags in answer.json.items()}


async def same_names(both: Both, query: str = "") -> dict[str, list[str]]:
    ours, consul = await both.each(lambda client: client.get(f"/v1/catalog/services{query}"))
    assert names(ours) == names(consul)
    return names(ours)


@pytest.mark.parametrize(
    "path",
    [
        "nodes",
        "nodes?node-meta=rack:r1",
        "nodes?node-meta=rack:r1&node-meta=row:2",
        "nodes?near=nobody",
        "nodes?filter=Meta.rack==r1",
        "node/ext",
        f"node/{ID}",
        f"node/{ID[:8]}",
        "node/ext?filter=Port==80",
        "node/nobody",
        "node-services/other",
        "node-services/nobody",
        "service/web",
        "service/web?tag=v1",
        "service/web?tag=V1&tag=b",
        "service/web?tag=v1&tag=v2",
        "service/web?tag=",
        "service/web?node-meta=rack:r1",
        "service/web?node-meta=rack:r2",
        "service/web?near=_agent",
        "service/web?filter=ServiceMeta.zone==eu",
        "service/web?merge-central-config",
        "service/nobody",
        "datacenters",
    ],
)
async def test_what_was_entered_is_read(filled: Both, path: str) -> None:
    await filled.get(f"/v1/catalog/{path}")


async def test_services_are_named_with_all_of_their_tags(filled: Both) -> None:
    assert await same_names(filled) == {"consul": [], "web": ["B", "v1"], "db": []}


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("?node-meta=rack:r1", {"web": ["B", "v1"]}),
        ("?node-meta=rack:r2", {}),
        ("?filter=ServicePort==81", {"web": ["v1"]}),
        ("?filter=ServicePort==1", {}),
        ("?filter=Node==other", {"db": []}),
    ],
)
async def test_services_are_named_by_what_their_instances_are(
    filled: Both, query: str, wanted: dict[str, list[str]]
) -> None:
    assert await same_names(filled, query) == wanted


async def test_a_service_goes_with_its_checks(filled: Both) -> None:
    await filled.put(DEREGISTER, {"Node": "ext", "ServiceID": "web2"})
    answer = await filled.get("/v1/health/node/ext")
    assert [check["CheckID"] for check in answer.json] == ["disk"]


async def test_a_check_goes_alone(filled: Both) -> None:
    await filled.put(DEREGISTER, {"Node": "ext", "CheckID": "up"})
    answer = await filled.get("/v1/health/node/ext")
    assert [check["CheckID"] for check in answer.json] == ["disk"]
    assert len((await filled.get("/v1/catalog/service/web")).json) == 2


async def test_a_check_comes_to_a_service_that_was_entered_before(filled: Both) -> None:
    check = {"Name": "late", "ServiceID": "web1", "Status": "critical"}
    assert (await filled.put(REGISTER, {**EXT, "SkipNodeUpdate": True, "Check": check})).status == 200
    answer = await filled.get("/v1/health/checks/web")
    assert [(one["CheckID"], one["ServiceID"]) for one in answer.json] == [("late", "web1"), ("up", "web2")]
    assert (await filled.put(REGISTER, {**EXT, "Check": {**check, "ServiceID": "nobody"}})).status == 500


async def test_a_node_goes_with_all_that_it_has(filled: Both) -> None:
    await filled.put(DEREGISTER, {"Node": "ext"})
    assert (await filled.get("/v1/catalog/node/ext")).json is None
    assert (await filled.get("/v1/health/node/ext")).json == []
    assert await same_names(filled) == {"consul": [], "db": []}


@pytest.mark.parametrize(
    "gone", [{"Node": "nobody"}, {"Node": "ext", "ServiceID": "x"}, {"Node": "ext", "CheckID": "x"}]
)
async def test_what_isnt_there_is_removed_without_a_word(filled: Both, gone: dict[str, Any]) -> None:
    assert (await filled.put(DEREGISTER, gone)).json is True


async def test_a_node_is_changed_by_the_next_entry_unless_it_says_otherwise(filled: Both) -> None:
    await filled.put(REGISTER, {"Node": "other", "Address": "9.9.9.9", "SkipNodeUpdate": True})
    assert (await filled.get("/v1/catalog/node/other")).json["Node"]["Address"] == "10.0.0.9"
    await filled.put(REGISTER, {"Node": "other", "Address": "9.9.9.9"})
    assert (await filled.get("/v1/catalog/node/other")).json["Node"]["Address"] == "9.9.9.9"


@pytest.mark.parametrize(
    "definition",
    [
        {"HTTP": "http://10.0.0.7", "Interval": "10s", "Timeout": "1500ms", "Header": {"a": ["b"]}},
        {"TCP": "10.0.0.7:80", "Interval": 5_000_000_000, "DeregisterCriticalServiceAfter": "1m30s"},
        {"GRPC": "10.0.0.7:80", "Interval": "1s", "GRPCUseTLS": True},
        {"TTL": "3s"},
        {"AliasService": "web", "Unknown": 1},
    ],
)
async def test_a_check_keeps_its_definition(both: Both, definition: dict[str, Any]) -> None:
    await both.put(REGISTER, {**EXT, "Check": {"Name": "c", "Status": "passing", "Definition": definition}})
    await both.get("/v1/health/node/ext")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"1",
        {},
        {"Node": "n"},
        {"Node": 1},
        {"node": "n", "ADDRESS": 2},
        {**EXT, "Nope": 1},
        {**EXT, "Namespace": "x"},
        {**EXT, "ID": "x"},
        {**EXT, "ID": "z" * 36},
        {**EXT, "Datacenter": "dc9"},
        {**EXT, "PeerName": "p"},
        {**EXT, "Service": []},
        {**EXT, "Service": {"ID": "x"}},
        {**EXT, "Service": {"Service": "x", "Address": "0.0.0.0"}},
        {**EXT, "Service": {"Service": "x", "Port": "80"}},
        {**EXT, "Service": {"Service": "x", "Tags": "t"}},
        {**EXT, "Service": {"Service": "x", "Meta": {"k": 1}}},
        {**EXT, "Check": {}},
        {**EXT, "Check": {"Name": "c", "Node": "another"}},
        {**EXT, "Check": {"Name": "c", "ServiceID": "nobody"}},
        {**EXT, "Check": {"Name": "c", "Definition": {"Interval": "x"}}},
    ],
    ids=repr,
)
async def test_an_entry_that_makes_no_sense_is_refused_in_consuls_words(both: Both, body: object) -> None:
    assert (await both.put(REGISTER, body)).status in (400, 500)
    assert [node["Node"] for node in (await both.get("/v1/catalog/nodes")).json] == [NODE]


@pytest.mark.parametrize(
    "body", [b"", {}, {"Node": 1}, {"Node": "n", "Nope": 1}, {"Node": "n", "Datacenter": "x"}]
)
async def test_a_removal_that_makes_no_sense_is_refused_in_consuls_words(both: Both, body: object) -> None:
    assert (await both.put(DEREGISTER, body)).status in (400, 500)


@pytest.mark.parametrize("weights", [{"Passing": 3}, {"Passing": 0, "Warning": -5}, {}])
async def test_weights_that_are_none_are_one(both: Both, weights: dict[str, int]) -> None:
    await both.put(REGISTER, {**EXT, "Service": {"Service": "web", "Port": 80, "Weights": weights}})
    await both.get("/v1/catalog/service/web")


async def test_an_address_says_nothing_of_what_is_removed(both: Both) -> None:
    await both.put(REGISTER, EXT)
    await both.put(DEREGISTER, EXT)
    assert (await both.get("/v1/catalog/node/ext")).json is None
