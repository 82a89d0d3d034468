"""
Tests for L{vnet.client.links}: the rules alone; the kernel's part is in C{priv/}.
"""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.links import reachable
from vnet.interfaceaddresses import InterfaceAddress

LAN = InterfaceAddress("192.168.1.5", "192.168.1.0/24", "eth0")
STABLE = InterfaceAddress("2001:db8:1::5", "2001:db8:1::/64", "eth0")
PRIVATE = InterfaceAddress("2001:db8:1::abcd", "2001:db8:1::/64", "eth0", temporary=True)


class ReachableTests(SynchronousTestCase):
    def test_ordinary(self) -> None:
        """Private, public, unique local and shared addresses of interfaces that are up count, in order."""
        others = [
            InterfaceAddress("100.64.7.7", "100.64.0.0/10", "wwan0"),
            InterfaceAddress("fd00::5", "fd00::/64", "eth0"),
            InterfaceAddress("203.0.113.9", "203.0.113.9/32", "ppp0"),
        ]
        found = reachable([LAN, STABLE, *others])
        self.assertEqual(found, ["192.168.1.5", "2001:db8:1::5", "100.64.7.7", "fd00::5", "203.0.113.9"])

    def test_leftOut(self) -> None:
        """Loopback, link-local, what is down, tentative, deprecated or excluded does not count."""
        left = [
            evolve(LAN, up=False),
            evolve(LAN, usable=False),
            evolve(LAN, loopback=True),
            evolve(LAN, interface="vnet0"),
            evolve(LAN, address="127.0.0.5"),
            evolve(LAN, address="169.254.1.1"),
            evolve(STABLE, address="fe80::1"),
            evolve(STABLE, address="::1"),
            evolve(LAN, address="100.100.0.1"),
            evolve(STABLE, address="fd76::1"),
        ]
        self.assertEqual(reachable(left, {"vnet0"}, ["100.100.0.0/16", "fd76::/16"]), [])

    def test_temporary(self) -> None:
        """A temporary address hides the stable ones of its network on its interface, and no others."""
        elsewhere = evolve(STABLE, address="2001:db8:2::5", prefix="2001:db8:2::/64")
        wifi = evolve(STABLE, address="2001:db8:1::6", interface="wlan0")
        found = reachable([STABLE, PRIVATE, elsewhere, wifi, LAN])
        self.assertEqual(found, [PRIVATE.address, elsewhere.address, wifi.address, LAN.address])

    def test_deprecatedTemporary(self) -> None:
        """A temporary address that is deprecated hides nothing."""
        self.assertEqual(reachable([STABLE, evolve(PRIVATE, usable=False)]), [STABLE.address])

    def test_once(self) -> None:
        """An address that two interfaces have counts once."""
        self.assertEqual(reachable([LAN, evolve(LAN, interface="eth1")]), ["192.168.1.5"])
