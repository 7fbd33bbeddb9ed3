"""Checks that follow another instance, or a node."""

import pytest

from asyncsd.agent._state._catalog import Catalog
from asyncsd.agent._state._definitions import CheckDefinition
from asyncsd.agent._state._structs import HealthCheck, Node, Service, Status
from asyncsd.testing import FakeClock
from tests.unit.agent.checks import NODE, Checks, Said, running


class Cluster:
    """A catalog, written by hand."""

    def __init__(self) -> None:
        self.catalog = Catalog()
        for node in (NODE, "there"):
            self.catalog.register(Node(node=node, address="127.0.0.1", datacenter="dc1"))

    def service(self, id: str, node: str = NODE) -> None:
        self.catalog.register(_node(node), [Service(id=id, service="web")])

    def check(self, id: str, status: Status, *, of: str = "", output: str = "out", node: str = NODE) -> None:
        check = HealthCheck(
            node=node, check_id=id, name=f"name {id}", status=status, output=output, service_id=of
        )
        self.catalog.register(_node(node), checks=[check])


def _node(name: str) -> Node:
    return Node(node=name, address="127.0.0.1", datacenter="dc1")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def alias(service: str = "web1", *, node: str = "", id: str = "alias") -> CheckDefinition:
    return CheckDefinition(check_id=id, name=id, alias_service=service, alias_node=node)


async def last(clock: FakeClock, checks: Checks) -> Said:
    await clock.settle()
    return checks.said[-1]


async def test_it_follows_the_worst_check_of_the_instance_and_of_its_node(
    clock: FakeClock, cluster: Cluster
) -> None:
    async with running(clock, catalog=cluster.catalog) as checks:
        checks.runners.start(alias())
        assert await last(clock, checks) == (
            "alias",
            "critical",
            "Service web1 could not be found on node ",
        )
        cluster.service("web1")
        assert await last(clock, checks) == ("alias", "passing", "No checks found.")
        cluster.check("a", "passing", of="web1")
        assert await last(clock, checks) == ("alias", "passing", "All checks passing.")
        cluster.check("b", "warning", of="web1")
        assert await last(clock, checks) == ("alias", "warning", 'Aliased check "name b" failing: out')
        cluster.check("c", "critical", of="web1", output="down")
        assert await last(clock, checks) == ("alias", "critical", 'Aliased check "name c" failing: down')
        cluster.check("c", "passing", of="web1")
        cluster.check("b", "passing", of="web1")
        cluster.check("disk", "critical", output="full")
        assert await last(clock, checks) == ("alias", "critical", 'Aliased check "name disk" failing: full')
        cluster.catalog.deregister(NODE, check_id="disk")
        assert (await last(clock, checks)).status == "passing"
        cluster.catalog.deregister(NODE, service_id="web1")
        assert (await last(clock, checks)).status == "critical"


async def test_other_instances_are_none_of_its_business(clock: FakeClock, cluster: Cluster) -> None:
    cluster.service("web1")
    cluster.service("web2")
    cluster.service("web1", node="there")
    async with running(clock, catalog=cluster.catalog) as checks:
        checks.runners.start(alias())
        cluster.check("a", "critical", of="web2")
        cluster.check("a", "critical", of="web1", node="there")
        assert (await last(clock, checks)).status == "passing"


async def test_the_life_of_its_own_agent_is_no_check_of_a_local_alias(
    clock: FakeClock, cluster: Cluster
) -> None:
    cluster.service("web1")
    cluster.check("serfHealth", "critical")
    async with running(clock, catalog=cluster.catalog) as checks:
        checks.runners.start(alias())
        checks.runners.start(alias(node=NODE, id="by node"))
        await clock.settle()
        assert {said.check_id: said.status for said in checks.said} == {
            "alias": "passing",
            "by node": "critical",
        }


async def test_a_node_is_followed_by_its_own_checks(clock: FakeClock, cluster: Cluster) -> None:
    cluster.service("web1", node="there")
    cluster.check("a", "critical", of="web1", node="there")
    async with running(clock, catalog=cluster.catalog) as checks:
        checks.runners.start(alias("", node="there"))
        assert await last(clock, checks) == (
            "alias",
            "critical",
            "Service  could not be found on node there",
        )
        cluster.check("up", "passing", node="there")
        assert await last(clock, checks) == ("alias", "passing", "All checks passing.")
        cluster.check("up", "critical", node="there", output="gone")
        assert await last(clock, checks) == ("alias", "critical", 'Aliased check "name up" failing: gone')


async def test_an_alias_on_the_service_that_it_follows_can_recover(
    clock: FakeClock, cluster: Cluster
) -> None:
    cluster.service("web1")
    cluster.check("alias", "critical", of="web1", output="of before")
    cluster.check("a", "passing", of="web1")
    async with running(clock, catalog=cluster.catalog) as checks:
        checks.runners.start(alias())
        assert await last(clock, checks) == ("alias", "passing", "All checks passing.")


async def test_two_aliases_of_each_other_come_to_rest(clock: FakeClock, cluster: Cluster) -> None:
    cluster.service("web1")
    cluster.service("web2")
    async with running(clock, catalog=cluster.catalog) as checks:
        for id, service, other in (("one", "web1", "web2"), ("two", "web2", "web1")):
            cluster.check(id, "critical", of=service, output="")
            checks.runners.start(alias(other, id=id))
        for _ in range(2_000):
            await clock.settle()
            news, checks.said = checks.said, []
            if not news:
                break
            for said in news:
                of = "web1" if said.check_id == "one" else "web2"
                cluster.check(said.check_id, said.status, of=of, output=said.output)
        assert news == []


async def test_a_stopped_alias_follows_no_more(clock: FakeClock, cluster: Cluster) -> None:
    cluster.service("web1")
    async with running(clock, catalog=cluster.catalog) as checks:
        checks.runners.start(alias())
        await clock.settle()
        cluster.check("a", "critical", of="web1")
        checks.runners.stop("alias")
        await clock.settle()
        assert [said.status for said in checks.said] == ["passing"]
        assert len(cluster.catalog.waiters) == 0
