"""/ui: the registry's page, and the stream of events that keeps it live.

The page is plain files, and open to all: there is nothing in them. What it shows comes by /ui/events, which
asks for a token as any other read does. The page therefore fetches that stream instead of opening an
EventSource, which can't send a header; a token in the URL would end in logs and histories.
"""

import asyncio
from pathlib import Path
from urllib.parse import quote

import msgspec
from aiohttp import web

from asyncsd.agent._http._call import Call
from asyncsd.agent._http._errors import HTTPError
from asyncsd.agent._http._routing import Route
from asyncsd.agent._page._feed import Cursor

__all__ = ["ROUTES"]

FOLDER = Path(__file__).parent.parent / "ui"

TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "base-uri 'none'",
            "connect-src 'self'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "img-src 'self'",
            "require-trusted-types-for 'script'",
            "script-src 'self'",
            "style-src 'self'",
            "trusted-types 'none'",
        )
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

PACE = 0.1
"""Seconds between two updates of a page, at least: what changes meanwhile is one update."""

HEARTBEAT = 10.0
"""Seconds without news after which a page is told that the stream is alive."""


async def root(_: Call) -> web.Response:
    """To the page, as Consul sends a browser there."""
    location = '<a href="/ui/">Moved Permanently</a>.\n\n'
    return web.Response(status=301, headers={"Location": "/ui/"}, text=location, content_type="text/html")


async def page(call: Call) -> web.Response:
    """The page, or one of its files."""
    name = call.rest or "index.html"
    path = FOLDER / name
    if path.parent != FOLDER or path.suffix not in TYPES:
        return _moved(name)
    try:
        body = await asyncio.to_thread(path.read_bytes)
    except (OSError, ValueError):  # ValueError: no path at all, with a NUL in it
        raise HTTPError(404, "404 page not found\n") from None
    return web.Response(body=body, headers=HEADERS, content_type=TYPES[path.suffix], charset="utf-8")


def _moved(path: str) -> web.Response:
    """A path of Consul's own page, /ui/dc1/services/web, leads to the same service here."""
    match path.rstrip("/").split("/"):
        case [_, "services"]:
            fragment = "#/"
        case [_, "services", service, *_]:
            fragment = f"#/services/{quote(service, safe='')}"
        case _:
            raise HTTPError(404, "404 page not found\n")
    return web.Response(status=302, headers={**HEADERS, "Location": f"/ui/{fragment}"})


async def events(call: Call) -> web.StreamResponse:
    """All instances as server-sent events, then each change, until the reader or the agent goes.

    A reader that says what it last heard (`Last-Event-ID`) hears what it missed.
    """
    if call.request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
        raise HTTPError(403, "this stream is for the agent's own page\n")
    response = web.StreamResponse(headers=HEADERS)
    response.content_type = "text/event-stream"
    response.charset = "utf-8"
    await response.prepare(call.request)
    if call.request.method == "HEAD":
        return response
    node = call.registry.node
    await response.write(_event("agent", msgspec.json.encode({"node": node.node, "dc": node.datacenter})))
    cursor = Cursor.parse(call.request.headers.get("Last-Event-ID", ""))
    feed = call.registry.feed
    while True:
        frame = feed.since(cursor)
        if frame is None:
            try:
                async with call.clock.timeout(HEARTBEAT):
                    await feed.changed()
            except TimeoutError:
                await response.write(b":\n\n")
            continue
        cursor = frame.cursor
        # Waits while a slow reader's buffer is full; it then hears the newest state, not each step to it.
        await response.write(_event("update", frame.data, str(cursor)))
        await call.clock.sleep(PACE)


def _event(name: str, data: bytes, id: str = "") -> bytes:
    """JSON has no bare newline, so it is one line of data."""
    head = f"id: {id}\nevent: {name}\ndata: " if id else f"event: {name}\ndata: "
    return head.encode() + data + b"\n\n"


ROUTES = (
    Route("/", ("GET", "HEAD"), root),
    Route("/ui/", ("GET", "HEAD"), page),
    Route("/ui/events", ("GET", "HEAD"), events),
    Route("/ui", ("GET", "HEAD"), root),
)
