"""A registry's URL, taken apart by one set of rules."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

__all__ = ["SECRETS", "SERVERS", "TLS_PARAMETERS", "RegistryURL", "flag", "parse_url"]

_NUMBERS: dict[object, str] = {float: "is a number", int: "is a whole number"}


class RegistryURL(NamedTuple):
    """`where` is what stands between "://" and "?", still quoted; `options` are the parameters, converted."""

    scheme: str
    where: str
    options: dict[str, Any]


def flag(text: str) -> bool:
    """ "true" or "false"."""
    if text.lower() not in ("true", "false"):
        raise ValueError("is true or false")
    return text.lower() == "true"


TLS_PARAMETERS: Mapping[str, Callable[[str], Any]] = {
    "tls": flag,
    "ca": str,
    "cert": str,
    "key": str,
    "verify": flag,
}
"""The parameters of every backend that knows TLS."""

SERVERS: Mapping[str, Callable[[str], Any]] = {
    "user": str,
    "password_file": str,
    **TLS_PARAMETERS,
    "wait": float,
    "timeout": float,
    "connect_timeout": float,
}
"""The parameters of every backend whose servers know users and TLS."""

SECRETS = {"password": "password_file"}


def parse_url(
    url: str,
    *,
    what: str,
    schemes: Sequence[str],
    parameters: Mapping[str, Callable[[str], Any]],
    secrets: Mapping[str, str] | None = None,
) -> RegistryURL:
    """Take `url` apart; `what` it is, such as "an etcd URL", begins the errors.

    `parameters` convert the texts, and raise ValueError for what can't be. `secrets` are names that have no
    place in a URL, which ends in logs, with what to use instead. Raises ValueError, which shows no more of
    the URL than what is wrong with it.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in schemes:
        # Without "://" all of it would be shown, a password too.
        got = f"; got {scheme!r}" if separator else ""
        raise ValueError(f"{what} starts with {' or '.join(f'{one}://' for one in schemes)}{got}")
    where, _, query = rest.partition("?")
    options: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if secrets is not None and name in secrets:
            raise ValueError(f"{what} has no parameter {name!r}, since URLs end in logs: use {secrets[name]}")
        if name not in parameters:
            raise ValueError(f"{what} has no parameter {name!r}; it has {', '.join(sorted(parameters))}")
        if name in options:
            raise ValueError(f"{what} has the parameter {name!r} twice")
        try:
            options[name] = parameters[name](text)
        except ValueError as exc:
            why = _NUMBERS.get(parameters[name], str(exc))
            raise ValueError(f"{name} of {what} {why}; got {text!r}") from None
    return RegistryURL(scheme, where, options)
