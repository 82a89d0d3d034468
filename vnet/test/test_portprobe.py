"""
Tests for L{vnet.server.portprobe}, and for who is sent such a datagram.
"""

from __future__ import annotations

import socket

from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols import control
from vnet.protocols.codec.stun import BINDING, Class, decode
from vnet.server.portprobe import probePort
from vnet.test.mediatorlab import Lab, NodeClient
from vnet.values import Address

TOKEN = b"twelve bytes"


class ProbeTests(SynchronousTestCase):
    """
    L{probePort}.
    """

    def test_sent(self) -> None:
        """One indication with the token arrives, of each family, each from another port."""
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with socket.socket(family, socket.SOCK_DGRAM) as target:
                target.bind((host, 0))
                target.settimeout(5)
                ports = set()
                for _ in range(3):
                    probePort(Address(host, target.getsockname()[1]), TOKEN)
                    data, source = target.recvfrom(2048)
                    message = decode(data)
                    self.assertEqual((message.method, message.klass), (BINDING, Class.INDICATION))
                    self.assertEqual((message.transactionId, len(data)), (TOKEN, 20))
                    ports.add(source[1])
                self.assertGreater(len(ports), 1)


class TestPortTests(SynchronousTestCase):
    """
    The command C{TestPort}.
    """

    def setUp(self) -> None:
        self.lab = Lab()
        self.sent: list[tuple[Address, bytes]] = []
        self.lab.mediator._probe = lambda address, token: self.sent.append((address, token))

    def node(self, name: str, host: str) -> NodeClient:
        """
        A node that is logged in from an address.
        """
        client = self.lab.connect(name, host=host)
        self.lab.call(client, control.Login, **client.credentials())
        return client

    def test_own(self) -> None:
        """The datagram goes to the address of the connection, which the answer names."""
        for number, host in enumerate(("198.51.100.7", "2001:db8::7")):
            node = self.node(f"n{number}", host)
            answer = self.lab.call(node, control.TestPort, port=41641, token=TOKEN)
            self.assertEqual(answer, {"host": host})
            self.assertEqual(self.sent.pop(), (Address(host, 41641), TOKEN))

    def test_seldom(self) -> None:
        """A node gets one in ten seconds; others are not hindered by it."""
        node, other = self.node("a", "198.51.100.7"), self.node("b", "198.51.100.8")
        self.lab.call(node, control.TestPort, port=1, token=TOKEN)
        for _ in range(5):
            with self.assertRaises(control.TooMany):
                self.lab.call(node, control.TestPort, port=2, token=TOKEN)
        self.lab.call(other, control.TestPort, port=1, token=TOKEN)
        self.lab.clock.advance(10.1)
        self.lab.call(node, control.TestPort, port=2, token=TOKEN)
        self.assertEqual(len(self.sent), 3)

    def test_newSession(self) -> None:
        """Another session of the same node is no way around that."""
        self.lab.call(self.node("a", "198.51.100.7"), control.TestPort, port=1, token=TOKEN)
        with self.assertRaises(control.TooMany):
            self.lab.call(self.node("a", "198.51.100.7"), control.TestPort, port=2, token=TOKEN)

    def test_refused(self) -> None:
        """Nothing is sent to this host itself, which a proxy seems to come from, nor to no port, nor with another token."""
        for number, host in enumerate(("127.0.0.1", "::1", "0.0.0.0", "224.0.0.1", "fe80::1")):
            with self.assertRaises(control.Denied):
                self.lab.call(self.node(f"n{number}", host), control.TestPort, port=1, token=TOKEN)
        node = self.node("a", "198.51.100.7")
        for port, token in (
            (0, TOKEN),
            (65536, TOKEN),
            (-1, TOKEN),
            (1, b""),
            (1, bytes(13)),
            (1, bytes(1000)),
        ):
            with self.assertRaises(control.Denied):
                self.lab.call(node, control.TestPort, port=port, token=token)
        self.assertEqual(self.sent, [])

    def test_unsendable(self) -> None:
        """What the system does not send is an answer too."""

        def fails(address: Address, token: bytes) -> None:
            raise OSError(101, "Network is unreachable")

        self.lab.mediator._probe = fails
        with self.assertRaisesRegex(control.Busy, "unreachable"):
            self.lab.call(self.node("a", "198.51.100.7"), control.TestPort, port=1, token=TOKEN)
