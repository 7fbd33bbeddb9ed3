"""Filter expressions on both servers: what they keep, and how they are refused."""

from collections.abc import AsyncIterator
from urllib.parse import quote

import aiohttp
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncsd.agent import Agent
from tests.agent.parity import NODE, Answer, Both, Client

pytestmark = [pytest.mark.server("consul"), pytest.mark.asyncio(loop_scope="module")]

INSTANCES = [
    {"ID": "web1", "Port": 80, "Tags": ["a", "b"], "Meta": {"zone": "eu", "dot": "eu.x"}},
    {
        "ID": "web2",
        "Port": 81,
        "Tags": ["b"],
        "Meta": {"zone": "us"},
        "Weights": {"Passing": 3, "Warning": 2},
    },
    {
        "ID": "web3",
        "Port": 79,
        "Address": "10.0.0.9",
        "TaggedAddresses": {"lan": {"Address": "1.1.1.1", "Port": 5}},
    },
    {"ID": "web4", "Port": 80, "EnableTagOverride": True, "SocketPath": "/run/web"},
]


CHECKS = [
    {"Name": "up", "ServiceID": "web1", "Status": "passing", "Output": "fine"},
    {"Name": "slow", "ServiceID": "web2", "Status": "warning", "Notes": "a note"},
    {"Name": "disk", "Status": "critical"},
]
NODE_OF_ALL = {
    "Node": "ext",
    "Address": "10.0.0.7",
    "NodeMeta": {"rack": "r1"},
    "TaggedAddresses": {"lan": "10.0.0.7"},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(consul_ports: list[int]) -> AsyncIterator[Both]:
    """Both, filled once for all of these tests, which only read."""
    async with Agent(node=NODE) as agent, aiohttp.ClientSession() as session:
        both = Both(
            Client(agent.url, [int(agent.url.rpartition(":")[2])], session),
            Client(f"http://127.0.0.1:{consul_ports[0]}", consul_ports, session),
        )
        for client in (both.ours, both.consul):
            for service in INSTANCES:
                entry = {**NODE_OF_ALL, "Service": {"Service": "web", **service}}
                await client.put("/v1/catalog/register", entry)
            await client.put("/v1/catalog/register", {**NODE_OF_ALL, "Checks": CHECKS})
        yield both
        await both.consul.clean()


def filtered(path: str, expression: str) -> str:
    return f"/v1/{path}?filter={quote(expression)}"


CATALOG = [
    *("ServiceMeta.zone == eu", 'ServiceMeta["zone"] != "eu"', "ServiceMeta[ `zone` ] == eu"),
    *("ServiceMeta.nope == x", "ServiceMeta.nope != x", "ServiceMeta.nope matches x"),
    *("ServiceMeta.nope not matches x", "ServiceMeta.nope contains x", "ServiceMeta.nope not contains x"),
    *("zone in ServiceMeta", "zone not in ServiceMeta", "ServiceMeta contains zone", "ServiceMeta is empty"),
    *("ServiceMeta.dot == eu.x", "ServiceMeta.zone is empty", "ServiceMeta.zone.x == 1"),
    *("a in ServiceTags", "A in ServiceTags", "ServiceTags not contains a", "ServiceTags is not empty"),
    *("ServiceTags == a", "ServiceTags.x == 1", "ServiceTags matches a"),
    *("ServicePort == 80", "ServicePort != 80", "ServicePort == 0x50", "ServicePort == `0120`"),
    *("ServicePort == `8_0`", "ServicePort == `+80`", "ServicePort == `--1`", "ServicePort == -1"),
    *(
        "ServicePort == abc",
        "ServicePort == 80.5",
        "ServicePort == 99999999999999999999",
        "80 in ServicePort",
    ),
    *("ServicePort is empty", "ServicePort matches `8.`", "ServicePort.x == 1", "ServicePort == ``"),
    *("ServiceID == web1", 'ServiceID == "web1"', "ServiceID == `web1`", "eb1 in ServiceID"),
    *(
        "ServiceID contains eb",
        "ServiceID not contains 1",
        "ServiceID matches `^web[12]$`",
        "ServiceID is empty",
    ),
    *('ServiceID == "we\\x621"', 'ServiceID == "we\\u00621"', 'ServiceID == "we\\q"', "ServiceID == web-1"),
    *("ServiceEnableTagOverride == true", "ServiceEnableTagOverride == T", "ServiceEnableTagOverride == yes"),
    *("ServiceEnableTagOverride != 0", "ServiceWeights.Passing == 3", "ServiceWeights.Warning != 1"),
    *("ServiceWeights is empty", "ServiceWeights.Nope == 1", "ServiceSocketPath == `/run/web`"),
    *("ServiceTaggedAddresses.lan.Address == `1.1.1.1`", "ServiceTaggedAddresses.lan.Port == 5"),
    *("ServiceTaggedAddresses.nope.Port != 5", "lan in ServiceTaggedAddresses", "ServiceAddress == ``"),
    *("TaggedAddresses.lan == `10.0.0.7`", "NodeMeta.rack == r1", "Node == ext", "ID == ``"),
    *("Datacenter == dc1", "Address != `10.0.0.7`", "ServiceName matches `^w`", "ServiceKind == ``"),
    *("ServiceProxy.Mode == ``", "ServiceProxy.Upstreams is empty", "ServiceProxy.MeshGateway.Mode == ``"),
    *("ServiceProxy.Expose.Checks == false", "ServiceProxy.Upstreams.DestinationName == x"),
    *("ServiceProxy.Config is empty", "ServiceConnect.Native == false", "PeerName == ``", "Namespace == x"),
    *("not ServicePort == 80", "not not ServicePort == 80", "not not not ServicePort == 80"),
    *("not (ServicePort == 80 or ServicePort == 81)", "(((ServicePort == 80)))", "( ServicePort == 80 )"),
    "ServicePort == 80 or ServicePort == 81 and ServiceID == web2",
    "(ServicePort == 80 or ServicePort == 81) and ServiceID == web2",
    "ServiceID == web1 and(ServicePort==80)",
    " \t\nServicePort\r\n == 80 ",
    *("", " ", "==", "and", "not", "not == 3", "not in", "Foo", "Foo == 1", "Foo.Bar == 1", "é == 1"),
    *("ServicePort == 80 and", "ServicePort == 80 or", "ServicePort == 80 foo", "ServicePort = 80"),
    *("(ServicePort == 80", "ServicePort == 80)", "((ServicePort == 80)", "(a==b) or (c==d", "()"),
    *(
        "ServiceMeta[zone] == eu",
        'ServiceMeta["zone == eu',
        'ServiceMeta["zone"  == eu',
        "ServiceMeta[] == 1",
    ),
    *("ServiceMeta.`zone` == x", "ServiceMeta. == x", "ServiceID == 'web1'", "ServiceID == `web1", '"web1'),
    *(
        "1x in ServiceTags",
        "1. in ServiceTags",
        "a in 3",
        "a not in 3",
        "`x` == ServiceID",
        "01 in ServiceTags",
    ),
    *("ServiceID is foo", "ServiceID is not foo", "ServiceID contains", "ServiceID not  contains  x"),
    *("ServiceID == `é` x", 'ServiceID == "a\nb"', "ServiceID == é", "\nServicePort ==\n80 foo"),
    *("ServicePort == 80 AND ServiceID == web1", "/ServiceID == web1", "ServiceID < 3", "a b c"),
]

PATTERNS = [
    *(
        "",
        "web",
        "^web1$",
        "WEB",
        "(?i)WEB",
        "(?i:WEB)1",
        "(?-i)web",
        "w.b",
        "w\\.b",
        "web[0-9]+",
        "[^a-v]eb",
    ),
    *(
        "(web|x)1",
        "(|x)web",
        "a||b",
        "()",
        "web{1}2",
        "we{0,1}b",
        "e{2,}",
        "a{,2}",
        "a{",
        "a{1",
        "a{01}",
        "a?",
    ),
    *("\\d", "\\D+1", "\\w\\W", "\\S", "[\\d]", "[[:alpha:]]+1", "[[:^alpha:]]", "\\pN", "\\p{Nd}", "\\PL"),
    *(
        "\\Aweb1\\z",
        "\\bweb",
        "\\Beb",
        "eb\\B",
        "(?m)^web",
        "(?s).",
        "\\x31",
        "\\x{31}",
        "\\061",
        "\\Qweb1\\E$",
    ),
    *(
        "(?P<n>web)1",
        "(?<n>web)2",
        "(?U)a+",
        "[]a]",
        "[a-]",
        "[-a]",
        "\\-",
        "\\_",
        "é",
        "$^",
        "a*?",
        "\\pL+1",
    ),
    *(
        "(",
        ")",
        "(web",
        "web)",
        "[a",
        "[]",
        "[z-a]",
        "[\\z]",
        "[[:foo:]]",
        "[[:alpha]]",
        "a\\",
        "\\",
        "[a\\]",
    ),
    *("*", "+a", "?", "(*)", "a|*", "a**", "a++", "a*??", "a{2}{3}", "x{1001}", "x{2,1}", "(x{100}){100}"),
    *("(?=a)", "(?!a)", "(?<=a)b", "(?#x)", "(?z)", "(?i", "(?--i)x", "(?P<n", "(?P<>x)", "(a)\\1", "\\8"),
    *("\\y", "\\C", "\\Z", "\\G", "\\E", "\\xz", "\\x3", "\\p", "\\pX", "\\p{Foo}", "\\é"),
]


@pytest.mark.parametrize("expression", [*CATALOG, *(f"ServiceID matches `{p}`" for p in PATTERNS)])
async def test_a_filter_of_instances(shared: Both, expression: str) -> None:
    await shared.get(filtered("catalog/service/web", expression))


@pytest.mark.parametrize(
    "expression",
    [
        *("Service.ID == web1", "Service.Service != web", "a in Service.Tags", "Service.Meta.zone == eu"),
        *("Service.Port == 80", "Service.Weights.Passing == 3", "Service.EnableTagOverride == true"),
        *("Service.TaggedAddresses.lan.Port == 5", "Service.SocketPath is empty", "Service.Kind == ``"),
        *("Service.Connect.Native == false", "Service.Proxy.Mode == ``", "Service.PeerName == ``"),
        *(
            "Node.Node == ext",
            "Node.Meta.rack == r1",
            "Node.TaggedAddresses.lan == x",
            "Node.Partition == ``",
        ),
        *("Checks.Status == passing", "Checks.Status != critical", "not Checks.Status == critical"),
        *("Checks is empty", "Checks is not empty", "Checks.CheckID == up", "Checks.Name matches `^s`"),
        *("Checks.ServiceTags contains a", "Checks.Output == fine", "Checks.ExposedPort == 0"),
        *("Checks.Definition == x", "Checks.CheckId == up", "Checks == x", "Service == x", "Node is empty"),
        *("Checks.Status == critical and Service.Port == 80", "Node.CreateIndex == 1", "ServiceID == web1"),
    ],
)
async def test_a_filter_of_instances_with_their_health(shared: Both, expression: str) -> None:
    await shared.get(filtered("health/service/web", expression))


@pytest.mark.parametrize("path", ["health/node/ext", "health/checks/web", "health/state/any"])
@pytest.mark.parametrize(
    "expression",
    [
        *(
            "Status == passing",
            "CheckID != up",
            "ServiceTags contains a",
            "ServiceTags is empty",
            "Nope == 1",
        ),
        *("Node == ext", "Name matches `^d`", "ServiceID == web1", "ServiceName is empty", "Type == ``"),
    ],
)
async def test_a_filter_of_checks(shared: Both, path: str, expression: str) -> None:
    await shared.get(filtered(path, expression))


@pytest.mark.parametrize("path", ["catalog/node/ext", "catalog/node-services/ext"])
@pytest.mark.parametrize(
    "expression", ["ID == web1", "Port == 80", "a in Tags", "Meta.zone == eu", "ServiceID == 1"]
)
async def test_a_filter_of_a_nodes_services(shared: Both, path: str, expression: str) -> None:
    await shared.get(filtered(path, expression), aside={"consul"})


@pytest.mark.parametrize("expression", ["Node == ext", "Meta.rack == r1", "Meta is empty", "ServiceID == 1"])
async def test_a_filter_of_nodes(shared: Both, expression: str) -> None:
    await shared.get(filtered("catalog/nodes", expression))


SELECTORS = ("ServiceID", "ServicePort", "ServiceTags", "ServiceMeta", "ServiceMeta.zone", "NodeMeta.rack")
OPERATORS = ("==", "!=", "contains", "not contains", "matches", "not matches")
VALUES = ("web1", "eu", "a", "80", "zone", "`w.*`", '"r1"', "-1", "x.y", "0x50")
comparison = st.one_of(
    st.builds(
        "{} {} {}".format, st.sampled_from(SELECTORS), st.sampled_from(OPERATORS), st.sampled_from(VALUES)
    ),
    st.builds("{} is {}empty".format, st.sampled_from(SELECTORS), st.sampled_from(["", "not "])),
    st.builds(
        "{} {}in {}".format,
        st.sampled_from(VALUES),
        st.sampled_from(["", "not "]),
        st.sampled_from(SELECTORS),
    ),
)
expressions = st.recursive(
    comparison,
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("not {}".format, inner),
        st.builds("{} or {} and {}".format, inner, inner, inner),
    ),
    max_leaves=5,
)
tokens = st.sampled_from(
    [
        *SELECTORS,
        *OPERATORS,
        *VALUES,
        "and",
        "or",
        "not",
        "in",
        "is",
        "empty",
        "(",
        ")",
        "[",
        "]",
        '"',
        "`",
        ".",
    ]
)
garbage = st.lists(tokens, max_size=7).flatmap(
    lambda parts: st.sampled_from([" ".join(parts), "".join(parts)])
)


def said(answer: Answer) -> object:
    return [entry["ServiceID"] for entry in answer.json] if answer.status == 200 else answer.text


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.lists(st.one_of(expressions, expressions, garbage), min_size=8, max_size=8))
async def test_any_expression_keeps_what_consul_keeps(shared: Both, batch: list[str]) -> None:
    for expression in batch:
        path = filtered("catalog/service/web", expression)
        ours, consul = await shared.ours.get(path), await shared.consul.get(path)
        assert (ours.status, said(ours)) == (consul.status, said(consul)), expression
