"""
Two ICE agents on L{vnet.test.natsim}, for tests.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import attrs
from twisted.internet.task import Clock

from vnet.driver import Driver
from vnet.protocols.codec.signal import Credentials
from vnet.protocols.machine.agent import Agent
from vnet.protocols.machine.agentevents import AgentEvent, Selected
from vnet.protocols.machine.candidates import gather
from vnet.protocols.machine.slots import Slots
from vnet.test.natsim import Host, Internet, Nat, Realm
from vnet.values import Address

__all__ = ["SERVER", "Couple", "Peer", "connect", "home", "peer", "run", "seeded"]

SERVER = Address("203.0.113.53", 3478)


def seeded(seed: int) -> Callable[[int], bytes]:
    """
    Bytes that are the same in each run.
    """
    return random.Random(seed).randbytes


@attrs.define(eq=False)
class Peer:
    """
    A host with one agent.

    @ivar events: with the times at which they came.
    """

    name: str
    clock: Clock
    host: Host
    agent: Agent
    credentials: Credentials
    mapped: list[Address] = attrs.field(factory=list)
    events: list[tuple[float, AgentEvent]] = attrs.field(factory=list)
    driver: Driver[AgentEvent] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.driver = Driver(self.agent, self.clock, self.host.send, self._happened)
        self.host.received = self.driver.datagramReceived
        self.driver.wake()

    def _happened(self, event: AgentEvent) -> None:
        self.events.append((self.clock.seconds(), event))

    def of(self, kind: type[AgentEvent]) -> list[AgentEvent]:
        """
        The events of one kind.
        """
        return [event for _, event in self.events if isinstance(event, kind)]

    @property
    def connectedAt(self) -> float | None:
        return next((time for time, event in self.events if isinstance(event, Selected)), None)

    def discover(self, internet: Internet) -> None:
        """
        Learn the address that a STUN server sees.
        """
        seen: list[Address] = []
        internet.members[SERVER.host] = lambda data, source, destination: seen.append(source)
        self.host.send([(b"binding", SERVER)])
        run(self.clock, 0.2)
        self.mapped = seen[:1]

    def tell(self, other: Peer) -> None:
        """
        Hand one's credentials and candidates to the other.
        """
        other.agent.setRemoteCredentials(self.credentials)
        for candidate in gather(self.host.addresses, self.host.port, self.mapped):
            self.agent.addLocalCandidate(candidate)
            other.agent.addRemoteCandidate(candidate, self.clock.seconds())
        other.driver.wake()


def peer(
    name: str,
    clock: Clock,
    host: Host,
    controlling: bool,
    startAt: float = 1.0,
    slots: Slots | None = None,
) -> Peer:
    """
    Make a peer whose agent begins at C{startAt}.
    """
    source = seeded(sum(name.encode()))
    credentials = Credentials(name.ljust(4, "u"), name.ljust(24, "p"))
    agent = Agent(controlling=controlling, local=credentials, startAt=startAt, random=source, slots=slots)
    return Peer(name, clock, host, agent, credentials)


def home(internet: Internet, number: int, mapping: str, filtering: str, port: int = 5000) -> Host:
    """
    A host in a LAN behind a NAT; mapping C{"public"} puts it on the Internet itself.
    """
    if mapping == "public":
        return Host({f"198.51.100.{number}": internet}, port)
    lan: Realm = internet.lan()
    Nat(lan, internet, f"198.51.100.{number}", mapping, filtering)
    return Host({f"192.168.{number}.2": lan}, port)


def connect(one: Peer, other: Peer, internet: Internet) -> None:
    """
    What the mediator does for two peers: both know each other's candidates at once.
    """
    for each in (one, other):
        each.discover(internet)
    one.tell(other)
    other.tell(one)


def run(clock: Clock, seconds: float) -> None:
    """
    Let time pass.
    """
    end = clock.seconds() + seconds
    while clock.seconds() < end - 1e-9:
        calls = clock.getDelayedCalls()
        following = min((call.getTime() for call in calls), default=end)
        clock.advance(max(0.0, min(following, end) - clock.seconds()))


class Couple:
    """
    Two peers on an Internet.
    """

    def __init__(
        self,
        one: tuple[str, str] = ("public", ""),
        other: tuple[str, str] = ("public", ""),
        loss: float = 0.0,
        seed: int = 0,
        delay: float = 0.03,
    ) -> None:
        self.clock = Clock()
        self.internet = Internet(self.clock, seed, delay)
        self.a = peer("alice", self.clock, home(self.internet, 1, *one), True)
        self.b = peer("bob", self.clock, home(self.internet, 2, *other), False)
        connect(self.a, self.b, self.internet)
        self.internet.loss = loss

    def run(self, seconds: float) -> None:
        run(self.clock, seconds)

    @property
    def connected(self) -> bool:
        return self.a.agent.selected is not None and self.b.agent.selected is not None
