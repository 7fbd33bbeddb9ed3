"""The page in both themes, by keyboard, on a phone, and with a thousand instances."""

import asyncio
import time

import pytest
from playwright.async_api import Page, expect

from tests.ui.conftest import Open, Put, service

pytestmark = [pytest.mark.server("chromium"), pytest.mark.asyncio(loop_scope="session")]

# Of each text that shows: its contrast with what is behind it, by WCAG 2.2's formula.
FAINT = """() => {
  const rgba = (text) => text.match(/[\\d.]+/g).map(Number);
  const over = ([r, g, b, a = 1], under) => [r, g, b].map((v, i) => v * a + under[i] * (1 - a));
  const light = (rgb) => {
    const linear = (v) => (v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    const [r, g, b] = rgb.map((v) => linear(v / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const ground = (element) => rgba(getComputedStyle(element).backgroundColor);
  const behind = (element) =>
    element ? over(ground(element), behind(element.parentElement)) : [255, 255, 255];
  const faint = [];
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.checkVisibility({ visibilityProperty: true })) continue;
    const under = behind(element);
    const both = [light(over(rgba(getComputedStyle(element).color), under)), light(under)];
    const contrast = (Math.max(...both) + .05) / (Math.min(...both) + .05);
    if (contrast < 4.5) faint.push([element.className, element.textContent, contrast]);
  }
  return faint;
}"""

GROUND = "getComputedStyle(document.body).backgroundColor"
LIGHT, DARK = "rgb(245, 246, 249)", "rgb(14, 17, 23)"


async def some(put: Put) -> None:
    for number in range(1, 4):
        await put("/v1/agent/service/register", service("web", number))
    await put("/v1/agent/check/fail/web-2-beat?note=the+disk+is+full")
    await put("/v1/agent/check/warn/web-3-beat?note=slow")
    await put("/v1/agent/service/register", service("users"))
    await put("/v1/agent/service/maintenance/users-1?enable=true&reason=new+disk")


async def settled(page: Page) -> None:
    await page.evaluate("Promise.all(document.getAnimations().map((one) => one.finish()))")


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_every_text_can_be_read_in_either_theme(open_page: Open, put: Put, theme: str) -> None:
    page = await open_page(theme=theme)
    assert await page.evaluate(GROUND) == {"light": LIGHT, "dark": DARK}[theme]
    await expect(page.locator(".start")).to_be_visible()
    assert await page.evaluate(FAINT) == []
    await some(put)
    await expect(page.locator(".trouble")).to_have_count(3)
    assert await page.evaluate(FAINT) == []
    await page.locator("#services a", has_text="web").click()
    await page.locator("summary").first.click()
    await expect(page.locator(".check").first).to_be_visible()
    assert await page.evaluate(FAINT) == []


async def test_the_button_changes_the_theme_for_this_page_only(open_page: Open) -> None:
    page = await open_page(theme="light")
    button = page.get_by_role("button", name="Dark theme")
    await expect(button).to_have_attribute("aria-pressed", "false")
    await button.click()
    await expect(button).to_have_attribute("aria-pressed", "true")
    assert await page.evaluate(GROUND) == DARK
    await page.reload()
    await page.wait_for_selector("body[data-link=live]")
    assert await page.evaluate(GROUND) == LIGHT


async def test_a_status_is_told_by_sign_and_word_too(open_page: Open, put: Put) -> None:
    await some(put)
    page = await open_page("#/services/web")
    await expect(page.locator("details.instance")).to_have_count(3)
    marks = page.locator("details.instance .mark")
    assert await marks.all_text_contents() == ["Critical: ", "Warning: ", "Passing: "]
    signs = await marks.locator("use").evaluate_all("all => all.map((use) => use.getAttribute('href'))")
    assert signs == ["#icon-critical", "#icon-warning", "#icon-passing"]


async def test_all_of_it_can_be_reached_by_keyboard(open_page: Open, put: Put) -> None:
    await some(put)
    page = await open_page()
    press = page.keyboard.press
    focused = "document.activeElement.textContent.slice(0, 40)"

    await press("Tab")
    assert "Skip" in await page.evaluate(focused)
    await press("/")
    await page.keyboard.type("e")  # consul has none: users and web
    await expect(page.locator("#services .name")).to_have_text(["users", "web"])
    await press("ArrowDown")
    await press("ArrowDown")
    assert "web" in await page.evaluate(focused)
    outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    await press("Home")
    assert "users" in await page.evaluate(focused)
    await press("ArrowUp")
    await expect(page.locator("#filter input[type=search]")).to_be_focused()
    await press("Escape")
    await expect(page.locator("#services .name")).to_have_count(3)
    await page.keyboard.type("web")
    await press("Enter")
    await expect(page.locator("h1")).to_be_focused()

    while await page.evaluate("document.activeElement.tagName") != "SUMMARY":
        await press("Tab")
    await press("End")
    await press("Enter")
    await expect(page.locator("details.instance").last).to_have_attribute("open", "")
    # The one that has the focus keeps it when a change gives it another place.
    held = page.locator("details.instance", has_text="web-1")
    await expect(held.locator("summary")).to_be_focused()
    await put("/v1/agent/check/fail/web-1-beat")
    await expect(page.locator("details.instance").first).to_contain_text("web-1")
    await expect(held.locator("summary")).to_be_focused()


async def test_enter_opens_what_was_typed_however_fast(open_page: Open, put: Put) -> None:
    await some(put)
    page = await open_page()
    await page.evaluate(
        """() => {
          const field = document.querySelector("#filter input[type=search]");
          field.value = "web";
          field.dispatchEvent(new Event("input"));
          field.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", cancelable: true }));
        }"""
    )
    await expect(page.locator("h1")).to_have_text("web")


async def test_a_page_that_should_be_still_is_still(open_page: Open, put: Put) -> None:
    page = await open_page(reduced_motion="reduce")
    await some(put)
    await expect(page.locator(".trouble")).to_have_count(3)
    assert await page.evaluate("document.getAnimations().length") == 0


@pytest.mark.parametrize("fragment", ["#/", "#/services/web"])
async def test_it_fits_a_phone(open_page: Open, put: Put, fragment: str) -> None:
    await some(put)
    page = await open_page(fragment, size=(360, 740))
    await expect(page.locator("h1")).to_have_count(1)
    assert await page.evaluate("document.documentElement.scrollWidth") == 360
    if fragment != "#/":
        await expect(page.locator("#services")).to_be_hidden()
        await page.get_by_role("link", name="All services").click()
    await expect(page.locator("#services a", has_text="web")).to_be_visible()


@pytest.mark.parametrize("width", [360, 800, 1280])
async def test_nothing_lies_over_anything_else_where_there_is_nothing_yet(
    open_page: Open, width: int
) -> None:
    page = await open_page(size=(width, 740))
    await page.get_by_role("button", name="Copy the shell command").click(timeout=20_000)
    await page.get_by_role("button", name="Copy the Python code").click(timeout=20_000)
    assert await page.evaluate("document.documentElement.scrollWidth") == width


async def test_a_thousand_instances_are_shown_and_followed(open_page: Open, put: Put) -> None:
    await asyncio.gather(*(put("/v1/agent/service/register", service("fleet", i)) for i in range(1_000)))
    began = time.monotonic()
    page = await open_page("#/services/fleet")
    await expect(page.locator("details.instance")).to_have_count(1_000)
    assert time.monotonic() - began < 10
    await page.evaluate(
        """() => {
          window.longest = 0;
          new PerformanceObserver((list) => {
            for (const task of list.getEntries()) window.longest = Math.max(window.longest, task.duration);
          }).observe({ type: "longtask" });
        }"""
    )
    for i in range(0, 1_000, 50):
        await put(f"/v1/agent/check/fail/fleet-{i}-beat?note=gone")
    await expect(page.locator("details.instance[data-status=critical]")).to_have_count(20)
    await expect(page.locator("details.instance").first).to_contain_text("fleet-0")
    longest = await page.evaluate("window.longest")
    print(f"\nthe longest task of the page: {longest:.0f} ms")
    assert longest < 1_000
    await page.get_by_placeholder("Filter instances").fill("fleet-777")
    await expect(page.locator("details.instance")).to_have_count(1)
