# -*- test-case-name: vnet.test.test_natmatrix -*-
"""
One trial: two fresh nodes, each behind a NAT of some kind, come into one network, and get a path to each other.

Everything of a client runs in it as it is, and a whole mediator; what is not real is the Internet, the device and TLS.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import provider

from vnet.client.peer import Peer
from vnet.test.natkinds import Site
from vnet.test.natoverlay import NatOverlay, SkewedClock
from vnet.test.natsim import Link, NatHost
from vnet.test.nodelab import URL, TestNode

__all__ = ["Outcome", "Pair", "Setting", "Side", "memoryDirectory", "runTrial"]

_BEFORE = 5.0
_AFTER = 2.0
_DOUBT = 15.0
_LOGIN = 30.0
_ECHOES = 8


@attrs.frozen
class Setting:
    """
    In what conditions trials are.

    @ivar seconds: for which a direct path is waited for.
    @ivar watch: seconds for which it is watched whether the path changes after the first direct one, or the end of the
        search; all trials last as long then.
    @ivar loss: the share of the datagrams that is lost; C{jitter}: at most so many seconds more than the delay.
    @ivar roundTrips: the least and the most between the two sides.
    @ivar mediatorRoundTrip: to the mediator and to the relay.
    @ivar relays: how many there are.
    @ivar skew: the most that the nodes' clocks differ from the true time, seconds.
    """

    seconds: float = 40.0
    watch: float = 0.0
    loss: float = 0.02
    jitter: float = 0.005
    roundTrips: tuple[float, float] = (0.05, 0.15)
    mediatorRoundTrip: float = 0.05
    relays: int = 1
    skew: float = 100.0


@attrs.frozen
class Outcome:
    """
    What came of a trial.

    @ivar seed: of the trial.
    @ivar connected: whether each side reaches the other through the tunnel in the end.
    @ivar direct: whether by a direct path, for both sides.
    @ivar pathAfter: seconds from when both were online in the network until both had some path; C{connectedAfter}: until the
        tunnel was up, too; C{directAfter}: until both had a direct path.
    @ivar changes: how often a side's path was another, once both had a direct one.
    @ivar probes: datagrams that each side had sent towards the other until the verdict, or until the direct path.
    @ivar peaks: for each side and each NAT of it, from the nearest, the most mappings that one computer had at once.
    @ivar errors: what was logged as a failure.
    @ivar roundTrip: between the sides.
    """

    seed: int
    connected: bool
    direct: bool
    pathAfter: float | None
    connectedAfter: float | None
    directAfter: float | None
    changes: int
    probes: tuple[int, int]
    peaks: tuple[tuple[int, ...], tuple[int, ...]]
    errors: tuple[str, ...] = ()
    roundTrip: float = 0.0


@attrs.define(eq=False)
class Side:
    """
    One of the two.
    """

    name: str
    site: Site
    computer: NatHost
    node: TestNode

    @property
    def peer(self) -> Peer | None:
        """The other, as this one sees it."""
        return next(iter(self.node.core.peers.all()), None)

    @property
    def path(self) -> Any:
        """The path in use; L{None} without one."""
        peer = self.peer
        return None if peer is None else peer.path

    @property
    def direct(self) -> bool:
        """Whether the path is a direct one."""
        path = self.path
        return path is not None and not path.relayed

    @property
    def connected(self) -> bool:
        """Whether there is a path, and the tunnel is up."""
        peer = self.peer
        return peer is not None and peer.path is not None and peer.answers

    def sentTo(self, other: Side) -> int:
        """How many datagrams went towards the other."""
        hosts = {*other.site.outside, *other.computer.addresses}
        hosts |= {nat.external for nat in other.site.nats}
        return sum(count for host, count in self.computer.sentTo.items() if host in hosts)


@attrs.define(eq=False)
class Pair:
    """
    Two nodes on an Internet of their own.

    @ivar changed: whether anything has changed at a node since this was set to L{False}.
    """

    kinds: tuple[str, str]
    seed: int
    directory: Path
    setting: Setting = attrs.field(factory=Setting)
    overlay: NatOverlay = attrs.field(init=False)
    sides: tuple[Side, Side] = attrs.field(init=False)
    roundTrip: float = attrs.field(init=False)
    changed: bool = attrs.field(default=True, init=False)
    _random: random.Random = attrs.field(init=False)
    _count: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        setting = self.setting
        self._random = random.Random(f"{self.kinds} {self.seed}")
        random.seed(self._random.random())
        self.overlay = NatOverlay(
            self._newName,
            setting.relays,
            seed=self._random.getrandbits(32),
            mediatorDelay=setting.mediatorRoundTrip / 2,
            loss=setting.loss,
        )
        sites = [self.overlay.site(kind) for kind in self.kinds]
        self.roundTrip = self._random.uniform(*setting.roundTrips)
        link = Link(self.roundTrip / 2, setting.jitter, setting.loss)
        self.overlay.net.connect(sites[0].outside, sites[1].outside, link)
        self.overlay.net.jitter = setting.jitter
        self.sides = (self._side("alice", sites[0]), self._side("bob", sites[1]))

    def _hasChanged(self) -> None:
        self.changed = True

    def _newName(self) -> str:
        self._count += 1
        return str(self.directory / f"{self._count}")

    def _side(self, name: str, site: Site) -> Side:
        computer = site.computer()
        clock = SkewedClock(self.overlay.clock, self._random.uniform(0, self.setting.skew))
        # The key follows from the name, and the role from the key.
        identity = f"{name} {self._random.getrandbits(64)}"
        node = self.overlay.addBehind(identity, site, computer, clock=clock)
        node.state.update(nick=name)
        node.core.whenChanged = self._hasChanged
        return Side(name, site, computer, node)

    @property
    def seconds(self) -> float:
        """Now."""
        return self.overlay.clock.seconds()

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """
        Let time pass.

        @return: whether C{until} came true.
        """
        return self.overlay.clock.run(seconds, until)

    def do(self, asked: Deferred[dict[str, Any]]) -> dict[str, Any]:
        """
        Wait for the answer to a verb.
        """
        results: list[Any] = []
        asked.addBoth(results.append)
        if not self.run(_LOGIN, lambda: bool(results)):
            raise AssertionError("no answer")
        if isinstance(results[0], Failure):
            results[0].raiseException()
        answer: dict[str, Any] = results[0]
        return answer

    def meet(self) -> None:
        """
        Both log in, learn of their NATs, and come into one network: now each knows of the other.
        """
        one, other = self.sides
        for side in self.sides:
            self.do(side.node.node.login(URL))
        self.do(one.node.node.create("lab", "password"))
        self.run(_BEFORE)
        self.do(other.node.node.join("lab", "password"))

    @property
    def direct(self) -> bool:
        """Whether both sides have a direct path."""
        return self.sides[0].direct and self.sides[1].direct

    @property
    def connected(self) -> bool:
        """Whether both sides have a path, and the tunnel is up."""
        return self.sides[0].connected and self.sides[1].connected

    def reaches(self) -> bool:
        """
        Whether an echo of the one through the tunnel is answered by the other: one of several, within half a minute, as
        datagrams get lost, and those of a handshake are sent again only after five seconds.
        """
        one, other = self.sides
        return any(one.node.reaches(other.node) for _ in range(_ECHOES))

    def close(self) -> None:
        """
        Stop all.
        """
        self.overlay.stopAll()


def runTrial(
    kinds: tuple[str, str],
    seed: int,
    setting: Setting | None = None,
    begun: Callable[[Pair], None] = lambda pair: None,
) -> Outcome:
    """
    Run a trial; with the same arguments, and the same C{PYTHONHASHSEED}, it is the same.

    @param begun: called when all is built.
    """
    with tempfile.TemporaryDirectory(dir=memoryDirectory()) as directory, _errorsLogged() as errors:
        pair = Pair(kinds, seed, Path(directory), setting or Setting())
        begun(pair)
        outcome = _measure(pair)
        pair.close()
        return attrs.evolve(outcome, errors=tuple(errors))


def _measure(pair: Pair) -> Outcome:
    setting, seen = pair.setting, _Seen(pair)
    pair.meet()
    seen.begin()
    found = pair.run(setting.seconds, seen.look)
    probes = (
        pair.sides[0].sentTo(pair.sides[1]) - seen.sentBefore[0],
        pair.sides[1].sentTo(pair.sides[0]) - seen.sentBefore[1],
    )
    pair.run(max(_AFTER if found else 0.0, setting.watch), seen.watch)
    # What a lost packet makes a side doubt for a moment is a change, but not the end.
    direct = pair.direct or (seen.directAfter is not None and pair.run(_DOUBT, lambda: pair.direct))
    return Outcome(
        seed=pair.seed,
        connected=pair.reaches(),
        direct=direct,
        pathAfter=seen.pathAfter,
        connectedAfter=seen.connectedAfter,
        directAfter=seen.directAfter,
        changes=seen.changes,
        probes=probes,
        peaks=(tuple(pair.sides[0].site.peaks), tuple(pair.sides[1].site.peaks)),
        roundTrip=pair.roundTrip,
    )


@attrs.define(eq=False)
class _Seen:
    """
    What is noticed while time passes.
    """

    pair: Pair
    pathAfter: float | None = None
    connectedAfter: float | None = None
    directAfter: float | None = None
    changes: int = 0
    sentBefore: tuple[int, int] = (0, 0)
    _since: float = 0.0
    _paths: list[Any] = attrs.field(factory=list)

    def begin(self) -> None:
        """Both are online."""
        one, other = self.pair.sides
        self._since = self.pair.seconds
        self.sentBefore = (one.sentTo(other), other.sentTo(one))

    def look(self) -> bool:
        """
        @return: whether all is reached.
        """
        pair, after = self.pair, self.pair.seconds - self._since
        if not pair.changed:
            return False
        pair.changed = False
        if self.pathAfter is None and all(side.path is not None for side in pair.sides):
            self.pathAfter = after
        if self.connectedAfter is None and pair.connected:
            self.connectedAfter = after
        if self.directAfter is None and pair.direct:
            self.directAfter = after
        return self.connectedAfter is not None and self.directAfter is not None

    def watch(self) -> bool:
        """
        Count changes of the paths; a second after they were found each side may have taken the better of several.
        """
        if not self.pair.changed:
            return False
        self.look()
        paths = [side.path and side.path.address for side in self.pair.sides]
        if self._paths and paths != self._paths:
            self.changes += sum(one != other for one, other in zip(paths, self._paths, strict=True))
        self._paths = paths
        return False


def memoryDirectory() -> str | None:
    """
    Where files are in memory; L{None}: nowhere here.
    """
    fast = Path("/dev/shm")
    return str(fast) if fast.is_dir() else None


@contextmanager
def _errorsLogged() -> Iterator[list[str]]:
    errors: list[str] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        failure = event.get("log_failure")
        if failure is not None and len(errors) < 10:
            errors.append(failure.getTraceback(elideFrameworkCode=True))

    globalLogPublisher.addObserver(observe)
    try:
        yield errors
    finally:
        globalLogPublisher.removeObserver(observe)
