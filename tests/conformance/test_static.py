import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from asyncsd import Lease, Record
from asyncsd.backends.static import StaticBackend
from asyncsd.testing import BackendConformance


def entry(record: Record) -> dict[str, Any]:
    """A record as a file has it."""
    return {
        "id": record.id,
        "host": record.host,
        "port": record.port,
        "tags": list(record.tags),
        "meta": dict(record.meta),
        "weight": record.weight,
        **({} if record.scheme is None else {"scheme": record.scheme}),
    }


def toml(value: object) -> str:
    """A value in TOML, tables inline; JSON's strings and numbers are TOML's."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{toml(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def yaml(value: object) -> str:
    """A value in YAML, which has JSON in it."""
    return json.dumps(value, ensure_ascii=False)


@pytest.mark.parametrize("kind", ["toml", "yaml"])
class TestStaticFile(BackendConformance):
    registers = False
    drains = False
    ttl = False

    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path, kind: str) -> None:
        self.file = tmp_path / f"services.{kind}"
        self.records: dict[str, Record] = {}
        self.write()

    def write(self) -> None:
        services: dict[str, list[Any]] = {"nobody": []}
        for record in self.records.values():
            services.setdefault(record.service, []).append(entry(record))
        text = f"services = {toml(services)}" if self.file.suffix == ".toml" else yaml({"services": services})
        new = self.file.with_suffix(".new")
        new.write_text(text, "utf-8")
        new.replace(self.file)

    def make_backend(self, *, wait: float = 30.0) -> StaticBackend:
        return StaticBackend(file=self.file, wait=wait, interval=0.02)

    async def put(self, backend: Any, record: Record) -> Lease:
        self.records[record.id] = record
        self.write()
        return Lease(record, where="the file")

    async def drop(self, backend: Any, lease: Lease) -> None:
        del self.records[lease.record.id]
        self.write()
