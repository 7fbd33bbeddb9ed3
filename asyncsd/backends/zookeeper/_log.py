"""kazoo's log, as part of ours."""

import logging
from collections.abc import MutableMapping
from typing import Any

__all__ = ["KazooLog"]

log = logging.getLogger("asyncsd.zookeeper.kazoo")


class KazooLog(logging.LoggerAdapter[logging.Logger]):
    """Takes kazoo's lines at DEBUG: it warns with each try to connect, and the session tells changes itself.

    `trouble` is the last of its warnings, for the text of an error.
    """

    def __init__(self) -> None:
        super().__init__(log)
        self.trouble = ""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        return msg, kwargs

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log at DEBUG; what it logs below that, and of requests, may hold secrets and is left out."""
        if level < logging.DEBUG:
            return
        if level >= logging.WARNING:
            self._note(msg, args)
        if not str(msg).startswith(("Sending request", "Received response")):
            super().log(logging.DEBUG, msg, *args, **kwargs)

    def warn(self, msg: object, *args: object, **kwargs: Any) -> None:
        """What kazoo still calls `warning`; the logging module would warn of that."""
        self.log(logging.WARNING, msg, *args, **kwargs)

    def _note(self, msg: object, args: tuple[object, ...]) -> None:
        text = str(msg) % args if args else str(msg)
        # "Transition to CONNECTING" follows the line that says why.
        if not text.startswith(("Transition", "Failed connecting", "Session has expired")):
            self.trouble = text
