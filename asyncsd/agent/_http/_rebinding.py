"""A guard against web pages that reach for this machine (DNS rebinding).

A page may let the name it came from resolve to 127.0.0.1. Its browser then takes the agent for the page's own
server: the page could register checks that ask whatever this machine reaches, and read what they say. That
name stands in the Host header, where no page can change it, so a request under a name that somebody can own
is refused. An address can't be rebound, nor can a name that the Internet's DNS doesn't have.
"""

from aiohttp import web

__all__ = ["is_foreign", "refusal"]

PRIVATE = frozenset({"consul", "internal", "lan", "local", "localhost", "test"})
"""Domains that nobody can own: of RFC 6761 and 6762, those in use by themselves, and Consul's own."""


def is_foreign(host: str) -> bool:
    """Whether a Host header has a name that may belong to somebody else."""
    if host.startswith("["):
        return False
    name = host.partition(":")[0].rstrip(".").lower()
    _, dot, domain = name.rpartition(".")
    return bool(dot) and not domain.isdecimal() and domain not in PRIVATE


def refusal(host: str) -> web.Response:
    """What is answered under such a name."""
    text = (
        f'This agent serves this machine alone, and none that calls it "{host}": a web page could. Ask for '
        "127.0.0.1 or localhost, give it a token, or let it listen on another address.\n"
    )
    return web.Response(status=403, text=text)
