"""
How a TURN server moves data: what leaves its sockets, datagram by datagram.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.stun import Class, Message, encode
from vnet.protocols.codec.stunattributes import ADDITIONAL_ADDRESS_FAMILY, LIFETIME, Icmp
from vnet.protocols.codec.turn import SEND, Splitter, encodeChannelData
from vnet.protocols.machine.relaysettings import RelaySettings
from vnet.protocols.machine.served import Served
from vnet.protocols.trains import Refusal, cut
from vnet.protocols.turnclients import StreamClient, UdpClient
from vnet.protocols.turnforward import Forwarding
from vnet.protocols.turnstream import TurnStream
from vnet.test.relaycallers import Caller, Relay
from vnet.test.relayforwarding import PretendedClient, PretendedSocket
from vnet.values import Address

ONE, TWO, NONE = 0x4000, 0x4001, 0x4ABC
PEER, PEER2, PEER6 = Address("8.1.1.1", 5000), Address("8.1.1.2", 5000), Address("2600::1", 5000)
HOSTS = {4: "8.0.0.1", 6: "2600::8"}


class ForwardingCase(SynchronousTestCase):
    """
    A relay with two clients; the first one has two channels.
    """

    def setUp(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.relay = Relay(RelaySettings("relay.example", HOSTS))
        self.sockets: dict[Address, PretendedSocket] = {}
        self.forwarding = Forwarding(self.relay.machine, lambda: self.relay.now)
        self.alice, self.bob = self.join("high-alice"), self.join("high-bob")
        self.alice.bind(ONE, PEER)
        self.alice.bind(TWO, PEER2)
        self.served, self.client = self.partsOf(self.alice)
        self.out = self.sockets[self.alice.relayed[0]]

    def join(self, user: str) -> Caller:
        caller = self.relay.allocated(ADDITIONAL_ADDRESS_FAMILY(6), LIFETIME(3600), user=user)
        served = self.relay.machine.clients[caller.address]
        served.driver = PretendedClient()
        for side in served.sides.values():
            socket: Any = PretendedSocket()
            self.sockets[side.relayed] = socket
            self.forwarding.attach(side.bound, socket)
        return caller

    def partsOf(self, caller: Caller) -> tuple[Served, PretendedClient]:
        served = self.relay.machine.clients[caller.address]
        return served, served.driver

    def train(self, *datagrams: bytes, segment: int | None = None) -> bool:
        """
        A train of a client comes in.
        """
        data, memory = b"".join(datagrams), self.forwarding.buffer.memory
        memory[: len(data)] = data
        size = len(datagrams[0]) if segment is None else segment
        return self.forwarding.channelData(self.served, memory[: len(data)], size, self.relay.now)

    def dropped(self, reason: str) -> int:
        return self.forwarding.counters[reason]


class FromClientTests(ForwardingCase):
    """
    ChannelData over UDP.
    """

    def test_one(self) -> None:
        """The data goes to the channel's peer, without header and padding, also when it is empty."""
        for data, padding in (
            (b"hello", b""),
            (b"hello", b"\0\0\0"),
            (b"", b""),
            (b"x" * 60_000, b""),
            (b"", b"junk"),
        ):
            self.assertTrue(self.train(encodeChannelData(ONE, data) + padding))
            self.assertEqual(self.out.sent.pop(), (data, PEER))
        self.assertEqual(self.dropped("malformed"), 0)

    def test_wrongLength(self) -> None:
        """What is shorter than it says is dropped."""
        for data in (
            b"\x40\0\0\1",
            b"\x40\0\0\5hell",
            b"\x40\0\xff\xffx",
            encodeChannelData(ONE, b"hello")[:-1],
        ):
            self.assertTrue(self.train(data))
        self.assertEqual((self.out.sent, self.dropped("malformed")), ([], 4))

    def test_noChannel(self) -> None:
        """On a channel that is not bound, or not any more, and without an allocation, nothing is sent; data renews nothing."""
        self.train(encodeChannelData(NONE, b"x"))
        self.train(encodeChannelData(0x7FFF, b"x"))
        served, self.served = self.served, None  # type: ignore[assignment]
        self.train(encodeChannelData(ONE, b"x"))
        self.served = served
        for _ in range(6):
            self.relay.sleep(99.9)
            self.train(encodeChannelData(ONE, b"y"))
        self.relay.sleep(1)
        self.train(encodeChannelData(ONE, b"z"))
        self.assertEqual(([data for data, _ in self.out.sent], self.dropped("noChannel")), ([b"y"] * 6, 4))

    def test_train(self) -> None:
        """A train goes out as a train, its last datagram shorter or not."""
        for last in (b"x" * 100, b"y", b"y" * 99):
            self.out.sent.clear()
            self.assertTrue(
                self.train(*[encodeChannelData(ONE, b"x" * 100)] * 40, encodeChannelData(ONE, last))
            )
            self.assertEqual(self.out.sent, [(b"x" * 100, PEER)] * 40 + [(last, PEER)])
        self.assertEqual(self.out.trains, [41] * 3)
        self.assertEqual(self.forwarding.counters["upPackets"], 123)
        self.assertEqual(self.forwarding.counters["upBytes"], 120 * 100 + 200)

    def test_mixed(self) -> None:
        """A train that is not all of one channel and one length is left alone: nothing of it is sent twice."""
        one, two = encodeChannelData(ONE, b"x" * 16), encodeChannelData(TWO, b"x" * 16)
        stun = encode(Message(SEND, Class.INDICATION, b"t" * 12))
        self.assertEqual(len(stun), len(one))
        shorter = encodeChannelData(ONE, b"x" * 13) + b"\0\0\0"
        for train in (
            (one, two),
            (one, stun, one),
            (one, one, shorter),
            (shorter, shorter),
            (one, one, encodeChannelData(TWO, b"x")),
            (one, one, encodeChannelData(ONE, b"xyz") + b"\0"),
            (one, one, b"\x40\0\0\2x"),
            (one, one, b"\x40\0\0"),
            (one, one, encodeChannelData(ONE, b"")),
            (one, b"\x40\0\0\x11" + b"x" * 16),
        ):
            self.assertFalse(self.train(*train))
        self.assertEqual((self.out.sent, self.forwarding.counters), ([], {}))

    def test_emptyTrain(self) -> None:
        """Empty datagrams make no train: each is sent."""
        empty = encodeChannelData(ONE, b"")
        self.assertFalse(self.train(empty, empty))

    @given(
        st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=12), st.integers(0, 30)
    )
    def test_asSingle(self, kinds: list[tuple[int, int]], size: int) -> None:
        """In a train, each datagram fares as it would alone."""
        self.begin()
        wholes = [_datagram(kind, size) for kind, _ in kinds]
        last = wholes[-1][: max(1, len(wholes[-1]) - kinds[-1][1])]
        train = [*wholes[:-1], last]
        # As the server does: a train that begins with ChannelData is tried as a whole.
        if not isData(b"".join(train)) or not self.train(*train, segment=len(wholes[0])):
            self.singly(train)
        sent, counters = self.out.sent, self.forwarding.counters
        self.begin()
        self.singly(train)
        self.assertEqual((sent, counters), (self.out.sent, self.forwarding.counters))

    def singly(self, train: list[bytes]) -> None:
        for each in train:
            if isData(each):
                self.assertTrue(self.train(each))

    def test_rate(self) -> None:
        """Of a train above the rate the beginning is sent, and the rest counted."""
        self.served, _ = self.partsOf(low := self.join("low-carol"))
        low.bind(ONE, PEER)
        out = self.sockets[low.relayed[0]]
        for _ in range(2):
            self.train(*[encodeChannelData(ONE, bytes([n]) * 972) for n in range(60)])
        self.assertEqual([data[0] for data, _ in out.sent], [*range(60), *range(5)])
        self.assertEqual((self.dropped("overRate"), self.forwarding.counters["upPackets"]), (55, 65))
        self.relay.sleep(1)
        self.train(*[encodeChannelData(ONE, b"x" * 972)] * 60)
        self.assertEqual(len(out.sent), 65 + 32)


def isData(data: bytes) -> bool:
    """
    Whether it begins as ChannelData does.
    """
    return len(data) >= 4 and 0x40 <= data[0] < 0x80


def connection() -> tuple[StringTransport, TurnStream]:
    """
    A connection of a client.
    """
    owner: Any = type(
        "Owner",
        (),
        {name: lambda *_: None for name in ("streamConnected", "framesReceived", "streamLost")},
    )()
    transport, stream = StringTransport(), TurnStream(owner, Clock())
    stream.makeConnection(transport)
    return transport, stream


def _datagram(kind: int, size: int) -> bytes:
    """
    Something that is C{size} bytes longer than a header.
    """
    body = bytes(range(size))
    if kind == 5:
        return b"\0\1" + size.to_bytes(2, "big") + body
    number = (ONE, ONE, TWO, NONE, ONE)[kind]
    length = size - 1 if kind == 4 and size else size
    return number.to_bytes(2, "big") + length.to_bytes(2, "big") + body


class FramesTests(ForwardingCase):
    """
    ChannelData that came through a connection.
    """

    def frames(self, *frames: bytes) -> None:
        for train in Splitter().take(b"".join(each + bytes(-len(each) % 4) for each in frames)):
            self.forwarding.frames(self.served, train, self.relay.now)

    def test_runs(self) -> None:
        """
        What follows each other on one channel and is equally long leaves as a train with a shorter last one, everything in
        order.
        """
        frames = [
            *[encodeChannelData(ONE, b"a" * 10)] * 3,
            encodeChannelData(ONE, b"b" * 9),
            *[encodeChannelData(TWO, b"c" * 10)] * 2,
            encodeChannelData(ONE, b"a" * 10),
        ]
        self.frames(*frames)
        self.assertEqual(self.out.trains, [4, 2, 1])
        self.assertEqual([data[:1] for data, _ in self.out.sent], [b"a", b"a", b"a", b"b", b"c", b"c", b"a"])
        self.assertEqual([to for _, to in self.out.sent], [PEER] * 4 + [PEER2] * 2 + [PEER])

    def test_limits(self) -> None:
        """No train has more than 64 datagrams, nor more bytes than one packet takes."""
        self.frames(*[encodeChannelData(ONE, b"x" * 100)] * 200)
        self.assertEqual(self.out.trains, [64, 64, 64, 8])
        self.out.trains.clear()
        for size, counts in (
            (1400, [46, 46, 8]),
            (30_000, [2] * 50),
            (60_000, [1] * 100),
            (65_507, [1] * 100),
        ):
            self.frames(*[encodeChannelData(ONE, b"x" * size)] * 100)
            self.assertEqual(self.out.trains, counts)
            self.out.trains.clear()

    def test_empty(self) -> None:
        """Each empty datagram is sent."""
        self.frames(*[encodeChannelData(ONE, b"")] * 5)
        self.assertEqual((self.out.sent, self.out.trains), ([(b"", PEER)] * 5, [1] * 5))

    def test_noAllocation(self) -> None:
        """Without an allocation, and on a channel that is not bound, nothing is sent."""
        self.frames(*[encodeChannelData(NONE, b"x")] * 3)
        [train] = Splitter().take(encodeChannelData(ONE, b"x", True) * 2)
        self.forwarding.frames(None, train, self.relay.now)
        self.assertEqual((self.out.sent, self.dropped("noChannel")), ([], 5))


class FromPeerTests(ForwardingCase):
    """
    What comes to a relayed address.
    """

    def arrive(
        self, data: bytes, source: Address, segment: int | None = None, caller: Caller | None = None
    ) -> None:
        caller = caller or self.alice
        served, _ = self.partsOf(caller)
        family = 1 if ":" in source.host else 0
        relayed = caller.relayed[family]
        socket = self.sockets[relayed]
        size = len(data) if segment is None else segment
        socket.waiting.append((data, size, socket.socketAddress(source)))
        self.forwarding.readRelayed(relayed, served)

    def test_channel(self) -> None:
        """What a peer with a channel sends comes on it, as the train that it was."""
        self.arrive(b"hello", PEER)
        self.arrive(b"x" * 1000, PEER2, 300)
        self.arrive(b"", PEER)
        self.assertEqual(self.client.channels, [(ONE, b"hello", 5), (TWO, b"x" * 1000, 300), (ONE, b"", 0)])
        self.assertEqual(
            (self.forwarding.counters["downPackets"], self.forwarding.counters["downBytes"]), (6, 1005)
        )

    def test_permission(self) -> None:
        """What another port of a permitted host sends comes in indications, one for each datagram."""
        other = PEER._replace(port=9)
        self.arrive(b"hello", other)
        self.arrive(b"aabbc", other, 2)
        self.arrive(b"", other)
        texts = [b"hello", b"aa", b"bb", b"c", b""]
        self.assertEqual(self.client.messages, [(other, text) for text in texts])

    def test_sixes(self) -> None:
        """A dual allocation serves peers of both families."""
        self.alice.permit(PEER6)
        self.arrive(b"six", PEER6)
        self.assertEqual(self.client.messages, [(PEER6, b"six")])

    def test_stranger(self) -> None:
        """What others send is dropped."""
        self.arrive(b"hello", Address("8.1.1.9", 5000))
        self.arrive(b"aabbc", Address("8.1.1.9", 5000), 2)
        self.assertEqual(
            (self.client.channels, self.client.messages, self.dropped("noPermission")), ([], [], 4)
        )

    def test_expired(self) -> None:
        """A permission ends after 300 seconds for its channel, too; what comes renews nothing."""
        for _ in range(4):
            self.arrive(b"x", PEER)
            self.relay.sleep(99.9)
        self.assertEqual((len(self.client.channels), self.dropped("noPermission")), (4, 0))
        self.arrive(b"x", PEER)
        self.assertEqual((len(self.client.channels), self.dropped("noPermission")), (4, 1))
        self.alice.permit(PEER)
        self.arrive(b"x", PEER)
        self.assertEqual(len(self.client.channels), 5)

    def test_channelEnded(self) -> None:
        """When the channel has ended but the permission has not, indications come."""
        self.relay.sleep(500)
        self.alice.permit(PEER)
        self.relay.sleep(101)
        self.arrive(b"x", PEER)
        self.assertEqual((self.client.channels, self.client.messages), ([], [(PEER, b"x")]))

    def test_ownHost(self) -> None:
        """What programs of the relay's own host send does not come, though the host is permitted for another allocation's sake."""
        self.alice.permit(self.bob.relayed[0])
        self.arrive(b"x", self.bob.relayed[0]._replace(port=22))
        self.assertEqual((self.client.messages, self.dropped("fromOwnHost")), ([], 1))

    def test_tooLong(self) -> None:
        """What fits in no indication is dropped; a channel takes it."""
        self.alice.permit(PEER6)
        self.arrive(b"x" * 65_527, PEER6)
        self.arrive(b"x" * 65_507, PEER._replace(port=9))
        self.assertEqual((self.client.messages, self.dropped("tooLong")), ([], 2))
        self.arrive(b"x" * 65_507, PEER)
        self.assertEqual(len(self.client.channels), 1)

    def test_rate(self) -> None:
        """The rate holds for what comes from peers, too, in channels and in indications."""
        carol = self.join("low-carol")
        carol.permit(PEER)
        for _ in range(2):
            self.arrive(b"x" * 972 * 60, PEER, 972, carol)
        _, client = self.partsOf(carol)
        self.assertEqual((len(client.messages), self.dropped("overRate")), (65, 55))

    def test_ended(self) -> None:
        """What comes when the allocation has ended goes nowhere."""
        self.served.driver = None
        self.arrive(b"x", PEER)
        relayed = self.alice.relayed[0]
        self.assertIs(self.forwarding.detach(relayed), self.out)
        self.forwarding.readRelayed(relayed, self.served)
        self.assertEqual((self.forwarding.detach(relayed), self.forwarding.descriptor(relayed)), (None, None))
        self.train(encodeChannelData(ONE, b"x"))
        self.assertEqual(self.out.sent, [])

    def test_manySources(self) -> None:
        """However many sources there are, a bounded number of them is remembered."""
        for n in range(1000):
            self.arrive(b"x", Address(f"8.3.{n >> 8}.{n & 255}", 1))
        self.assertLessEqual(len(self.forwarding._sockets[self.alice.relayed[0]].sources), 256)


class RefusalTests(ForwardingCase):
    """
    What ICMP says (section 11.5).
    """

    def said(self, *refusals: tuple[Address, int, int, int]) -> list[tuple[Address | None, object]]:
        """
        ICMP says this of what the client has sent to peers; what the client is told.
        """
        for to, *rest in refusals:
            relayed = self.alice.relayed[":" in to.host]
            socket = self.sockets[relayed]
            socket.refusals.append(Refusal(socket.socketAddress(to), *rest))
            self.forwarding.readRefusals(relayed, self.served)
        messages, self.client.messages = list(self.client.messages), []
        return list(messages)

    def test_told(self) -> None:
        """A client is told of each type that the RFC names, also of a peer with a channel, with the MTU where it is that."""
        self.alice.permit(PEER6)
        for to, kind, code, mtu in (
            (PEER, 3, 3, 0),
            (PEER, 3, 4, 1200),
            (PEER, 11, 0, 0),
            (PEER._replace(port=9), 3, 13, 0),
            (PEER6, 1, 4, 0),
            (PEER6, 2, 0, 1280),
            (PEER6, 3, 0, 0),
        ):
            expected = Icmp(kind, code, mtu.to_bytes(4, "big"))
            self.assertEqual(self.said((to, kind, code, mtu)), [(to, expected)])

    def test_otherTypes(self) -> None:
        """It is not told of others."""
        self.alice.permit(PEER6)
        for to, kind in ((PEER, 4), (PEER, 5), (PEER, 12), (PEER, 1), (PEER6, 4), (PEER6, 11), (PEER6, 129)):
            self.assertEqual(self.said((to, kind, 0, 0)), [])

    def test_notPermitted(self) -> None:
        """It is told of hosts that it has a permission for, and not of others, nor later."""
        self.assertEqual(self.said((Address("8.1.1.9", 5000), 3, 3, 0), (PEER6, 1, 4, 0)), [])
        self.relay.sleep(301)
        self.assertEqual((self.said((PEER, 3, 3, 0)), self.dropped("noPermission")), ([], 3))

    def test_rate(self) -> None:
        """The rate of its class holds for this, too."""
        self.served, self.client = self.partsOf(low := self.join("low-carol"))
        self.alice = low
        low.permit(PEER)
        told = self.said(*[(PEER, 3, 3, 0)] * 3000)
        self.assertEqual((len(told), self.dropped("overRate")), (780, 2220))

    def test_ended(self) -> None:
        """When the allocation has ended nobody is told."""
        self.served.driver = None
        self.assertEqual(self.said((PEER, 3, 3, 0)), [])
        self.forwarding.detach(self.alice.relayed[0])
        self.forwarding.readRefusals(self.alice.relayed[0], self.served)


class InsideTests(ForwardingCase):
    """
    From one allocation of a relay to another.
    """

    def setUp(self) -> None:
        super().setUp()
        self.target, self.source = self.bob.relayed[0], self.alice.relayed[0]
        self.alice.bind(0x4002, self.target)
        _, self.other = self.partsOf(self.bob)

    def say(self, *texts: bytes) -> None:
        if not self.train(*(encodeChannelData(0x4002, text) for text in texts)):
            raise AssertionError("no train")

    def test_passes(self) -> None:
        """It comes from the other's relayed address, on a channel or in an indication, and never touches a socket."""
        self.bob.permit(self.source)
        self.say(b"hello")
        self.bob.bind(ONE, self.source)
        self.say(b"aa", b"bb", b"c")
        self.assertEqual(self.other.messages, [(self.source, b"hello")])
        self.assertEqual(self.other.channels, [(ONE, b"aabbc", 2)])
        self.assertEqual([socket.sent for socket in self.sockets.values()], [[]] * 4)

    def test_notPermitted(self) -> None:
        """Who has not permitted the relay's host hears nothing."""
        self.say(b"hello")
        self.assertEqual((self.other.messages, self.dropped("noPermission")), ([], 1))

    def test_gone(self) -> None:
        """When the other is gone, what is sent to it goes nowhere, also not to the port that it had; to who has it next it does."""
        self.bob.permit(self.source)
        self.say(b"one")
        self.bob.refresh(LIFETIME(0))
        self.say(b"two")
        self.alice.bind(0x4003, self.bob.relayed[1])
        self.assertEqual((self.other.messages, self.dropped("noPeer")), ([(self.source, b"one")], 1))
        self.assertEqual(self.out.sent, [])

    def test_firstWhenGone(self) -> None:
        """So it is where nothing was sent before the other went."""
        self.bob.refresh(LIFETIME(0))
        self.say(b"two")
        self.assertEqual((self.out.sent, self.dropped("noPeer")), ([], 1))

    def test_oneself(self) -> None:
        """A client may send to itself: it gets that once."""
        self.alice.bind(0x4004, self.source)
        self.train(encodeChannelData(0x4004, b"echo"))
        self.assertEqual(self.client.channels, [(0x4004, b"echo", 4)])

    def test_indications(self) -> None:
        """Send indications pass, too."""
        self.bob.permit(self.source)
        for whole in (False, True):
            self.forwarding.sendToPeer(self.served, self.target, b"hello", whole)
        self.assertEqual(self.other.messages, [(self.source, b"hello")] * 2)

    def test_otherFamily(self) -> None:
        """Who has no address of the peer's family sends nothing."""
        six = self.bob.relayed[1]
        self.alice.bind(0x4005, six)
        del self.served.sides[6]
        self.train(encodeChannelData(0x4005, b"x"))
        self.forwarding.sendToPeer(self.served, six, b"x", False)
        self.assertEqual((self.other.messages, self.other.channels), ([], []))

    def test_becomesOwn(self) -> None:
        """A peer whose address becomes one of the relay's host is none any more, though its channel is in use."""
        self.train(encodeChannelData(ONE, b"x"))
        self.relay.machine.policy.setOwn([*HOSTS.values(), PEER.host])
        self.train(encodeChannelData(ONE, b"y"))
        self.forwarding.sendToPeer(self.served, PEER, b"z", False)
        self.assertEqual((self.out.sent, self.dropped("noPeer")), ([(b"x", PEER)], 2))
        self.relay.machine.policy.setOwn(HOSTS.values())
        self.train(encodeChannelData(ONE, b"y"))
        self.assertEqual(len(self.out.sent), 2)


class PassedOnTests(ForwardingCase):
    """
    From the connection of one client to that of another.
    """

    def setUp(self) -> None:
        super().setUp()
        self.connect(ONE)

    def connect(self, back: int) -> None:
        """
        Both have a channel to the other, and the other one a connection.
        """
        self.alice.bind(0x4002, self.bob.relayed[0])
        self.bob.bind(back, self.alice.relayed[0])
        self.target, _ = self.partsOf(self.bob)
        self.transport, self.stream = connection()
        self.target.driver = StreamClient(self.stream)

    def frames(self, *frames: bytes) -> None:
        for train in Splitter().take(b"".join(each + bytes(-len(each) % 4) for each in frames)):
            self.forwarding.frames(self.served, train, self.relay.now)

    def came(self) -> list[bytes]:
        data = self.transport.value()
        self.transport.clear()
        self.assertEqual(len(data) % 4, 0)
        return Splitter().feed(data)

    def test_same(self) -> None:
        """What comes out is what would if each train was taken apart: on the other's channel, everything in order."""
        for back in (ONE, 0x4002):
            self.begin()
            self.connect(back)
            data = (
                [b"a" * 10] * 3
                + [b"b" * 9]
                + [b"c" * 1404] * 50
                + [b"", b"", b"d", b"e" * 60_000]
                + [b"f"] * 2
            )
            for _ in range(2):
                self.frames(*(encodeChannelData(0x4002, each) for each in data))
                self.assertEqual(self.came(), [encodeChannelData(back, each) for each in data])
            counters, size = self.forwarding.counters, 2 * sum(map(len, data))
            self.assertEqual(
                counters,
                {
                    f"{way}{what}": n
                    for way in ("up", "down")
                    for what, n in (("Bytes", size), ("Packets", 2 * len(data)))
                },
            )

    def test_whole(self) -> None:
        """A train is written at once."""
        written: list[int] = []
        self.frames(encodeChannelData(0x4002, b"first"))
        self.transport.write = lambda data: written.append(len(data))  # type: ignore[method-assign]
        self.frames(*[encodeChannelData(0x4002, b"x" * 604)] * 90)
        self.assertEqual(written, [90 * 608])

    def test_rate(self) -> None:
        """Of a train above the rate, of the one or of the other, the beginning passes, and the rest is counted."""
        for slow in ("low-carol", "high-carol"):
            self.begin()
            other = self.join("high-dave" if slow == "low-carol" else "low-dave")
            self.alice, self.bob = self.join(slow), other
            self.served, _ = self.partsOf(self.alice)
            self.connect(ONE)
            for _ in range(2):
                self.frames(*[encodeChannelData(0x4002, bytes([n]) * 971) for n in range(60)])
            self.assertEqual([frame[4] for frame in self.came()], [*range(60), *range(5)])
            counters = self.forwarding.counters
            self.assertEqual((counters["overRate"], counters["downPackets"]), (55, 65))
            self.assertEqual(counters["downBytes"], 65 * 971)

    def test_ended(self) -> None:
        """Nothing passes once a channel, a permission or an allocation of either side has ended."""
        frame = encodeChannelData(0x4002, b"x")
        self.frames(frame, frame)
        self.assertEqual(len(self.came()), 2)
        self.relay.sleep(301)
        self.frames(frame)
        self.assertEqual((self.came(), self.dropped("noPermission")), ([], 1))
        self.bob.permit(self.alice.relayed[0])
        self.frames(frame)
        self.assertEqual(len(self.came()), 1)
        self.relay.sleep(301)
        self.frames(frame)
        self.assertEqual((self.came(), self.dropped("noChannel")), ([], 1))
        self.alice.bind(0x4002, self.bob.relayed[0])
        self.bob.refresh(LIFETIME(0))
        self.frames(frame)
        self.assertEqual((self.came(), self.dropped("noPeer")), ([], 1))


class SendTests(ForwardingCase):
    """
    Send indications.
    """

    def test_sent(self) -> None:
        """They leave from the address of the peer's family, whole where that is asked for."""
        self.forwarding.sendToPeer(self.served, PEER, b"four", False)
        self.forwarding.sendToPeer(self.served, PEER, b"", True)
        self.forwarding.sendToPeer(self.served, PEER6, b"six", False)
        self.assertEqual((self.out.sent, self.out.whole), ([(b"four", PEER), (b"", PEER)], [b""]))
        self.assertEqual(self.sockets[self.alice.relayed[1]].sent, [(b"six", PEER6)])
        self.assertEqual(self.forwarding.counters, {"upBytes": 7, "upPackets": 3})

    def test_rate(self) -> None:
        """The rate holds for them."""
        served, _ = self.partsOf(self.join("low-carol"))
        for _ in range(100):
            self.forwarding.sendToPeer(served, PEER, b"x" * 972, False)
        self.assertEqual((self.dropped("overRate"), self.forwarding.counters["upPackets"]), (35, 65))

    def test_lateForbidden(self) -> None:
        """An address that has become forbidden since its permission gets nothing."""
        self.relay.machine.policy.setOwn([PEER.host])
        self.forwarding.sendToPeer(self.served, PEER, b"x", False)
        self.assertEqual((self.out.sent, self.dropped("noPeer")), ([], 1))


class ToClientTests(SynchronousTestCase):
    """
    The ways to clients.
    """

    def setUp(self) -> None:
        self.socket = PretendedSocket()
        self.to = ("8.5.5.5", 4000)
        socket: Any = self.socket
        self.udp = UdpClient(socket, self.to)

    @given(st.integers(0, 3000), st.integers(1, 3000))
    def test_udp(self, size: int, segment: int) -> None:
        """Each datagram of a train becomes a ChannelData, and the train one or several trains."""
        data = bytes(n & 255 for n in range(size))
        pieces = [bytes(each) for each in cut(memoryview(data), segment)] or [b""]
        self.udp.carry(ONE, pieces)
        sent, self.socket.sent = self.socket.sent, []
        self.assertEqual([each for each, _ in sent], [encodeChannelData(ONE, each) for each in pieces])

    def test_limits(self) -> None:
        """No train has more than 64 datagrams, nor more bytes than one packet takes, headers included."""
        for size, segment, trains in (
            (10_000, 100, [64, 36]),
            (65_000, 1000, [64, 1]),
            (65_000, 1300, [49, 1]),
            (65_000, 32_000, [2, 1]),
        ):
            self.udp.carry(ONE, list(cut(memoryview(bytes(size)), segment)))
            self.assertEqual(self.socket.trains, trains)
            self.socket.trains.clear()

    def test_empty(self) -> None:
        """An empty datagram is a ChannelData of no length."""
        self.udp.carry(ONE, [b""])
        self.udp.message(b"stun")
        self.assertEqual(self.socket.sent, [(b"\x40\0\0\0", Address(*self.to)), (b"stun", Address(*self.to))])

    def test_stream(self) -> None:
        """Over a connection each datagram is a padded ChannelData."""
        transport, stream = connection()
        client = StreamClient(stream)
        client.carry(ONE, [b"aaa", b"bbb", b"c"])
        client.carry(TWO, [b""])
        client.message(b"\0\1\0\0" + bytes.fromhex("2112a442") + b"t" * 12)
        frames = Splitter().feed(transport.value())
        data = [encodeChannelData(ONE, each) for each in (b"aaa", b"bbb", b"c")]
        self.assertEqual(frames[:4], [*data, encodeChannelData(TWO, b"")])
        self.assertEqual(len(transport.value()) % 4, 0)
