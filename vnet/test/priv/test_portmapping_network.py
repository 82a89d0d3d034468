"""
Tests for L{vnet.client.portmapping.network} against the kernel, in a namespace of each test's own.
"""

from __future__ import annotations

import socket

from twisted.trial.unittest import SynchronousTestCase

from vnet.client.portmapping.mapper import Uplink
from vnet.client.portmapping.network import ReactorNetwork
from vnet.test.priv.ownspace import HandReactor, addInterface, command, ownSpace

UPLINK = Uplink("127.0.0.2", "127.0.0.1")


def speaker(host: str, port: int = 0) -> socket.socket:
    """
    A UDP socket of somebody.
    """
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
    opened.bind((host, port))
    opened.settimeout(5)
    return opened


class NetworkTests(SynchronousTestCase):
    """
    The router is 127.0.0.2.
    """

    def setUp(self) -> None:
        space = ownSpace()
        space.__enter__()
        self.addCleanup(space.__exit__, None, None, None)
        self.reactor = HandReactor()
        self.network = ReactorNetwork(self.reactor)
        self.received: list[bytes] = []

    def speaker(self, host: str, port: int = 0) -> socket.socket:
        opened = speaker(host, port)
        self.addCleanup(opened.close)
        return opened

    def test_uplink(self) -> None:
        """
        The router is the gateway of the default route, and this computer's address is the one towards it.
        """
        self.assertEqual(self.network.uplink(), None)
        addInterface("lan0")
        command("ip addr add 192.168.1.2/24 dev lan0")
        self.assertEqual(self.network.uplink(), None)
        command("ip route add default via 192.168.1.1 dev lan0")
        self.assertEqual(self.network.uplink(), Uplink("192.168.1.1", "192.168.1.2"))

    def test_control(self) -> None:
        """
        What is sent goes to port 5351 of the router; only the router is heard, and not after the end.
        """
        router, stranger = self.speaker("127.0.0.2", 5351), self.speaker("127.0.0.3", 5351)
        channel = self.network.openControl(UPLINK, self.received.append)
        channel.send(b"ask")
        data, source = router.recvfrom(100)
        self.assertEqual((data, source[0]), (b"ask", "127.0.0.1"))
        stranger.sendto(b"false", source)
        router.sendto(b"true", source)
        self.reactor.turn()
        self.assertEqual(self.received, [b"true"])
        channel.close()
        channel.close()
        channel.send(b"ask")
        self.assertEqual(self.reactor.readers, [])

    def test_nobody(self) -> None:
        """
        That nobody listens is no error.
        """
        channel = self.network.openControl(UPLINK, self.received.append)
        for _ in range(3):
            channel.send(b"ask")
            self.reactor.turn(0.05)
        self.assertEqual(len(self.reactor.readers), 1)
        channel.close()

    def test_search(self) -> None:
        """
        A search goes to the router and to the group, which is this network only.
        """
        router, group = self.speaker("127.0.0.2", 1900), self.speaker("239.255.255.250", 1900)
        member = socket.inet_aton("239.255.255.250") + socket.inet_aton("127.0.0.1")
        group.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        channel = self.network.openSearch(UPLINK, self.received.append)
        channel.send(b"search")
        data, source = router.recvfrom(100)
        self.assertEqual(data, b"search")
        router.sendto(b"here", source)
        self.reactor.turn()
        self.assertEqual(self.received, [b"here"])
        channel.close()

    def test_announcements(self) -> None:
        """
        What the router says in the groups is heard, and nothing else: not what others say there, nor what is sent to this
        computer alone, which another program may wait for.
        """
        heard: list[int] = []
        router, stranger = self.speaker("127.0.0.2"), self.speaker("127.0.0.3")
        announcements = self.network.openAnnouncements(UPLINK, lambda: heard.append(1))
        own = self.speaker("127.0.0.1", 5350)
        stranger.sendto(b"", ("224.0.0.1", 5350))
        router.sendto(b"alone", ("127.0.0.1", 5350))
        self.assertEqual(own.recv(100), b"alone")
        for number, place in enumerate((("224.0.0.1", 5350), ("239.255.255.250", 1900)), 1):
            router.sendto(b"news", place)
            self.reactor.turn()
            self.assertEqual(len(heard), number)
        announcements.close()
        self.assertEqual(self.reactor.readers, [])

    def test_taken(self) -> None:
        """
        A port that somebody has for himself is done without.
        """
        self.speaker("0.0.0.0", 1900)
        self.speaker("0.0.0.0", 5350)
        announcements = self.network.openAnnouncements(UPLINK, lambda: None)
        self.assertEqual(self.reactor.readers, [])
        announcements.close()

    def test_noAddress(self) -> None:
        """
        An address that this computer does not have any more is an OSError, and nothing stays open.
        """
        gone = Uplink("192.168.1.1", "192.168.1.2")
        self.assertRaises(OSError, self.network.openControl, gone, self.received.append)
        self.assertRaises(OSError, self.network.openSearch, gone, self.received.append)
        self.assertEqual(self.reactor.readers, [])
