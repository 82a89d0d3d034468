"""
Tests for L{vnet.client.names.responder}.
"""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.names.responder import DatagramResponder, Responder
from vnet.errors import DecodeError

OWN, OWN6, OTHER = "100.64.0.1", "fd00::1", "100.64.0.7"


def answer(data: bytes, maximum: int) -> bytes | None:
    if data == b"bad":
        raise DecodeError("bad")
    return None if data == b"answer" else b"%d to " % maximum + data


class Reactor(MemoryReactorClock):
    """
    Of the addresses in C{refuses} no port can be had.
    """

    refuses: dict[str, int] = {}

    def listenUDP(self, port: int, protocol: Any, interface: str = "", maxPacketSize: int = 8192) -> Any:
        if interface in self.refuses:
            raise CannotListenError(interface, port, OSError(self.refuses[interface], "no"))
        udp = self.listenTCP(port, protocol, 0, interface)
        self.tcpServers.pop()
        self.udpServers = [*getattr(self, "udpServers", []), (interface, protocol, udp)]
        return udp


class Datagrams:
    """
    A transport that keeps what is written.
    """

    def __init__(self) -> None:
        self.written: list[tuple[bytes, Any]] = []

    def write(self, data: bytes, addr: Any) -> None:
        self.written.append((data, addr))


class ResponderTests(SynchronousTestCase):
    """
    Tests of L{Responder}.
    """

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.reactor.refuses = {}
        self.responder = Responder(self.reactor)

    def udp(self) -> tuple[DatagramResponder, Datagrams]:
        self.assertEqual(self.responder.open((OWN, OWN6), answer), "")
        protocol, transport = self.reactor.udpServers[0][1], Datagrams()
        protocol.transport = transport
        return protocol, transport

    def connect(self, host: str = OWN) -> tuple[Any, StringTransport]:
        factory = self.reactor.tcpServers[0][1]
        protocol, transport = factory.buildProtocol(IPv4Address("TCP", host, 4000)), StringTransport()
        if protocol is not None:
            protocol.makeConnection(transport)
        return protocol, transport

    def test_addresses(self) -> None:
        """
        Port 53 of each address is served, over UDP and TCP, and of no other; then that of the next ones.
        """
        self.udp()
        self.assertEqual(
            [(port, where) for port, _, _, where in self.reactor.tcpServers], [(53, OWN), (53, OWN6)]
        )
        self.assertEqual([where for where, _, _ in self.reactor.udpServers], [OWN, OWN6])
        self.assertEqual(self.responder.serving, (OWN, OWN6))
        self.responder.open((OTHER,), answer)
        self.assertEqual(self.responder.serving, (OTHER,))
        self.responder.close()
        self.assertEqual(self.responder.serving, ())

    def test_udp(self) -> None:
        """
        A question from this computer is answered; nothing is said to others, to garbage and to answers.
        """
        protocol, transport = self.udp()
        for data, host in ((b"a", OWN), (b"b", OTHER), (b"bad", OWN), (b"answer", OWN)):
            protocol.datagramReceived(data, (host, 4000))
        self.assertEqual(transport.written, [(b"512 to a", (OWN, 4000))])
        self.assertEqual(self.responder.counters, {"fromOthers": 1, "malformed": 1})

    def test_rate(self) -> None:
        """
        Answers are bounded: 500 a second.
        """
        protocol, transport = self.udp()
        for _ in range(2000):
            protocol.datagramReceived(b"a", (OWN, 4000))
        self.assertEqual(len(transport.written), 500)
        self.reactor.advance(1)
        protocol.datagramReceived(b"a", (OWN, 4000))
        self.assertEqual(len(transport.written), 501)

    def test_tcp(self) -> None:
        """
        Questions in a stream are answered, of any size; a connection with garbage in it, or idle for 10 s, ends.
        """
        self.udp()
        protocol, transport = self.connect()
        protocol.dataReceived(b"\0\1a\0\1")
        protocol.dataReceived(b"b")
        self.assertEqual(transport.value(), b"\0\6" + b"0 to a" + b"\0\6" + b"0 to b")
        protocol.dataReceived(b"\0\3bad")
        self.assertTrue(transport.disconnecting)
        _, idle = self.connect()
        self.reactor.advance(11)
        self.assertTrue(idle.disconnecting)
        protocol, large = self.connect()
        protocol.dataReceived(b"\xff\xff")
        self.assertTrue(large.disconnecting)

    def test_connections(self) -> None:
        """
        A peer gets no connection, and this computer 32 of them.
        """
        self.udp()
        self.assertIsNone(self.connect(OTHER)[0])
        protocols = [self.connect()[0] for _ in range(32)]
        self.assertIsNone(self.connect()[0])
        protocols[0].connectionLost()
        self.assertIsNotNone(self.connect()[0])

    def test_taken(self) -> None:
        """
        Where the port is taken or not allowed, that is said in one line; IPv6 may be missing.
        """
        for number, text in (
            (errno.EADDRINUSE, "another program has port 53 of 100.64.0.1"),
            (errno.EACCES, "CAP_NET_BIND_SERVICE"),
            (errno.EIO, "no"),
        ):
            self.reactor.refuses = {OWN: number}
            self.assertIn(text, self.responder.open((OWN, OWN6), answer))
            self.assertEqual(self.responder.serving, ())
        self.reactor.refuses = {OWN6: errno.EADDRNOTAVAIL}
        self.assertEqual(self.responder.open((OWN, OWN6), answer), "")
        self.assertEqual(self.responder.serving, (OWN,))
