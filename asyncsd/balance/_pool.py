"""What a balancer picks from: the last list heard, and which of it can be used."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeAlias, TypeVar, cast

from asyncsd._endpoints import Close, Endpoint, Endpoints
from asyncsd._errors import ClosedError, DiscoveryError, NoInstances
from asyncsd._models import Event, Instance, Query, Snapshot, identity
from asyncsd._protocols import Clock, Picker, Policy

from ._load import InstanceLoad, Taking

__all__ = ["Pool"]

T = TypeVar("T")
End: TypeAlias = Callable[[BaseException | None], None]

NOTHING = Snapshot(())

logger = logging.getLogger("asyncsd.balancer")


class Pool(Generic[T]):
    """The state of one balancer. Every change is synchronous: a pick sees the list before it or after."""

    __slots__ = (
        "_event",
        "_listed",
        "_name",
        "_plain",
        "_ready",
        "_refreshing",
        "_taking",
        "_uncounted",
        "_wake",
        "candidates",
        "clock",
        "closed",
        "dropped",
        "endpoints",
        "error",
        "keep",
        "next",
        "picker",
        "rng",
        "snapshot",
        "take",
        "troubled_since",
        "used",
        "waiting",
    )

    def __init__(
        self,
        policy: Policy,
        factory: Callable[[Instance], Any] | None,
        close: Close[T] | None,
        *,
        clock: Clock,
        rng: random.Random,
        name: str | None,
    ) -> None:
        self._name = name
        self._event: Event | None = None
        self._listed: Snapshot | None = None
        """Whose instances are candidates, or have endpoints; None while that of no list is so."""
        self._ready = asyncio.Event()
        self._refreshing = False
        self._wake: Callable[[], None] | None = None
        self.clock: Clock = clock
        self.rng: random.Random = rng
        self.picker: Picker = policy.picker(clock=clock, rng=rng)
        self._taking: Taking | None = self.picker if isinstance(self.picker, Taking) else None
        self._uncounted = 0
        """Calls in flight that the policy doesn't count."""
        self.endpoints: Endpoints[T] | None = None
        if factory is not None:
            self.endpoints = Endpoints(factory, close, self._refresh_soon, clock=clock, rng=rng)
        self.snapshot: Snapshot | None = None
        self.candidates: Sequence[Instance] = ()
        self.closed: bool = False
        self.error: Exception | None = None
        """What closed it, if that was an error."""
        self.dropped: bool = False
        self.used: bool = False
        self.keep: bool = False
        """Whether the endpoints outlast the end of `run`: it ends for `sleep`, not for good."""
        self.troubled_since: float | None = None
        """Since when every Event told of an error, by the clock."""
        self.waiting: int = 0
        # What a plain pick calls. It is exchanged at each change of state, so that the picks in between
        # needn't look at the state at all.
        self.next: Callable[[], Instance] = self._refuse
        self._plain = self.next
        # What `choose` and `begin` do for a call that is particular about nothing.
        self.take: Callable[[], tuple[Any, End]] = self._pick_and_begin

    @property
    def service(self) -> str:
        """The name of the service, as far as it is known."""
        return self._event.query.service if self._event is not None else self._name or "?"

    # -- what is heard

    def feed(self, event: Event) -> None:
        """Take in what the watch tells."""
        if self.closed:
            return
        self._event = event
        if event.closed:
            self.close(event.error)
            return
        if not event.stale:
            self.troubled_since = None
        elif self.troubled_since is None:
            self.troubled_since = self.clock.time()
        # A snapshot of None, of a watch that hasn't heard anything, takes nothing from what was known before.
        if event.snapshot is None or (self.dropped and self.troubled_since is not None):
            return
        self.dropped = False
        self.snapshot = event.snapshot
        self._list()

    def drop(self) -> None:
        """Forget the list: it has been doubtful for too long."""
        self.dropped = True
        self._listed = None
        self._choose_from(())

    def fail(self, bug: Exception) -> None:
        """Close, for a bug, of the policy's most likely; who picks or waits gets it as the cause."""
        logger.error("the balancer of %r died of a bug", self.service, exc_info=bug)
        self.close(bug)

    def close(self, error: Exception | None = None) -> None:
        """Refuse every pick from now on, and tell those who wait."""
        if not self.closed:
            self.error = error
        self.closed = True
        self._wake = None
        self.use(())
        self._ready.set()

    def _list(self) -> None:
        """Choose from the last list that was heard, unless that is done already."""
        if self.snapshot is not None and not self.dropped and self.snapshot is not self._listed:
            self._listed = self.snapshot
            self._choose_from(_distinct(self.snapshot.instances))

    def _choose_from(self, instances: Sequence[Instance]) -> None:
        if self.endpoints is None:
            self.use(instances)
        else:
            self.endpoints.update(instances)
            self.use(self.endpoints.ready())

    def _refresh_soon(self) -> None:
        """An endpoint is ready, or isn't any more: of many in one turn of the loop, look once."""
        if not self._refreshing:
            self._refreshing = True
            asyncio.get_running_loop().call_soon(self.refresh)

    def refresh(self) -> None:
        """Look again which endpoints are ready."""
        self._refreshing = False
        if self.endpoints is not None and not self.closed:
            try:
                self.use(self.endpoints.ready())
            except Exception as bug:  # noqa: BLE001 - of the policy: nobody else here could tell of it
                self.fail(bug)

    def use(self, instances: Sequence[Instance]) -> None:
        """Pick from these; from those of weight 0 only if there is no other."""
        self.candidates = [instance for instance in instances if instance.weight] or instances
        if self.candidates:
            self._plain = self.picker.update(self.candidates)
            self._ready.set()
        else:
            self._plain = self._refuse
            self._ready.clear()
        self._exchange()

    def _exchange(self) -> None:
        """Have picks do what the state asks for."""
        self.next = self._plain if self._wake is None else self._wake_and_pick
        quick = self._wake is None and self.candidates and self.endpoints is None
        self.take = self._taking.take if quick and self._taking is not None else self._pick_and_begin

    # -- idleness

    def touch(self) -> None:
        """It is used just now: be awake."""
        self.used = True
        if self._wake is not None:
            self.rouse()

    def sleep(self, wake: Callable[[], None]) -> None:
        """Call `wake` on the next use, once, or soon if somebody waits; picks go on from the last list."""
        if not self.closed:
            self.used = False
            self.keep = True
            self._wake = wake
            self._exchange()
            if self.waiting:
                asyncio.get_running_loop().call_soon(self.rouse)

    def rouse(self) -> None:
        """Be awake, and call `wake` if asleep."""
        wake, self._wake = self._wake, None
        self._exchange()
        if wake is not None:
            wake()

    def awake(self) -> None:
        """Be awake: the list is kept up to date from now on; endpoints that were closed are made again."""
        self.keep = False
        self._wake = None
        self._exchange()
        self._list()

    def _wake_and_pick(self) -> Instance:
        self.rouse()
        return self.next()

    # -- picks

    async def wait(self, timeout: float | None) -> None:
        """Return when there is something to pick; NoInstances when there isn't in time."""
        self.touch()
        if self.closed or (timeout is not None and timeout <= 0):
            raise self.reason()
        self.waiting += 1
        try:
            async with self.clock.timeout(timeout):
                while not self.candidates and not self.closed:
                    await self._ready.wait()
        except TimeoutError:
            pass
        finally:
            self.waiting -= 1
        if not self.candidates:
            raise self.reason()

    def choose(self, exclude: Sequence[Instance], key: object) -> Instance:
        """The instance for a call that begins."""
        if not exclude and key is None:
            self.used = True
            return self.next()
        self.touch()
        return self.picker.pick(exclude, key) if self.candidates else self._refuse()

    def begin(self, instance: Instance) -> tuple[T, End]:
        """Count a call to `instance`: its endpoint, and what ends the call, as a Picker's function does."""
        # First: where a policy fails, nothing is held yet.
        return self._begun(instance, self.picker.begin(instance))

    def _pick_and_begin(self) -> tuple[T, End]:
        instance: Any = self.next()
        end = self.picker.begin(instance)
        if end is None and self.endpoints is None:
            self._uncounted += 1
            return instance, self._end
        return self._begun(instance, end)

    def _end(self, _: BaseException | None) -> None:
        self._uncounted -= 1

    def _begun(self, instance: Instance, end: End | None) -> tuple[T, End]:
        endpoint: Any = instance
        entry: Endpoint[T] | None = None
        if self.endpoints is not None:
            entry = self.endpoints.take(instance)
            endpoint = entry.value
        elif end is not None and self._taking is not None:
            return endpoint, end
        counted = self._taking is None
        self._uncounted += counted

        def ended(outcome: BaseException | None) -> None:
            self._uncounted -= counted
            if entry is not None:
                entry.give_back()
            if end is not None:
                end(outcome)

        return endpoint, ended

    @property
    def in_flight(self) -> int:
        """How many calls run."""
        return self._uncounted + (0 if self._taking is None else self._taking.in_flight)

    @property
    def instances(self) -> Snapshot:
        """The last list heard; an empty one while there is none."""
        return NOTHING if self.snapshot is None or self.dropped else self.snapshot

    def values(self) -> dict[Instance, T]:
        """The endpoints that can be used; without a factory, the instances themselves."""
        if self.endpoints is not None:
            return self.endpoints.values()
        return cast("dict[Instance, T]", {instance: instance for instance in self.candidates})

    def loads(self) -> tuple[InstanceLoad, ...]:
        """What the policy knows of the candidates; nothing of one that keeps no account."""
        # Asked for by its name: a Picker that hands on to another what it doesn't have may have it so.
        loads: Callable[[], tuple[InstanceLoad, ...]] | None = getattr(self.picker, "loads", None)
        return loads() if self.candidates and loads is not None else ()

    def errors(self) -> dict[Instance, Exception]:
        """What the factory last raised, by the instance that has no endpoint for it."""
        return {} if self.endpoints is None else self.endpoints.errors()

    async def close_endpoints(self, linger: float) -> None:
        """Close all endpoints, and pick none of them meanwhile."""
        if self.endpoints is not None:
            self._listed = None
            self.use(())
            await self.endpoints.aclose(linger)

    def pause(self) -> None:
        """Keep the endpoints there are, and try for no others."""
        if self.endpoints is not None:
            self._listed = None
            self.endpoints.pause()

    def _refuse(self) -> Instance:
        raise self.reason()

    def reason(self) -> DiscoveryError:
        """Why there is nothing to pick."""
        service = self.service
        if self.closed:
            if self.error is None:
                return ClosedError(f"the balancer of {service!r} is closed")
            closed = ClosedError(
                f"the balancer of {service!r} was closed by {self.error!r}: make another one"
            )
            closed.__cause__ = self.error
            return closed
        if self._event is None:
            hint = "" if self._name else " (is a watch running, and `run` with its queue?)"
            return NoInstances(
                service, f"nothing was heard of it yet; acquire() waits for a first answer{hint}"
            )
        if self.snapshot is None:
            told = "nothing was ever heard of it"
        elif self.dropped:
            told = "its list was dropped as too old"
        elif self.snapshot and self._listed is None:
            told = (
                f"{_count(len(self.snapshot))}, their endpoints closed while the balancer rested; "
                "acquire() waits for new ones"
            )
        elif self.snapshot:
            told = f"{_count(len(self.snapshot))}, none whose endpoint is ready"
            errors = list(self.errors().values())
            if errors:
                told += f" (the factory failed for {len(errors)} of them: {errors[-1]!r})"
        elif self.snapshot.unfit:
            told = _unfit(self.snapshot.unfit)
        else:
            told = _nothing_for(self._event.query)
        if self.troubled_since is not None:
            seconds = self.clock.time() - self.troubled_since
            told += f"; no good answer of the registry for {seconds:.1f} s"
        if (error := self._event.error) is not None:
            told += f"{':' if self.troubled_since is not None else ';'} {type(error).__name__}: {error}"
        return NoInstances(service, told)


def _distinct(instances: Sequence[Instance]) -> Sequence[Instance]:
    """`instances` with one of those that are the same to a caller: registered on two nodes, say."""
    if len({instance.id for instance in instances}) == len(instances):
        return instances
    return list({identity(instance): instance for instance in instances}.values())


def _count(number: int) -> str:
    return "1 instance" if number == 1 else f"{number} instances"


def _nothing_for(query: Query) -> str:
    """What an empty answer says: a registry that was asked for a part of a service may have others."""
    if query.tags:
        return f"no instance with the tag{'s' * (len(query.tags) > 1)} {', '.join(query.tags)}"
    if query.filter or query.node_meta or query.datacenter or query.server_filter:
        return "no instance fits the query"
    return "the service has no instances"


def _unfit(instances: Sequence[Instance]) -> str:
    """`3 instances, all critical`, or how many of each status."""
    statuses = Counter(instance.status for instance in instances)
    if len(statuses) > 1:
        told = ", ".join(f"{number} {status}" for status, number in statuses.items())
    else:
        told = f"{'all ' if len(instances) > 1 else ''}{instances[0].status}"
    return f"{_count(len(instances))}, {told}"
