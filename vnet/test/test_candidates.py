"""
Tests for L{vnet.protocols.machine.candidates}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec import signal
from vnet.protocols.machine.candidates import LIMIT, checkable, gather, pairPriority, priority
from vnet.values import Address

MAPPED = Address("203.0.113.9", 40000)


class GatherTests(SynchronousTestCase):
    """
    L{gather}.
    """

    def test_order(self) -> None:
        """
        Addresses of a LAN come first, then IPv6, then what STUN servers see; priorities and order agree.
        """
        hosts = ["198.51.100.1", "2001:db8::5", "192.168.1.2", "fd00::1", "100.64.0.9"]
        found = gather(hosts, 5000, [MAPPED])
        order = [each.address.host for each in found]
        self.assertEqual(order[0], "192.168.1.2")
        self.assertEqual(order[-2:], ["203.0.113.9"] * 2)
        self.assertEqual([each.kind for each in found], ["host"] * 5 + ["srflx"] * 2)
        priorities = [each.priority for each in found]
        self.assertEqual(priorities, sorted(set(priorities), reverse=True))

    def test_forwardedPort(self) -> None:
        """
        The public address with the socket's own port is the last candidate: a router may forward it.
        """
        found = gather(["192.168.1.2"], 5000, [MAPPED])
        self.assertEqual([each.address.port for each in found], [5000, 40000, 5000])
        self.assertEqual(found[-1].address, Address("203.0.113.9", 5000))

    def test_opened(self) -> None:
        """
        Where a router takes datagrams because it was asked comes before what STUN servers see; two such places count.
        """
        opened = [Address("203.0.113.9", port) for port in (6000, 40000, 6001)]
        found = gather(["192.168.1.2"], 5000, [MAPPED], opened=[Address("224.0.0.1", 1), *opened])
        self.assertEqual([each.address.port for each in found], [5000, 6000, 40000, 5000])
        self.assertEqual([each.kind for each in found], ["host", "srflx", "srflx", "srflx"])

    def test_noDuplicates(self) -> None:
        """
        A public host has no server-reflexive candidate beside its host candidate.
        """
        found = gather(["203.0.113.9", "203.0.113.9"], 5000, [Address("203.0.113.9", 5000)] * 2)
        self.assertEqual([each.kind for each in found], ["host"])

    def test_unreachable(self) -> None:
        """
        Addresses that no peer can reach are left out.
        """
        hosts = ["127.0.0.1", "::1", "fe80::1", "fe80::1%eth0", "0.0.0.0", "::", "224.0.0.1", "ff02::1"]
        self.assertEqual(gather([*hosts, "255.255.255.255"], 5000), ())

    def test_limit(self) -> None:
        """
        However many addresses there are, the candidates fit in a signal, and some are left for the reflexive.
        """
        hosts = [f"2001:db8::{n:x}" for n in range(1, 100)] + [f"10.0.0.{n}" for n in range(1, 100)]
        found = gather(hosts, 5000, [Address(f"203.0.113.{n}", n) for n in range(1, 50)])
        self.assertTrue(len(found) <= LIMIT)
        self.assertIn("srflx", [each.kind for each in found])
        credentials = signal.Credentials("u" * 32, "p" * 64)
        self.assertTrue(len(signal.encode(signal.Signal(1, credentials, found))) <= 1500)

    def test_foundations(self) -> None:
        """
        Foundations are equal exactly for equal type and base (RFC 8445 section 5.1.1.3).
        """
        one, two, reflexive, forwarded = gather(["192.168.1.2", "10.0.0.1"], 5000, [MAPPED])
        self.assertEqual(reflexive.foundation, forwarded.foundation)
        self.assertEqual(len({each.foundation for each in (one, two, reflexive)}), 3)


class PriorityTests(SynchronousTestCase):
    """
    The formulas of RFC 8445.
    """

    def test_candidates(self) -> None:
        """
        Section 5.1.2.1.
        """
        self.assertEqual(priority("host"), 2130706431)
        self.assertEqual(priority("srflx"), 1694498815)
        self.assertEqual(priority("prflx", 1), (110 << 24) + 256 + 255)

    def test_pairs(self) -> None:
        """
        Section 6.1.2.3.
        """
        self.assertEqual(pairPriority(3, 2), (2 << 32) + 6 + 1)
        self.assertEqual(pairPriority(2, 3), (2 << 32) + 6)


class CheckableTests(SynchronousTestCase):
    """
    L{checkable}.
    """

    def test_refused(self) -> None:
        """
        A peer cannot make us send to ourselves, to a group, or to nowhere.
        """
        for host in [
            "127.0.0.1",
            "::1",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "fe80::1",
            "::ffff:127.0.0.1",
            "::ffff:192.0.2.1",
            "x",
        ]:
            self.assertFalse(checkable(Address(host, 5000)), host)
        self.assertFalse(checkable(Address("192.0.2.1", 0)))
        self.assertTrue(checkable(Address("192.168.1.1", 1)))
        self.assertTrue(checkable(Address("2001:db8::1", 65535)))
