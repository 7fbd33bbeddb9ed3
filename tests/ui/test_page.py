"""What somebody sees who looks at the registry's page."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from playwright.async_api import expect

from asyncsd.agent import Agent
from tests.ui.conftest import Open, Put, service

pytestmark = [pytest.mark.server("chromium"), pytest.mark.asyncio(loop_scope="session")]

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'


async def test_a_service_appears_turns_critical_and_goes(open_page: Open, put: Put) -> None:
    page = await open_page(clock=True)
    row = page.locator("#services a", has_text="web")
    await expect(row).to_have_count(0)

    await put("/v1/agent/service/register", service())
    await expect(row).to_have_attribute("data-status", "passing")
    await expect(page.locator("#timeline")).to_contain_text("web-1 registered")

    await row.click()
    instance = page.locator("details.instance")
    await expect(instance).to_contain_text("10.0.0.7:8001")
    await put("/v1/agent/check/fail/web-1-beat?note=the+disk+is+full")
    await expect(instance).to_have_attribute("data-status", "critical")
    await expect(instance.locator(".problem")).to_have_text("the disk is full")
    await expect(page.locator("#timeline .change").first).to_contain_text("web-1 critical, was passing")
    await page.clock.fast_forward(5_000)  # What is spoken is spoken in moderation.
    await expect(page.locator("#announcer")).to_contain_text("web-1 is critical")

    await put("/v1/agent/service/deregister/web-1")
    await expect(row).to_have_count(0)
    await expect(instance).to_have_count(0)
    await expect(page.locator("#main")).to_contain_text("Nothing is registered under this name")
    await expect(page.locator("#timeline .change").first).to_contain_text("web-1 deregistered")


async def test_an_open_instance_tells_all_and_stays_open_while_it_changes(open_page: Open, put: Put) -> None:
    await put("/v1/agent/service/register", service(Weights={"Passing": 7, "Warning": 3}))
    page = await open_page("#/services/web")
    await page.locator("summary").click()
    more = page.locator(".more")
    await expect(more).to_contain_text("7 passing, 3 warning")
    await expect(more).to_contain_text("zone")
    heartbeat = more.locator(".check", has_text="Heartbeat")
    await expect(heartbeat).to_contain_text("TTL")
    await expect(more.locator(".check", has_text="Serf Health Status")).to_contain_text("of the node")
    await put("/v1/agent/check/warn/web-1-beat?note=slow")
    await expect(heartbeat).to_contain_text("Warning")
    await expect(heartbeat.locator("pre")).to_have_text("slow")


async def test_what_happened_before_the_page_was_opened_is_told(open_page: Open, put: Put) -> None:
    await put("/v1/agent/service/register", service())
    await put("/v1/agent/service/maintenance/web-1?enable=true&reason=new+disk")
    page = await open_page()
    await expect(page.locator("#timeline .change")).to_have_count(2)
    await expect(page.locator("#timeline .change").first).to_contain_text("web-1 in maintenance")
    await expect(page.locator("#services a", has_text="web")).to_have_attribute("data-status", "maintenance")


async def test_hostile_texts_are_shown_as_text(open_page: Open, put: Put) -> None:
    turned = "\u202egpj.exe"
    await put(
        "/v1/agent/service/register",
        service(
            HOSTILE,
            ID="javascript:alert(3)",
            Tags=[HOSTILE, turned, "x" * 10_000],
            Meta={"zone": HOSTILE, "link": "javascript:alert(4)"},
        ),
    )
    page = await open_page(size=(1280, 800))
    await page.evaluate("window.alert = () => { window.broken = true }; 0")
    row = page.locator("#services a", has_text="<script>")
    await expect(row.locator(".name")).to_have_text(HOSTILE)
    await expect(row.locator(".tags")).to_contain_text("\\u202egpj.exe")
    await row.click()
    await expect(page.locator("h1")).to_have_text(HOSTILE)
    await page.locator("summary").click()
    await expect(page.locator(".facts")).to_contain_text("javascript:alert(4)")
    await expect(page.locator(".facts")).to_contain_text("x" * 10_000)
    made = "[onerror], body script, img[src=x], a[href^=javascript]"
    assert await page.locator(made).count() == 0
    assert not await page.evaluate("window.broken")
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_a_link_leads_to_a_service_whatever_its_name(open_page: Open, put: Put) -> None:
    await put("/v1/agent/service/register", service("a/b c#?%41"))
    page = await open_page("#/services/a%2Fb%20c%23%3F%2541")
    await expect(page.locator("h1")).to_have_text("a/b c#?%41")
    await expect(page.locator("details.instance")).to_have_count(1)
    await page.locator(".brand").click()
    await page.locator("#services a", has_text="a/b").click()
    await expect(page.locator("details.instance")).to_have_count(1)


async def test_services_are_found_by_name_tag_and_status(open_page: Open, put: Put) -> None:
    await put("/v1/agent/service/register", service("web", Tags=["blue"]))
    await put("/v1/agent/service/register", service("users", Tags=["green"]))
    await put("/v1/agent/check/warn/users-1-beat")
    page = await open_page()
    names = page.locator("#services .name")
    field = page.locator("#filter input[type=search]")
    await field.fill("WE")
    await expect(names).to_have_text(["web"])
    await field.fill("tag:green")
    await expect(names).to_have_text(["users"])
    await field.fill("")
    await page.locator("#filter").get_by_label("Warning").check()
    await expect(names).to_have_text(["users"])
    await field.fill("blue")
    await expect(page.locator("#services-none")).to_have_text("No service is like that.")


async def test_a_new_user_is_told_how_to_register_and_it_works(
    agent: Agent, open_page: Open, put: Put
) -> None:
    page = await open_page(permissions=["clipboard-read", "clipboard-write"])
    await page.get_by_role("button", name="Copy the shell command").click()
    await expect(page.get_by_text("Copied")).to_be_visible()
    command = await page.evaluate("navigator.clipboard.readText()")
    match = re.fullmatch(r"curl -X PUT (\S+) \\\n  -d '(.*)'", command)
    assert match is not None
    assert match[1] == f"{agent.url}/v1/agent/service/register"
    await put("/v1/agent/service/register", json.loads(match[2]))
    await expect(page.locator("#services a", has_text="web")).to_be_visible()
    await expect(page.locator(".start")).to_be_hidden()


async def test_the_page_lives_on_when_the_agent_is_restarted(agent: Agent, open_page: Open, put: Put) -> None:
    page = await open_page(excuse="Failed to load resource")
    await put("/v1/agent/service/register", service())
    await expect(page.locator("#services a", has_text="web")).to_be_visible()
    await agent.restart()
    await expect(page.locator("#services a", has_text="web")).to_have_count(0)  # it has forgotten
    await put("/v1/agent/service/register", service("users"))
    await expect(page.locator("#services a", has_text="users")).to_be_visible()
    await expect(page.locator("#timeline .change")).to_have_count(1)
    await expect(page.locator("#link-text")).to_have_text("Live")


async def test_a_page_without_its_agent_says_so_and_keeps_what_it_knows(
    agent: Agent, open_page: Open, put: Put
) -> None:
    page = await open_page(excuse="Failed to load resource", clock=True)
    await put("/v1/agent/service/register", service())
    await expect(page.locator("#services a", has_text="web")).to_be_visible()
    # The clock stands still from here on, and the page tries again only when the test lets time pass.
    await page.clock.pause_at(datetime.now(UTC) + timedelta(minutes=5))
    await agent.aclose()
    await expect(page.locator("#link")).to_have_attribute("title", "The agent can't be reached")
    async with page.expect_event("requestfailed"):
        await page.clock.run_for(400)  # the first new try; the second comes 375 ms later at least
    async with asyncio.timeout(10):
        while await page.locator("#link-text").text_content() != "Reconnecting":
            await page.clock.run_for(1)
    await expect(page.locator("#services a", has_text="web")).to_be_visible()
    async with Agent(port=int(agent.url.rpartition(":")[2])):
        await page.get_by_role("button", name="Retry now").click()
        await page.clock.resume()
        await expect(page.locator("#link-text")).to_have_text("Live")
        await expect(page.locator("#services a", has_text="web")).to_have_count(0)


class TestWithTokens:
    @pytest_asyncio.fixture(loop_scope="session")
    async def agent(self) -> AsyncIterator[Agent]:
        async with Agent(token="all", read_token="sesame") as agent:
            yield agent

    async def test_the_page_asks_for_a_token_and_keeps_it_to_itself(
        self, agent: Agent, open_page: Open
    ) -> None:
        page = await open_page(live=False, excuse="403")
        field = page.get_by_label("Token", exact=True)
        await expect(field).to_be_focused()
        await expect(page.locator("#services a")).to_have_count(0)
        await field.fill("open")
        await field.press("Enter")
        await expect(page.get_by_text("The agent refused this token")).to_be_visible()
        await field.fill("sesame")
        async with page.expect_request("**/ui/events") as sent:
            await field.press("Enter")
        assert await (await sent.value).header_value("X-Consul-Token") == "sesame"
        await expect(page.locator("#services a")).to_have_count(1)
        await expect(page.locator(".start")).to_contain_text('-H "X-Consul-Token: $TOKEN"')
        await expect(page.locator(".start")).to_contain_text("?token_file=token")
        kept = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])"
        assert "sesame" not in await page.evaluate(kept)
        await expect(field).to_have_value("")

    async def test_who_put_the_question_aside_is_asked_again_by_keyboard_too(self, open_page: Open) -> None:
        page = await open_page(live=False, excuse="403")
        field = page.get_by_label("Token", exact=True)
        await expect(field).to_be_focused()
        await page.keyboard.type("sesame")
        await page.keyboard.press("Escape")
        await expect(field).to_be_hidden()
        await expect(page.locator("#link-text")).to_have_text("No access")  # what was typed isn't sent
        button = page.get_by_role("button", name="Give a token")
        await button.focus()
        await page.keyboard.press("Enter")
        await expect(field).to_be_focused()
        await expect(field).to_have_value("")
        await page.keyboard.type("sesame")
        await page.keyboard.press("Enter")
        await expect(page.locator("#link-text")).to_have_text("Live")
        await expect(button).to_be_hidden()

    async def test_the_page_comes_back_with_its_token_after_a_restart(
        self, agent: Agent, open_page: Open
    ) -> None:
        page = await open_page(live=False, excuse="Failed to load resource")
        await page.get_by_label("Token", exact=True).fill("sesame")
        await page.keyboard.press("Enter")
        await expect(page.locator("#link-text")).to_have_text("Live")
        async with page.expect_response("**/ui/events") as answer:
            await agent.restart()
        assert (await answer.value).status == 200
        await expect(page.locator("#token")).to_be_hidden()
