"""
Targets: the WireGuard machine and the forwarder, with real sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2s

from twisted.internet.task import Clock

from vnet.client.dataplane.forwarder import Forwarder
from vnet.protocols.codec.arp import REQUEST, ArpPacket, encodeArp
from vnet.protocols.codec.ethernet import ARP, IPV4, IPV6, EthernetFrame, decodeEthernet, encodeEthernet
from vnet.protocols.codec.icmp import Echo, encodeEcho
from vnet.protocols.codec.ip import encodeIp4, encodeIp6
from vnet.protocols.codec.ndp import (
    NeighbourSolicitation,
    encodeSolicitation,
    isNeighbourDiscovery,
    solicitedNode,
)
from vnet.protocols.machine.wireguardevents import WireGuardEvent
from vnet.test.fuzz.codectargets import TARGETS as CODECS
from vnet.test.fuzz.codectargets import mendIp
from vnet.test.fuzz.target import Target, accepting, logged, require
from vnet.test.wgpair import ADDRESSES, INNER, Pair
from vnet.testing import MemoryDevice, MemoryNetwork, MemoryPort
from vnet.values import Address

__all__ = ["TARGETS"]

_STRANGER = Address("203.0.113.9", 9)
_SEEDS = {target.name: target.seeds for target in CODECS}

# Seconds between two inputs: so few handshake messages are no load, and nobody gets a cookie.
_STEP = 0.03
_LIFETIME = 150.0


class _Garbage:
    """
    A machine with a session and a handshake under way, and strangers who know its public key but no secret.

    @ivar begun: the index of that handshake.
    """

    def __init__(self) -> None:
        self._renew()

    def _renew(self) -> None:
        self._pair = Pair()
        self._pair.send(0, self._pair.packet(0))
        self._pair.send(1, self._pair.packet(1))
        self._machine = self._pair.machines[1]
        self._machine.initiate(self._pair.publicKey(1), self._pair.now)
        self.begun = self._machine.datagramsToSend(self._pair.now)[0][0][4:8]
        self._peer = self._pair.publicKey(1)
        self._end = self._pair.now + _LIFETIME
        self._status = self._machine.peerStatus(self._peer)

    def __call__(self, data: bytes) -> None:
        if self._pair.now >= self._end:
            self._renew()
        self._pair.now += _STEP
        machine, now = self._machine, self._pair.now
        try:
            with accepting("receive raises nothing"):
                machine.receive(data, _STRANGER, now)
            require(machine.datagramsToSend(now) == [], "a machine is silent to garbage")
            require(machine.nextEvent() is None, "a machine believes no garbage")
            require(machine.peerStatus(self._peer) == self._status, "garbage leaves a peer as it was")
        except BaseException:
            self._renew()
            raise


def _recorded() -> Pair:
    pair = Pair()
    pair.send(0, pair.packet(0))
    pair.send(1, pair.packet(1))
    return pair


def _garbageSeeds() -> Sequence[bytes]:
    return [data for _, data, _ in _recorded().wire] + list(_SEEDS["wireguard-messages"]())


def _mac1Key() -> bytes:
    return blake2s(b"mac1----" + Pair().machines[1].publicKey).digest()


_MAC1_KEY = _mac1Key()
_RECEIVERS = [data[4:8] for sender, data, _ in _recorded().wire if sender == 0 and data[0] == 4][:1]
_BEGUN = _Garbage().begun
_KINDS = {148: b"\1", 92: b"\2", 64: b"\3"}


def _mendWireguard(data: bytes) -> bytes:
    """
    A type that suits the size, a right mac1, the index of a session that there is.
    """
    kind = _KINDS.get(len(data))
    if kind is None:
        return b"\4\0\0\0" + _RECEIVERS[0] + data[8:]
    if kind == b"\3":
        return kind + b"\0\0\0" + _BEGUN + data[8:]
    head = kind + b"\0\0\0" + (data[4:8] + _BEGUN + data[12:-32] if kind == b"\2" else data[4:-32])
    return head + blake2s(head, digest_size=16, key=_MAC1_KEY).digest() + data[-16:]


class _Plane:
    """
    A forwarder behind a real machine that has a session, and its peer.

    @ivar pair: the machines: 0 is the peer, 1 the forwarder's.
    """

    _ADDRESS, _POOL, _ADDRESS6, _POOL6 = "100.64.0.2", "100.64.0.0/10", "fd00::2", "fd00::/48"

    def __init__(self) -> None:
        self.pair = _recorded()
        clock = Clock()
        clock.advance(self.pair.now)
        network = MemoryNetwork(clock, passes=lambda source, destination: False)
        self.device = MemoryDevice()
        self.port: MemoryPort = network.port(ADDRESSES[1].host, port=ADDRESSES[1].port)
        self.device.open()
        self.port.open()
        self.told: list[WireGuardEvent] = []
        self._forwarder = Forwarder(
            self.device, self.port, self.pair.machines[1], clock, lambda data, source: None, self.told.append
        )
        self._forwarder.configure(self._ADDRESS, self._POOL, self._ADDRESS6, self._POOL6)
        self._forwarder.addMember(self.pair.publicKey(1), "100.64.0.1", "fd00::1")
        self._forwarder.start()
        self.clear()

    def clear(self) -> None:
        """
        Forget what was told and sent.
        """
        self.told.clear()
        self.port.sent.clear()
        self.device.take()


def _glance(packet: bytes) -> tuple[int, int, bytes, bytes]:
    """
    Version, length, source and destination, as our own filter must have seen them; the operating system
    checks the rest of the header.
    """
    version = packet[0] >> 4
    if version == 4:
        return version, int.from_bytes(packet[2:4], "big"), packet[12:16], packet[16:20]
    return version, int.from_bytes(packet[4:6], "big") + 40, packet[8:24], packet[24:40]


def _makeInner() -> Callable[[bytes], None]:
    """
    What an authentic peer sends inside of the tunnel reaches the operating system only where it may.
    """
    plane = _Plane()
    pair, device = plane.pair, plane.device
    pair.machines[0]._device.mtu = 0  # so that it does not pad: a hostile peer need not
    sources = {INNER[0], bytes.fromhex("fd" + "00" * 14 + "01")}
    own = {INNER[1], bytes.fromhex("fd" + "00" * 14 + "02")}
    broadcasts = {b"\xff" * 4, bytes((100, 127, 255, 255))}

    def check(data: bytes) -> None:
        plane.clear()
        pair.machines[0].send(pair.publicKey(0), [data], pair.now)
        sealed = [(datagram, ADDRESSES[0]) for datagram, _ in pair.machines[0].datagramsToSend(pair.now)]
        with logged() as failures, accepting("a forwarder raises nothing"):
            plane.port.arrived(sealed)
        require(not failures, "nothing fails on a packet of a peer")
        require(not plane.port.sent and not plane.told, "a packet of a peer has no answer of ours")
        for frame in map(decodeEthernet, device.take()):
            version, total, source, destination = _glance(frame.payload)
            isGroup = destination in broadcasts or destination[0] in (
                (0xFF,) if version == 6 else range(224, 240)
            )
            require(isGroup == bool(frame.destination[0] & 1), "a frame to a group has the address of one")
            require(isGroup or frame.destination == device.mac, "a frame is for this computer")
            require(frame.source == b"\x02\x76" + INNER[0], "a frame comes from the member")
            require(frame.etherType == (IPV4 if version == 4 else IPV6), "a frame has the right type")
            require(total == len(frame.payload), "a packet is handed on without its padding")
            require(source in sources, "a packet has a source that the peer may use")
            require(isGroup or destination in own, "a packet is for this computer, or a group")
            if version == 6:
                with accepting("what cannot be read is not handed on"):
                    require(not isNeighbourDiscovery(frame.payload), "no neighbour discovery comes in")

    return check


def _mendInner(data: bytes) -> bytes:
    """
    The addresses of the two, and lengths and checksums.
    """
    if len(data) >= 40 and data[0] & 0x20:
        ends = bytes.fromhex("fd" + "00" * 14 + "01") + bytes.fromhex("fd" + "00" * 14 + "02")
        return mendIp(data[:8] + ends + data[40:])
    if len(data) >= 40:
        return mendIp(data[:12] + INNER[0] + INNER[1] + data[20:])
    return data


def _makeOuter() -> Callable[[bytes], None]:
    """
    What the operating system sends goes to members as it is, or is answered on the interface.
    """
    plane = _Plane()

    def check(data: bytes) -> None:
        plane.clear()
        with logged() as failures, accepting("a forwarder raises nothing"):
            plane.device.deliver([data])
        require(not failures, "nothing fails on a frame")
        require(all(addr == ADDRESSES[0] for _, addr in plane.port.sent), "datagrams go to the member")
        require(len(plane.port.sent) + len(plane.device.written) <= 1, "a frame has one consequence at most")
        for written in plane.device.take():
            with accepting("an answer is a frame"):
                answer = decodeEthernet(written)
            require(answer.destination == data[6:12], "an answer goes to who asked")
        decodeEthernet(data)

    return check


def _frameSeeds() -> Sequence[bytes]:
    own, member = b"\x02\x76" + INNER[1], b"\x02\x76" + INNER[0]
    own6, member6 = (bytes.fromhex("fd" + "00" * 14 + end) for end in ("02", "01"))
    payloads = [
        (ARP, encodeArp(ArpPacket(REQUEST, own, INNER[1], bytes(6), INNER[0]))),
        *((ARP, each) for each in _SEEDS["arp"]()),
    ]
    payloads += [
        (IPV4 if packet[0] >> 4 == 4 else IPV6, packet)
        for packet in (
            encodeIp4(INNER[1], INNER[0], 17, bytes(8)),
            encodeIp6(own6, member6, 17, bytes(8)),
            encodeSolicitation(NeighbourSolicitation(own6, solicitedNode(member6), member6, own)),
            encodeEcho(Echo(INNER[1], b"\x64\x40\x00\x09", 1, 1)),
            *_SEEDS["ip"](),
        )
    ]
    return [
        encodeEthernet(EthernetFrame(destination, own, kind, payload))
        for kind, payload in payloads
        for destination in (member, b"\xff" * 6)
    ]


def _mendFrame(data: bytes) -> bytes:
    return data[:14] + mendIp(data[14:]) if data[12:14] in (IPV4, IPV6) else data


TARGETS = [
    Target("wireguard", _Garbage, _garbageSeeds, _mendWireguard, 512),
    Target("tunnel", _makeInner, _SEEDS["ip"], _mendInner),
    Target("ethernet", _makeOuter, _frameSeeds, _mendFrame),
]
