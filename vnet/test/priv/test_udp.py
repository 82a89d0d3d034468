"""
Tests for L{vnet.client.dataplane.udp}, with real sockets in a namespace of each test's own.
"""

from __future__ import annotations

import errno
import socket
from collections import Counter
from itertools import islice

import pytest

from vnet.client.dataplane.lanes import IDLE
from vnet.client.dataplane.udp import UdpPort
from vnet.errors import ConfigurationError
from vnet.interfaces import IDatagramPort
from vnet.linkwatcher import DEBOUNCE
from vnet.test.bordertests import PortContract
from vnet.test.priv.ownspace import HandReactor, addInterface, command, ownSpace
from vnet.values import Address

pytestmark = pytest.mark.privileged


socketOfAnyFamily = socket.socket


def refuseIpv6(family: int = -1, *arguments: int) -> socket.socket:
    """Make a socket as a kernel without IPv6 does."""
    if family == socket.AF_INET6:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
    return socketOfAnyFamily(family, *arguments)


class UdpPortTests(PortContract):
    """
    The contract of ports, and what only the kernel can show.
    """

    __test__ = True

    host, host6 = "127.0.0.1", "::1"

    def setUp(self) -> None:
        space = ownSpace()
        space.__enter__()
        self.addCleanup(space.__exit__, None, None, None)
        self.reactor = HandReactor()

    def newPort(self, number: int = 0) -> IDatagramPort:
        return self.udpPort(number)

    def udpPort(self, number: int = 0) -> UdpPort:
        port = UdpPort(self.reactor, number, {"vnet0"}, ["100.64.0.0/10"])
        self.addCleanup(port.close)
        return port

    def turn(self) -> None:
        self.reactor.turn(0.02)

    def test_mapped(self) -> None:
        """A datagram of an IPv4 program has a dotted source, and its answer reaches that program."""
        port, received = self.opened()
        program = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(program.close)
        program.settimeout(2)
        program.sendto(b"?", ("127.0.0.1", port.port))
        self.turn()
        self.assertEqual(received, [(b"?", Address("127.0.0.1", program.getsockname()[1]))])
        port.send([(b"!", received[0][1])])
        self.assertEqual(program.recv(9), b"!")

    def test_noNames(self) -> None:
        """A name is never looked up: it is no address."""
        port = self.udpPort()
        port.open()
        port.send([(b"x", Address("localhost", 9)), (b"x", Address("::1%lo", 9)), (b"x", Address("1.2", 9))])
        self.assertEqual(port.counters["noAddress"], 3)

    def test_counted(self) -> None:
        """What the system does not take is counted by the error's name."""
        port = self.udpPort()
        port.open()
        port.send([(b"x", Address("192.0.2.1", 9)), (b"x" * 65536, Address("127.0.0.1", 9))])
        self.assertEqual(dict(port.counters), {"ENETUNREACH": 1, "EMSGSIZE": 1})

    def test_refusedPeer(self) -> None:
        """A closed port at the other end (ICMP) disturbs nothing."""
        one, _ = self.opened()
        two, received = self.opened()
        for _ in range(3):
            one.send([(b"x", Address("127.0.0.1", 9))])
            self.turn()
        one.send([(b"y", Address("127.0.0.1", two.port))])
        self.turn()
        self.assertEqual([data for data, _ in received], [b"y"])

    def test_batch(self) -> None:
        """A wake hands over what has gathered, 64 datagrams at most; large buffers hold a burst."""
        one, two = self.udpPort(), self.udpPort()
        sizes: list[int] = []
        for port in (one, two):
            port.open()
        two.start(lambda trains: sizes.append(sum(train.datagramCount for train in trains)))
        one.send([(b"x" * 1400, Address("127.0.0.1", two.port))] * 2000)
        self.turn()
        self.assertEqual(sum(sizes), 2000)
        self.assertGreater(max(sizes), 1)

    def test_lane(self) -> None:
        """
        Who fills the queue gets one of its own, and all that it sends comes still; others are not held up by what waits there, and
        no other program gets onto the port.
        """
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            port, received = self.opened()
            assert isinstance(port, UdpPort)
            bulk, other = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(2))
            for program in (bulk, other):
                self.addCleanup(program.close)
                program.bind((host, 0))
            source = Address(host, bulk.getsockname()[1])
            self.fill(bulk, (host, port.port))
            self.turn()
            self.assertEqual(list(port._lanes), [], "a stranger has got a lane")
            port.send([(b"hello", source)])
            self.fill(bulk, (host, port.port))
            self.turn()
            self.assertEqual(list(port._lanes), [source])
            received.clear()
            self.fill(bulk, (host, port.port))
            other.sendto(b"ping", (host, port.port))
            port.doRead()
            self.assertEqual([data for data, _ in received], [b"ping"])
            self.turn()
            self.assertEqual(len(received), 601)
            self.assertRaises(ConfigurationError, self.udpPort(port.port).open)
            stranger = socket.socket(family, socket.SOCK_DGRAM)
            self.addCleanup(stranger.close)
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            self.assertRaises(OSError, stranger.bind, (host, port.port))
            port.close()
            self.assertEqual(port.dropped(), Counter())

    def fill(self, program: socket.socket, to: tuple[str, int]) -> None:
        """Send 600 datagrams of 1,000 bytes."""
        for _ in range(600):
            program.sendto(b"x" * 1000, to)

    def test_laneEnds(self) -> None:
        """When a lane ends, what waits in it is not lost, and what comes then comes as before."""
        port, received = self.opened()
        assert isinstance(port, UdpPort)
        bulk = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(bulk.close)
        bulk.bind(("127.0.0.1", 0))
        to = ("127.0.0.1", port.port)
        port.send([(b"hello", Address("127.0.0.1", bulk.getsockname()[1]))])
        self.fill(bulk, to)
        self.turn()
        self.reactor.advance(IDLE)
        received.clear()
        bulk.sendto(b"late", to)
        self.reactor.advance(IDLE)
        self.assertEqual(len(port._lanes), 0)
        bulk.sendto(b"later", to)
        self.turn()
        self.assertEqual([data for data, _ in received], [b"late", b"later"])

    def test_overflown(self) -> None:
        """What the system drops since nobody has read it in time is counted."""
        port = self.udpPort()
        port.open()
        program = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(program.close)
        for _ in range(30_000):
            program.sendto(b"x" * 1000, ("127.0.0.1", port.port))
        lost = port.dropped()["receiveQueueFull"]
        self.assertGreater(lost, 0)
        port.close()
        self.assertEqual(port.dropped()["receiveQueueFull"], lost)

    def test_noDontFragment(self) -> None:
        """Datagrams leave without the don't-fragment bit: one larger than the MTU is fragmented."""
        command("ip link add wan0 mtu 1300 type veth peer name wan1 mtu 1300")
        for line in ("addr add 192.0.2.1/24 dev wan0", "link set wan0 up", "link set wan1 up"):
            command(f"ip {line}")
        command("ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev wan0")
        listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
        self.addCleanup(listener.close)
        listener.bind(("wan1", 0x0800))
        listener.settimeout(2)
        port = self.udpPort()
        port.open()
        port.send([(b"x" * 1400, Address("192.0.2.2", 9))])
        flags = [listener.recv(2000)[20] & 0xE0 for _ in range(2)]
        self.assertEqual(flags, [0x20, 0x00])
        self.assertEqual(port.counters, {})

    def test_wholeOnly(self) -> None:
        """What is not to be fragmented leaves with the don't-fragment bit, or not at all where it is too long: that is said."""
        command("ip link add wan0 mtu 1300 type veth peer name wan1 mtu 1300")
        for line in (
            "addr add 192.0.2.1/24 dev wan0",
            "addr add 2001:db8::1/64 dev wan0 nodad",
            "link set wan0 up",
            "link set wan1 up",
        ):
            command(f"ip {line}")
        for neighbour in ("192.0.2.2", "2001:db8::2"):
            command(f"ip neigh add {neighbour} lladdr 02:00:00:00:00:02 dev wan0")
        listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
        self.addCleanup(listener.close)
        listener.bind(("wan1", 0x0003))
        listener.settimeout(2)
        port = self.udpPort()
        port.open()
        for host, room in (("192.0.2.2", 1272), ("2001:db8::2", 1252)):
            self.assertTrue(port.sendWhole(b"w" * room, Address(host, 9)))
            self.assertFalse(port.sendWhole(b"w" * (room + 4), Address(host, 9)))
            port.send([(b"f" * (room + 4), Address(host, 9))])
        self.assertEqual(port.counters, {})
        frames = iter(lambda: listener.recv(2000), b"")
        ours = islice((frame for frame in frames if frame[-4:] in (b"wwww", b"ffff")), 6)
        kinds = [(frame[12:14].hex(), len(frame) - 14, frame[20] & 0xE0) for frame in ours]
        self.assertEqual(kinds[:3], [("0800", 1300, 0x40), ("0800", 1300, 0x20), ("0800", 24, 0x00)])
        self.assertEqual([each[:2] for each in kinds[3:]], [("86dd", 1300), ("86dd", 1296), ("86dd", 64)])

    def test_ipv4Only(self) -> None:
        """Where the kernel has no IPv6 sockets, the port is one of IPv4 and has IPv4 addresses only."""
        self.patch(socket, "socket", refuseIpv6)
        addInterface("wan0")
        command("ip addr add 192.0.2.1/24 dev wan0")
        command("ip addr add 2001:db8::1/64 dev wan0 nodad")
        port, received = self.opened()
        port.send([(b"x", Address("127.0.0.1", port.port)), (b"x", Address("::1", port.port))])
        self.turn()
        self.assertEqual(received, [(b"x", Address("127.0.0.1", port.port))])
        self.assertEqual(port.localAddresses(), ("192.0.2.1",))

    def test_badPort(self) -> None:
        """Numbers that are no ports are refused in one line."""
        for number in (-1, 65536):
            self.assertRaises(ConfigurationError, self.udpPort(number).open)

    def test_ownAddresses(self) -> None:
        """
        Addresses of other interfaces count, those of loopback and of the overlay do not; they are read anew
        for whoever is told of a change.
        """
        for name, addresses in (
            ("wan0", ("192.0.2.1/24", "2001:db8::1/64")),
            ("vnet0", ("198.51.100.1/24",)),
        ):
            addInterface(name)
            for address in addresses:
                command(f"ip addr add {address} dev {name}" + (" nodad" if ":" in address else ""))
        port = self.udpPort()
        port.open()
        self.assertEqual(port.localAddresses(), ("192.0.2.1", "2001:db8::1"))
        command("ip addr add 192.0.2.7/32 dev wan0")
        command("ip addr add 100.64.0.7/32 dev wan0")
        self.assertEqual(len(port.localAddresses()), 2)
        self.reactor.advance(DEBOUNCE)
        self.assertEqual(port.localAddresses(), ("192.0.2.1", "192.0.2.7", "2001:db8::1"))
