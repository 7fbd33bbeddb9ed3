"""`asyncsd agent`: a registry of one's own in a process of its own."""

import argparse
import asyncio
import contextlib
import logging
import math
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ._lines import set_up_lines

if TYPE_CHECKING:
    from asyncsd.agent import Agent

__all__ = ["add_command"]

DESCRIPTION = """\
A registry that speaks Consul's HTTP API for discovery, for development, tests and demonstrations.
It keeps its state in memory: what was registered is gone when it ends.
"""


class Commands(Protocol):
    """What argparse gives for adding commands to."""

    def add_parser(
        self,
        name: str,
        *,
        help: str,  # noqa: A002
        description: str,
    ) -> argparse.ArgumentParser:
        """Add one."""
        ...


def add_command(commands: "Commands") -> None:
    """Add `agent` to the commands."""
    parser = commands.add_parser(
        "agent", help="run a registry that speaks Consul's HTTP API", description=DESCRIPTION
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=_port, default=8500, help="its port (%(default)s); 0 takes a free one")
    parser.add_argument("--node", default="asyncsd", help="name of the node in the catalog (%(default)s)")
    parser.add_argument("--datacenter", default="dc1", help="name of the datacenter (%(default)s)")
    parser.add_argument(
        "--advertise",
        default="",
        metavar="ADDRESS",
        help="address of services that register without one (that of --host)",
    )
    parser.add_argument(
        "--connections", type=int, default=200, help="how many a client address may hold (%(default)s)"
    )
    parser.add_argument(
        "--deregister-after-min",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="an instance is critical so long at least before it is removed (%(default)g, as with Consul)",
    )
    parser.add_argument(
        "--reap-interval",
        type=_seconds,
        default=30.0,
        metavar="SECONDS",
        help="how often it looks for those to remove (%(default)g, as Consul)",
    )
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="holds the token without which nothing is allowed"
    )
    parser.add_argument(
        "--read-token-file", type=Path, metavar="FILE", help="holds a token with which one may read"
    )
    parser.add_argument("--verbose", action="store_true", help="log requests that can't be understood, too")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM; 1 if that can't be."""
    set_up_lines(logging.DEBUG if options.verbose else logging.INFO)
    from asyncsd.agent import Agent  # Not before the command line is understood: it takes its time.

    try:
        agent = Agent(
            host=options.host,
            port=options.port,
            node=options.node,
            datacenter=options.datacenter,
            advertise=options.advertise,
            connections=options.connections,
            deregister_after_min=options.deregister_after_min,
            reap_interval=options.reap_interval,
            token=_token(options.token_file),
            read_token=_token(options.read_token_file),
        )
        asyncio.run(_serve(agent))
    except (OSError, ValueError) as exc:
        print(f"asyncsd agent: {_reason(exc)}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


async def _serve(agent: "Agent") -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    with contextlib.suppress(NotImplementedError):
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ended.set)
    async with agent:
        print(_greeting(agent.url), flush=True)  # noqa: T201
        await ended.wait()


def _greeting(url: str) -> str:
    return f"""\
Listening on {url}, with a page at {url}/ui/
Nothing is kept when it ends. For programs that use Consul:

    export CONSUL_HTTP_ADDR={url}
"""


def _token(path: Path | None) -> str | None:
    return None if path is None else path.read_text(encoding="utf-8").strip()


def _reason(exc: OSError | ValueError) -> str:
    if isinstance(exc, OSError) and exc.strerror:
        return f"{exc.filename}: {exc.strerror}" if exc.filename else exc.strerror
    return str(exc)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: they are from 0 to 65535")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds
