"""All that the phases move and the displays show."""

from asyncsd import Discovery, Instance
from asyncsd.backends.consul import ConsulBackend
from calls import CLOCK, GREETERS
from fleet import CLOCK_PROGRAM, GREETER_PROGRAM, Fleet, Member
from journal import Journal
from registry import OwnRegistry
from roster import Roster
from tally import Tally
from traffic import Traffic


class Stage:
    def __init__(
        self,
        *,
        sd: Discovery[ConsulBackend],
        journal: Journal,
        tally: Tally,
        roster: Roster,
        services: Fleet,
        greetings: Traffic,
        times: Traffic,
        url: str,
        own: OwnRegistry | None,
        look: float,
    ) -> None:
        """`own` is the registry at `url` if it is the demonstration's, and may be killed.

        `look` is for how many seconds people see what has become of each thing.
        """
        self.sd = sd
        self.journal = journal
        self.tally = tally
        self.roster = roster
        self.services = services
        self.greetings = greetings
        self.times = times
        self.url = url
        self.own = own
        self.look = look
        self.title = "starting"
        """The phase that is played."""

    @property
    def rate(self) -> float:
        """Calls a second."""
        return self.greetings.rate + self.times.rate

    async def start_greeter(self) -> Member:
        """Start one more instance of say-hello."""
        reaped = "60" if self.own is None else "2"
        command = (GREETER_PROGRAM, "--registry", self.url, "--drain", "1", "--deregister-after", reaped)
        return await self.services.start(GREETERS, *command)

    async def start_clock(self) -> Member:
        return await self.services.start(CLOCK, CLOCK_PROGRAM, "--registry", self.url)

    def member(self, instance: Instance) -> Member:
        """The process of an instance."""
        member = self.services.find(instance.meta.get("pid"))
        assert member is not None, f"{instance} is none of the demo's"
        return member

    def greeters(self) -> list[Instance]:
        """The instances of say-hello that pass."""
        return self.roster.passing(GREETERS)
