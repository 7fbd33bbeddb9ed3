"""Discovery: watches, balancers and registrations over one backend, wired, shared and owned."""

import asyncio
import importlib
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Generic, NamedTuple, Self, TypeVar, Unpack, cast, overload

from ._balancers import Balancers
from ._clock import LoopClock
from ._config import Backoff, Limits
from ._endpoints import Close, Opens
from ._errors import ClosedError, UnsupportedError
from ._health import HealthCallback
from ._keeping import as_store
from ._models import Event, Instance, Names, Query, Snapshot
from ._names import NamesSubscription, NamesWatcher
from ._poll import WatchHealth
from ._protocols import Backend, CatalogBackend, Clock, Policy, RegistryBackend, SnapshotStore
from ._reachability import Reachability
from ._registering import Registering
from ._registrar import Registrar
from ._registration import Registration
from ._shared import Shared, SharedWatches
from ._states import ChangeHook
from ._subscription import Subscription
from ._tasks import TaskOwner, ended
from ._values import duration
from ._watcher import Watcher
from ._watching import Owner, Watching
from .balance import Balancer, PeakEWMA
from .balance._balancer import BalancingOptions

__all__ = ["Discovery", "DiscoveryHealth"]

E = TypeVar("E")
B_co = TypeVar("B_co", bound=Backend, covariant=True)


class DiscoveryHealth(NamedTuple):
    """How a Discovery is: whether its registry answers, and each watch and registration."""

    reachable: bool
    watches: Mapping[Query, WatchHealth]
    registrations: tuple[Registrar, ...]


class Discovery(Generic[B_co]):
    """Watchers, balancers and registrars over one backend: wired, shared and owned.

        async with Discovery(ConsulBackend("http://127.0.0.1:8500")) as sd, sd.register(me):
            users = sd.balancer("users")
            async with users.acquire() as instance: ...

    Nothing happens before `async with`, which opens the backend unless it is open already: then it is only
    borrowed, and left open. It belongs to the loop that entered it. Leaving it deregisters, ends the watches
    and closes the backend, in this order, also when cancelled; whoever still waits on a part of it gets a
    ClosedError. `backoff` and `limits` hold for all its parts; `clock` and `rng` are for tests. `store`, such
    as a FileStore, keeps the last list of each query over a restart: see Watcher.
    """

    def __init__(
        self,
        backend: B_co,
        *,
        backoff: Backoff = Backoff(),
        limits: Limits = Limits(),
        store: SnapshotStore | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        given: object = backend
        if isinstance(given, str | type) or not hasattr(given, "fetch"):
            raise TypeError(
                "Discovery takes a backend, such as ConsulBackend('http://127.0.0.1:8500'); "
                f"Discovery.from_url takes a URL; got {type(given).__name__}"
            )
        self._backend = backend
        self._store = as_store(store)
        self._backoff = backoff
        self._limits = limits
        self._clock: Clock = clock or LoopClock()
        self._own_rng = rng is None
        self._rng = rng or random.Random()
        self._reachability = Reachability(clock=self._clock, rng=self._rng)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._owns_backend = False
        self._closing: asyncio.Task[None] | None = None
        self._tasks = TaskOwner()
        self._watches = SharedWatches(self._tasks, self._clock, limits.linger)
        self._owner = Owner(self._check_open, self._hold, self._release, {})
        self._registrations = TaskOwner()
        self._registrars: list[Registrar] = []
        self._balancers = Balancers(
            self._tasks,
            self._watches,
            self._hold,
            clock=self._clock,
            idle=limits.idle,
            queue=limits.queue,
        )

    def __repr__(self) -> str:
        state = "open" if self.is_open else "not open" if self._closing is None else "closed"
        return f"<Discovery over {self._backend!r}, {state}, {len(self._watches)} watches>"

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        backoff: Backoff = Backoff(),
        limits: Limits = Limits(),
        store: SnapshotStore | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> "Discovery[Any]":
        """A Discovery over the backend that `url` names, such as "consul://127.0.0.1:8500".

        The scheme chooses the backend: consul, consul+direct, dns, etcd, etcd2, eureka, memory, static, zk,
        or one that another distribution offers. The URL's parameters are the backend's. Raises ValueError
        for a scheme that no backend has, and for a parameter that the backend doesn't know.
        """
        backends = importlib.import_module("asyncsd.backends")  # By name: the core imports no backend.
        backend: Backend = backends.from_url(url)
        return Discovery(backend, backoff=backoff, limits=limits, store=store, clock=clock, rng=rng)

    @property
    def backend(self) -> B_co:
        """The backend, for what it alone can do."""
        return self._backend

    @property
    def is_open(self) -> bool:
        """Whether it is inside its `async with`."""
        return self._loop is not None and self._closing is None

    @property
    def clock(self) -> Clock:
        """The clock that all its parts go by: the running program's, or that of a test."""
        return self._clock

    # -- opening and closing

    async def __aenter__(self) -> Self:
        if self._loop is not None:
            raise RuntimeError("a Discovery is opened once: make another one for another `async with`")
        self._loop = asyncio.get_running_loop()
        if self._own_rng:
            self._rng.seed()  # Workers that were forked from one process share no chance.
        try:
            if not self._backend.is_open:
                await self._backend.__aenter__()
                self._owns_backend = True
        except BaseException:
            self._loop = None
            raise
        if self._closing is not None:  # By another task, while the backend opened.
            if self._owns_backend:
                await self._backend.aclose()
            raise ClosedError("this Discovery was closed while it opened")
        self._balancers.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Deregister, end the watches and balancers, close the backend. Idempotent, from any task.

        A cancellation is raised once this is done. That takes the drain and linger times of the registrations
        at most, and 5 seconds for endpoints whose closing hangs. RuntimeError inside a task of this
        Discovery, in a factory or a health callable: it would wait for itself.
        """
        if self._loop is None:
            return
        self._check_loop("aclose")
        current = asyncio.current_task()
        if current in self._tasks.tasks | self._registrations.tasks:
            raise RuntimeError("aclose() was called by a task of this Discovery: let another task do it")
        if self._closing is None:
            self._closing = self._loop.create_task(self._close(), name="asyncsd:close:discovery")
        await ended(self._closing)
        self._closing.result()

    async def _close(self) -> None:
        try:
            await self._registrations.aclose()
            # The watches first: who reads one learns that it is closed, and a balancer's `run` returns.
            await self._tasks.cancel(*(watch.task for watch in self._watches.running()))
            await self._balancers.aclose()
            await self._tasks.aclose()
            self._watches.clear()
        finally:
            if self._owns_backend:
                await self._backend.aclose()

    def _check_open(self, what: str) -> None:
        if self._closing is not None:
            raise ClosedError(f"{what}: this Discovery is closed")
        if self._loop is None:
            raise ClosedError(f"{what}: this Discovery isn't open; use it inside its `async with`")
        self._check_loop(what)

    def _check_loop(self, what: str) -> None:
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is not self._loop:
            raise RuntimeError(
                f"{what}: this Discovery belongs to another event loop than the one here, if there is one: "
                "call it from a coroutine, or by asyncio.run_coroutine_threadsafe, on the loop that opened it"
            )

    # -- watches

    def _hold(self, query: Query) -> Shared[Watcher]:
        return self._watches.hold(
            query,
            query.service,
            lambda: Watcher(
                self._backend,
                query,
                backoff=self._backoff,
                limits=self._limits,
                clock=self._clock,
                rng=self._rng,
                reachability=self._reachability,
                store=self._store,
            ),
        )

    def watch(
        self, query: Query | str, *, queue: asyncio.Queue[Event] | None = None
    ) -> AbstractAsyncContextManager[Subscription]:
        """Watch a service: `async with` gives a Subscription to iterate over, or to `get` from.

        However many ask the same query, there is one watch; it ends `limits.linger` seconds after the last
        of them. `queue` may be one of your own: the Events go there, and the last one says `closed`. It
        serves one watch at a time; a second raises ValueError.
        """
        inbox: asyncio.Queue[Event] = asyncio.Queue(self._limits.queue) if queue is None else queue
        return Watching(Query.of(query), inbox, self._owner)

    @asynccontextmanager
    async def watch_services(self) -> AsyncGenerator[NamesSubscription, None]:
        """Watch the names of all services: `async with` gives a subscription to iterate over.

        It gives a mapping of each name to its tags, at once and after each change. Raises UnsupportedError
        for a registry that can't list its services.
        """
        self._check_open("watch_services")
        catalog = self._catalog()
        watch = self._watches.hold(
            None,
            "*",
            lambda: NamesWatcher(
                catalog,
                backoff=self._backoff,
                limits=self._limits,
                clock=self._clock,
                rng=self._rng,
                reachability=self._reachability,
            ),
        )
        subscription = watch.watcher.subscribe()
        try:
            yield subscription
        finally:
            subscription.close()
            self._release(watch)

    def _release(self, watch: Shared[Any]) -> None:
        if self.is_open:
            self._watches.release(watch)

    async def instances(self, query: Query | str) -> Snapshot:
        """The instances now, once, without a lasting watch.

        Raises BackendError when the registry can't say.
        """
        self._check_open("instances")
        query = Query.of(query)
        reply = await self._backend.fetch(query, None)
        return Snapshot.of(query, reply.instances)

    async def services(self) -> Mapping[str, tuple[str, ...]]:
        """Each service's tags by its name now, once.

        Raises BackendError when the registry can't say, and UnsupportedError when it never can.
        """
        self._check_open("services")
        names: Names = await self._catalog().fetch_names(None)
        return names.services

    def _catalog(self) -> CatalogBackend:
        backend: object = self._backend
        if not isinstance(backend, CatalogBackend):
            raise UnsupportedError(f"{type(backend).__name__} can't list the names of its services")
        return backend

    def health(self) -> DiscoveryHealth:
        """How the registry, each watch of instances and each registration are, as of now."""
        running = (watch.watcher for watch in self._watches.running())
        return DiscoveryHealth(
            self._reachability.reachable,
            {watcher.query: watcher.health() for watcher in running if isinstance(watcher, Watcher)},
            tuple(each for each in self._registrars if each.state != "deregistered"),
        )

    def _note(self, registrar: Registrar) -> None:
        standing = [each for each in self._registrars if each.state != "deregistered"]
        self._registrars = [*standing, registrar]

    # -- balancers

    @overload
    def balancer(
        self,
        query: Query | str,
        policy: Policy = ...,
        *,
        factory: None = None,
        **options: Unpack[BalancingOptions],
    ) -> Balancer[Instance]: ...
    @overload
    def balancer(
        self,
        query: Query | str,
        policy: Policy = ...,
        *,
        factory: Callable[[Instance], Opens[E]],
        close: Close[E] | None = None,
        **options: Unpack[BalancingOptions],
    ) -> Balancer[E]: ...
    @overload
    def balancer(
        self,
        query: Query | str,
        policy: Policy = ...,
        *,
        factory: Callable[[Instance], Awaitable[E]],
        close: Close[E] | None = None,
        **options: Unpack[BalancingOptions],
    ) -> Balancer[E]: ...
    @overload
    def balancer(
        self,
        query: Query | str,
        policy: Policy = ...,
        *,
        factory: Callable[[Instance], E],
        close: Close[E] | None = None,
        **options: Unpack[BalancingOptions],
    ) -> Balancer[E]: ...
    def balancer(
        self,
        query: Query | str,
        policy: Policy = PeakEWMA(),
        *,
        factory: Callable[[Instance], Any] | None = None,
        close: Close[Any] | None = None,
        **options: Unpack[BalancingOptions],
    ) -> Balancer[Any]:
        """The balancer of a service: one for each (query, policy, factory), all over one watch of the query.

        It can be made before the Discovery is open, and works once it is. Unused for `limits.idle` seconds
        it lets its watch go, and takes it again at the next use. The parameters are Balancer's own; `close`,
        `classify` and `invalidate_after` count when it is made.
        """
        key = (query, policy, factory)
        balancer = self._balancers.get(key)
        if balancer is not None:
            return balancer
        if self._loop is not None:
            self._check_open("balancer")
        query = Query.of(query)
        full_key = (query, policy, factory)
        balancer = self._balancers.get(full_key)
        if balancer is None:
            balancer = Balancer(
                policy,
                factory=cast(Any, factory),
                close=close,
                clock=self._clock,
                rng=self._rng,
                name=query.service,
                **options,
            )
            self._balancers.add(full_key, query, balancer)
        self._balancers.add(key, query, balancer)  # A bare name finds it without making a Query.
        return balancer

    # -- registrations

    def register(
        self: "Discovery[RegistryBackend]",
        registration: Registration,
        *,
        timeout: float = 5.0,
        required: bool = False,
        drain: float = 0.0,
        linger: float = 5.0,
        health: HealthCallback | None = None,
        run_checks: bool = False,
        on_change: ChangeHook | Iterable[ChangeHook] | None = None,
    ) -> Registering:
        """Be registered while an `async with` block runs: `async with sd.register(me) as registration`.

        Entering waits up to `timeout` seconds for the registry to take it. An error that trying again can't
        mend (400, 403) is raised at once. Any other is not the end: the block runs, and the Registrar, whose
        `state` says how it is, goes on trying; with `required=True` it is raised after `timeout`. Leaving the
        block, by a cancellation too, takes the instance out of rotation for `drain` seconds and deregisters
        it, which may take `linger` seconds more. `health`, `run_checks` and `on_change` are Registrar's.

        A backend that is for reading only is a type error, and raises UnsupportedError.
        """
        self._check_open("register")
        if not hasattr(self._backend, "register"):
            raise UnsupportedError(
                f"{type(self._backend).__name__} is for reading only: nothing can be registered with it"
            )
        duration("timeout", timeout)
        registrar = Registrar(
            self._backend,
            registration,
            health=health,
            run_checks=run_checks,
            drain=drain,
            linger=linger,
            backoff=self._backoff,
            clock=self._clock,
            rng=self._rng,
            reachability=self._reachability,
            on_change=on_change,
        )
        return Registering(
            registrar,
            self._registrations,
            self._clock,
            timeout=timeout,
            required=required,
            entered=self._note,
        )
