"""The command line: `asyncsd agent`."""

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="asyncsd", description="Service discovery and client-side load balancing for asyncio."
    )
    parser.add_argument("--version", action="version", version=f"asyncsd {version('asyncsd')}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    from ._agent import add_command

    add_command(commands)
    options = parser.parse_args(arguments)
    try:
        status: int = options.run(options)
    except KeyboardInterrupt:  # While it starts; and where there are no signals on a loop.
        return 130
    except BrokenPipeError:  # Nobody reads any more.
        sys.stderr.close()
        return 1
    return status
