"""
Tests for L{vnet.client.dataplane.forwarder}: with a scripted machine, and with the real one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from random import Random

from attrs import define, evolve, field
from hypothesis import given
from hypothesis import strategies as st
from nacl.public import PrivateKey
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.dataplane.forwarder import Forwarder
from vnet.errors import Refused, Unreachable
from vnet.protocols.codec.arp import REQUEST, ArpPacket, encodeArp
from vnet.protocols.codec.ethernet import ARP, BROADCAST, IPV4, IPV6, decodeEthernet, memberMac
from vnet.protocols.codec.icmp import decodeEcho, encodeEcho
from vnet.protocols.codec.ip import ICMP6, UDP, decodeIp, encodeIp4, encodeIp6
from vnet.protocols.demux import Kind, classify
from vnet.protocols.machine.sealing import PacketTrain
from vnet.protocols.machine.wireguard import WireGuard
from vnet.protocols.machine.wireguardevents import (
    PacketsReceived,
    PeerStatus,
    SessionEstablished,
    WireGuardEvent,
)
from vnet.test.test_ip import A4, A6, B4, B6
from vnet.test.test_neighbours import arpFrame, solicitation
from vnet.testing import MemoryDevice, MemoryNetwork, MemoryPort
from vnet.values import Address, Train

POOL, POOL6 = "100.64.0.0/10", "fd00::/48"
ENDPOINT = Address("192.0.2.2", 7)
BOB = b"b" * 32
BOB_MAC = memberMac(B4)
OUR_MAC = memberMac(A4)
STUN = bytes.fromhex("000100002112a442") + bytes(12)
TRANSPORT = b"\x04\0\0\0" + bytes(28)
STATUS = PeerStatus(None, 0, 0, ENDPOINT, True)


@define
class ScriptedMachine:
    """
    A WireGuard machine that records what it is told, and says what the test wants.
    """

    peers: dict[bytes, bytes] = field(factory=dict)
    statuses: dict[bytes, PeerStatus] = field(factory=dict)
    sent: list[tuple[bytes, tuple[bytes, ...]]] = field(factory=list)
    received: list[tuple[bytes, Address]] = field(factory=list)
    datagrams: list[tuple[bytes, Address]] = field(factory=list)
    events: deque[WireGuardEvent] = field(factory=deque)
    due: float | None = None
    fired: list[float] = field(factory=list)
    muted: dict[bytes, float] = field(factory=dict)
    isPending: bool = True

    def mute(self, publicKey: bytes, until: float) -> None:
        self.muted[publicKey] = until

    def peerFor(self, destination: bytes) -> bytes | None:
        return self.peers.get(destination)

    def peerStatus(self, publicKey: bytes) -> PeerStatus:
        return self.statuses[publicKey]

    def send(self, publicKey: bytes, packets: Sequence[bytes], now: float) -> None:
        if publicKey not in self.statuses:
            raise KeyError(publicKey)
        self.sent.append((publicKey, tuple(packets)))
        self.datagrams += [(packet, ENDPOINT) for packet in packets]

    def sealPackets(self, publicKey: bytes, packets: Sequence[bytes], now: float) -> Sequence[Train]:
        if publicKey not in self.statuses:
            raise KeyError(publicKey)
        self.sent.append((publicKey, tuple(packets)))
        return [Train.single(packet, ENDPOINT) for packet in packets]

    def sealSegments(self, publicKey: bytes, segments: PacketTrain, now: float) -> Sequence[Train]:
        return self.sealPackets(publicKey, [bytes(segment) for segment in segments], now)

    def receive(self, data: bytes, addr: Address, now: float) -> None:
        self.received.append((data, addr))

    def receiveTrains(self, trains: Sequence[Train], now: float) -> Sequence[tuple[bytes, Address]]:
        datagrams = [(data, train.address) for train in trains for data in train.datagrams()]
        self.received += [each for each in datagrams if classify(each[0]) is Kind.WIREGUARD]
        return [each for each in datagrams if classify(each[0]) is not Kind.WIREGUARD]

    def datagramsToSend(self, now: float) -> list[tuple[bytes, Address]]:
        datagrams, self.datagrams = self.datagrams, []
        return datagrams

    def deadline(self) -> float | None:
        return self.due

    def timerFired(self, now: float) -> None:
        self.fired.append(now)
        self.due = None

    def nextEvent(self) -> WireGuardEvent | None:
        return self.events.popleft() if self.events else None

    def nextPackets(self) -> PacketsReceived | None:
        return None


def frame4(packet: bytes, mac: bytes = BOB_MAC) -> bytes:
    """A frame of our operating system's."""
    return mac + OUR_MAC + IPV4 + packet


def frame6(packet: bytes, mac: bytes = BOB_MAC) -> bytes:
    """The same for IPv6."""
    return mac + OUR_MAC + IPV6 + packet


class Scripted(SynchronousTestCase):
    """
    A forwarder with a scripted machine: Bob is a peer of it.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.network = MemoryNetwork(self.clock)
        self.device = MemoryDevice()
        self.port = self.network.port("192.0.2.1")
        self.machine = ScriptedMachine({B4: BOB, B6: BOB}, {BOB: STATUS})
        self.stun: list[tuple[bytes, Address]] = []
        self.events: list[WireGuardEvent] = []
        self.wanted: list[bytes] = []
        self.forwarder = Forwarder(
            self.device,
            self.port,
            self.machine,
            self.clock,
            lambda data, addr: self.stun.append((data, addr)),
            self.events.append,
            self.wanted.append,
        )
        self.device.open()
        self.port.open()
        self.forwarder.start()
        self.forwarder.configure("100.64.0.1", POOL, "fd00::1", POOL6)
        # No queries among the frames that tests look for.
        self.forwarder._groups.snooping.stop()
        self.forwarder.addMember(BOB, "100.64.0.2", "fd00::2")

    def arrive(self, *datagrams: bytes) -> None:
        self.port.arrived([(data, ENDPOINT) for data in datagrams])

    def fromBob(self, *packets: bytes) -> list[bytes]:
        """The frames that the operating system gets of packets from Bob."""
        self.machine.events.append(PacketsReceived(BOB, [[packet] for packet in packets]))
        self.forwarder.flush()
        return self.device.take()


class ScriptedTests(Scripted):
    # Out

    def test_batchToPeers(self) -> None:
        """The packets of a batch go to each peer in one call, in order, and what results is sent."""
        carol4, carol = bytes((100, 64, 0, 3)), b"c" * 32
        self.machine.peers[carol4] = carol
        self.machine.statuses[carol] = STATUS
        one, two = encodeIp4(A4, B4, UDP, b"one"), encodeIp6(A6, B6, UDP, b"two")
        three = encodeIp4(A4, carol4, UDP, b"three")
        self.device.deliver([frame4(one), frame4(three, memberMac(carol4)), frame6(two)])
        self.assertEqual(self.machine.sent, [(BOB, (one, two)), (carol, (three,))])
        self.assertEqual([data for data, _ in self.port.sent], [one, two, three])

    def test_noDiscoveryCrosses(self) -> None:
        """ARP and neighbour discovery, to a group as to a member, get an answer or none, and are never sent."""
        self.device.deliver([arpFrame(A4, B4), solicitation(A6, B6)])
        self.assertEqual([each[6:12] for each in self.device.take()], [BOB_MAC] * 2)
        router = encodeIp6(A6, B6, ICMP6, b"\x85" + bytes(7), 255)
        probe = BOB_MAC + OUR_MAC + IPV6 + solicitation(A6, B6, B6)[14:]
        unicastArp = BOB_MAC + arpFrame(A4, B4)[6:]
        self.device.deliver([frame6(router), probe, unicastArp])
        self.assertEqual(len(self.device.take()), 2)
        self.assertEqual(self.machine.sent, [])

    def test_other(self) -> None:
        """Frames that are neither for a group nor for a member, runts and what has no peer to go to are dropped."""
        packet = encodeIp4(A4, b"\xff" * 4, UDP, bytes(8))
        self.device.deliver(
            [
                frame4(packet, BROADCAST),
                BOB_MAC + OUR_MAC + b"\x88\xcc" + bytes(60),
                BOB_MAC + OUR_MAC + IPV4 + bytes(19),
                b"short",
                b"",
            ]
        )
        self.assertEqual(self.machine.sent, [])
        self.assertEqual(self.device.take(), [])
        self.assertEqual(self.forwarder.counters["etherType"], 1)
        self.assertEqual(self.forwarder.counters["malformed"], 3)

    def test_noMember(self) -> None:
        """Who sends to nobody is told so by ICMP from that address, a few times a second at most."""
        packet = encodeIp4(A4, bytes((100, 64, 9, 9)), UDP, b"x")
        self.device.deliver([frame4(packet, memberMac(bytes((100, 64, 9, 9))))] * 100)
        frames = self.device.take()
        self.assertEqual(len(frames), 10)
        frame = decodeEthernet(frames[0])
        self.assertEqual((frame.destination, frame.etherType), (OUR_MAC, IPV4))
        self.assertEqual(decodeIp(frame.payload).destination, A4)
        self.assertEqual(frame.payload[20:22], b"\x03\x01")
        self.assertEqual(self.forwarder.counters["noMember"], 100)

    def test_wanted(self) -> None:
        """Packets to a member without an endpoint or without a tunnel make it wanted, at most once a second."""
        self.machine.statuses[BOB] = evolve(STATUS, endpoint=None)
        packet = encodeIp4(A4, B4, UDP, b"x")
        for _ in range(10):
            self.device.deliver([frame4(packet)])
        self.assertEqual(self.wanted, [BOB])
        self.assertEqual(len(self.machine.sent), 10)
        self.clock.advance(1)
        self.machine.peers.clear()
        self.device.deliver([frame4(packet)] * 3)
        self.assertEqual(self.wanted, [BOB, BOB])
        self.assertEqual(self.forwarder.counters["noTunnel"], 3)
        self.assertEqual(self.device.take(), [])

    def test_notWanted(self) -> None:
        """A member with an endpoint is not wanted; neither is one after it was removed."""
        self.device.deliver([frame4(encodeIp4(A4, B4, UDP, b"x"))])
        self.machine.peers.clear()
        self.forwarder.removeMember(BOB)
        self.clock.advance(5)
        self.device.deliver([frame4(encodeIp4(A4, B4, UDP, b"x"))])
        self.assertEqual(self.wanted, [])

    def test_peerVanishes(self) -> None:
        """A peer that is removed while its packets are on their way costs these packets and nothing else."""
        del self.machine.statuses[BOB]
        self.device.deliver([frame4(encodeIp4(A4, B4, UDP, b"x")), arpFrame(A4, B4)])
        self.assertEqual(len(self.device.take()), 1)

    # In

    def test_sorted(self) -> None:
        """STUN goes to its reader, WireGuard to the machine in one batch, and the rest nowhere."""
        self.arrive(TRANSPORT, STUN, b"", b"garbage", b"\x40\x00\x00\x00", TRANSPORT)
        self.assertEqual(self.stun, [(STUN, ENDPOINT)])
        self.assertEqual(self.machine.received, [(TRANSPORT, ENDPOINT)] * 2)
        self.assertEqual(self.forwarder.counters["unknownDatagram"], 3)

    def test_noTunnelInTunnel(self) -> None:
        """
        What comes from an address of the overlay came through a tunnel, and is for none: answered there, each datagram
        would be a packet for the tunnel again, without end.
        """
        for host in ("100.64.0.2", "fd00::2"):
            self.port.arrived(
                [(TRANSPORT, Address(host, 7)), (STUN, Address(host, 7)), (TRANSPORT, ENDPOINT)]
            )
        self.assertEqual(self.machine.received, [(TRANSPORT, ENDPOINT)] * 2)
        self.assertEqual(self.stun, [])
        self.assertEqual(self.forwarder.counters["fromInside"], 4)

    def test_failingReader(self) -> None:
        """A reader of STUN that fails does not cost the batch."""
        self.stun = None  # type: ignore[assignment]
        self.arrive(STUN, TRANSPORT)
        self.assertEqual(len(self.machine.received), 1)
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)

    def test_frames(self) -> None:
        """Packets become frames from the member's MAC to the interface's own, of the right type."""
        four, six = encodeIp4(B4, A4, UDP, b"x"), encodeIp6(B6, A6, UDP, b"x")
        head = OUR_MAC + BOB_MAC
        self.assertEqual(self.fromBob(four, six), [head + IPV4 + four, head + IPV6 + six])

    def test_onlyToUs(self) -> None:
        """Packets to any address but ours do not reach the operating system, which might route them on."""
        for packet in (
            encodeIp4(B4, bytes((192, 168, 1, 1)), UDP, b"x"),
            encodeIp4(B4, bytes((100, 64, 0, 255)), UDP, b"x"),
            encodeIp4(B4, B4, UDP, b"x"),
            encodeIp6(B6, bytes.fromhex("20010db8" + "00" * 12), UDP, b"x"),
            encodeIp6(B6, b"\xff\x01" + bytes(14), UDP, b"x"),
        ):
            self.assertEqual(self.fromBob(packet), [])
        self.assertEqual(self.forwarder.counters["notForUs"], 5)

    def test_noDiscoveryFromPeers(self) -> None:
        """A peer's router advertisements, neighbour advertisements and redirects stay outside, hidden or not."""
        for kind in range(133, 138):
            message = bytes((kind,)) + bytes(40)
            self.assertEqual(self.fromBob(encodeIp6(B6, A6, ICMP6, message, 255)), [])
            hidden = encodeIp6(B6, A6, 60, bytes((ICMP6, 0)) + bytes(6) + message, 255)
            self.assertEqual(self.fromBob(hidden), [])
        self.assertEqual(self.fromBob(encodeIp6(B6, A6, 0, b"")), [])
        self.assertEqual(len(self.fromBob(encodeIp6(B6, A6, ICMP6, b"\x01" + bytes(7)))), 1)

    def test_stranger(self) -> None:
        """Packets of a peer that is no member are dropped."""
        self.forwarder.removeMember(BOB)
        self.assertEqual(self.fromBob(encodeIp4(B4, A4, UDP, b"x")), [])
        self.assertEqual(self.forwarder.counters["fromNoMember"], 1)

    def test_otherEvents(self) -> None:
        """Events other than packets go to the owner."""
        self.machine.events.append(SessionEstablished(BOB))
        self.forwarder.flush()
        self.assertEqual(self.events, [SessionEstablished(BOB)])

    def test_timer(self) -> None:
        """The machine's timer fires at its deadline."""
        self.machine.due = 1007.0
        self.forwarder.flush()
        self.clock.advance(6.9)
        self.assertEqual(self.machine.fired, [])
        self.clock.advance(0.2)
        self.assertEqual(len(self.machine.fired), 1)

    def test_stopped(self) -> None:
        """After the stop nothing is forwarded, and no call is pending."""
        self.machine.due = 2000.0
        self.forwarder.flush()
        waiting = self.forwarder.echo(BOB, "100.64.0.1", "100.64.0.2")
        self.forwarder.stop()
        self.failureResultOf(waiting, Unreachable)
        self.clock.advance(0.01)
        self.machine.sent.clear()
        self.arrive(TRANSPORT, STUN)
        self.device.deliver([frame4(encodeIp4(A4, B4, UDP, b"x")), arpFrame(A4, B4)])
        self.assertEqual((self.machine.received, self.stun, self.machine.sent), ([], [], []))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_anyFrame(self) -> None:
        """No frame of the operating system's, whatever it holds, stops the ones after it."""

        @given(
            st.sampled_from([IPV4, IPV6, ARP]), st.binary(max_size=80), st.sampled_from([BOB_MAC, BROADCAST])
        )
        def check(kind: bytes, payload: bytes, mac: bytes) -> None:
            self.machine.sent.clear()
            good = frame4(encodeIp4(A4, B4, UDP, b"x"))
            self.device.deliver([payload, mac + OUR_MAC + kind + payload, good])
            self.assertEqual(self.machine.sent[-1][1][-1], good[14:])

        check()

    def test_anyPacket(self) -> None:
        """No packet of a peer's, whatever lies behind its header, stops the ones after it."""
        self.forwarder.echo(BOB, "100.64.0.1", "100.64.0.2").addErrback(lambda _: None)

        @given(st.sampled_from([0, 1, 17, 43, 44, 51, 58, 60]), st.binary(max_size=80))
        def check(protocol: int, payload: bytes) -> None:
            for bad in (encodeIp4(B4, A4, protocol, payload), encodeIp6(B6, A6, protocol, payload)):
                good = encodeIp4(B4, A4, UDP, b"x")
                self.assertEqual(self.fromBob(bad, good)[-1][14:], good)

        check()
        self.forwarder.stop()

    # Echoes

    def replyTo(self, packet: bytes) -> bytes:
        request = decodeEcho(packet)
        return encodeEcho(evolve(request, source=request.destination, destination=request.source, reply=True))

    def test_echo(self) -> None:
        """The reply gives the round trip, and the operating system does not see it."""
        for own, address in (("100.64.0.1", "100.64.0.2"), ("fd00::1", "fd00::2")):
            waiting = self.forwarder.echo(BOB, own, address)
            packet = self.machine.sent[-1][1][0]
            self.clock.advance(0.25)
            self.assertEqual(self.fromBob(self.replyTo(packet)), [])
            self.assertAlmostEqual(self.successResultOf(waiting), 0.25)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_notTheReply(self) -> None:
        """Requests, replies to others and replies from another peer reach the operating system as ever."""
        waiting = self.forwarder.echo(BOB, "100.64.0.1", "100.64.0.2")
        reply = decodeEcho(self.replyTo(self.machine.sent[-1][1][0]))
        others = (
            evolve(reply, reply=False),
            evolve(reply, identifier=reply.identifier ^ 1),
            evolve(reply, data=bytes(32)),
            evolve(reply, sequence=7),
        )
        for other in others:
            self.assertEqual(len(self.fromBob(encodeEcho(other))), 1)
        self.forwarder.addMember(b"c" * 32, "100.64.0.3", "fd00::3")
        self.machine.events.append(PacketsReceived(b"c" * 32, [[encodeEcho(reply)]]))
        self.forwarder.flush()
        self.assertEqual(len(self.device.take()), 1)
        self.assertNoResult(waiting)
        waiting.cancel()
        self.failureResultOf(waiting)

    def test_echoTimeout(self) -> None:
        """Without a reply it fails after three seconds, and a late reply is nobody's but the system's."""
        waiting = self.forwarder.echo(BOB, "100.64.0.1", "100.64.0.2")
        self.clock.advance(2.9)
        self.assertNoResult(waiting)
        self.clock.advance(0.2)
        self.assertIn("100.64.0.2", str(self.failureResultOf(waiting, Unreachable).value))
        self.assertEqual(len(self.fromBob(self.replyTo(self.machine.sent[-1][1][0]))), 1)

    def test_echoLimit(self) -> None:
        """The 65th outstanding echo is refused; when one has ended there is room again."""
        waiting = [self.forwarder.echo(BOB, "100.64.0.1", "100.64.0.2") for _ in range(64)]
        refused = self.forwarder.echo(BOB, "100.64.0.1", "100.64.0.2")
        self.failureResultOf(refused, Refused)
        waiting[0].cancel()
        again = self.forwarder.echo(BOB, "100.64.0.1", "100.64.0.2")
        for each in (*waiting, again):
            each.addErrback(lambda _: None)
        self.forwarder.stop()

    def test_echoWithoutTunnel(self) -> None:
        """An echo to a member without a tunnel fails at once, and makes the member wanted."""
        self.machine.statuses.clear()
        self.failureResultOf(self.forwarder.echo(BOB, "100.64.0.1", "100.64.0.2"), Unreachable)
        self.assertEqual(self.wanted, [BOB])
        self.assertEqual(self.clock.getDelayedCalls(), [])


@define
class Side:
    """
    A node with nothing but its data plane.
    """

    number: int
    key: bytes
    device: MemoryDevice
    port: MemoryPort
    machine: WireGuard
    forwarder: Forwarder
    events: list[WireGuardEvent]

    @property
    def address(self) -> str:
        return f"100.64.0.{self.number}"

    @property
    def address6(self) -> str:
        return f"fd00::{self.number:x}"


class RealMachineTests(SynchronousTestCase):
    """
    Two forwarders with the real WireGuard machine on an Internet in memory.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.network = MemoryNetwork(self.clock, delay=0.01)
        self.random = Random(1)
        self.alice, self.bob = self.side(1), self.side(2)
        self.introduce(self.alice, self.bob)
        self.introduce(self.bob, self.alice)

    def side(self, number: int) -> Side:
        private = PrivateKey(self.random.randbytes(32))
        device = MemoryDevice()
        port = self.network.port(f"192.0.2.{number}")
        machine = WireGuard(bytes(private), random=self.random.randbytes, wallClock=self.wallClock)
        events: list[WireGuardEvent] = []
        forwarder = Forwarder(device, port, machine, self.clock, lambda data, addr: None, events.append)
        device.open()
        port.open()
        forwarder.start()
        made = Side(number, bytes(private.public_key), device, port, machine, forwarder, events)
        forwarder.configure(made.address, POOL, made.address6, POOL6)
        return made

    def wallClock(self) -> int:
        return int(self.clock.seconds() * 1e9)

    def introduce(self, one: Side, other: Side) -> None:
        allowed = (f"{other.address}/32", f"{other.address6}/128")
        endpoint = Address(other.port.hosts[0], other.port.port)
        one.machine.addPeer(other.key, allowedIps=allowed, endpoint=endpoint)
        one.forwarder.addMember(other.key, other.address, other.address6)
        one.forwarder.flush()

    def pump(self, seconds: float = 0.2) -> None:
        self.clock.pump([0.01] * round(seconds / 0.01))

    def test_packetsArrive(self) -> None:
        """Packets of both versions cross from one operating system to the other, in order, unchanged."""
        packets = [encodeIp4(A4, B4, UDP, bytes((n,))) for n in range(20)]
        packet6 = encodeIp6(A6, B6, UDP, b"six")
        self.alice.device.deliver([frame4(packet) for packet in packets] + [frame6(packet6)])
        self.pump()
        frames = [decodeEthernet(frame) for frame in self.bob.device.take()]
        self.assertEqual([frame.payload for frame in frames], [*packets, packet6])
        self.assertEqual({frame.source for frame in frames}, {memberMac(A4)})
        self.assertEqual({frame.destination for frame in frames}, {memberMac(B4)})

    def test_foreignSource(self) -> None:
        """A packet whose inner source is not the sender's own does not arrive."""
        self.alice.device.deliver([frame4(encodeIp4(bytes((100, 64, 0, 9)), B4, UDP, b"x"))])
        self.pump()
        self.assertEqual(self.bob.device.take(), [])
        self.assertTrue(any(isinstance(event, SessionEstablished) for event in self.bob.events))

    def test_echoThroughTunnel(self) -> None:
        """An echo reaches the other operating system, and its answer gives the latency."""
        waiting = self.alice.forwarder.echo(self.bob.key, "100.64.0.1", "100.64.0.2")
        self.pump()
        (frame,) = self.bob.device.take()
        request = decodeEcho(frame[14:])
        reply = evolve(request, source=B4, destination=A4, reply=True)
        self.bob.device.deliver([memberMac(A4) + memberMac(B4) + IPV4 + encodeEcho(reply)])
        self.pump()
        self.assertTrue(0.02 <= self.successResultOf(waiting) < 1)
        self.assertEqual(self.alice.device.take(), [])

    def test_arpIsLocal(self) -> None:
        """A question of ARP is answered, and puts no datagram on the wire."""
        request = ArpPacket(REQUEST, memberMac(A4), A4, bytes(6), B4)
        self.alice.device.deliver([BROADCAST + memberMac(A4) + ARP + encodeArp(request)])
        self.pump()
        self.assertEqual(len(self.alice.device.take()), 1)
        self.assertEqual(self.alice.port.sent, [])

    def test_loss(self) -> None:
        """Where a third of the datagrams is lost, the handshake still succeeds and packets arrive."""
        self.network.loss = 0.33
        for _ in range(30):
            self.alice.device.deliver([frame4(encodeIp4(A4, B4, UDP, b"x"))])
            self.pump(1.0)
        self.assertTrue(5 <= len(self.bob.device.take()) <= 30)
