"""What the registry tells of the instances, by watches."""

from asyncsd import Discovery, Event, Instance, Query
from asyncsd.backends.consul import ConsulBackend
from journal import Journal


def label(instance: Instance) -> str:
    """Its name, short enough for a table: "say-hello:38031"."""
    return f"{instance.service}:{instance.port}"


class Roster:
    """All instances, of whatever status, and whether the registry answers."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._instances: dict[str, Instance] = {}
        self._stale: set[str] = set()

    async def follow(self, sd: Discovery[ConsulBackend], service: str) -> None:
        """Keep the instances of a service current until cancelled."""
        async with sd.watch(Query(service, status="critical")) as events:
            async for event in events:
                self._take(event)

    @property
    def instances(self) -> list[Instance]:
        return list(self._instances.values())

    @property
    def stale(self) -> bool:
        """Whether the lists are the last good ones, for the registry is away or has lost its data."""
        return bool(self._stale)

    def passing(self, service: str) -> list[Instance]:
        return [each for each in self.instances if each.service == service and each.status == "passing"]

    def find(self, pid: int) -> Instance | None:
        """The instance of a process, which says its pid in its meta."""
        return next((each for each in self.instances if each.meta.get("pid") == str(pid)), None)

    def _take(self, event: Event) -> None:
        tell, service = self._journal.event, event.query.service
        for instance in event.added:
            self._instances[instance.id] = instance
            tell(f"{label(instance)} is registered, and {instance.status}")
        for change in event.changed:
            self._instances[change.after.id] = change.after
            if change.before.status != change.after.status:
                tell(f"{label(change.after)} is {change.after.status}")
        for instance in event.removed:
            self._instances.pop(instance.id, None)
            tell(f"{label(instance)} is gone from the registry")
        if not event.stale:
            if service in self._stale:
                self._stale.remove(service)
                tell(f"all of {service} is known to the registry again")
        elif event.reason == "reset":
            tell(f"the registry came back without {service}: the last list serves on")
        elif service not in self._stale:
            tell(f"the registry can't be reached: the last list of {service} serves on")
        if event.stale:
            self._stale.add(service)
