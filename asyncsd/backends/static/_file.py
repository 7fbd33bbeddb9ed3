"""A file that lists instances: its state, and what it says."""

import errno
import os
import stat
from os import PathLike
from pathlib import Path
from typing import TypeAlias

from asyncsd._errors import UnreachableError

from . import _toml, _yaml
from ._schema import SchemaError, Services, from_document

__all__ = ["File", "ListFile", "State"]

File: TypeAlias = str | PathLike[str]

State: TypeAlias = tuple[int, ...] | int
"""What changes with a file: times, size and place; or the number of the error that hides it."""

REMEDIES = {
    errno.ENOENT: "there is no such file: create it, or mend the path",
    errno.ENOTDIR: "there is no such file: create it, or mend the path",
    errno.EACCES: "it can't be read: give the user that this runs as the right to",
    errno.EPERM: "it can't be read: give the user that this runs as the right to",
    errno.EISDIR: "it is a folder: name the file in it",
}


class ListFile:
    """A TOML or YAML file with a list of instances. Its calls block: make them off the loop."""

    def __init__(self, file: File) -> None:
        """Raises ValueError for a name of another kind, and ImportError for YAML without its library."""
        path = os.fspath(file)
        if not isinstance(path, str):
            raise TypeError(f"StaticBackend.file is a path; got {type(path).__name__}")
        self.path = Path(path)
        match self.path.suffix.lower():
            case ".toml":
                self._yaml = False
            case ".yaml" | ".yml":
                self._yaml = True
                _yaml.load()
            case _:
                raise ValueError(f"StaticBackend.file ends in .toml, .yaml or .yml; got {path!r}")

    def __str__(self) -> str:
        return str(self.path)

    def state(self) -> State:
        """The file's state; links are followed, so that one that now leads elsewhere is another state."""
        try:
            return _state(self.path.stat())
        except OSError as exc:
            return exc.errno or errno.EIO

    def read(self) -> tuple[State, Services | UnreachableError] | None:
        """What the file says, or why that can't be used, and the state that this holds for.

        None where it was written to meanwhile.
        """
        try:
            before = self.path.stat()
            if not stat.S_ISREG(before.st_mode) and not stat.S_ISDIR(before.st_mode):
                return _state(before), self._error(None, "it is no regular file")
            with self.path.open("rb") as file:
                content = file.read()
                if _state(os.fstat(file.fileno())) != _state(before):
                    return None
        except OSError as exc:
            number = exc.errno or errno.EIO
            reason = REMEDIES.get(number, exc.strerror or str(exc))
            # Not the state of a file that can be read: once it can it has to be read, changed or not.
            return number, self._error(None, reason)
        return _state(before), self._services(content)

    def _services(self, content: bytes) -> Services | UnreachableError:
        try:
            text = content.decode("utf-8-sig").replace("\r\n", "\n")
        except UnicodeDecodeError as exc:
            line = content.count(b"\n", 0, exc.start) + 1
            return self._error(line, "it isn't UTF-8: save it as that")
        try:
            data = _yaml.parse(text) if self._yaml else _toml.parse(text)
            return from_document(data)
        except SyntaxError as exc:
            kind = "YAML" if self._yaml else "TOML"
            return self._error(exc.lineno, f"it is no {kind}: {exc.msg}")
        except SchemaError as exc:
            where = _yaml.find(text, exc.path) if self._yaml else _toml.find(text, exc, from_document)
            return self._error(where if exc.path else None, str(exc))

    def _error(self, where: int | tuple[int, int] | None, text: str) -> UnreachableError:
        """It counts as unreachable: all of the registry is, and is looked at again within a second."""
        match where:
            case None:
                at = ""
            case (first, last) if first != last:
                at = f", lines {first}-{last}"
            case (line, _) | line:
                at = f", line {line}"
        return UnreachableError(f"{self.path}{at}: {text}")


def _state(status: os.stat_result) -> State:
    # Not the time of change by itself: two writes within a tick of the clock have the same.
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_dev, status.st_ino)
