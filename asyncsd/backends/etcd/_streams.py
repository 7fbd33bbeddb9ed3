"""One watch on a server: a stream of lines, from a known revision on."""

import logging
from collections.abc import Callable

from asyncsd._errors import UnreachableError
from asyncsd._protocols import Clock
from asyncsd.backends._shared._endpoints import Endpoint

from ._answers import LoggedOutError, UnavailableError, error_of, watch_refusal
from ._keys import Span
from ._messages import Watched, Watching, decode
from ._transport import Transport

__all__ = ["Streams"]

log = logging.getLogger("asyncsd.etcd")

PATH = "/v3/watch"
SILENCE = 5.0
"""Seconds after which a silent server is asked whether it lives: its own sign of life comes every 10 min."""
LONGEST = 64 << 20
"""Bytes of a line that is never read to its end: it holds a change, and more need not be known."""


class Streams:
    """Opens watches on the server that is asked first, and reads them."""

    def __init__(self, transport: Transport, clock: Clock) -> None:
        self._transport = transport
        self._clock = clock

    async def follow(
        self, span: Span, revision: int, take: Callable[[Watched], bool], *, leader: bool
    ) -> bool:
        """Call `take` with each line of a watch on what changes in `span` after `revision`.

        A line without anything stands for a silence. Returns False once `take` returned True, and where
        events are lost, since `revision` is compacted or the line too long; True when the stream was cut
        off, after which the next server is asked first, or another login made. Raises PermissionDeniedError,
        and what else no other server would mend.

        `leader`: a server without a leader, which would hear of nothing, is left.
        """
        endpoint = self._transport.endpoint
        try:
            await self._follow(endpoint, span, revision, take, leader=leader)
        except LoggedOutError as exc:
            log.debug("a watch on %s lost its login: %s", endpoint, exc)
            self._transport.logged_out()
        except (UnreachableError, UnavailableError) as exc:
            log.debug("a watch on %s ended: %s", endpoint, exc)
            self._transport.avoid(endpoint)
        else:
            return False
        return True

    async def _follow(
        self, endpoint: Endpoint, span: Span, revision: int, take: Callable[[Watched], bool], *, leader: bool
    ) -> None:
        request = {
            "create_request": {
                "key": span.key,
                "range_end": span.end,
                "start_revision": str(revision + 1),
                "progress_notify": True,
            }
        }
        url = f"{endpoint}{PATH}"
        async with self._transport.stream(endpoint, PATH, request, leader=leader) as content:
            buffer = b""
            while len(buffer) <= LONGEST:
                try:
                    async with self._clock.timeout(SILENCE):
                        chunk = await content.readany()
                except TimeoutError:
                    await self._transport.alive(endpoint, SILENCE)
                    if take(Watched()):
                        return
                    continue
                if not chunk:
                    raise UnreachableError("the server ended the watch", url=url)
                self._transport.heard(endpoint)
                *lines, buffer = (buffer + chunk).split(b"\n")
                # Lines in the buffer aren't read with readline, which refuses long ones.
                for line in filter(bytes.strip, lines):
                    told = _told(decode(Watching, line, url), url)
                    if told.compact_revision or take(told):
                        return


def _told(line: Watching, url: str) -> Watched:
    """What a line tells; raises what ended the watch, but for a compaction."""
    if line.error is not None:
        raise error_of(line.error, url)
    told = line.result or Watched()
    # First of all, since a watch that is refused is created and cancelled at once.
    if told.canceled and not told.compact_revision:
        raise watch_refusal(told.cancel_reason, url)
    return told
