"""
The client's side of TURN, against a server that does what each test says.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from attrs import define, field
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.driver import Driver
from vnet.protocols.codec.stun import BINDING, Class, Message, decode, encode
from vnet.protocols.codec.stunattributes import (
    DATA,
    ERROR_CODE,
    LIFETIME,
    PASSWORD_ALGORITHM,
    USERNAME,
    XOR_MAPPED_ADDRESS,
    XOR_PEER_ADDRESS,
    XOR_RELAYED_ADDRESS,
    ErrorCode,
    PasswordAlgorithm,
)
from vnet.protocols.codec.turn import (
    ALLOCATE,
    CHANNEL_BIND,
    CHANNELS,
    DATA_INDICATION,
    REFRESH,
    decodeChannelData,
    encodeChannelData,
)
from vnet.protocols.machine.allocation import (
    Allocated,
    Allocation,
    AllocationLost,
    Answered,
    Challenged,
    PeerRefused,
    Refused,
    RelayCredentials,
    Silent,
    Unanswered,
)
from vnet.protocols.machine.turnchannels import MAXIMUM_PEERS, MAXIMUM_WAITING, WAITING, Channels
from vnet.test.turnscript import MD5, SHA256, TurnScript
from vnet.values import Address

SERVER = Address("203.0.113.1", 3478)
HOME = Address("192.0.2.7", 40000)
PEER, OTHER = Address("198.51.100.2", 5000, "r1"), Address("198.51.100.3", 5000, "r1")
CREDENTIALS = RelayCredentials("1700000000:high-x", "secret")
DELAY = 0.02


@define(eq=False)
class Link:
    """
    A client, a server, and the network between.

    @ivar home: where the server sees the client.
    @ivar loses: whether a message is lost: gets its direction, C{"up"} or C{"down"}, and the message.
    @ivar events: what the allocation told; C{sent}: what it sent, with the times; C{data}: what peers sent it.
    """

    clock: Clock = field(factory=Clock)
    options: dict[str, Any] = field(factory=dict)
    home: Address = HOME
    loses: Callable[[str, bytes], bool] = lambda direction, data: False
    events: list[object] = field(factory=list)
    sent: list[tuple[float, bytes]] = field(factory=list)
    data: list[tuple[bytes, Address]] = field(factory=list)
    toPeers: list[tuple[bytes, Address]] = field(factory=list)
    server: TurnScript = field(init=False)
    allocation: Allocation = field(init=False)
    driver: Driver[Any] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.server = TurnScript(
            self.clock.seconds,
            SERVER.host,
            self._down,
            lambda data, _, peer: self.toPeers.append((data, peer)),
        )
        self.restart()

    def restart(self, credentials: RelayCredentials = CREDENTIALS) -> None:
        """
        Let another client begin on the same port.
        """
        source = random.Random(1).randbytes
        self.allocation = Allocation(SERVER, credentials, random=source, name="r1", **self.options)
        self.driver = Driver(self.allocation, self.clock, self._send, self.events.append)
        self.driver.wake()

    def _send(self, batch: list[tuple[bytes, Address]]) -> None:
        for data, server in batch:
            assert server == SERVER
            self.up(data)

    def up(self, data: bytes) -> None:
        """Send to the server."""
        self.sent.append((self.clock.seconds(), data))
        if not self.loses("up", data):
            self.clock.callLater(DELAY, self.server.received, data, self.home)

    def _down(self, data: bytes, client: Address) -> None:
        if client == self.home and not self.loses("down", data):
            self.clock.callLater(DELAY, self._arrived, data)

    def _arrived(self, data: bytes) -> None:
        unwrapped = self.allocation.unwrap(data)
        if unwrapped is not None:
            self.data.append(unwrapped)
        elif data[0] < 0x40:
            self.driver.datagramReceived(data, SERVER)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end - 1e-9:
            calls = self.clock.getDelayedCalls()
            following = min((call.getTime() for call in calls), default=end)
            self.clock.advance(max(0.0, min(following, end) - self.clock.seconds()))

    def wrap(self, *datagrams: tuple[bytes, Address]) -> int:
        """
        Send to peers as a leg does.

        @return: how many went out at once.
        """
        frames = self.allocation.wrap(datagrams, self.clock.seconds())
        if self.allocation.stirred:
            self.driver.wake()
        for frame in frames:
            self.up(frame)
        return len(frames)

    def of(self, kind: type[Any]) -> list[Any]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def times(self, method: int, klass: Class = Class.REQUEST) -> list[float]:
        """When messages of a method were sent."""
        found = [(time, decode(data)) for time, data in self.sent if data[0] < 0x40]
        return [time for time, each in found if (each.method, each.klass) == (method, klass)]


class AllocateTests(SynchronousTestCase):
    def test_obtained(self) -> None:
        """Two round trips give an allocation, with the addresses and the round trip."""
        link = Link()
        link.run(4 * DELAY + 0.001)
        [challenged, allocated] = link.events
        self.assertEqual(challenged, Challenged(2 * DELAY))
        self.assertEqual(allocated, Allocated((Address(SERVER.host, 50000),), HOME, 2 * DELAY))
        self.assertEqual((link.allocation.state, link.allocation.mapped), ("allocated", HOME))

    def test_held(self) -> None:
        """Where it has to wait after the challenge it does, however long, and a nonce that is stale by then is no matter."""
        link = Link(options={"hold": True})
        link.run(600)
        self.assertEqual((link.allocation.state, link.server.count(ALLOCATE)), ("held", 1))
        link.server.nonce = "n2"
        link.allocation.proceed(link.clock.seconds())
        link.driver.wake()
        link.run(1)
        self.assertEqual(link.allocation.state, "allocated")

    def test_algorithms(self) -> None:
        """SHA-256 is used where the server has it, MD5 where it has nothing better, and what nobody knows is passed over."""
        other = PasswordAlgorithm(77)
        for offered, chosen in (((SHA256, MD5), SHA256), ((MD5,), MD5), ((other, SHA256), SHA256)):
            link = Link()
            link.server.algorithms = offered
            link.run(1)
            self.assertEqual(link.allocation.state, "allocated", offered)
            self.assertEqual(link.server.requests[-1].get(PASSWORD_ALGORITHM), chosen)

    def test_bidDown(self) -> None:
        """Who takes the algorithms out of the challenge, or puts some in, gets no request that is signed."""
        for offered, cookie in (((), True), ((MD5,), False), ((PasswordAlgorithm(77),), True)):
            link = Link()
            link.server.algorithms, link.server.cookie = offered, cookie
            link.run(10)
            self.assertEqual(link.allocation.state, "failed")
            self.assertFalse([each for each in link.server.requests if each.get(USERNAME)])

    def test_wrongCredentials(self) -> None:
        """Credentials that are not accepted are not tried again, and the reason says what may be wrong."""
        link = Link()
        link.server.password = lambda username: "another"
        link.run(60)
        [refused] = link.of(Refused)
        self.assertEqual((refused.code, link.server.count(ALLOCATE)), (401, 2))
        self.assertIn("clock", refused.reason)

    def test_errors(self) -> None:
        """An error ends the attempt, with its code and a reason for a person."""
        for code, word in (
            (486, "too many"),
            (508, "full"),
            (440, "family"),
            (442, "UDP"),
            (300, "another"),
            (599, "599"),
        ):
            link = Link()
            link.server.errors[ALLOCATE] = [code]
            link.run(1)
            [refused] = link.of(Refused)
            self.assertEqual((refused.code, link.allocation.state), (code, "failed"))
            self.assertIn(word, refused.reason)
            self.assertEqual(link.driver.machine.deadline(), None)

    def test_errorBeforeChallenge(self) -> None:
        """So does an error in place of the challenge."""
        link = Link()
        link.server._challenge = lambda message, client, code: link.server._error(message, client, 500, None)  # type: ignore[method-assign]
        link.run(1)
        self.assertEqual([each.code for each in link.of(Refused)], [500])

    def test_earlierLife(self) -> None:
        """An allocation that an earlier life of this client has left on its port is given back, and another made."""
        link = Link()
        link.run(1)
        link.driver.stop()
        link.restart()
        link.run(1)
        self.assertEqual(link.allocation.relayed, (Address(SERVER.host, 50001),))
        self.assertEqual(len(link.server.allocations), 1)

    def test_earlierLifeOfAnother(self) -> None:
        """One that was left with other credentials cannot be given back: that is told within a second."""
        for unsigned in (False, True):
            link = Link()
            link.run(1)
            link.driver.stop()
            if unsigned:
                link.server.unsigned[ALLOCATE] = [441] * 9
            link.restart(RelayCredentials("1700009999:high-x", "secret"))
            link.run(1)
            self.assertEqual([each.code for each in link.of(Refused)], [441])

    def test_nonsense(self) -> None:
        """A success without a relayed address is none."""
        link = Link()
        link.server._allocate = lambda message, client, key, *_: link.server._answer(  # type: ignore[method-assign]
            message, client, Class.SUCCESS, (LIFETIME(600),), key
        )
        link.run(1)
        self.assertEqual(len(link.of(Refused)), 1)

    def test_families(self) -> None:
        """A relay that gives an IPv6 address beside the IPv4 one relays to both families; any other to one."""
        six = Address("2001:db8::9", 50000)
        link = Link()
        link.server.extraRelayed = (six,)
        link.run(1)
        self.assertEqual(link.allocation.relayed, (Address(SERVER.host, 50000), six))
        link.wrap((b"x", Address("2001:db8::5", 1, "r1")))
        link.run(1)
        self.assertEqual(link.toPeers, [(b"x", Address("2001:db8::5", 1))])
        link = Link()
        link.run(1)
        link.wrap((b"x", Address("2001:db8::5", 1, "r1")))
        self.assertEqual((link.times(CHANNEL_BIND), link.allocation.counters["family"]), ([], 1))


class LossTests(SynchronousTestCase):
    def test_retransmission(self) -> None:
        """A request without answer is sent at 0, 0.25, 0.75, 1.75 and 3.75 seconds; after 4.75 the server is silent."""
        link = Link()
        link.server.mute = True
        link.run(4.7)
        self.assertEqual(link.times(ALLOCATE), [0, 0.25, 0.75, 1.75, 3.75])
        self.assertEqual(link.events, [])
        link.run(0.1)
        self.assertEqual((link.events, link.allocation.state), ([Silent()], "failed"))

    def test_stream(self) -> None:
        """Over a stream nothing is sent twice, and more patience is had."""
        link = Link(options={"stream": True})
        link.server.mute = True
        link.run(9.9)
        self.assertEqual((link.times(ALLOCATE), link.events), ([0], []))
        link.run(0.2)
        self.assertEqual(link.events, [Silent()])

    def test_lost(self) -> None:
        """Where a quarter of all messages is lost, an allocation is obtained nearly always, and kept."""
        failed = 0
        for seed in range(20):
            source = random.Random(seed)
            link = Link(loses=lambda direction, data, source=source: source.random() < 0.25)  # type: ignore[misc]
            link.run(20)
            if link.allocation.state == "failed":
                failed += 1
                continue
            link.run(3600)
            self.assertEqual((link.allocation.state, link.of(AllocationLost)), ("allocated", []), seed)
        self.assertLessEqual(failed, 1)

    def test_roundTrip(self) -> None:
        """A round trip is not taken from a request that was sent more than once."""
        clock = Clock()
        link = Link(clock, loses=lambda direction, data: direction == "up" and clock.seconds() < 0.5)
        link.run(0.76 + 2 * DELAY)
        self.assertEqual(link.of(Challenged), [Challenged(0.0)])

    def test_unauthentic(self) -> None:
        """Answers that nobody vouches for, or that are not for us, are ignored and counted."""
        link = Link()
        link.run(2 * DELAY + 0.001)
        [request] = list(link.allocation._requests._requests)
        for data in (
            encode(Message(ALLOCATE, Class.SUCCESS, request, (XOR_RELAYED_ADDRESS(OTHER),))),
            encode(Message(ALLOCATE, Class.SUCCESS, request, (XOR_RELAYED_ADDRESS(OTHER),)), b"wrong key"),
            encode(Message(ALLOCATE, Class.ERROR, request, (ERROR_CODE(ErrorCode(486)),))),
            encode(Message(REFRESH, Class.SUCCESS, request)),
            encode(Message(ALLOCATE, Class.REQUEST, request)),
            encode(Message(ALLOCATE, Class.SUCCESS, b"?" * 12)),
            b"\0\3\0\0junk",
        ):
            link.driver.datagramReceived(data, SERVER)
        link.driver.datagramReceived(encode(Message(ALLOCATE, Class.ERROR, request)), OTHER)
        self.assertEqual(
            link.allocation.counters,
            {"unauthentic": 3, "ignored": 4, "malformed": 1},
            link.allocation.counters,
        )
        link.run(1)
        self.assertEqual(link.allocation.relayed, (Address(SERVER.host, 50000),))

    def test_insisting(self) -> None:
        """An error that is never signed is believed when the server repeats it; over a stream at once."""
        for stream, sends in ((False, 2), (True, 1)):
            link = Link(options={"stream": stream})
            link.server.unsigned[ALLOCATE] = [441] * 5
            link.run(5)
            self.assertEqual([each.code for each in link.of(Refused)], [441])
            self.assertEqual(link.server.count(ALLOCATE), 1 + sends)


class KeepTests(SynchronousTestCase):
    def allocated(self, **options: Any) -> Link:
        """A client with an allocation."""
        link = Link(options=options)
        link.run(1)
        self.assertEqual(link.allocation.state, "allocated")
        return link

    def test_refresh(self) -> None:
        """It is refreshed each minute or so, and over UDP the NAT's mapping is kept by an indication each 10 seconds."""
        link = self.allocated()
        link.run(3600)
        self.assertEqual(link.allocation.state, "allocated")
        self.assertTrue(50 <= link.server.count(REFRESH) <= 76)
        times = link.times(BINDING, Class.INDICATION)
        self.assertTrue(all(b - a <= 12.1 for a, b in pairwise(times)))
        self.assertTrue(290 <= len(times) <= 460)
        self.assertEqual(set(map(type, link.events)), {Challenged, Allocated, Answered})

    def test_shortLifetime(self) -> None:
        """One that lives for less than two minutes is refreshed when half of that is over."""
        link = Link()
        link.server.lifetime = 40
        link.run(600)
        self.assertEqual((link.allocation.state, link.of(AllocationLost)), ("allocated", []))

    def test_lifetime(self) -> None:
        """The lifetime that the owner wants is asked for, each time."""
        link = self.allocated(lifetime=1800)
        link.run(100)
        asked = [each.get(LIFETIME) for each in link.server.requests if each.method in (ALLOCATE, REFRESH)]
        self.assertEqual(set(asked), {1800})

    def test_streamIsQuiet(self) -> None:
        """Over a stream there are no indications."""
        link = self.allocated(stream=True)
        link.run(600)
        self.assertEqual(link.times(BINDING, Class.INDICATION), [])

    def test_staleNonce(self) -> None:
        """A nonce that is stale costs a round trip, and nothing else."""
        link = self.allocated()
        link.server.nonce = "n2"
        link.allocation.check(link.clock.seconds())
        link.wrap((b"x", PEER), (b"y", OTHER))
        link.run(0.2)
        self.assertEqual(len(link.of(Answered)), 1)
        self.assertEqual([data for data, _ in link.toPeers], [b"x", b"y"])

    def test_nonceAlwaysStale(self) -> None:
        """A server that never accepts a nonce is not asked for ever."""
        link = self.allocated()
        link.server._fullNonce = lambda: f"n{len(link.server.requests)}"  # type: ignore[method-assign]
        before = link.server.count(REFRESH)
        link.allocation.check(link.clock.seconds())
        link.driver.wake()
        link.run(10)
        self.assertEqual(len(link.of(AllocationLost)), 1)
        self.assertLessEqual(link.server.count(REFRESH) - before, 4)

    def test_check(self) -> None:
        """Asked whether it is there the server answers; one question at a time."""
        link = self.allocated()
        for _ in range(5):
            link.allocation.check(link.clock.seconds())
            link.driver.wake()
        link.run(0.1)
        self.assertEqual((len(link.of(Answered)), link.server.count(REFRESH)), (1, 1))

    def test_unanswered(self) -> None:
        """A server that does not answer for a while is asked on, and when it is back all is as before."""
        link = self.allocated()
        link.server.mute = True
        link.allocation.check(link.clock.seconds())
        link.driver.wake()
        link.run(1.6)
        self.assertEqual(link.of(Unanswered), [Unanswered()])
        link.run(60)
        self.assertTrue(3 <= len(link.of(Unanswered)) <= 10)
        link.server.mute = False
        link.run(20)
        self.assertIsInstance(link.events[-1], Answered)
        self.assertEqual(
            (link.allocation.state, link.allocation.relayed), ("allocated", (Address(SERVER.host, 50000),))
        )

    def test_silentForLong(self) -> None:
        """When it has not answered for the lifetime of the allocation that is lost."""
        link = self.allocated()
        link.server.mute = True
        link.run(560)
        self.assertEqual(link.allocation.state, "allocated")
        link.run(80)
        self.assertEqual((link.allocation.state, len(link.of(AllocationLost))), ("failed", 1))

    def test_restarted(self) -> None:
        """A server that was started anew answers, but does not know the allocation: it is lost at the next question."""
        link = self.allocated()
        link.server.forget()
        link.allocation.check(link.clock.seconds())
        link.driver.wake()
        link.run(0.2)
        self.assertEqual((link.allocation.state, len(link.of(AllocationLost))), ("failed", 1))
        link = self.allocated()
        link.server.forget()
        link.run(75)
        self.assertEqual(link.allocation.state, "failed")

    def test_mappedElsewhere(self) -> None:
        """When the NAT has given us another address the server does not know us there."""
        link = self.allocated()
        link.home = Address(HOME.host, 40001)
        link.run(75)
        self.assertEqual((link.allocation.state, len(link.of(AllocationLost))), ("failed", 1))

    def test_slept(self) -> None:
        """After hours of sleep of this computer the allocation is found to be gone, once."""
        link = self.allocated()
        link.clock.rightNow += 8 * 3600
        link.run(5)
        self.assertEqual((link.allocation.state, len(link.of(AllocationLost))), ("failed", 1))

    def test_expiredCredentials(self) -> None:
        """A server that does not take the credentials any more ends it, and says why."""
        link = self.allocated()
        link.server.password = lambda username: None
        link.run(75)
        [lost] = link.of(AllocationLost)
        self.assertIn("credentials", lost.reason)

    def test_close(self) -> None:
        """Closing gives it back, tells nothing, and leaves nothing to do."""
        link = self.allocated()
        told = list(link.events)
        link.allocation.close(link.clock.seconds())
        link.driver.wake()
        link.run(1)
        self.assertEqual((link.server.allocations, link.events, link.allocation.relayed), ({}, told, ()))
        self.assertEqual((link.allocation.deadline(), link.allocation.state), (None, "closed"))
        self.assertEqual((link.wrap((b"x", PEER)), link.clock.getDelayedCalls()), (0, []))

    def test_closeEarly(self) -> None:
        """While it is not allocated yet there is nothing to give back, but the request that is under way."""
        for after, given in ((0.01, 0), (2.5 * DELAY, 1)):
            link = Link()
            link.run(after)
            link.allocation.close(link.clock.seconds())
            link.driver.wake()
            link.run(10)
            self.assertEqual((link.server.count(REFRESH), link.server.allocations), (given, {}))


class ChannelTests(SynchronousTestCase):
    def setUp(self) -> None:
        """A client with an allocation."""
        self.link = Link()
        self.link.run(1)

    def test_both(self) -> None:
        """What is sent to a new peer waits for the channel, and arrives in order; the rest goes at once, and answers come."""
        link = self.link
        sent = [b"%d" % n for n in range(10)]
        for each in sent[:5]:
            self.assertEqual(link.wrap((each, PEER)), 0)
        link.run(0.1)
        self.assertEqual(link.wrap(*((each, PEER) for each in sent[5:])), 5)
        link.run(0.1)
        plain = Address(PEER.host, PEER.port)
        self.assertEqual(link.toPeers, [(each, plain) for each in sent])
        self.assertEqual(len(link.times(CHANNEL_BIND)), 1)
        link.server.arrived(b"answer", plain, link.allocation.relayed[0])
        link.run(0.1)
        self.assertEqual(link.data, [(b"answer", PEER)])

    def test_peers(self) -> None:
        """A batch for several peers goes to each by its own channel."""
        for _ in range(2):
            self.link.wrap((b"a", PEER), (b"b", OTHER), (b"c", PEER))
            self.link.run(0.1)
        found = [(data, peer.host) for data, peer in self.link.toPeers]
        self.assertEqual(sorted(found[:3]), [(b"a", PEER.host), (b"b", OTHER.host), (b"c", PEER.host)])
        self.assertEqual(found[3:], [(b"a", PEER.host), (b"b", OTHER.host), (b"c", PEER.host)])

    def test_kept(self) -> None:
        """While it is used its permission and itself never end, so that nothing is lost in an hour of a datagram a second."""
        for n in range(3600):
            self.link.wrap((b"%d" % n, PEER))
            self.link.run(1)
        self.assertEqual((self.link.toPeers[-1][0], len(self.link.toPeers)), (b"3599", 3600))
        self.assertEqual(self.link.server.dropped, 0)
        self.assertLessEqual(len(self.link.times(CHANNEL_BIND)), 3600 / 240 + 1)

    def test_usedAgain(self) -> None:
        """After a pause of any length nothing is lost, and the same number names the peer for as long as the server knows it."""
        for pause in (100, 245, 280, 295, 310, 550, 595, 605, 880, 1000, 4000):
            link = Link()
            link.run(1)
            for data in (b"before", b"after"):
                link.wrap((data, PEER))
                link.run(pause)
            self.assertEqual([data for data, _ in link.toPeers], [b"before", b"after"], pause)
            self.assertEqual((link.server.dropped, link.of(PeerRefused)), (0, []), pause)

    def test_bindFirst(self) -> None:
        """A channel that has to be bound again is so before data goes through it."""
        self.link.wrap((b"x", PEER))
        self.link.run(241)
        before = len(self.link.sent)
        self.assertEqual(self.link.wrap((b"y", PEER)), 1)
        first, second = [data for _, data in self.link.sent[before:]]
        self.assertEqual((decode(first).method, decodeChannelData(second)[1]), (CHANNEL_BIND, b"y"))

    def test_refused(self) -> None:
        """A peer that the server refuses is told, and gets nothing for a minute; then it is tried again."""
        link = self.link
        link.server.errors[CHANNEL_BIND] = [403]
        link.wrap((b"x", PEER))
        link.run(1)
        self.assertEqual(link.of(PeerRefused), [PeerRefused(PEER, 403)])
        for _ in range(58):
            link.wrap((b"y", PEER))
            link.run(1)
        self.assertEqual((len(link.times(CHANNEL_BIND)), link.allocation.counters["refused"]), (1, 58))
        link.run(3)
        link.wrap((b"z", PEER))
        link.run(1)
        self.assertEqual([data for data, _ in link.toPeers], [b"z"])
        self.assertEqual(link.allocation.state, "allocated")

    def test_unknownAllocation(self) -> None:
        """A server that does not know the allocation when a channel is bound has lost it."""
        self.link.server.forget()
        self.link.wrap((b"x", PEER))
        self.link.run(0.2)
        self.assertEqual(len(self.link.of(AllocationLost)), 1)

    def test_bindUnanswered(self) -> None:
        """A binding that is not answered is asked for again with the next datagram, and the server is asked whether it is there."""
        self.link.server.mute = True
        self.link.wrap((b"x", PEER))
        self.link.run(5)
        self.assertGreater(len(self.link.times(REFRESH)), 0)
        self.link.server.mute = False
        self.link.wrap((b"y", PEER))
        self.link.run(0.2)
        self.assertEqual([data for data, _ in self.link.toPeers], [b"y"])

    def test_bothUnanswered(self) -> None:
        """A binding and a question that end at the same moment leave the machine in order."""
        link = self.link
        link.server.mute = True
        link.wrap((b"x", PEER))
        link.run(3.25)
        link.allocation.check(link.clock.seconds())
        link.driver.wake()
        link.run(1.5)
        for _ in range(100):
            link.run(0.1)
            deadline = link.allocation.deadline()
            self.assertTrue(deadline is not None and deadline > link.clock.seconds())

    def test_bounds(self) -> None:
        """No more than 16 datagrams wait for a peer, the newest ones, 512 for all, and there are 1,000 peers."""
        link = self.link
        for n in range(100):
            link.wrap((b"%d" % n, PEER))
        link.run(0.1)
        self.assertEqual([data for data, _ in link.toPeers], [b"%d" % n for n in range(100 - WAITING, 100)])
        link.toPeers.clear()
        for n in range(2 * MAXIMUM_PEERS):
            peer = Address(f"198.18.{n >> 8}.{n & 255}", 9, "r1")
            link.wrap((b"x", peer))
        self.assertEqual(link.allocation.counters["tooManyPeers"], MAXIMUM_PEERS + 1)
        link.run(1)
        self.assertEqual(len(link.toPeers), MAXIMUM_WAITING)

    def test_numbersComeBack(self) -> None:
        """In the long run the numbers of peers that are gone name others, and none names two peers at once."""
        channels, now = Channels(), 0.0
        for turn in range(6):
            opened = [channels.open(Address(f"198.18.{turn}.1", 1000 + n), now) for n in range(900)]
            numbers = [each.number for each in opened if each is not None]
            self.assertEqual(
                (len(set(numbers)), min(numbers) in CHANNELS, max(numbers) in CHANNELS), (900, True, True)
            )
            for each in opened:
                if each is not None:
                    each.asked(now)
                    each.confirm(now)
            self.assertEqual(channels.due(now + 905), [])
            self.assertEqual(len(channels), 900)
            now += 915
            self.assertEqual((channels.due(now), len(channels)), ([], 0))

    def test_indication(self) -> None:
        """A Data indication is taken too, as a server sends it for a peer without channel; what is malformed is not."""
        peer = Address(PEER.host, PEER.port)
        good = Message(DATA_INDICATION, Class.INDICATION, b"t" * 12, (XOR_PEER_ADDRESS(peer), DATA(b"hello")))
        unwrap = self.link.allocation.unwrap
        self.assertEqual(unwrap(encode(good)), (b"hello", PEER))
        for wrong in (
            encode(Message(DATA_INDICATION, Class.INDICATION, b"t" * 12, (DATA(b"hello"),))),
            encode(Message(BINDING, Class.SUCCESS, b"t" * 12, (XOR_MAPPED_ADDRESS(peer),))),
            encode(good)[:-4],
            encodeChannelData(0x4ABC, b"x"),
            b"",
            b"\x40\0",
        ):
            self.assertIsNone(unwrap(wrong))

    def test_truncated(self) -> None:
        """ChannelData that claims more than it has is dropped."""
        self.link.wrap((b"x", PEER))
        self.link.run(0.1)
        number = next(iter(self.link.allocation._channels._byNumber))
        frame = encodeChannelData(number, b"hello")
        self.assertEqual(self.link.allocation.unwrap(frame + b"\0\0\0"), (b"hello", PEER))
        self.assertIsNone(self.link.allocation.unwrap(frame[:-1]))

    def test_stirred(self) -> None:
        """The driver has to be woken only where a channel is to be bound."""
        now = self.link.clock.seconds
        self.link.allocation.wrap([(b"x", PEER)], now())
        self.assertTrue(self.link.allocation.stirred)
        self.link.driver.wake()
        self.link.run(0.1)
        self.link.allocation.wrap([(b"x", PEER)], now())
        self.assertFalse(self.link.allocation.stirred)
