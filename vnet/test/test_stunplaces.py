"""
Tests for L{vnet.server.stunplaces}, L{vnet.server.everyaddress} and L{vnet.server.stunsockets}.
"""

from __future__ import annotations

import errno
import os
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.interfaceaddresses import InterfaceAddress
from vnet.protocols.machine.stunorigins import Origins
from vnet.server import stunsockets
from vnet.server.everyaddress import EveryAddress
from vnet.server.stunplaces import publicPairs, serveSecond
from vnet.server.stunsockets import StunSockets
from vnet.values import Address


def _at(*addresses: str, interface: str = "eth0", **more: bool) -> list[InterfaceAddress]:
    return [InterfaceAddress(address, f"{address}/32", interface, **more) for address in addresses]


class Host:
    """
    A host that opens sockets, some of which it cannot.

    @ivar taken: ports that others have, by address; an empty one is all of them.
    """

    def __init__(self, *addresses: str, taken: tuple[tuple[str, int], ...] = ()) -> None:
        self.origins: Origins[str] = Origins()
        self.addresses = list(addresses)
        self.taken = taken
        self.everywhere = EveryAddress(self.origins, self._bind, self._close)

    def _bind(self, host: str, port: int) -> int:
        if (host, port) in self.taken or Address(host, port) in self.origins:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        if host.startswith("fe80"):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self.origins.add(Address(host, port or 40000), f"{host} {port or 40000}")
        return port or 40000

    def _close(self, address: Address) -> None:
        self.origins.remove(f"{address.host} {address.port}")

    def listenUdp(self, host: str, port: int) -> int:
        if host:
            return self._bind(host, port)
        return self.everywhere.listen(self.addresses[0], self.addresses, port)

    def open(self, *places: tuple[str, int]) -> list[Address]:
        return [Address(host, self.listenUdp(host, port)) for host, port in places]


class PairTests(SynchronousTestCase):
    def pairs(self, found: list[InterfaceAddress], outward: dict[int, str]) -> list[tuple[str, str]]:
        return list(publicPairs(found, outward))

    def test_pairs(self) -> None:
        """Of each family the outward address and the next one of its interface are a pair."""
        found = _at("198.51.100.1", "198.51.100.2", "198.51.100.3", "2001:db8::1", "2001:db8::2")
        self.assertEqual(
            self.pairs(found, {4: "198.51.100.2", 6: "2001:db8::2"}),
            [("198.51.100.2", "198.51.100.1"), ("2001:db8::2", "2001:db8::1")],
        )

    def test_none(self) -> None:
        """
        There is no pair of one address, of private ones, of another interface's, of IPv6 addresses that will not last, and where
        there is no way out.
        """
        one = _at("198.51.100.1")
        for more in (
            [],
            _at("192.168.1.1", "10.0.0.1", "100.64.0.1", "2001:db8::1"),
            _at("198.51.100.2", interface="eth1"),
            _at("198.51.100.2", usable=False),
        ):
            self.assertEqual(self.pairs(one + more, {4: "198.51.100.1"}), [], more)
        self.assertEqual(self.pairs(_at("10.0.0.1", "198.51.100.1"), {4: "10.0.0.1"}), [])
        lasting, passing = _at("2001:db8::1", "fd00::1"), _at("2001:db8::2", temporary=True)
        self.assertEqual(self.pairs(lasting + passing, {6: "2001:db8::1"}), [])
        self.assertEqual(self.pairs(lasting + passing, {6: "2001:db8::2"}), [])
        self.assertEqual(self.pairs(one, {}), [])


class SecondTests(SynchronousTestCase):
    def serve(
        self, host: Host, *places: tuple[str, int], pairs: tuple[tuple[str, str], ...] = ()
    ) -> tuple[list[str], list[str]]:
        """
        What nodes are told, and the log.
        """
        found = serveSecond(host, host.open(*places), pairs, "--stun=IP:PORT")
        return [str(each) for each in found.advertised], list(found.lines)

    def test_oneAddress(self) -> None:
        """All addresses of a host get the next port too; one line says that one address is not enough."""
        host = Host("198.51.100.1", "127.0.0.1", "fe80::1")
        told, lines = self.serve(host, ("", 3478))
        self.assertEqual(told, [":3478", ":3479"])
        self.assertIn(Address("127.0.0.1", 3479), host.origins)
        self.assertEqual(len(lines), 1)
        self.assertIn("STUN on one address", lines[0])
        self.assertIn("--stun=IP:PORT", lines[0])
        self.assertIsNone(host.origins.other(Address("198.51.100.1", 3478)))

    def test_found(self) -> None:
        """
        A pair that was found is told by its addresses, ahead of the one that the node knows, and one line says so.
        """
        host = Host("198.51.100.1", "198.51.100.2", "192.168.1.1")
        told, lines = self.serve(host, ("", 3478), pairs=(("198.51.100.1", "198.51.100.2"),))
        four = ["198.51.100.1:3478", "198.51.100.1:3479", "198.51.100.2:3478", "198.51.100.2:3479"]
        self.assertEqual(told, [*four, ":3478", ":3479"])
        self.assertEqual(
            lines,
            ["STUN as in RFC 5780, on two addresses: 198.51.100.1 and 198.51.100.2, ports 3478 and 3479"],
        )
        self.assertEqual(host.origins.other(Address("198.51.100.2", 3479)), Address("198.51.100.1", 3478))
        self.assertIsNone(host.origins.other(Address("192.168.1.1", 3478)))

    def test_named(self) -> None:
        """Two addresses that were named, private or not, are a pair; those that were only found are none."""
        host = Host("10.0.0.1", "10.0.0.2")
        told, lines = self.serve(
            host, ("10.0.0.1", 3478), ("10.0.0.2", 3478), pairs=(("1.1.1.1", "1.1.1.2"),)
        )
        self.assertEqual(told, ["10.0.0.1:3478", "10.0.0.1:3479", "10.0.0.2:3478", "10.0.0.2:3479"])
        self.assertIn("on two addresses: 10.0.0.1 and 10.0.0.2", lines[0])

    def test_translated(self) -> None:
        """An address that others see as another one is in no pair: its partner's other name is not known."""
        host = Host()
        served = host.open(("10.0.0.1", 3478), ("10.0.0.2", 3478))
        found = serveSecond(host, served, (), "--listen=IP", {"10.0.0.1"})
        self.assertIn("STUN on one address", found.lines[0])
        self.assertIsNone(host.origins.other(Address("10.0.0.2", 3478)))

    def test_namedPorts(self) -> None:
        """Two ports that were named are the two, on each address."""
        host = Host()
        told, lines = self.serve(host, ("10.0.0.1", 3478), ("10.0.0.2", 5000))
        self.assertEqual(told, ["10.0.0.1:3478", "10.0.0.1:5000", "10.0.0.2:3478", "10.0.0.2:5000"])
        self.assertEqual(len(lines), 1)

    def test_families(self) -> None:
        """An address of each family is one address, with two ports each."""
        told, lines = self.serve(Host(), ("10.0.0.1", 3478), ("2001:db8::1", 3478))
        self.assertEqual(told, ["10.0.0.1:3478", "10.0.0.1:3479", "[2001:db8::1]:3478", "[2001:db8::1]:3479"])
        self.assertIn("STUN on one address", lines[0])

    def test_taken(self) -> None:
        """Where the second port is taken it goes on without, on all addresses, and one line says so."""
        host = Host("198.51.100.1", "127.0.0.1", taken=(("127.0.0.1", 3479),))
        told, lines = self.serve(host, ("", 3478))
        self.assertEqual(told, [":3478"])
        self.assertEqual(len(lines), 2)
        self.assertIn("without UDP port 3479: Address already in use", lines[0])
        self.assertNotIn(Address("198.51.100.1", 3479), host.origins)

    def test_takenOfPair(self) -> None:
        """Where one of the four is taken the others are served, and nothing claims to be complete."""
        host = Host(taken=(("10.0.0.2", 3479),))
        told, lines = self.serve(host, ("10.0.0.1", 3478), ("10.0.0.2", 3478))
        self.assertEqual(told, ["10.0.0.1:3478", "10.0.0.1:3479", "10.0.0.2:3478"])
        self.assertEqual(lines, ["STUN goes without UDP port 3479 of 10.0.0.2: Address already in use"])

    def test_mixed(self) -> None:
        """All addresses, and one of them with its own port: nothing is taken twice."""
        host = Host("198.51.100.1", "127.0.0.1")
        told, lines = self.serve(host, ("", 3478), ("127.0.0.1", 5000))
        self.assertEqual(told, [":3478", ":5000", "127.0.0.1:3478", "127.0.0.1:5000"])
        self.assertEqual(len(lines), 1)

    def test_any(self) -> None:
        """With port 0, the second one follows the one that the system chose."""
        told, _lines = self.serve(Host("198.51.100.1"), ("", 0))
        self.assertEqual(told, [":40000", ":40001"])

    def test_lastPort(self) -> None:
        """After port 65535 there is none."""
        told, lines = self.serve(Host("198.51.100.1"), ("", 65535))
        self.assertEqual((told, len(lines)), ([":65535"], 1))

    def test_many(self) -> None:
        """What the operator named is told ahead of second ports where a node would not take all."""
        named = [(f"10.0.0.{n}", 3478) for n in range(1, 7)]
        told, _lines = self.serve(Host(), *named)
        self.assertEqual(told[:6], [f"{host}:{port}" for host, port in named])
        self.assertEqual(len(told), 12)


class EveryAddressTests(SynchronousTestCase):
    def test_follow(self) -> None:
        """Addresses that come are served on each port, those that go are not, and those that come back are again."""
        host = Host("198.51.100.1", "198.51.100.2")
        host.open(("", 3478), ("", 3479))

        def served(address: str) -> list[bool]:
            return [Address(address, port) in host.origins for port in (3478, 3479)]

        host.everywhere.follow(["198.51.100.1", "198.51.100.3"])
        self.assertEqual(
            [served(f"198.51.100.{n}") for n in (1, 2, 3)], [[True] * 2, [False] * 2, [True] * 2]
        )
        host.everywhere.follow(["198.51.100.1", "198.51.100.2"])
        self.assertEqual([served(f"198.51.100.{n}") for n in (2, 3)], [[True] * 2, [False] * 2])

    def test_inUse(self) -> None:
        """A port that another program has on one address is not served at all, unless any port would have done."""
        host = Host("198.51.100.1", "127.0.0.1", taken=(("127.0.0.1", 3478), ("127.0.0.1", 40000)))
        error: Any = self.assertRaises(OSError, host.open, ("", 3478))
        self.assertEqual(error.errno, errno.EADDRINUSE)
        self.assertNotIn(Address("198.51.100.1", 3478), host.origins)
        self.assertFalse(host.everywhere)
        self.assertEqual(host.open(("", 0)), [Address("", 40000)])


class UdpReactor(Clock):
    """
    A reactor that opens UDP ports, some of which it cannot.
    """

    def __init__(self, **failures: int) -> None:
        super().__init__()
        self.failures = failures
        self.open: list[tuple[str, int]] = []

    def listenUDP(self, port: int, protocol: Any, interface: str, maxPacketSize: int) -> Any:
        code = self.failures.get(interface)
        if code is not None:
            raise CannotListenError(interface, port, OSError(code, os.strerror(code)))
        place = (interface, port)
        self.open.append(place)
        return UdpPort(self.open, place)


class UdpPort:
    def __init__(self, opened: list[tuple[str, int]], place: tuple[str, int]) -> None:
        self._open = opened
        self._place = place

    def getHost(self) -> IPv4Address:
        return IPv4Address("UDP", *self._place)

    def stopListening(self) -> None:
        self._open.remove(self._place)


class SocketsTests(SynchronousTestCase):
    """
    L{StunSockets}.
    """

    def found(self, *addresses: str) -> None:
        """
        This host has these addresses; none: the system does not tell.
        """
        self.patch(stunsockets, "ownAddresses", lambda: _at(*addresses))
        self.patch(stunsockets, "outwardAddresses", dict)

    def test_everywhere(self) -> None:
        """Each address has a socket, one that is named has one, and at the end there is none."""
        self.found("198.51.100.1", "127.0.0.1", "::1")
        reactor = UdpReactor()
        sockets = StunSockets(reactor)
        self.assertEqual(sockets.listenUdp("", 3478), 3478)
        self.assertEqual(sockets.listenUdp("198.51.100.1", 5000), 5000)
        hosts = ["127.0.0.1", "198.51.100.1", "::1"]
        self.assertEqual(
            sorted(reactor.open), sorted([*((host, 3478) for host in hosts), ("198.51.100.1", 5000)])
        )
        self.successResultOf(Deferred.fromCoroutine(sockets.stop()))
        self.assertEqual(reactor.open, [])

    def test_unknown(self) -> None:
        """
        Where the system does not tell its addresses there is one socket of all, of both families if there are two.
        """
        self.found()
        for reactor, host in ((UdpReactor(), "::"), (UdpReactor(**{"::": errno.EAFNOSUPPORT}), "0.0.0.0")):
            self.assertEqual(StunSockets(reactor).listenUdp("", 3478), 3478)
            self.assertEqual(reactor.open, [(host, 3478)])

    def test_inUse(self) -> None:
        """A port that is in use is an error of the system, in both cases."""
        for addresses, busy in (((), "::"), (("198.51.100.1", "127.0.0.1"), "127.0.0.1")):
            self.found(*addresses)
            reactor = UdpReactor(**{busy: errno.EADDRINUSE})
            error: Any = self.assertRaises(OSError, StunSockets(reactor).listenUdp, "", 3478)
            self.assertEqual((error.errno, reactor.open), (errno.EADDRINUSE, []))
