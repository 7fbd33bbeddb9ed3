"""What the log says, as lines: plain ones, or coloured on a terminal where rich is installed."""

import logging
import sys

__all__ = ["set_up_lines"]


def set_up_lines(level: int) -> None:
    """Write what asyncsd logs to standard error from now on."""
    handler = (_rich_handler() if sys.stderr.isatty() else None) or _plain_handler()
    handler.addFilter(_printable)
    log = logging.getLogger("asyncsd")
    log.setLevel(level)
    log.addHandler(handler)


def _printable(record: logging.LogRecord) -> bool:
    """Escape what names of clients' may hold: the line's end, and the terminal's own commands."""
    text = record.getMessage()
    record.msg = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    record.args = ()
    return True


def _plain_handler() -> logging.Handler:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    return handler


def _rich_handler() -> logging.Handler | None:
    try:
        from rich.console import Console
        from rich.logging import RichHandler
    except ImportError:
        return None
    return RichHandler(
        console=Console(stderr=True), show_path=False, markup=False, log_time_format="%H:%M:%S"
    )
