"""Waiting for a change of some keys, by a watch that begins at a known revision."""

import logging
from contextlib import suppress

from asyncsd._errors import UnreachableError
from asyncsd._protocols import Clock
from asyncsd.backends._shared._endpoints import Endpoint

from ._answers import LoggedOutError, UnavailableError, error_of, watch_refusal
from ._keys import Span
from ._messages import Watched, Watching, decode
from ._transport import Transport

__all__ = ["Watch"]

log = logging.getLogger("asyncsd.etcd")

PATH = "/v3/watch"
SILENCE = 5.0
"""Seconds after which a silent server is asked whether it lives: its own sign of life comes every 10 min."""
LONGEST = 64 << 20
"""Bytes of a line that is never read to its end: it holds a change, and more need not be known."""


class Watch:
    """Waits on the server until something happened.

    What has happened isn't taken from the watch: its keys are read again, whole, so that no event can be
    missed or applied twice. An end of the stream, a compaction and a store that lost its data all look like
    a change, and the reading that follows tells.
    """

    def __init__(self, transport: Transport, clock: Clock) -> None:
        self._transport = transport
        self._clock = clock

    async def changed(self, span: Span, revision: int, wait: float, *, leader: bool = True) -> None:
        """Return once something in `span` may be newer than `revision`, and after `wait` seconds at most.

        `leader`: a server without a leader, which would hear of nothing, is left. Raises
        PermissionDeniedError, and what else no other reading would tell.
        """
        endpoint = self._transport.endpoint
        try:
            with suppress(TimeoutError):
                async with self._clock.timeout(wait):
                    await self._wait(endpoint, span, revision, leader=leader)
        except LoggedOutError as exc:
            # The reading that follows logs in again, or is refused in its turn.
            log.debug("a watch on %s lost its login: %s", endpoint, exc)
            self._transport.logged_out()
        except (UnreachableError, UnavailableError) as exc:
            log.debug("a watch on %s ended: %s", endpoint, exc)
            self._transport.avoid(endpoint)

    async def _wait(self, endpoint: Endpoint, span: Span, revision: int, *, leader: bool) -> None:
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
            while True:
                try:
                    async with self._clock.timeout(SILENCE):
                        chunk = await content.readany()
                except TimeoutError:
                    await self._transport.alive(endpoint, SILENCE)
                    continue
                if not chunk:
                    raise UnreachableError("the server ended the watch", url=url)
                self._transport.heard(endpoint)
                *lines, buffer = (buffer + chunk).split(b"\n")
                # Lines in the buffer aren't read with readline, which refuses long ones.
                for line in lines:
                    if line.strip() and _tells(decode(Watching, line, url), revision, url):
                        return
                if len(buffer) > LONGEST:
                    return


def _tells(line: Watching, revision: int, url: str) -> bool:
    """Whether there is something to be read, by a line of the watch; raises what ended it."""
    if line.error is not None:
        raise error_of(line.error, url)
    told = line.result or Watched()
    # First of all, since a watch that is refused is created and cancelled at once.
    if told.canceled and told.compact_revision:
        return True
    if told.canceled:
        raise watch_refusal(told.cancel_reason, url)
    # A store whose revision is lower than what was read from it has lost its data. Its watch would be silent
    # until it has caught up.
    return bool(told.events) or (told.created and told.header.revision < revision)
