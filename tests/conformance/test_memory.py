from asyncsd.testing import BackendConformance, MemoryBackend


class TestMemoryBackend(BackendConformance):
    def make_backend(self, *, wait: float = 30.0) -> MemoryBackend:
        return MemoryBackend(wait=wait)
