import pytest

from asyncsd.backends.memory import MemoryRegistry
from asyncsd.testing import BackendConformance, MemoryBackend


class TestMemoryBackend(BackendConformance):
    def make_backend(self, *, wait: float = 30.0) -> MemoryBackend:
        return MemoryBackend(wait=wait)


class TestSharedRegistry(BackendConformance):
    """Each backend is one of several over the same registry."""

    @pytest.fixture(autouse=True)
    def _registry(self) -> None:
        self.registry = MemoryRegistry()

    def make_backend(self, *, wait: float = 30.0) -> MemoryBackend:
        return MemoryBackend(registry=self.registry, wait=wait)
