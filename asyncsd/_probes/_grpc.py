"""The check by gRPC's health protocol: https://github.com/grpc/grpc/blob/master/doc/health-checking.md"""

import asyncio
import importlib.util
from types import ModuleType

from asyncsd._protocols import Clock

from ._dial import DialError, HandshakeError, dial
from ._health_proto import request, serving_status
from ._output import ProbeError, Result
from ._tls import Contexts

__all__ = ["GRPCProbe", "missing_extra"]

PATH = "/grpc.health.v1.Health/Check"

UNAVAILABLE = "rpc error: code = Unavailable desc = connection error: desc = "
EXPIRED = "rpc error: code = DeadlineExceeded desc = context deadline exceeded"


def missing_extra() -> str | None:
    """None when gRPC checks can be run, else what to install."""
    if importlib.util.find_spec("h2") is None:
        return "the package h2 is missing (pip install 'asyncsd[grpc]')"
    return None


class GRPCProbe:
    """Passing when "host:port/service", or the server as a whole, says SERVING."""

    def __init__(
        self,
        target: str,
        *,
        tls: bool,
        skip_verify: bool,
        server_name: str,
        timeout: float,
        contexts: Contexts,
        clock: Clock,
    ) -> None:
        self._target = target
        self._address, _, self._service = target.partition("/")
        self._tls = tls
        self._skip_verify = skip_verify
        self._server_name = server_name
        self._timeout = timeout
        self._contexts = contexts
        self._clock = clock

    async def __call__(self) -> Result:
        target = self._target
        try:
            async with self._clock.timeout(self._timeout):
                serving = await self._ask()
        except TimeoutError:
            return Result("critical", EXPIRED)
        except DialError as exc:
            return Result("critical", f'{UNAVAILABLE}"transport: Error while dialing: {exc}"')
        except HandshakeError as exc:
            return Result("critical", f'{UNAVAILABLE}"transport: authentication handshake failed: {exc}"')
        except ProbeError as exc:
            return Result("critical", str(exc))
        if serving == "SERVING":
            return Result("passing", f"gRPC check {target}: success")
        return Result("critical", f"gRPC {target} serving status: {serving}")

    async def _ask(self) -> str:
        # h2 is an extra; and reading it takes its time, so not on the loop.
        unary = await asyncio.to_thread(_unary)
        context, server_name = None, ""
        if self._tls:
            context = await self._contexts.get(skip_verify=self._skip_verify, protocol="h2")
            server_name = self._server_name
        reader = asyncio.StreamReader()
        transport, protocol = await dial(
            self._address,
            lambda: asyncio.StreamReaderProtocol(reader),
            tls=context,
            server_name=server_name,
        )
        writer = asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())
        try:
            answer = await unary.call(
                reader,
                writer,
                request(self._service),
                path=PATH,
                authority=server_name or self._address,
                scheme="https" if self._tls else "http",
            )
        finally:
            transport.abort()
        return serving_status(answer)


def _unary() -> ModuleType:
    return importlib.import_module("asyncsd._probes._unary")
