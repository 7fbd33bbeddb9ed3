"""etcd runs no checks, and an instance has one all the same."""

import asyncio

from aiohttp import web

from asyncsd import Discovery, Event, HTTPCheck, Query, Registration
from asyncsd._subscription import Subscription
from asyncsd.backends.etcd import EtcdBackend


async def until(events: Subscription, *statuses: str) -> None:
    async with asyncio.timeout(15.0):
        async for event in events:
            if told(event) == list(statuses):
                return


def told(event: Event) -> list[str]:
    return [each.status for each in event.snapshot or ()]


async def test_an_http_check_that_the_process_runs_is_told_to_etcd(backend: EtcdBackend) -> None:
    status = 200

    async def health(_: web.Request) -> web.Response:
        return web.Response(status=status)

    app = web.Application()
    app.router.add_get("/health", health)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    me = Registration(
        service="greeter",
        host="127.0.0.1",
        port=runner.addresses[0][1],
        check=HTTPCheck("/health", interval=1.0),
    )
    try:
        async with Discovery(backend) as sd, sd.watch(Query("greeter", status="critical")) as events:
            async with sd.register(me, run_checks=True):
                await until(events, "passing")
                status = 500
                await until(events, "critical")
                status = 200
                await until(events, "passing")
            await until(events)
    finally:
        await runner.cleanup()
