"""A StaticBackend from a URL, for configuration."""

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from asyncsd.backends._shared._url import parse_url

from ._backend import StaticBackend

__all__ = ["from_url"]

WHAT = "a static URL"
FORMS = "static://10.0.0.1:80,10.0.0.2:80?service=users, or static:///etc/app/services.toml for a file"


def _tags(text: str) -> list[str]:
    return text.split(",")


_OF_A_LIST: dict[str, Callable[[str], Any]] = {
    "service": str,
    "scheme": str,
    "tags": _tags,
    "wait": float,
    "zone": str,
}
_OF_A_FILE: dict[str, Callable[[str], Any]] = {"interval": float, "wait": float}


def from_url(url: str) -> StaticBackend:
    """The backend of `static://host:port,host:port?service=users`, or of `static:///etc/app/services.toml`.

    Hosts are the instances of the one `service`, all with the `scheme`, the `tags` (commas between) and the
    `zone` that are given. What has a slash in it is a file, `static://./services.toml` one relative to the
    working directory; its parameter is `interval`. Both have `wait`.
    """
    where = url.partition("://")[2].partition("?")[0]
    is_file = "/" in where
    parsed = parse_url(
        url,
        what=f"{WHAT} of {'a file' if is_file else 'a list'}",
        schemes=("static",),
        parameters=_OF_A_FILE if is_file else _OF_A_LIST,
    )
    options = parsed.options
    if is_file:
        return StaticBackend(file=unquote(parsed.where), **options)
    if not parsed.where:
        raise ValueError(f"{WHAT} has hosts or a file: {FORMS}")
    if "service" not in options:
        raise ValueError(f"{WHAT} with hosts says of which service they are: {FORMS}")
    service = options.pop("service")
    wait = {"wait": options.pop("wait")} if "wait" in options else {}
    entries = [{"address": unquote(host), **options} for host in parsed.where.split(",")]
    return StaticBackend({service: entries}, **wait)
