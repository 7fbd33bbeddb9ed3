"""Headers, parameters that all reads share, methods and paths, on both servers."""

import pytest

from tests.agent.parity import Both, Client

pytestmark = pytest.mark.server("consul")

READS = (
    "/v1/catalog/service/web",
    "/v1/catalog/node-services/ext",
    "/v1/health/service/web",
)
WEB = {"Node": "ext", "Address": "1.2.3.4", "Service": {"Service": "web", "Port": 80, "Tags": ["v1"]}}


@pytest.fixture
async def filled(both: Both) -> Both:
    await both.put("/v1/catalog/register", WEB)
    return both


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize(
    "query",
    [
        *("stale", "consistent", "leader", "max_stale=1s", "max_stale=0s", "wait=0", "index=0", "pretty"),
        *("stale&consistent", "cached&consistent", "max_stale=x", "max_stale=1s&consistent"),
        *(
            "wait=abc",
            "wait=1",
            "wait=-1s",
            "index=abc",
            "index=-1",
            "index=%2B1",
            "index=99999999999999999999",
        ),
        *("dc=dc1", "dc=DC1", "dc=zz", "dc=zz&filter=(", "filter=(", "filter=Nope==1", "wait=abc&dc=zz"),
        *("partition=x", "%zz", "a;b", "a%3Bb", "=", "&&"),
    ],
)
async def test_a_parameter_is_answered_as_by_consul(filled: Both, path: str, query: str) -> None:
    await filled.get(f"{path}?{query}")


@pytest.mark.parametrize("path", ["/v1/catalog/service/web", "/v1/health/service/web"])
async def test_a_cached_read_says_that_it_is_one(filled: Both, path: str) -> None:
    await filled.each(lambda client: client.get(f"{path}?cached"))  # Consul hasn't got it in its cache yet
    answer = await filled.get(f"{path}?cached", aside={"Age"})
    assert (answer.headers["x-cache"], answer.headers["age"]) == ("HIT", "0")


@pytest.mark.parametrize(
    "value", ["max-age=5", "max-age=x", "stale-if-error=", "no-cache", "must-revalidate"]
)
async def test_cache_control_is_read(filled: Both, value: str) -> None:
    path = "/v1/health/service/web?cached"
    await filled.each(lambda client: client.get(path))
    await filled.get(path, headers={"Cache-Control": value})


@pytest.mark.parametrize("name", ["X-Consul-Namespace", "X-Consul-Partition"])
async def test_what_only_consul_enterprise_has_is_refused(filled: Both, name: str) -> None:
    answer = await filled.get("/v1/health/service/web", headers={name: "x"})
    assert answer.status == 400


@pytest.mark.parametrize("path", ["/v1/catalog/services", "/v1/health/service/web", "/v1/status/leader"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
async def test_a_method_that_isnt_for_this_is_refused_with_those_that_are(
    filled: Both, path: str, method: str
) -> None:
    answer = await filled.send(method, path)
    assert answer.headers["allow"] == "OPTIONS,GET"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_a_write_says_what_it_takes(both: Both, method: str) -> None:
    answer = await both.send(method, "/v1/catalog/register")
    assert (answer.status, answer.headers["allow"]) == (405, "OPTIONS,PUT")


@pytest.mark.parametrize(
    "path",
    [
        *("/v1", "/v1/", "/v1/nope", "/nope", "/v2/catalog/services", "/x/v1/y", "/V1/catalog/services"),
        *(
            "/v1/catalog",
            "/v1/catalog/",
            "/v1/catalog/services/",
            "/v1/catalog/nodes/x",
            "/v1/status/leader/",
        ),
        *("/v1/catalog/service", "/v1/catalog/service?tag=a", "/v1//catalog/services", "//", "/."),
        *("/v1/catalog/service/.", "/v1/catalog/service/..", "/v1/catalog/service/../services"),
        *("/v1/catalog/service/...", "/v1/catalog/service/a..b", "/v1/catalog/service/web/"),
        *("/v1/catalog/service/a/b", "/v1/catalog/service/a%2Fb", "/v1/catalog/service/a%2F%2Fb"),
        *("/v1/catalog/service/%2e%2e", "/v1/catalog/service/w%C3%A9b", "/v1/catalog/service/w+b"),
        *("/v1/catalog/service/%00", "/v1/catalog/service/%0A", "/v1/catalog/service/%7F"),
        *("/v1/catalog/service/%zz", "/v1/catalog/service/%", "/v1/catalog/service/%ff"),
        *("/v1/catalog/service/%C2%A0", "/v1/catalog/service/%E2%80%A8"),
    ],
)
async def test_a_path_leads_where_it_leads_with_consul(both: Both, path: str) -> None:
    await both.get(path)
    await both.send("PUT", path)


@pytest.mark.parametrize("name", ["a/b", "a b", "wé b", 'q"<>', "per%25cent", "ünï"])
async def test_a_service_of_any_name_is_found_by_its_escaped_name(both: Both, name: str) -> None:
    await both.put("/v1/catalog/register", {**WEB, "Service": {"Service": name, "Port": 1}})
    escaped = "".join(f"%{byte:02X}" for byte in name.encode())
    assert len((await both.get(f"/v1/catalog/service/{escaped}")).json) == 1
    assert len((await both.get(f"/v1/health/service/{escaped}")).json) == 1


async def test_pretty_is_indented_as_consul_does(both: Both) -> None:
    await both.put("/v1/catalog/register", WEB)
    path = "/v1/catalog/node-services/ext?pretty"
    ours, consul = await both.each(lambda client: client.get(path))
    shape = [
        [line.rstrip("0123456789,") for line in answer.text.splitlines() if "Index" not in line]
        for answer in (ours, consul)
    ]
    assert sorted(shape[0]) == sorted(shape[1])
    assert ours.body.endswith(b"}\n")


async def test_an_answer_is_dense_unless_asked(ours: Client) -> None:
    assert b"\n" not in (await ours.get("/v1/catalog/nodes")).body


@pytest.mark.parametrize("path", READS)
async def test_an_index_is_never_0(server: Client, path: str) -> None:
    assert (await server.get(path.replace("web", "nobody"))).index > 0


@pytest.mark.parametrize("query", ["dc=zz", "stale&consistent", "wait=x"])
async def test_status_reads_the_parameters_too(both: Both, query: str) -> None:
    await both.get(f"/v1/status/leader?{query}")
