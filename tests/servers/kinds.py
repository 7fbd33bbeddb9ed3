"""The kinds of servers by what they are made of: Go's modules, Debian's packages, Maven's projects."""

import os
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tools import FOLDER, BuildError, debian, download, go, java, run

HERE = Path(__file__).resolve().parent


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

    Without a `package` it is the one whose files stand there too; one of another's folder has its `module`.
    """

    name: str
    package: str = "."
    module: str = ""

    @property
    def folder(self) -> Path:
        return HERE / (self.module or self.name)

    @property
    def sources(self) -> Sequence[Path | str]:
        pinned = (self.folder / "go.mod", self.folder / "go.sum")
        own = self.folder / self.package if self.package.startswith(".") else self.folder
        return (*pinned, *sorted(own.glob("*.go")), self.package)

    def build(self, target: Path, log: Path) -> None:
        # Read-only: what isn't pinned in the two files fails the build instead of changing them.
        environment = {**os.environ, "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}
        command = [go(), "build", "-ldflags=-s -w", "-o", str(target), self.package]
        run(command, log, cwd=self.folder, env=environment)


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
