"""A real Chromium in front of an agent's page: one for all tests, a window of its own for each."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol

import aiohttp
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, Request, async_playwright, expect

from asyncsd.agent import Agent
from tests.support.process import find

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# Its own 5 s are soon over where a browser has to share its processor.
expect.set_options(timeout=20_000)

Put = Callable[..., Awaitable[None]]


class Open(Protocol):
    """Opens the page in a window of its own, and returns once it is live. A `clock` can be put forward."""

    async def __call__(
        self,
        fragment: str = "#/",
        *,
        theme: str = "light",
        size: tuple[int, int] = (1280, 800),
        excuse: str = "",
        live: bool = True,
        clock: bool = False,
        **context: Any,
    ) -> Page: ...


@pytest_asyncio.fixture(loop_scope="session")
async def _nothing_left() -> AsyncIterator[None]:
    """As for all tests, on the loop that these share with the browser."""
    yield
    left = [task for task in asyncio.all_tasks() if task.get_name().startswith("asyncsd:")]
    assert not left, f"tasks left running: {left}"


@pytest_asyncio.fixture(loop_scope="session")
async def agent() -> AsyncIterator[Agent]:
    async with Agent() as agent:
        yield agent


@pytest_asyncio.fixture(loop_scope="session")
async def put(agent: Agent) -> AsyncIterator[Put]:
    """Sends a request that changes something, and sees that it was taken."""
    async with aiohttp.ClientSession() as session:

        async def send(path: str, body: object = None) -> None:
            async with session.put(agent.url + path, json=body) as answer:
                assert answer.status == 200, await answer.text()

        yield send


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    asyncio.get_running_loop().set_debug(False)  # Playwright makes thousands of tasks: twice as slow with it.
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=find("chromium"), args=FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(agent: Agent, browser: Browser) -> AsyncIterator[Open]:
    """At the end no page may have complained, nor asked anybody but the agent for anything."""
    complaints: list[str] = []
    windows: list[BrowserContext] = []

    async def open_page(
        fragment: str = "#/",
        *,
        theme: str = "light",
        size: tuple[int, int] = (1280, 800),
        excuse: str = "",
        live: bool = True,
        clock: bool = False,
        **context: Any,
    ) -> Page:
        window = await browser.new_context(
            color_scheme=theme, viewport={"width": size[0], "height": size[1]}, **context
        )
        windows.append(window)
        page = await window.new_page()
        if clock:
            await page.clock.install()

        def heard(text: str) -> None:
            if not excuse or excuse not in text:
                complaints.append(text)

        def asked(request: Request) -> None:
            if not request.url.startswith(agent.url + "/"):
                complaints.append(f"asked for {request.url}")

        page.on("console", lambda message: heard(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: heard(str(error)))
        page.on("request", asked)
        await page.goto(f"{agent.url}/ui/{fragment}")
        if live:
            await page.wait_for_selector("body[data-link=live]")
            await page.wait_for_selector("#services:not(:empty)", state="attached")
        return page

    yield open_page
    for window in windows:
        await window.close()
    assert complaints == []


def service(name: str = "web", number: int = 1, **more: object) -> dict[str, object]:
    """The body of a registration with a TTL check."""
    return {
        "Name": name,
        "ID": f"{name}-{number}",
        "Address": "10.0.0.7",
        "Port": 8000 + number,
        "Tags": ["v1"],
        "Meta": {"zone": "a"},
        "Check": {"CheckID": f"{name}-{number}-beat", "Name": "Heartbeat", "TTL": "60s", "Status": "passing"},
        **more,
    }
