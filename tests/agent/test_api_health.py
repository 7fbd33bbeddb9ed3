"""/v1/health on both servers."""

from typing import Any

import pytest

from tests.agent.parity import NODE, Both

pytestmark = pytest.mark.server("consul")


def service(name: str, id: str, status: str, **more: Any) -> dict[str, Any]:
    checks = [{"Name": f"{id} up", "ServiceID": id, "Status": status}] if status else []
    return {
        "Node": "ext",
        "Address": "10.0.0.7",
        "NodeMeta": {"rack": "r1"},
        "Service": {"Service": name, "ID": id, **more},
        "Checks": checks,
    }


@pytest.fixture
async def filled(both: Both) -> Both:
    """Both, with a service of three instances in three states, on a node, and one of this agent's."""
    for entry in (
        service("web", "web1", "passing", Tags=["v1"], Meta={"zone": "eu"}),
        service("web", "web2", "warning", Tags=["v1", "v2"]),
        service("web", "web3", "critical", Meta={"zone": "us"}),
        service("db", "db", ""),
    ):
        await both.put("/v1/catalog/register", entry)
    await both.put("/v1/agent/service/register", {"Name": "here", "Port": 9, "Check": {"TTL": "60s"}})
    return both


@pytest.mark.parametrize(
    "path",
    [
        "service/web",
        "service/db",
        "service/here",
        "service/nobody",
        "service/web?passing",
        "service/web?passing=1",
        "service/web?passing=false",
        "service/db?passing",
        "service/here?passing",
        "service/web?tag=v1",
        "service/web?tag=v1&tag=V2",
        "service/web?tag=v3",
        "service/web?node-meta=rack:r1",
        "service/web?node-meta=rack:r2",
        "service/web?near=_agent",
        "service/web?filter=Service.Meta.zone==eu",
        "service/web?filter=Checks.Status==warning",
        "service/web?passing&tag=v1&filter=Service.Port==80",
        "service/web?merge-central-config",
        "service/web?peer=elsewhere",
        "node/ext",
        f"node/{NODE}",
        "node/nobody",
        "node/ext?filter=Status!=passing",
        "checks/web",
        "checks/web?filter=Status==critical",
        "checks/web?node-meta=rack:r1",
        "checks/web?node-meta=rack:r2",
        "checks/db",
        "checks/nobody",
        "state/any",
        "state/passing",
        "state/warning",
        "state/critical",
        "state/Critical",
        "state/nothing",
        "state/any?node-meta=rack:r1",
        "state/any?near=nobody",
    ],
)
async def test_what_stands_is_read(filled: Both, path: str) -> None:
    await filled.get(f"/v1/health/{path}")


async def test_passing_leaves_out_what_any_check_speaks_against(filled: Both) -> None:
    answer = await filled.get("/v1/health/service/web?passing")
    assert [entry["Service"]["ID"] for entry in answer.json] == ["web1"]
    await filled.put(
        "/v1/catalog/register",
        {"Node": "ext", "SkipNodeUpdate": True, "Check": {"Name": "disk", "Status": "critical"}},
    )
    assert (await filled.get("/v1/health/service/web?passing")).json == []


async def test_an_instance_bears_the_checks_of_its_node_first(filled: Both) -> None:
    await filled.put(
        "/v1/catalog/register",
        {"Node": "ext", "SkipNodeUpdate": True, "Check": {"Name": "zz of the node", "Status": "passing"}},
    )
    (entry,) = (await filled.get("/v1/health/service/web?tag=v2")).json
    assert [check["Name"] for check in entry["Checks"]] == ["zz of the node", "web2 up"]


async def test_a_passing_that_is_no_truth_value_is_refused(filled: Both) -> None:
    assert (await filled.get("/v1/health/service/web?passing=perhaps")).status == 400


@pytest.mark.parametrize("path", ["service/", "node/", "checks/", "state/"])
async def test_a_path_without_a_name_is_refused(both: Both, path: str) -> None:
    assert (await both.get(f"/v1/health/{path}")).status == 400
