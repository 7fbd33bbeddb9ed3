"""/v1/agent, as our agent and a real Consul answer it."""

import asyncio
from typing import Any

import pytest

from tests.agent.parity import Both, Client

REGISTER, CHECK = "/v1/agent/service/register", "/v1/agent/check/register"

pytestmark = pytest.mark.server("consul")

FULL: dict[str, Any] = {
    "ID": "web1",
    "Name": "web",
    "Tags": ["a", "b"],
    "Meta": {"zone": "z1"},
    "Port": 8080,
    "Address": "10.0.0.7",
    "TaggedAddresses": {"lan": {"Address": "10.0.0.7", "Port": 1}, "wan": {"Address": "1.2.3.4"}},
    "Weights": {"Passing": 3, "Warning": 2},
    "EnableTagOverride": True,
    "SocketPath": "/run/web.sock",
    "Checks": [
        {"TTL": "1h"},
        {
            "CheckID": "mine",
            "Name": "Mine",
            "Notes": "n",
            "TTL": "90m",
            "Timeout": "1500ms",
            "Status": "passing",
        },
    ],
}

BODIES = [
    b"",
    b"{",
    b"null",
    b"{}",
    b'{"Name":"x"} and more',
    b'{"Name":null}',
    b'{"name":"x","PORT":1}',
    b'{"Name":"x","Port":"80"}',
    b'{"Name":"x","Port":1.5}',
    b'{"Name":"x","Port":99999999999999999999}',
    b'{"Name":"x","Port":-1}',
    b'{"Name":"x","Tags":"a"}',
    b'{"Name":"x","Tags":[1]}',
    b'{"Name":"x","Tags":["a",null]}',
    b'{"Name":"x","Meta":[]}',
    b'{"Name":"x","Meta":{"a":1}}',
    b'{"Name":"x","Meta":{"a b":"1"}}',
    b'{"Name":"x","Meta":{"consul-a":"1"}}',
    b'{"Name":"x","Meta":{"":"1"}}',
    b'{"Name":"x","Meta":{"a":"%s"}}' % (b"v" * 513),
    b'{"Name":"x","Meta":{"%s":"v"}}' % (b"k" * 129),
    b'{"Name":"x","Meta":{%s}}' % b",".join(b'"k%d":""' % number for number in range(65)),
    b'{"Name":"x","Weights":{}}',
    b'{"Name":"x","Weights":null}',
    b'{"Name":"x","Weights":{"Passing":5}}',
    b'{"Name":"x","Weights":{"Passing":1,"Warning":-1}}',
    b'{"Name":"x","Weights":{"Passing":70000}}',
    b'{"Name":"x","Weights":{"Passing":"1"}}',
    b'{"Name":"x","Weights":3}',
    b'{"Name":"x","Address":"0.0.0.0"}',
    b'{"Name":"x","Address":"::1","Port":5}',
    b'{"Name":"x","Address":"a.example","Port":5}',
    b'{"Name":"x","TaggedAddresses":{"lan_ipv4":{"Address":"::1"}}}',
    b'{"Name":"x","TaggedAddresses":{"lan":{"Port":"x"}}}',
    b'{"Name":"x","tagged_addresses":{"lan":{"Address":"1.2.3.4"}}}',
    b'{"Name":"x","EnableTagOverride":"yes"}',
    b'{"Name":"x","enable_tag_override":true}',
    b'{"Name":"x","Kind":"","Proxy":null,"Connect":{}}',
    b'{"Name":"x","Token":"t"}',
    b'{"Name":"x","Namespace":"ns"}',
    b'{"Name":"x","Foo":1}',
    b'{"Name":1}',
    b'{"Name":"x","ID":5}',
    b'{"Name":"x y"}',
    b'{"Name":"caf\xc3\xa9"}',
    b'{"Name":"\\ud800"}',
    b'{"Name":"\xff"}',
    b'{"Name":"x","Check":{}}',
    b'{"Name":"x","Check":null,"Checks":null}',
    b'{"Name":"x","Checks":{}}',
    b'{"Name":"x","Checks":[{}]}',
    b'{"Name":"x","Check":{"Foo":1}}',
    b'{"Name":"x","Check":{"ID":"a","TTL":"1h"}}',
    b'{"Name":"x","Check":{"Name":5,"TTL":"1h"}}',
    b'{"Name":"x","Check":{"TTL":"abc"}}',
    b'{"Name":"x","Check":{"TTL":"5"}}',
    b'{"Name":"x","Check":{"TTL":"1d"}}',
    b'{"Name":"x","Check":{"TTL":true}}',
    b'{"Name":"x","Check":{"TTL":3600000000000}}',
    b'{"Name":"x","Check":{"TTL":"1h","Status":"bad"}}',
    b'{"Name":"x","Check":{"TTL":"1h","Status":""}}',
    b'{"Name":"x","Check":{"TTL":"1h","ServiceID":"other"}}',
    b'{"Name":"x","Check":{"TTL":"1h","OutputMaxSize":-1}}',
    b'{"Name":"x","Check":{"TTL":"1h","FailuresBeforeWarning":3}}',
    b'{"Name":"x","Check":{"Interval":"1h"}}',
    b'{"Name":"x","Check":{"HTTP":"http://127.0.0.1:1"}}',
    b'{"Name":"x","Check":{"HTTP":"http://127.0.0.1:1","Interval":"1h","TTL":"1h"}}',
    b'{"Name":"x","Check":{"AliasService":"y","TTL":"1h"}}',
    b'{"Name":"x","Check":{"AliasService":"y","TCP":"127.0.0.1:1","Interval":"1h"}}',
    b'{"Name":"x","Check":{"Args":["true"],"Interval":"1h"}}',
    b'{"Name":"x","Check":{"Script":"true","Interval":"1h"}}',
]

CHECK_BODIES = [
    b"",
    b"{}",
    b'{"Name":"c"}',
    b'{"Name":"c","TTL":"1h"}',
    b'{"ID":"c2","Name":"c","TTL":"1h","Status":"passing","Notes":"n"}',
    b'{"CheckID":"c2","Name":"c","TTL":"1h"}',
    b'{"Name":"c","TTL":"1h","Status":"bad"}',
    b'{"Name":"c","TTL":"1h","ServiceID":"nope"}',
    b'{"Name":"c","TTL":"-5s"}',
    b'{"Name":"c","TTL":""}',
    b'{"Name":"c","Header":{"a":"b"}}',
    b'{"Name":"c","GRPC":"a"}',
    b'{"Name":"c","TCP":"127.0.0.1:1","Interval":"90m","Timeout":"1500ms"}',
    b'{"Name":"c","HTTP":"http://127.0.0.1:1","Interval":5400000000000,"tls_skip_verify":true}',
    b'{"Name":"c","TTL":"1h","deregister_critical_service_after":"2m"}',
    b'{"Name":"c","TTL":"1h","SuccessBeforePassing":"x"}',
    b'{"Name":"c","TTL":"1h","Shell":"sh","Token":"t","DockerContainerID":"d"}',
    b'{"Name":"c","Args":["true"],"Interval":"1h"}',
    b'{"Name":"c","OSService":"x","Interval":"1h"}',
    b'{"Name":"a/b c","TTL":"1h"}',
]


async def looked_over(both: Both, service: str = "web") -> None:
    """Compare all that the two say of a service."""
    for path in ("/v1/agent/services", "/v1/agent/checks", f"/v1/health/service/{service}"):
        await both.get(path)
    await both.get(f"/v1/catalog/service/{service}")


async def test_a_service_with_all_of_its_fields_is_shown_as_it_was_registered(both: Both) -> None:
    await both.put(REGISTER, FULL)
    await looked_over(both)
    answer = await both.get("/v1/agent/service/web1")
    assert answer.json["Weights"] == {"Passing": 3, "Warning": 2}


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.decode("latin-1")[:60])
async def test_a_body_is_taken_or_refused_in_the_same_words(both: Both, body: bytes) -> None:
    await both.put(REGISTER, body)
    await both.get("/v1/agent/services")
    await both.get("/v1/agent/checks")
    await both.get("/v1/health/service/x")


@pytest.mark.parametrize("body", CHECK_BODIES, ids=lambda body: body.decode("latin-1")[:60])
async def test_a_check_is_taken_or_refused_in_the_same_words(both: Both, body: bytes) -> None:
    await both.put(CHECK, body)
    await both.get("/v1/agent/checks")
    await both.get("/v1/health/node/parity")


async def test_registering_again_keeps_the_states_of_checks(both: Both) -> None:
    await both.put(REGISTER, FULL)
    await both.put("/v1/agent/check/warn/service:web1:1?note=hello")
    await looked_over(both)
    again = {**FULL, "Tags": ["c"], "Checks": [{"TTL": "1h", "Status": "passing", "Name": "Other"}]}
    await both.put(REGISTER, again)
    answer = await both.get("/v1/agent/checks")
    assert set(answer.json) == {"mine", "service:web1", "service:web1:1"}
    await looked_over(both)
    again["Checks"] = [{"TTL": "1h", "CheckID": "service:web1:1", "Status": "critical"}]
    await both.put(REGISTER, again)
    answer = await both.get("/v1/agent/checks")
    assert answer.json["service:web1:1"]["Status"] == "warning"
    await looked_over(both)


@pytest.mark.parametrize("flag", ["", "=true", "=", "=false", "=1"])
async def test_existing_checks_are_replaced_when_that_is_asked(both: Both, flag: str) -> None:
    await both.put(REGISTER, FULL)
    await both.put("/v1/agent/service/maintenance/web1?enable=true")
    await both.put(f"{REGISTER}?replace-existing-checks{flag}", {**FULL, "Checks": FULL["Checks"][:1]})
    await looked_over(both)


async def test_another_name_under_the_same_id_moves_the_service(both: Both) -> None:
    await both.put(REGISTER, FULL)
    await both.put(REGISTER, {"ID": "web1", "Name": "shop"})
    await looked_over(both, "shop")
    answer = await both.get("/v1/catalog/service/web")
    assert answer.json == []
    await both.get("/v1/catalog/services")


async def test_a_check_goes_to_whoever_registered_its_id_last(both: Both) -> None:
    await both.put(REGISTER, {"Name": "a", "Check": {"CheckID": "shared", "TTL": "1h", "Status": "passing"}})
    await both.put(REGISTER, {"Name": "b", "Check": {"CheckID": "shared", "TTL": "1h"}})
    for service in ("a", "b"):
        await looked_over(both, service)
    await both.put(CHECK, {"ID": "shared", "Name": "moved", "ServiceID": "a", "TTL": "1h"})
    await both.put("/v1/agent/service/deregister/b")
    for service in ("a", "b"):
        await looked_over(both, service)
    await both.put(CHECK, {"ID": "shared", "Name": "of the node", "TTL": "1h"})
    await both.put("/v1/agent/service/deregister/a")
    answer = await both.get("/v1/agent/checks")
    assert answer.json["shared"]["ServiceID"] == ""


async def test_of_two_checks_with_one_id_the_last_stays(both: Both) -> None:
    checks = [{"CheckID": "c", "TTL": "1h", "Status": status} for status in ("passing", "warning")]
    await both.put(REGISTER, {"Name": "web", "Checks": checks})
    await looked_over(both)


async def test_deregistering_removes_a_service_with_its_checks(both: Both) -> None:
    await both.put(REGISTER, FULL)
    await both.put("/v1/agent/service/deregister/web1")
    await looked_over(both)
    await both.put("/v1/agent/service/deregister/web1")
    await both.put("/v1/agent/service/deregister/")
    await both.put("/v1/agent/check/deregister/mine")


@pytest.mark.parametrize("how", ["pass", "warn", "fail"])
async def test_clients_say_how_their_checks_are(both: Both, how: str) -> None:
    await both.put(REGISTER, FULL)
    await both.put(f"/v1/agent/check/{how}/mine?note=said%20so")
    await looked_over(both)
    await both.put(f"/v1/agent/check/{how}/mine")
    await looked_over(both)
    await both.put(f"/v1/agent/check/{how}/nope")
    await both.get(f"/v1/agent/check/{how}/mine")


@pytest.mark.parametrize(
    "body",
    [
        {"Status": "passing", "Output": "fine"},
        {"status": "warning", "output": "so so"},
        {"Status": "critical", "Output": "é" * 3000},
        {"Status": "maintenance"},
        {"Status": "PASSING"},
        {"Status": 5},
        {"Status": "passing", "Note": "x"},
        {},
        [],
        b"",
    ],
    ids=lambda body: str(body)[:40],
)
async def test_an_update_is_taken_or_refused_in_the_same_words(both: Both, body: Any) -> None:
    await both.put(REGISTER, FULL)
    await both.put("/v1/agent/check/update/mine", body)
    await looked_over(both)


async def test_what_has_no_ttl_can_be_told_nothing(both: Both) -> None:
    await both.put(CHECK, {"Name": "tcp", "TCP": "127.0.0.1:1", "Interval": "1h"})
    await both.put("/v1/agent/check/pass/tcp")
    await both.put("/v1/agent/check/update/tcp", {"Status": "passing"})


async def test_output_is_cut_to_the_size_that_a_check_asks_for(both: Both) -> None:
    await both.put(CHECK, {"Name": "c", "TTL": "1h", "OutputMaxSize": 10})
    await both.put("/v1/agent/check/pass/c?note=0123456789abc")
    answer = await both.get("/v1/agent/checks")
    assert answer.json["c"]["Output"] == "0123456789 ... (captured 10 of 13 bytes)"


async def test_maintenance_of_a_service(both: Both) -> None:
    await both.put(REGISTER, FULL)
    await both.put("/v1/agent/service/maintenance/web1?enable=true&reason=why")
    await both.put("/v1/agent/service/maintenance/web1?enable=true&reason=other")
    await looked_over(both)
    await both.put("/v1/agent/check/pass/_service_maintenance:web1")
    await both.put("/v1/agent/service/maintenance/web1?enable=0")
    await both.put("/v1/agent/service/maintenance/web1?enable=0")
    await looked_over(both)
    await both.put("/v1/agent/service/maintenance/web1?enable=T")
    await looked_over(both)


async def test_maintenance_of_the_node(both: Both) -> None:
    await both.put(REGISTER, FULL)
    await both.put("/v1/agent/maintenance?enable=true&reason=why")
    await looked_over(both)
    await both.get("/v1/agent/health/service/id/web1?format=text")
    await both.put("/v1/agent/maintenance?enable=false")
    await both.put("/v1/agent/maintenance?enable=true")
    await looked_over(both)


@pytest.mark.parametrize("asked", ["", "?enable", "?enable=", "?enable=yes", "?enable=2"])
@pytest.mark.parametrize("what", ["maintenance", "service/maintenance/nope", "service/maintenance/"])
async def test_maintenance_wants_a_truth_value(both: Both, what: str, asked: str) -> None:
    await both.put(f"/v1/agent/{what}{asked}")
    await both.put("/v1/agent/service/maintenance/nope?enable=true")


@pytest.mark.parametrize("query", ["", "?format=text", "?format=json"])
async def test_the_status_code_says_how_services_are(both: Both, query: str) -> None:
    for number, status in enumerate(("passing", "warning", "critical")):
        check = {"TTL": "1h", "Status": status}
        await both.put(REGISTER, {"ID": f"web{number}", "Name": status, "Tags": ["t"], "Check": check})
        answer = await both.get(f"/v1/agent/health/service/id/web{number}{query}")
        assert answer.status == {"passing": 200, "warning": 429, "critical": 503}[status]
        await both.get(f"/v1/agent/health/service/name/{status}{query}")
    await both.put(REGISTER, {"Name": "unchecked"})
    await both.put(REGISTER, {"ID": "again", "Name": "warning"})
    for name in ("id/unchecked", "name/unchecked", "id/nope", "name/nope", "id/", "name/"):
        await both.get(f"/v1/agent/health/service/{name}{query}")
    worst = await both.get("/v1/agent/health/service/name/warning?format=text")
    assert (worst.status, worst.text) == (429, "warning")
    await both.get("/v1/agent/health/service/id/again", headers={"Accept": "text/plain"})


async def test_lists_are_filtered(both: Both) -> None:
    await both.put(REGISTER, FULL)
    await both.put(REGISTER, {"Name": "other"})
    for text in ("Service==web", "%22a%22+in+Tags", "Meta.zone==z1", "Foo==1", "ServiceName==web", "xx"):
        await both.get(f"/v1/agent/services?filter={text}")
    for text in ("ServiceID==web1", "Status!=passing", "Foo==1"):
        await both.get(f"/v1/agent/checks?filter={text}")


@pytest.mark.parametrize("path", ["services", "checks", "service/nope", "self", "members", "nope", ""])
async def test_parameters_of_the_catalog_are_nothing_to_the_agent(both: Both, path: str) -> None:
    for query in ("dc=nope", "ns=x", "near=_agent"):
        answer = await both.get(f"/v1/agent/{path}?{query}", aside=SELF)
        assert answer.status != 500
    await both.send("DELETE", f"/v1/agent/{path}")
    await both.send("OPTIONS", f"/v1/agent/{path}")


SELF = {"DebugConfig", "Stats", "Version", "Port", "port", "wan_join_port", "xDS"}


async def test_who_the_agent_is(both: Both) -> None:
    answer = await both.get("/v1/agent/self", aside=SELF)
    assert answer.json["Config"]["Version"].startswith("1.14.11")
    await both.get("/v1/agent/members", aside=SELF)
    await both.get("/v1/agent/members?wan=1", aside=SELF)
    await both.get("/v1/agent/members?segment=x")
    await both.get("/v1/agent/members?segment=x&wan=1")
    for said in await both.each(lambda client: client.get("/v1/agent/self")):
        stats = said.json["Stats"]
        assert stats["consul"]["leader"] == "true"
        assert stats["agent"]["services"] == "0"


async def test_a_hash_is_waited_on_until_the_service_says_something_else(server: Client) -> None:
    path = "/v1/agent/service/web1"
    await server.put(REGISTER, FULL)
    first = await server.get(path)
    known = first.json["ContentHash"]
    assert first.headers["x-consul-contenthash"] == known
    assert (await server.get(f"{path}?hash=other&wait=30s")).json == first.json
    assert (await server.get(f"{path}?hash={known}&wait=10ms")).json == first.json
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(server.get(f"{path}?hash={known}&wait=30s"))
        await _asleep(waiting)
        await server.put(REGISTER, FULL)  # says the same: no change
        await server.put("/v1/agent/check/pass/mine?note=x")  # no part of it
        await _asleep(waiting)
        await server.put(REGISTER, {**FULL, "Tags": []})
    assert waiting.result().json["Tags"] == []
    known = waiting.result().json["ContentHash"]
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(server.get(f"{path}?hash={known}&wait=30s"))
        await _asleep(waiting)
        await server.put("/v1/agent/service/deregister/web1")
    assert (waiting.result().status, waiting.result().text) == (404, "unknown service ID: web1")


async def _asleep(task: asyncio.Task[Any]) -> None:
    """Let a request reach its server, and see that it isn't answered."""
    done, _ = await asyncio.wait([task], timeout=0.15)
    assert not done


async def test_what_isn_t_there(both: Both) -> None:
    for path in ("service/nope", "service/", "service/x?hash=a&wait=1x", "service/x?index=z", "check/x"):
        await both.get(f"/v1/agent/{path}")


async def test_a_service_that_the_mesh_is_asked_for_is_refused(ours: Client) -> None:
    for field in ({"Kind": "connect-proxy"}, {"Connect": {"Native": True}}, {"Proxy": {"Mode": "x"}}):
        answer = await ours.put(REGISTER, {"Name": "x", **field})
        assert answer.status == 400
        assert "isn't part of this agent" in answer.text
    for kind in ("UDP", "H2PING"):
        answer = await ours.put(REGISTER, {"Name": "x", "Check": {kind: "127.0.0.1:1", "Interval": "1h"}})
        assert answer.status == 400
    assert (await ours.get("/v1/agent/services")).json == {}


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 5000,
        b"1" * 5000,
        b'{"Name":"x","Checks":[null]}',
        b"\x00",
        b'"',
        b"[1",
        b"1e999",
    ],
    ids=lambda body: repr(body[:30]),
)
async def test_garbage_is_refused_and_harms_nobody(ours: Client, body: bytes) -> None:
    for path in (REGISTER, CHECK, "/v1/agent/check/update/x"):
        assert (await ours.put(path, body)).status in (400, 404)
    assert (await ours.get("/v1/agent/services")).status == 200


async def test_hostile_ids_are_answered(ours: Client) -> None:
    for hostile in ("%0d%0aX:%20y", "%00", "%ff", "%22", "%E2%82%AC", "a%2Fb"):
        for path in ("service/", "health/service/id/", "health/service/name/"):
            answer = await ours.get(f"/v1/agent/{path}{hostile}")
            assert answer.status in (400, 404)
            assert "x" not in answer.headers
        answer = await ours.put(f"/v1/agent/service/deregister/{hostile}")
        assert answer.status in (400, 404)
