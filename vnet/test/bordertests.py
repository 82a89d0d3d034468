"""
What holds for every L{IDevice} and every L{IDatagramPort}: mixins that run on the doubles and on the real ones.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from vnet.errors import ConfigurationError
from vnet.interfaces import IDatagramPort, IDevice
from vnet.protocols.codec import virtio
from vnet.protocols.codec.ethernet import memberMac
from vnet.test.test_ip import A4
from vnet.testing import datagramsOf
from vnet.values import Address

__all__ = ["ARGUMENTS", "EXPERIMENTAL", "DeviceContract", "PortContract", "frame"]

ARGUMENTS = ("100.64.0.1", "100.64.0.0/10", "fd76:1:2::1", "fd76:1:2::/48")
#: An ether type for experiments (IEEE 802, RFC 9542): no operating system sends it by itself.
EXPERIMENTAL = b"\x88\xb5"


def frame(number: int, size: int = 100) -> bytes:
    """A frame that only tests send."""
    return memberMac(A4) + b"\x02\x76\x64\x40\x00\x02" + EXPERIMENTAL + bytes((number,)) * size


class DeviceContract(SynchronousTestCase):
    """
    @ivar device: a new one; a subclass makes it in C{setUp}.
    """

    __test__ = False

    device: IDevice

    def systemSends(self, frames: Sequence[bytes]) -> None:
        """Have the operating system send frames by the interface, and let the device read them."""
        raise NotImplementedError

    def systemGot(self) -> list[bytes]:
        """The frames for experiments that the operating system has got since the last time."""
        raise NotImplementedError

    def blockedBy(self, prefix: str, interface: str) -> None:
        """Give the computer another interface with a route."""
        raise NotImplementedError

    def started(self) -> list[bytes]:
        """Open, configure and start; the list gets the frames for experiments."""
        received: list[bytes] = []
        self.device.open()
        self.device.configure(*ARGUMENTS)
        self.device.start(
            lambda frames: received.extend(
                bytes(each)[virtio.SIZE :] for each in frames if bytes(each)[22:24] == EXPERIMENTAL
            )
        )
        return received

    def write(self, *frames: bytes) -> None:
        """Hand finished frames to the operating system."""
        self.device.write([(virtio.FINISHED, each) for each in frames])

    def test_provides(self) -> None:
        """It provides IDevice."""
        self.assertTrue(verifyObject(IDevice, self.device))

    def test_read(self) -> None:
        """Frames that the operating system sends are received complete and in order."""
        received = self.started()
        sent = [frame(number, 46 + number) for number in range(200)]
        for start in range(0, 200, 50):
            self.systemSends(sent[start : start + 50])
        self.assertEqual(received, sent)

    def test_largest(self) -> None:
        """A frame with a packet as large as the MTU passes whole, both ways."""
        received = self.started()
        self.systemSends([frame(1, self.device.mtu)])
        self.write(frame(2, self.device.mtu))
        self.assertEqual(
            (received, self.systemGot()), ([frame(1, self.device.mtu)], [frame(2, self.device.mtu)])
        )

    def test_write(self) -> None:
        """Frames that are written reach the operating system in order; one that is none costs no other."""
        self.started()
        self.write(frame(1), b"", b"short", frame(2))
        self.assertEqual([each for each in self.systemGot() if len(each) > 14], [frame(1), frame(2)])

    def test_mac(self) -> None:
        """The MAC is unicast and locally administered from the start, and then the one of the address."""
        self.device.open()
        self.assertEqual((len(self.device.mac), self.device.mac[0] & 3), (6, 2))
        self.device.configure(*ARGUMENTS)
        self.assertEqual(self.device.mac, memberMac(A4))

    def test_configureAgain(self) -> None:
        """A second configuration, the same or another, replaces the first; frames go on passing."""
        received = self.started()
        self.device.configure(*ARGUMENTS)
        self.device.configure("100.64.0.9", "100.64.0.0/16", *ARGUMENTS[2:])
        self.systemSends([frame(1)])
        self.assertEqual(received, [frame(1)])

    def test_overlap(self) -> None:
        """A block that overlaps another interface's is refused in one line that names both, and the interface."""
        self.blockedBy("100.100.0.0/16", "office0")
        self.device.open()
        error = self.assertRaises(ConfigurationError, self.device.configure, *ARGUMENTS)
        for part in ("100.64.0.0/10", "100.100.0.0/16", "office0"):
            self.assertIn(part, str(error))
        self.assertEqual(len(str(error).splitlines()), 1)

    def test_overlap6(self) -> None:
        """The same holds for the IPv6 block."""
        self.blockedBy("fd76:1::/32", "office0")
        self.device.open()
        error = self.assertRaises(ConfigurationError, self.device.configure, *ARGUMENTS)
        self.assertIn("fd76:1:2::/48", str(error))

    def test_closed(self) -> None:
        """It may be closed in any state and twice; afterwards writing does nothing."""
        self.device.close()
        self.started()
        self.device.close()
        self.device.close()
        self.write(frame(1))

    def test_reopened(self) -> None:
        """It may be opened again after it was closed."""
        self.started()
        self.device.close()
        received = self.started()
        self.systemSends([frame(1)])
        self.assertEqual(received, [frame(1)])


class PortContract(SynchronousTestCase):
    """
    @ivar host: an address of the computer.
    @ivar host6: one of IPv6.
    """

    __test__ = False

    host: str
    host6: str

    def newPort(self, number: int = 0) -> IDatagramPort:
        """A port of the computer that has the addresses, new; it is closed at the end of the test."""
        raise NotImplementedError

    def turn(self) -> None:
        """Let what is under way arrive."""
        raise NotImplementedError

    def opened(self) -> tuple[IDatagramPort, list[tuple[bytes, Address]]]:
        """A port that is started, and what it receives."""
        port = self.newPort()
        received: list[tuple[bytes, Address]] = []
        port.open()
        port.start(lambda trains: received.extend(datagramsOf(trains)))
        return port, received

    def test_provides(self) -> None:
        """It provides IDatagramPort."""
        self.assertTrue(verifyObject(IDatagramPort, self.newPort()))

    def test_both(self) -> None:
        """IPv4 and IPv6 datagrams arrive whole and in order, with their sources in canonical form."""
        one, _ = self.opened()
        two, received = self.opened()
        for host in (self.host, self.host6):
            data = [bytes((number,)) * number for number in range(1, 90)]
            one.send([(each, Address(host, two.port)) for each in data])
            self.turn()
            self.assertEqual(received, [(each, Address(host, one.port)) for each in data])
            received.clear()

    def test_sizes(self) -> None:
        """The empty datagram and one that must be fragmented pass."""
        one, _ = self.opened()
        two, received = self.opened()
        data = [b"", b"x" * 3000]
        one.send([(each, Address(self.host, two.port)) for each in data])
        self.turn()
        self.assertEqual([each for each, _ in received], data)

    def test_whole(self) -> None:
        """A datagram that is not to be fragmented arrives where it fits; the others are fragmented as before."""
        one, _ = self.opened()
        two, received = self.opened()
        for host in (self.host, self.host6):
            self.assertTrue(one.sendWhole(b"x" * 1200, Address(host, two.port)))
            one.send([(b"y" * 3000, Address(host, two.port))])
            self.turn()
            self.assertEqual(
                [(len(data), addr) for data, addr in received],
                [(size, Address(host, one.port)) for size in (1200, 3000)],
            )
            received.clear()

    def test_answer(self) -> None:
        """What is sent to the source of a datagram comes back to its sender."""
        one, received = self.opened()
        two, questions = self.opened()
        one.send([(b"?", Address(self.host, two.port))])
        self.turn()
        two.send([(b"!", questions[0][1])])
        self.turn()
        self.assertEqual(received, [(b"!", Address(self.host, two.port))])

    def test_unsendable(self) -> None:
        """Datagrams that cannot be sent cost no other one, and nothing is raised."""
        one, _ = self.opened()
        two, received = self.opened()
        nowhere = [
            Address("240.0.0.1", 9),
            Address("2001:db8:dead::1", 9),
            Address("255.255.255.255", 9),
            Address(self.host, 0),
        ]
        one.send([*((b"x", addr) for addr in nowhere), (b"y", Address(self.host, two.port))])
        self.turn()
        self.assertEqual([data for data, _ in received], [b"y"])

    def test_inUse(self) -> None:
        """A port that is taken is refused in one line with its number; once it is free it can be had."""
        one, _ = self.opened()
        number = one.port
        two = self.newPort(number)
        error = self.assertRaises(ConfigurationError, two.open)
        self.assertIn(str(number), str(error))
        self.assertEqual(len(str(error).splitlines()), 1)
        one.close()
        two.open()
        self.assertEqual(two.port, number)

    def test_localAddresses(self) -> None:
        """Its own addresses are canonical, and none twice."""
        port, _ = self.opened()
        found = port.localAddresses()
        self.assertEqual(len(set(found)), len(found))

    def test_closed(self) -> None:
        """It may be closed in any state and twice; then it has no port, receives nothing and sends nothing."""
        port = self.newPort()
        port.close()
        one, _ = self.opened()
        two, received = self.opened()
        number = two.port
        two.close()
        two.close()
        self.assertEqual(two.port, 0)
        one.send([(b"x", Address(self.host, number))])
        two.send([(b"x", Address(self.host, one.port))])
        self.turn()
        self.assertEqual(received, [])
