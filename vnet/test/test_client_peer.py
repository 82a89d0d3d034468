"""
One peer of the node, and the table of all.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from attrs import define, field
from nacl.signing import SigningKey
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.identity import tunnelKey
from vnet.client.obstacles import OwnNat
from vnet.client.peer import Peer
from vnet.client.peercontext import PeerContext
from vnet.client.peerreport import describe, describeFully, stateOf, why
from vnet.client.peers import Peers
from vnet.client.sync import Member
from vnet.client.tunnels import Secrets
from vnet.client.welcome import Welcome
from vnet.errors import StateError
from vnet.protocols.codec import signal as signals
from vnet.protocols.codec.address6 import address6Of
from vnet.protocols.codec.natsignal import Traits
from vnet.protocols.machine.agentevents import Alive, ConsentLost, Dead, Failed, Selected, Suspect
from vnet.protocols.machine.pair import Path
from vnet.protocols.machine.wireguard import PeerStatus
from vnet.protocols.traversal import Story
from vnet.values import Address, Candidate, NatReport

KEYS = sorted(bytes(SigningKey(bytes([n]) * 32).verify_key) for n in range(1, 6))
LOW, OWN, HIGH = KEYS[0], KEYS[2], KEYS[4]
HERE = Address("192.0.2.1", 1000)
THERE = Address("198.51.100.7", 2000)
OTHER = Address("203.0.113.9", 3000)
PATH = Path(THERE, 0.02, "srflx", "srflx")
RELAYED = Path(Address(*THERE[:2], "r1"), 0.05, "relay", "srflx")
CREDENTIALS = signals.Credentials("ufrag", "p" * 24)
PREFIX6 = bytes.fromhex("fd0000010002")
WELCOME = Welcome(
    b"r" * 16, b"e" * 8, "100.64.0.1", "100.64.0.0/10", str(address6Of(PREFIX6, OWN)), "fd00:1:2::/48", (), ()
)


NO_STORY = Story(Traits(), None, "", 0, 0, 0, False)


@define(eq=False)
class FakeAttempt:
    """
    An attempt that finds what the test says.
    """

    startAt: float
    onEvent: Callable[[object], None]
    selected: Path | None = None
    tried: tuple[Address, ...] = ()
    heard: tuple[Address, ...] = ()
    theirRelays: tuple[Address, ...] = ()
    candidates: tuple[Candidate, ...] = (Candidate("host", HERE, 1, "1"),)
    remote: list[signals.Signal] = field(factory=list)
    checks: int = 0
    searches: int = 0
    doubts: int = 0
    ready: tuple[Address, ...] = ()
    observed: str = ""
    onSignal: Callable[[], None] = lambda: None
    isBusy: bool = False
    story: Story = NO_STORY
    traffic: int = 0
    closed: bool = False
    addresses: list[Address] = field(factory=list)
    size: int = 1312
    sizeIsSettled: bool = True
    onSize: Callable[[], None] = lambda: None

    def signal(self, start: int, final: bool = False) -> signals.Signal:
        return signals.Signal(start, CREDENTIALS, self.candidates, final)

    def remoteSignal(self, signal: signals.Signal) -> None:
        self.remote.append(signal)

    def search(self) -> None:
        self.searches += 1

    def check(self) -> None:
        self.checks += 1

    def doubt(self) -> bool:
        self.doubts += 1
        return True

    def isReady(self, addr: Address) -> bool:
        return addr in self.ready

    def noteTraffic(self) -> None:
        self.traffic += 1

    def addressHeard(self, addr: Address) -> None:
        self.addresses.append(addr)

    def close(self) -> None:
        self.closed = True

    def select(self, path: Path = PATH, reason: str = "found", provenAt: float = float("-inf")) -> None:
        self.selected = path
        self.onEvent(Selected(path, reason, provenAt))

    def lose(self, event: object) -> None:
        self.selected = None
        self.onEvent(event)


@define(eq=False)
class FakeTunnels:
    """
    Records what is asked of the tunnels.
    """

    calls: list[tuple[str, Any]] = field(factory=list)
    sizes: list[int | None] = field(factory=list)
    members: dict[bytes, tuple[str, str]] = field(factory=dict)
    secrets: dict[bytes, Secrets] = field(factory=dict)
    refreshed: list[bytes] = field(factory=list)
    opened: dict[bytes, None] = field(factory=dict)
    rxBytes: int = 1
    takesPartial: bool = False

    def setEndpoint(self, tunnelKey: bytes, address: Address | None, initiate: bool = False) -> None:
        self.calls.append(("handshake" if initiate else "endpoint", address))

    def setTakesPartial(self, tunnelKey: bytes, takes: bool) -> None:
        self.takesPartial = takes

    def open(self, tunnelKey: bytes) -> None:
        self.opened[tunnelKey] = None

    def shut(self, tunnelKey: bytes) -> None:
        self.calls.append(("shut", tunnelKey))
        self.opened.pop(tunnelKey, None)

    def status(self, tunnelKey: bytes) -> PeerStatus:
        return PeerStatus(
            lastHandshake=None, rxBytes=self.rxBytes, txBytes=2, endpoint=THERE, established=True
        )

    def carried(self, tunnelKey: bytes) -> tuple[int, int]:
        """See L{TunnelTable}."""
        return 0, 0

    def setSize(self, tunnelKey: bytes, size: int | None, isSettled: bool = False) -> None:
        self.sizes.append(size)

    def mtu(self, tunnelKey: bytes) -> int:
        return 1424

    def add(self, key: bytes, address: str, address6: str, secrets: Secrets) -> None:
        self.members[key] = (address, address6)
        self.secrets[key] = secrets

    def refresh(self, key: bytes) -> None:
        self.refreshed.append(key)

    def remove(self, key: bytes) -> None:
        del self.members[key]
        self.opened.pop(key, None)


class Surroundings:
    """
    What the peers of a node have around them, as fakes.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.tunnels = FakeTunnels()
        self.attempts: list[FakeAttempt] = []
        self.asked: list[bytes] = []
        self.sent: list[signals.Signal] = []
        self.reachable = True
        self.moves: list[tuple[Address, Address, float | None]] = []
        self.doubted: list[str] = []
        self.doubled: list[tuple[Address, Address]] = []
        self.relays: dict[str, tuple[str, str]] = {}
        self.relayProblem = ""
        self.ownNat = OwnNat()
        self.context = PeerContext(
            clock=self.clock,
            ownKey=OWN,
            tunnels=self.tunnels,
            connect=self.connect,
            askRendezvous=self.asked.append,
            sendSignal=lambda key, plaintext: self.sent.append(signals.decode(plaintext)),
            reachable=lambda: self.reachable,
            changed=lambda key: None,
            handover=lambda old, new, since: self.moves.append((old, new, since)),
            double=lambda path, other: self.doubled.append((path, other)),
            doubtRelay=self.doubted.append,
            describeVia=self.relays.get,
            ownNat=lambda: self.ownNat,
            relayProblem=lambda: self.relayProblem,
        )

    def connect(self, key: bytes, *, controlling: bool, **options: Any) -> FakeAttempt:
        self.attempts.append(FakeAttempt(**options))
        return self.attempts[-1]


def address6(key: bytes) -> str:
    """
    The IPv6 address of a key.
    """
    return str(address6Of(PREFIX6, key))


def member(key: bytes = HIGH, state: str = "online", number: int = 9, nick: str = "nick") -> Member:
    """
    A member of the overlay.
    """
    return Member(key, f"100.64.0.{number}", address6(key), nick, state)


class PeerCase(SynchronousTestCase):
    """
    One peer among fakes.
    """

    def setUp(self) -> None:
        self.around = Surroundings()
        self.clock, self.tunnels = self.around.clock, self.around.tunnels
        self.attempts, self.asked = self.around.attempts, self.around.asked

    def peer(self, key: bytes = HIGH, state: str = "online") -> Peer:
        peer = Peer(self.around.context, member(key, state), tunnelKey(key))
        peer.begin()
        self.addCleanup(peer.close)
        return peer

    def connected(self, key: bytes = HIGH) -> tuple[Peer, FakeAttempt]:
        peer = self.peer(key)
        peer.rendezvous(5, 1.0)
        self.attempts[-1].select()
        peer.sessionEstablished()
        return peer, self.attempts[-1]


class PeerTests(PeerCase):
    """
    Tests of L{Peer}.
    """

    def test_smallerKeyAsks(self) -> None:
        """
        The node with the smaller key asks for a rendezvous at once; the other only when that did not help.
        """
        self.peer(HIGH)
        self.assertEqual(self.asked, [HIGH])
        self.peer(LOW)
        self.assertEqual(self.asked, [HIGH])
        self.clock.advance(1.1)
        self.assertEqual(self.asked, [HIGH, LOW])

    def test_offlineNotAsked(self) -> None:
        """
        No path is sought to a peer that is offline.
        """
        peer = self.peer(HIGH, "offline")
        self.clock.pump([1.0] * 100)
        self.assertEqual(self.asked, [])
        self.assertEqual(stateOf(peer), "offline")

    def test_signals(self) -> None:
        """
        At a rendezvous each side tells the other its credentials and candidates, under the rendezvous' start.
        """
        peer = self.peer()
        peer.rendezvous(5, 1.0)
        [sent] = self.around.sent
        self.assertEqual(
            (sent.start, sent.credentials, sent.candidates), (5, CREDENTIALS, self.attempts[0].candidates)
        )
        peer.signal(signals.encode(sent))
        self.assertEqual(self.attempts[0].remote, [sent])

    def test_oldSignal(self) -> None:
        """
        A signal of another rendezvous, replayed by the mediator say, has no effect.
        """
        peer = self.peer()
        peer.rendezvous(5, 1.0)
        old = signals.encode(signals.Signal(4, CREDENTIALS))
        self.assertRaises(ValueError, peer.signal, old)
        self.assertEqual(self.attempts[0].remote, [])

    def test_sameRendezvousTwice(self) -> None:
        """
        The same rendezvous given twice is one attempt.
        """
        peer = self.peer()
        peer.rendezvous(5, 1.0)
        peer.rendezvous(5, 1.0)
        self.assertEqual(len(self.attempts), 1)

    def test_selected(self) -> None:
        """
        When a path is found, the tunnel goes there, and the controlling side begins the handshake, once.
        """
        peer, attempt = self.connected()
        better = Path(HERE, 0.001, "host", "host")
        attempt.select(better)
        self.assertEqual(self.tunnels.calls, [("handshake", THERE), ("endpoint", HERE)])
        self.assertEqual((stateOf(peer), describe(peer)["path"], why(peer)), ("online", "direct", None))

    def test_controlledWaits(self) -> None:
        """
        The controlled side leaves the handshake to the other.
        """
        self.connected(LOW)
        self.assertEqual(self.tunnels.calls, [("endpoint", THERE)])

    def test_unconfirmed(self) -> None:
        """
        The controlled side begins a handshake, too, when it does not hear soon that the other's succeeded.
        """
        peer = self.peer(LOW)
        peer.rendezvous(5, 1.0)
        self.attempts[-1].select()
        self.clock.advance(0.5)
        self.assertEqual(self.tunnels.calls, [("endpoint", THERE)])
        self.clock.advance(0.2)
        self.assertEqual(self.tunnels.calls[1:], [("handshake", THERE)])
        peer.sessionEstablished()
        self.clock.pump([1.0] * 200)
        self.assertEqual(len(self.tunnels.calls), 2)

    def test_unconfirmedAgain(self) -> None:
        """
        That is so for each rendezvous: after it the other may not know the session any more.
        """
        peer, _ = self.connected(LOW)
        peer.rendezvous(6, 40.0)
        self.attempts[-1].select()
        self.clock.advance(3.1)
        self.assertEqual(self.tunnels.calls[-1], ("handshake", THERE))

    def test_handshakeRepeated(self) -> None:
        """
        A handshake that failed is tried again a minute later for as long as there is a path, since secrets may be in step then.
        """
        peer = self.peer()
        peer.rendezvous(5, 1.0)
        self.attempts[-1].select()
        for expected in (2, 3):
            peer.handshakeFailed()
            self.clock.advance(61)
            self.assertEqual(self.tunnels.calls, [("handshake", THERE)] * expected)

    def test_logout(self) -> None:
        """
        When a peer logs out, its tunnel is wiped at once.
        """
        peer, attempt = self.connected()
        peer.update(member(state="offline"))
        self.assertTrue(attempt.closed)
        self.assertEqual(self.tunnels.calls[-1], ("shut", peer.tunnelKey))
        self.assertEqual((stateOf(peer), describe(peer)["path"]), ("offline", "none"))

    def test_lostAlive(self) -> None:
        """
        A peer that lost the mediator keeps its tunnel, which is checked at once, and stays as long as it answers.
        """
        peer, attempt = self.connected()
        peer.update(member(state="lost"))
        self.assertEqual(attempt.checks, 1)
        attempt.onEvent(Alive())
        self.assertFalse(attempt.closed)
        self.assertEqual((stateOf(peer), describe(peer)["path"]), ("lost", "direct"))

    def test_lostDead(self) -> None:
        """
        A lost peer whose tunnel does not answer is offline.
        """
        peer, attempt = self.connected()
        peer.update(member(state="lost"))
        attempt.lose(Dead())
        self.assertTrue(attempt.closed)
        self.assertEqual(stateOf(peer), "offline")

    def test_returns(self) -> None:
        """
        A peer that was lost and comes back with its tunnel alive needs no new path; only a check.
        """
        peer, attempt = self.connected()
        peer.update(member(state="lost"))
        attempt.onEvent(Alive())
        peer.update(member(state="online"))
        self.assertEqual(attempt.checks, 2)
        self.assertEqual(self.asked, [HIGH])

    def test_pathLost(self) -> None:
        """
        When the path to an online peer dies, another rendezvous is asked for, and nothing is sent to the dead path.
        """
        peer, attempt = self.connected()
        self.clock.advance(30)
        attempt.lose(ConsentLost())
        self.assertEqual(self.asked, [HIGH, HIGH])
        self.assertEqual(self.tunnels.calls[-1], ("endpoint", None))
        self.assertEqual(describe(peer)["path"], "none")
        peer.rendezvous(6, 31.0)
        self.attempts[-1].select()
        self.assertEqual(self.tunnels.calls[-1], ("handshake", THERE))

    def test_doubted(self) -> None:
        """
        While a path does not answer for a second another one is sought, three times, and the old one is used until there is one.
        """
        peer, attempt = self.connected()
        self.clock.advance(30)
        peer.check()
        self.clock.advance(0.9)
        self.assertEqual(self.asked, [HIGH])
        self.clock.advance(0.2)
        self.assertEqual(self.asked, [HIGH, HIGH])
        self.assertEqual((attempt.closed, peer.path), (False, PATH))
        self.clock.pump([1.0] * 60)
        self.assertEqual(self.asked, [HIGH] * 4)

    def test_askedInVain(self) -> None:
        """
        What was asked for while a path is doubted is asked for twice more, unless there is a rendezvous or the path answers.
        """
        for answers in (False, True):
            self.asked[:] = []
            peer, attempt = self.connected()
            self.clock.advance(30)
            peer.check()
            self.clock.advance(1.1)
            if answers:
                attempt.onEvent(Alive())
            else:
                peer.rendezvous(6, 40.0)
            self.clock.pump([0.1] * 50)
            self.assertEqual(self.asked, [HIGH, HIGH])

    def test_answersInTime(self) -> None:
        """
        A path that answers in time is not doubted, nor is one of a peer with which a search is under way.
        """
        peer, attempt = self.connected()
        self.clock.advance(30)
        peer.check()
        attempt.onEvent(Alive())
        self.clock.advance(5)
        peer.check()
        peer.rendezvous(6, 40.0)
        self.clock.advance(5)
        self.assertEqual(self.asked, [HIGH])

    def test_doubtedWithoutMediator(self) -> None:
        """
        A path that is doubted while the mediator is away is replaced when it is back, unless it has answered since.
        """
        for answers, expected in ((False, 2), (True, 1)):
            peer, attempt = self.connected()
            self.asked[:] = [HIGH]
            self.clock.advance(30)
            self.around.reachable = False
            peer.check()
            self.clock.advance(2)
            if answers:
                attempt.onEvent(Alive())
            self.around.reachable = True
            peer.reconnected()
            self.assertEqual(len(self.asked), expected, answers)
            peer.close()

    def test_rendezvousBeforeNews(self) -> None:
        """
        A rendezvous that comes just before the word that the peer is online is not disturbed by another.
        """
        peer = self.peer(HIGH, "lost")
        peer.rendezvous(5, 1.0)
        peer.update(member(state="online"))
        peer.reconnected()
        self.assertEqual(self.asked, [])
        self.clock.advance(20)
        self.assertGreater(len(self.asked), 0)

    def test_askedTwice(self) -> None:
        """
        A path that is lost just after a rendezvous was asked for is sought again soon.
        """
        _, attempt = self.connected()
        attempt.lose(ConsentLost())
        self.assertEqual(self.asked, [HIGH])
        self.clock.advance(0.6)
        self.assertEqual(self.asked, [HIGH, HIGH])

    def test_unreachable(self) -> None:
        """
        A search that fails is told with its reason, and repeated with growing pauses for as long as the peer is online.
        """
        peer = self.peer()
        peer.rendezvous(5, 1.0)
        self.attempts[-1].lose(Failed("nothing was heard from the peer"))
        self.assertEqual((stateOf(peer), why(peer)), ("unreachable", "nothing was heard from the peer"))
        self.clock.pump([1.0] * 600)
        self.assertGreater(len(self.asked), 8)
        self.assertLess(len(self.asked), 20)

    def test_makeBeforeBreak(self) -> None:
        """
        While a new attempt is under way the old path is used; it is closed when the new one has found a path.
        """
        peer, old = self.connected()
        peer.rendezvous(6, 40.0)
        self.assertFalse(old.closed)
        self.assertEqual(peer.path, PATH)
        new = self.attempts[-1]
        new.select(Path(HERE, 0.001, "host", "host"))
        self.assertTrue(old.closed)
        self.assertEqual(peer.path, new.selected)

    def test_twoRendezvous(self) -> None:
        """
        Of two rendezvous in a row, neither with a result yet, the second does not close the path in use.
        """
        peer, old = self.connected()
        peer.rendezvous(6, 40.0)
        peer.rendezvous(7, 41.0)
        self.assertEqual(
            (old.closed, self.attempts[-2].closed, self.attempts[-1].closed), (False, True, False)
        )
        self.assertEqual(peer.path, PATH)

    def test_newAttemptFails(self) -> None:
        """
        When a new attempt finds nothing, the old path stays.
        """
        peer, old = self.connected()
        peer.rendezvous(6, 40.0)
        self.attempts[-1].lose(Failed("nothing was heard from the peer"))
        self.assertFalse(old.closed)
        self.assertEqual((peer.path, stateOf(peer)), (PATH, "online"))

    def test_wanted(self) -> None:
        """
        Traffic for a peer without a path asks for one, at most every few seconds; while the mediator is away nobody is asked.
        """
        peer = self.peer(LOW)
        for _ in range(10):
            peer.wanted()
        self.assertEqual(self.asked, [LOW])
        self.around.reachable = False
        self.clock.advance(30)
        before = list(self.asked)
        peer.wanted()
        self.assertEqual(self.asked, before)

    def test_wantedWhileSearching(self) -> None:
        """
        Traffic during a search asks for no other rendezvous; once the search has failed it does.
        """
        peer = self.peer()
        self.clock.advance(5)
        peer.rendezvous(5, 5.1)
        before = list(self.asked)
        for _ in range(18):
            self.clock.advance(0.5)
            peer.wanted()
        self.assertEqual(self.asked, before)
        self.attempts[-1].lose(Failed("heard nothing"))
        peer.wanted()
        self.assertEqual(len(self.asked), len(before) + 1)

    def test_alone(self) -> None:
        """
        Without a mediator the attempt searches again with growing pauses of 5 to 60 seconds, warm or not, until it finds a
        path; a change of the network makes it search at once.
        """
        for warm in (True, False):
            peer, attempt = self.connected()
            peer.warm = warm
            self.around.reachable = False
            attempt.lose(ConsentLost())
            attempt.lose(Failed("heard nothing"))
            times: list[float] = []
            for second in range(600):
                before = attempt.searches
                self.clock.advance(1)
                times += [second] * (attempt.searches - before)
            pauses = [later - earlier for earlier, later in pairwise([0, *times])]
            self.assertTrue(all(4 <= pause <= 61 for pause in pauses), pauses)
            self.assertGreater(max(pauses), 45)
            self.assertFalse(attempt.closed)
            before = attempt.searches
            peer.check()
            self.assertEqual(attempt.searches, before + 1)
            attempt.select()
            self.clock.advance(120)
            self.assertEqual(attempt.searches, before + 1)
            self.around.reachable = True

    def test_coldFails(self) -> None:
        """
        Where no path is kept ready a search that failed leaves nothing behind, and nobody is asked until there is traffic.
        """
        peer = self.peer()
        peer.warm = False
        peer.rendezvous(5, 1.0)
        self.attempts[-1].lose(Failed("heard nothing"))
        self.assertTrue(self.attempts[-1].closed)
        before = list(self.asked)
        self.clock.advance(600)
        self.assertEqual(self.asked, before)
        self.assertEqual(stateOf(peer), "unreachable")
        peer.wanted()
        self.assertEqual(len(self.asked), len(before) + 1)

    def test_offlineFails(self) -> None:
        """
        The attempt of a peer that is offline ends with its search.
        """
        peer = self.peer(state="offline")
        peer.rendezvous(5, 1.0)
        self.attempts[-1].lose(Failed("heard nothing"))
        self.assertTrue(self.attempts[-1].closed)

    def test_tunnelMoves(self) -> None:
        """
        When the tunnel hears the peer from elsewhere, the attempt learns that address; traffic is noted too.
        """
        peer, attempt = self.connected()
        peer.endpointMoved(HERE)
        peer.noteTraffic()
        self.assertEqual((attempt.addresses, attempt.traffic), ([HERE], 1))

    def test_handshakeFails(self) -> None:
        """
        When the path works but the tunnel's handshake does not, the reason says so.
        """
        peer = self.peer()
        peer.rendezvous(5, 1.0)
        self.attempts[-1].select()
        peer.handshakeFailed()
        self.assertIn("password", str(why(peer)))
        self.assertEqual(describe(peer)["path"], "none")

    def test_size(self) -> None:
        """How long datagrams may be follows the attempt whose path is used; without a path it is not known."""
        peer, attempt = self.connected()
        self.assertEqual(self.tunnels.sizes[-1], 1312)
        attempt.size = 1472
        attempt.onSize()
        self.assertEqual(self.tunnels.sizes[-1], 1472)
        peer.rendezvous(6, 1.0)
        other = self.attempts[-1]
        other.size = 1400
        other.onSize()
        self.assertEqual(self.tunnels.sizes[-1], 1472)
        other.select()
        self.assertEqual(self.tunnels.sizes[-1], 1400)
        other.lose(ConsentLost())
        self.assertIsNone(self.tunnels.sizes[-1])
        self.assertIsNone(describeFully(peer)["mtu"])

    def test_json(self) -> None:
        """
        The full description has the documented keys.
        """
        peer, _ = self.connected()
        described = describeFully(peer)
        self.assertEqual(
            {
                key: described[key]
                for key in (
                    "endpoint",
                    "latencyMs",
                    "transport",
                    "mtu",
                    "lastHandshake",
                    "rxBytes",
                    "txBytes",
                )
            },
            {
                "endpoint": "198.51.100.7:2000",
                "latencyMs": 20.0,
                "transport": "udp",
                "mtu": 1424,
                "lastHandshake": None,
                "rxBytes": 1,
                "txBytes": 2,
            },
        )


class RelayedPeerTests(PeerCase):
    """
    Tests of L{Peer} where relays are used.
    """

    def relayed(self) -> tuple[Peer, FakeAttempt]:
        """A peer whose path goes through the relay r1."""
        self.around.relays["r1"] = ("relay.example:443", "tls")
        peer = self.peer()
        peer.rendezvous(5, 1.0)
        self.attempts[-1].select(RELAYED)
        peer.sessionEstablished()
        return peer, self.attempts[-1]

    def test_better(self) -> None:
        """
        When a direct path takes over both are used for a while, and nothing is sent again.
        """
        _, attempt = self.relayed()
        attempt.select(PATH, "better")
        self.assertEqual(self.around.moves, [(RELAYED.address, THERE, None)])
        self.assertEqual(self.around.doubted, [])

    def test_doubt(self) -> None:
        """
        When a path is given up, what was sent since it last answered is sent again, but no more than two seconds.
        """
        _, attempt = self.connected()
        self.clock.advance(100)
        attempt.select(RELAYED, "doubt", 98.5)
        attempt.select(PATH, "doubt", 99.5)
        self.clock.advance(50)
        attempt.select(RELAYED, "lost")
        since = [each for _, _, each in self.around.moves]
        self.assertEqual([round(each or 0.0, 2) for each in since], [98.45, 99.45, 148.0])

    def test_relayDoubted(self) -> None:
        """
        When a path through a relay is given up, or suspect, the relay is asked whether it is there.
        """
        _, attempt = self.relayed()
        attempt.onEvent(Suspect(RELAYED))
        self.assertEqual(self.around.doubted, ["r1"])
        attempt.select(PATH, "doubt")
        self.assertEqual(self.around.doubted, ["r1", "r1"])
        attempt.onEvent(Suspect(PATH))
        self.assertEqual(self.around.doubted, ["r1", "r1"])

    def test_samePath(self) -> None:
        """
        The same path again is no move, nor is the first one, nor one after a time without any.
        """
        peer, attempt = self.connected()
        attempt.select(PATH)
        attempt.lose(ConsentLost())
        attempt.select(RELAYED)
        peer.update(member(state="offline"))
        self.assertEqual(self.around.moves, [])

    def test_silentPath(self) -> None:
        """
        What a path has lost while it was silent is sent again when it answers, and when a new attempt finds the same one.
        """
        for again in (False, True):
            self.around.moves.clear()
            peer, attempt = self.connected()
            self.clock.advance(30)
            peer.check()
            self.clock.advance(1.5)
            self.assertEqual(self.around.moves, [])
            now = self.clock.seconds()
            if again:
                peer.rendezvous(6, 40.0)
                self.attempts[-1].select(PATH)
            else:
                attempt.onEvent(Alive())
            [(old, new, since)] = self.around.moves
            self.assertEqual((old, new), (THERE, THERE))
            self.assertTrue(now - 2.0 <= (since or 0.0) <= now - 1.5, since)
            peer.close()

    def test_noDetour(self) -> None:
        """
        A relayed path of a new attempt does not take over from a direct one that answers; a direct one does.
        """
        peer, old = self.connected()
        peer.rendezvous(6, 40.0)
        self.assertEqual(old.checks, 1)
        old.onEvent(Alive())
        new = self.attempts[-1]
        new.select(RELAYED)
        self.assertEqual((old.closed, peer.path), (False, PATH))
        peer.doubt()
        self.assertEqual((old.doubts, new.doubts), (1, 0))
        direct = Path(HERE, 0.001, "host", "host")
        new.select(direct, "better")
        self.assertEqual((old.closed, peer.path), (True, direct))
        self.assertEqual(self.around.moves, [(THERE, HERE, None)])

    def test_oldDoesNotAnswer(self) -> None:
        """
        From a direct one that does not answer it does: the peer may have begun anew.
        """
        peer, old = self.connected()
        peer.rendezvous(6, 40.0)
        self.attempts[-1].select(RELAYED)
        self.assertEqual((old.closed, peer.path), (True, RELAYED))

    def test_oldDies(self) -> None:
        """
        When the direct path that was kept dies, or gives way to a relay itself, the new attempt's path is used.
        """
        for event in (Dead(), ConsentLost(), Selected(RELAYED, "doubt")):
            peer, old = self.connected()
            self.around.moves.clear()
            peer.rendezvous(6, 40.0)
            old.onEvent(Alive())
            relayed = Path(Address(*HERE[:2], "r2"), 0.001, "relay", "host")
            self.attempts[-1].select(relayed)
            self.assertIs(peer.path, PATH)
            old.selected = event.path if isinstance(event, Selected) else None
            old.onEvent(event)
            self.assertEqual((old.closed, peer.path), (True, relayed), event)
            self.assertEqual(self.around.moves[-1][:2], (THERE, relayed.address))
            peer.close()

    def test_oldRoams(self) -> None:
        """
        While the old attempt's path is in use the tunnel follows it.
        """
        peer, old = self.connected()
        peer.rendezvous(6, 40.0)
        old.select(Path(HERE, 0.001, "host", "host"), "better")
        self.assertEqual(self.tunnels.calls[-1], ("endpoint", HERE))
        peer.endpointMoved(OTHER)
        self.assertEqual((old.addresses, self.attempts[-1].addresses), ([OTHER], []))

    def test_peerMovedFirst(self) -> None:
        """
        When the tunnel hears the peer another way that is known to work, this node sends that way too, for a moment, and not
        again soon; when the way is not known it waits for an answer.
        """
        peer, attempt = self.connected()
        peer.endpointMoved(OTHER)
        self.assertEqual(self.around.doubled, [])
        attempt.ready = (RELAYED.address,)
        for _ in range(4):
            peer.endpointMoved(RELAYED.address)
            self.clock.advance(1)
        self.assertEqual(self.around.doubled, [(THERE, RELAYED.address)])
        self.assertEqual(attempt.addresses, [OTHER] + 4 * [RELAYED.address])
        self.clock.advance(2)
        peer.endpointMoved(RELAYED.address)
        self.assertEqual(len(self.around.doubled), 2)

    def test_doubtful(self) -> None:
        """
        What was sent while a path was doubted for long is sent again on the one that a new attempt finds.
        """
        peer, _ = self.connected()
        self.clock.advance(100)
        peer.check()
        self.clock.advance(1.1)
        peer.rendezvous(6, 101.0)
        self.attempts[-1].select(RELAYED)
        [(old, new, since)] = self.around.moves
        self.assertEqual((old, new, round(since or 0.0, 2)), (THERE, RELAYED.address, 99.1))

    def test_json(self) -> None:
        """
        Which relay, and over what, is told: this node's own, or else where the peer's is.
        """
        peer, attempt = self.relayed()
        found = describeFully(peer)
        self.assertEqual(
            [found[key] for key in ("path", "relay", "transport", "endpoint")],
            ["relayed", "relay.example:443", "tls", "198.51.100.7:2000"],
        )
        attempt.select(Path(OTHER, 0.05, "srflx", "relay"))
        found = describe(peer)
        self.assertEqual(
            [found[key] for key in ("path", "relay", "transport", "endpoint")],
            ["relayed", "203.0.113.9:3000", "udp", "203.0.113.9:3000"],
        )
        attempt.select(PATH)
        found = describe(peer)
        self.assertEqual([found[key] for key in ("path", "relay", "transport")], ["direct", None, "udp"])
        attempt.lose(ConsentLost())
        found = describe(peer)
        self.assertEqual([found[key] for key in ("path", "relay", "transport")], ["none", None, None])

    def test_legGone(self) -> None:
        """
        A path through an allocation that has just gone names no relay.
        """
        peer, _ = self.relayed()
        self.around.relays.clear()
        self.assertEqual((describe(peer)["relay"], describe(peer)["transport"]), (None, None))

    def test_why(self) -> None:
        """
        Why a path is relayed depends on what is known: at first that a direct one is sought, then what is in the way.
        """
        peer, _ = self.relayed()
        self.assertIn("being looked for", str(why(peer)))
        self.clock.advance(20)
        self.assertIn("nothing was heard from nick directly", str(why(peer)))
        self.around.ownNat = OwnNat(NatReport(udp=False))
        self.assertEqual(why(peer), "no UDP gets out of this computer's network")

    def test_whyNotEvenRelayed(self) -> None:
        """
        Where there is no path at all it is said why no relay helps.
        """
        peer = self.peer()
        peer.rendezvous(5, 1.0)
        self.around.relayProblem = "relay turn:x: it is full"
        self.assertEqual(why(peer), "looking for a path")
        self.attempts[-1].lose(Failed("heard nothing"))
        self.assertEqual(why(peer), "heard nothing; nor does a relay help: relay turn:x: it is full")


class FakePins:
    """
    Pins in memory.
    """

    def __init__(self) -> None:
        self.pins: dict[str, bytes] = {}
        self.saved: list[int] = []
        self.broken = False

    def pinned(self, realm: bytes, address: str) -> bytes | None:
        return self.pins.get(address)

    def pin(self, realm: bytes, keys: dict[str, bytes]) -> None:
        self.pins.update(keys)

    def save(self) -> None:
        self.saved.append(len(self.pins))
        if self.broken:
            raise StateError("the disk is full")


class PeersTests(SynchronousTestCase):
    """
    Tests of L{Peers}.
    """

    def setUp(self) -> None:
        self.around, self.pins = Surroundings(), FakePins()
        self.presharedKeys: tuple[bytes, ...] = (b"p" * 32,)
        self.peers = Peers(
            self.around.context, self.around.tunnels, self.pins, lambda key: self.presharedKeys
        )
        self.addCleanup(self.peers.close)

    def reconcile(self, *members: Member) -> None:
        self.peers.reconcile({each.key: each for each in members}, WELCOME)

    def test_follows(self) -> None:
        """
        Tunnels come and go with the members, with their addresses and preshared keys.
        """
        self.reconcile(member())
        self.assertEqual(self.around.tunnels.members, {tunnelKey(HIGH): ("100.64.0.9", address6(HIGH))})
        self.presharedKeys = ()
        self.reconcile(member())
        self.assertEqual(self.around.tunnels.secrets[tunnelKey(HIGH)](), ())
        self.assertEqual(set(self.around.tunnels.refreshed), {tunnelKey(HIGH)})
        self.reconcile()
        self.assertEqual(self.around.tunnels.members, {})
        self.assertIsNone(self.peers.get(HIGH))
        self.assertIsNone(self.peers.byTunnelKey(tunnelKey(HIGH)))

    def test_swappedKey(self) -> None:
        """
        A mediator that gives a known peer's address to another key is not believed: no tunnel, and the user sees why.
        """
        self.reconcile(member(HIGH))
        self.reconcile()
        self.reconcile(member(LOW))
        peer = self.peers.get(LOW)
        assert peer is not None
        self.assertEqual((self.around.tunnels.members, stateOf(peer)), ({}, "unreachable"))
        self.assertIn("another key", str(why(peer)))
        self.assertNotIn(LOW, self.around.asked)
        peer.rendezvous(1, 0.0)
        self.assertEqual(self.around.attempts, [])

    def test_ownKey(self) -> None:
        """
        A member whose Ed25519 key has this node's own tunnel key gets no tunnel.
        """
        opposite = OWN[:31] + bytes([OWN[31] ^ 0x80])
        self.reconcile(member(opposite))
        self.assertEqual(self.around.tunnels.members, {})

    def test_complaints(self) -> None:
        """
        However many members a mediator names that cannot be any, the log does not fill the disk with them.
        """
        with capturedLogs() as lines:
            for _ in range(100):
                self.reconcile(Member(LOW, "192.0.2.1", "::1", "nick", "online"))
        self.assertIn("cannot be one", str(lines[0]))
        self.assertLessEqual(len(lines), 12)

    def test_saved(self) -> None:
        """
        The keys of peers that become known one after the other are written together, also when this node stops; a full disk
        is tried again, and meanwhile the keys count.
        """
        self.pins.broken = True
        self.reconcile(member(HIGH))
        self.reconcile(member(HIGH), member(LOW, number=8))
        self.assertEqual(self.pins.saved, [])
        self.around.clock.advance(5)
        self.assertEqual(self.pins.saved, [4])
        self.reconcile()
        self.reconcile(member(LOW))
        self.assertEqual(self.around.tunnels.members, {})
        self.pins.broken = False
        self.around.clock.advance(60)
        self.assertEqual(self.pins.saved, [4, 4])
        self.reconcile(member(KEYS[1], number=7))
        self.peers.close()
        self.assertEqual(self.pins.saved, [4, 4, 6])

    def test_sharedAddress(self) -> None:
        """
        Two members with one address: the second is refused.
        """
        self.reconcile(member(HIGH), member(LOW))
        self.assertEqual(len(self.around.tunnels.members), 1)

    def test_oppositeKey(self) -> None:
        """
        A member whose Ed25519 key has the same tunnel key as another's does not touch the other's tunnel.
        """
        opposite = HIGH[:31] + bytes([HIGH[31] ^ 0x80])
        self.assertEqual(tunnelKey(opposite), tunnelKey(HIGH))
        self.reconcile(member(HIGH), member(opposite, number=8))
        self.assertEqual(self.around.tunnels.members[tunnelKey(HIGH)][0], "100.64.0.9")
        self.reconcile(member(HIGH))
        self.assertIn(tunnelKey(HIGH), self.around.tunnels.members)
        self.assertIs(self.peers.byTunnelKey(tunnelKey(HIGH)), self.peers.get(HIGH))

    def test_outside(self) -> None:
        """
        A member whose address lies outside of the overlay, or is this node's, gets no tunnel.
        """
        self.reconcile(Member(HIGH, "8.8.8.8", address6(HIGH), "x", "online"))
        self.reconcile(Member(HIGH, WELCOME.address, address6(HIGH), "x", "online"))
        self.reconcile(Member(b"\1" + bytes(31), "100.64.0.9", address6(HIGH), "x", "online"))
        self.assertEqual(self.around.tunnels.members, {})

    def test_early(self) -> None:
        """
        A rendezvous and signals that come before the member is known are kept for a short time, in bounded memory.
        """
        signal = signals.encode(signals.Signal(5, CREDENTIALS))
        self.peers.rendezvous(HIGH, 5, 1.0)
        for _ in range(100):
            self.peers.signal(HIGH, signal)
        for number in range(1000):
            self.peers.rendezvous(number.to_bytes(32, "big"), 5, 1.0)
        self.peers.rendezvous(HIGH, 5, 1.0)
        self.peers.signal(HIGH, signal)
        self.reconcile(member())
        self.assertEqual(len(self.around.attempts), 1)
        self.assertEqual(self.around.attempts[0].remote, [signals.decode(signal)])

    def test_tooEarly(self) -> None:
        """
        A rendezvous that came long before the member is not kept.
        """
        self.peers.rendezvous(HIGH, 5, 1.0)
        self.around.clock.advance(11)
        self.reconcile(member())
        self.assertEqual(self.around.attempts, [])

    def test_find(self) -> None:
        """
        A peer is found by each of its addresses, its client id and its nickname.
        """
        self.reconcile(member(HIGH, nick="ann"), member(LOW, number=8, nick="ann"))
        for name in ("100.64.0.9", address6(HIGH).upper(), HIGH.hex()):
            self.assertEqual([peer.key for peer in self.peers.find(name)], [HIGH])
        self.assertEqual(len(self.peers.find("ann")), 2)
        self.assertEqual(self.peers.find("bob"), [])

    def test_warm(self) -> None:
        """
        Of many members only 64 get a path without traffic; the others get theirs when it is wanted.
        """
        keys = [bytes(SigningKey(n.to_bytes(32, "big")).verify_key) for n in range(1, 101)]
        self.reconcile(*(member(key, number=n + 2) for n, key in enumerate(keys)))
        self.around.clock.advance(1.1)
        self.assertEqual(len(set(self.around.asked)), 64)
        [cold] = [key for key in keys if key not in self.around.asked][:1]
        peer = self.peers.get(cold)
        assert peer is not None
        peer.wanted()
        self.assertIn(cold, self.around.asked)

    def test_one(self) -> None:
        """
        A change of one member touches that one alone.
        """
        self.reconcile(member())
        self.peers.updateOne(LOW, member(LOW, number=8), WELCOME)
        self.assertEqual(len(self.around.tunnels.members), 2)
        self.peers.updateOne(HIGH, None, WELCOME)
        self.assertEqual(set(self.around.tunnels.members), {tunnelKey(LOW)})

    def test_mediatorLost(self) -> None:
        """
        When the mediator is lost all tunnels stay and are checked.
        """
        self.reconcile(member())
        self.peers.rendezvous(HIGH, 5, 1.0)
        self.around.attempts[0].select()
        self.peers.checkAll()
        self.assertEqual((self.around.attempts[0].checks, self.around.attempts[0].closed), (1, False))
