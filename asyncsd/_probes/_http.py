"""The check that asks a URL."""

import os
import re
import ssl
from collections.abc import Callable, Iterable

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from asyncsd._models import Status
from asyncsd._protocols import Clock

from ._dial import HIGHEST_PORT, NO_TLS, dial_text, tls_text
from ._output import ProbeError, Result, Tail, quoted
from ._tls import Contexts

__all__ = ["HTTPProbe", "open_session"]

HEADERS = {
    "User-Agent": "Consul Health Check",
    "Accept": "text/plain, text/*, */*",
    "Accept-Encoding": "gzip",
}
"""What Consul sends where the check doesn't say otherwise: services know its checks by them."""

MOST_REDIRECTS = 10
LONGEST_LINE = 2**16
"""Bytes of a header that an answer may have."""

TOO_MANY_REQUESTS = 429

SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
PLACE = re.compile(r"[^:]+://(?:[^/?#]*@)?(?P<host>\[[^/?#\]]*\]?|[^/?#:]*)(?::(?P<port>[^/?#]*))?")
PASSWORD = re.compile(r"(?<=://)([^/?#@:]*:)[^/?#]*@")


def open_session() -> aiohttp.ClientSession:
    """A session for checks: a connection for each request, no cookies, no proxy of the environment."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True, limit=0, use_dns_cache=False),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None),
        skip_auto_headers=("Content-Type",),
        max_line_size=LONGEST_LINE,
        max_field_size=LONGEST_LINE,
        middlewares=(_once,),
    )


class _HungUpError(aiohttp.ClientError):
    """A server that ended the connection instead of answering."""


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Ask once: aiohttp would repeat by itself what was cut off, and the server count two tries for one."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except aiohttp.ServerDisconnectedError as exc:
        raise _HungUpError("EOF") from exc
    except aiohttp.ClientOSError as exc:
        raise _HungUpError(os.strerror(exc.errno).lower() if exc.errno else str(exc)) from exc


class HTTPProbe:
    """Passing for 2xx, a warning for 429, critical for any other answer and for none.

    The output keeps the end of the body, and has `shown` for the URL where that is given. A body that
    breaks off, or doesn't end in time, changes no status: the answer had come.
    """

    def __init__(
        self,
        url: str,
        *,
        method: str,
        headers: Iterable[tuple[str, str]],
        body: str,
        redirects: bool,
        skip_verify: bool,
        server_name: str,
        output_max_size: int,
        shown: str | None = None,
        timeout: float,
        session: Callable[[], aiohttp.ClientSession],
        contexts: Contexts,
        clock: Clock,
    ) -> None:
        self._url = url
        self._shown = url if shown is None else shown
        self._method = method or "GET"
        self._body = body
        self._redirects = redirects
        self._skip_verify = skip_verify
        self._server_name = server_name
        self._output_max_size = output_max_size
        self._timeout = timeout
        self._session = session
        self._contexts = contexts
        self._clock = clock
        given = CIMultiDict(headers)
        self._headers = CIMultiDict({**HEADERS})
        for name in given:
            self._headers.popall(name, None)
        self._headers.extend(given)

    async def __call__(self) -> Result:
        asked = self._shown
        body = Tail(self._output_max_size)
        answer: aiohttp.ClientResponse | None = None
        failed = ""
        try:
            url = _parsed(self._method, self._url)
            async with self._clock.timeout(self._timeout), await self._ask(url) as answer:
                async for chunk in answer.content.iter_any():
                    body.write(chunk)
        except ProbeError as exc:
            return Result("critical", str(exc))
        except TimeoutError:
            failed = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        except aiohttp.TooManyRedirects as exc:
            asked = exc.history[-1].headers.get("Location", asked)
            failed = f"stopped after {MOST_REDIRECTS} redirects"
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            failed = _text(exc)
        if answer is None:
            return Result("critical", _failed(self._method, asked, failed))
        output = f"HTTP {self._method} {asked}: {answer.status} {answer.reason or ''} Output: {body}"
        return Result(_status(answer.status), output)

    async def _ask(self, url: URL) -> aiohttp.ClientResponse:
        # For what it may be redirected to, aiohttp's own contexts do.
        tls: ssl.SSLContext | bool = not self._skip_verify
        if url.scheme == "https":
            tls = await self._contexts.get(skip_verify=self._skip_verify, protocol="http/1.1")
        return await self._session().request(
            self._method,
            url,
            headers=self._headers,
            data=self._body.encode() or None,
            allow_redirects=self._redirects,
            max_redirects=MOST_REDIRECTS,
            ssl=tls,
            server_hostname=self._server_name or None,
        )


def _status(code: int) -> Status:
    if code == TOO_MANY_REQUESTS:
        return "warning"
    return "passing" if code // 100 == 2 else "critical"


def _parsed(method: str, text: str) -> URL:
    """ProbeError for what no request can be made of."""
    if not TOKEN.fullmatch(method):
        raise ProbeError(f"net/http: invalid method {quoted(method)}")
    if CONTROL.search(text):
        raise ProbeError(f"parse {quoted(text)}: net/url: invalid control character in URL")
    scheme = SCHEME.match(text)
    if not scheme and ":" in text.partition("/")[0]:
        raise ProbeError(f"parse {quoted(text)}: first path segment in URL cannot contain colon")
    name = scheme.group(1).lower() if scheme else ""
    if name not in ("http", "https"):
        raise ProbeError(_failed(method, text, f'unsupported protocol scheme "{name}"'))
    place = PLACE.match(text)
    host, port = (place.group("host"), place.group("port") or "") if place else ("", "")
    if host.startswith("[") and not host.endswith("]"):
        raise ProbeError(f"parse {quoted(text)}: missing ']' in host")
    if port and not port.isdecimal():
        raise ProbeError(f'parse {quoted(text)}: invalid port ":{port}" after host')
    if not host:
        raise ProbeError(_failed(method, text, "http: no Host in request URL"))
    if port and int(port) > HIGHEST_PORT:
        raise ProbeError(_failed(method, text, f"dial tcp: address {port}: invalid port"))
    try:
        return URL(text)
    except ValueError as exc:
        raise ProbeError(f"parse {quoted(text)}: {exc}") from exc


def _failed(method: str, url: str, text: str) -> str:
    shown = PASSWORD.sub(r"\1***@", url)
    return f"{method[:1]}{method[1:].lower()} {quoted(shown)}: {text}"


def _text(exc: Exception) -> str:
    """What Go says of a request that failed so."""
    match exc:
        case aiohttp.ClientConnectorError():
            error = exc.os_error
            if not isinstance(error, ssl.SSLError):
                return dial_text(error, exc.host, str(exc.port))
            text = tls_text(error)
            return "http: server gave HTTP response to HTTPS client" if text == NO_TLS else text
        case aiohttp.ClientResponseError():
            # aiohttp's text goes on with what it got, in several lines.
            text = exc.message.partition("\n")[0].rstrip(":")
            return f"net/http: HTTP/1.x transport connection broken: {text}"
        case _:
            return str(exc) or type(exc).__name__
