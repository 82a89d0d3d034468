"""
Tests for L{vnet.protocols.machine.natbehaviour}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.machine.natbehaviour import filteringOf, inside, isShared, mappingOf
from vnet.values import Address

A1, A2, B1, B2 = (Address(host, port) for host in ("203.0.113.1", "203.0.113.2") for port in (3478, 3479))
X, Y, Z = (Address("198.51.100.1", port) for port in (1, 2, 3))


class BehaviourTests(SynchronousTestCase):
    """
    The functions of L{vnet.protocols.machine.natbehaviour}.
    """

    def test_mapping(self) -> None:
        """RFC 5780 section 4.3: by address and by port."""
        self.assertEqual(mappingOf({A1: X, B1: X}), "endpoint-independent")
        self.assertEqual(mappingOf({A1: X, A2: X, B1: X, B2: X}), "endpoint-independent")
        self.assertEqual(mappingOf({A1: X, A2: X, B1: Y, B2: Y}), "address-dependent")
        self.assertEqual(mappingOf({A1: X, A2: Y}), "address-and-port-dependent")
        self.assertEqual(mappingOf({A1: X, B1: Y, B2: Z}), "address-and-port-dependent")

    def test_mappingUnknown(self) -> None:
        """One address cannot show a dependence on it, nor two servers by what a difference comes."""
        for seen in ({}, {A1: X}, {A1: X, A2: X}, {A1: X, B1: Y}):
            self.assertIsNone(mappingOf(seen))

    def test_filtering(self) -> None:
        """RFC 5780 section 4.4; where the other address is missing, the stricter possibility."""
        self.assertEqual(filteringOf(True, True), "endpoint-independent")
        self.assertEqual(filteringOf(True, False), "endpoint-independent")
        self.assertEqual(filteringOf(False, True), "address-dependent")
        self.assertEqual(filteringOf(None, True), "address-dependent")
        self.assertEqual(filteringOf(False, False), "address-and-port-dependent")
        self.assertEqual(filteringOf(None, False), "address-and-port-dependent")
        self.assertIsNone(filteringOf(False, None))
        self.assertIsNone(filteringOf(None, None))

    def test_inside(self) -> None:
        """Addresses of homes and of carriers are inside, those of the Internet and of IPv6 are not."""
        for host in ("10.1.2.3", "172.31.0.1", "192.168.0.1", "169.254.1.1", "100.64.0.1"):
            self.assertTrue(inside(host), host)
        for host in ("203.0.113.1", "100.128.0.1", "8.8.8.8", "2001:db8::1"):
            self.assertFalse(inside(host), host)

    def test_shared(self) -> None:
        """Each sign of a carrier's NAT is enough; only a router that names the public address rules one out."""
        home, public = ["192.168.1.2"], ["198.51.100.1"]
        self.assertIsNone(isShared(None, home, [], None))
        self.assertFalse(isShared(False, public, public, None))
        self.assertIsNone(isShared(True, home, public, None))
        self.assertTrue(isShared(True, ["100.70.1.2", "127.0.0.1", "fd00::1"], public, None))
        self.assertIsNone(isShared(True, ["100.70.1.2", "192.168.1.2"], public, None))
        self.assertTrue(isShared(True, home, public, (50000, 50511)))
        self.assertIsNone(isShared(True, home, public, (32768, 65535)))
        self.assertTrue(isShared(True, home, [*public, "198.51.100.2"], None))
        self.assertTrue(isShared(True, home, public, None, "100.70.1.2"))
        self.assertFalse(isShared(True, home, public, None, "198.51.100.1"))
