"""
Tests for L{vnet.client.links} against the kernel, in a namespace of each test's own.
"""

from __future__ import annotations

import asyncio
import subprocess
import time

import pytest
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.links import Overlap, hasLeft, overlappingRoute
from vnet.interfaceaddresses import InterfaceAddress, interfaceAddresses
from vnet.linkwatcher import LinkWatcher
from vnet.test.priv.ownspace import HandReactor, addInterface, command, ownSpace

pytestmark = pytest.mark.privileged


class SpaceTestCase(SynchronousTestCase):
    """
    A namespace with one interface, C{lan0}, 192.0.2.1/24 and 2001:db8::1/64.
    """

    def setUp(self) -> None:
        space = ownSpace()
        space.__enter__()
        self.addCleanup(space.__exit__, None, None, None)
        addInterface("lan0")
        command("ip addr add 192.0.2.1/24 dev lan0")
        command("ip addr add 2001:db8::1/64 dev lan0 nodad")


class AddressTests(SpaceTestCase):
    def test_found(self) -> None:
        """Each address is found with its network, its interface and whether that is up."""
        found = {each.address: each for each in interfaceAddresses()}
        self.assertEqual((found["192.0.2.1"].prefix, found["192.0.2.1"].interface), ("192.0.2.0/24", "lan0"))
        self.assertTrue(found["2001:db8::1"].up and found["2001:db8::1"].usable)
        self.assertTrue(found["127.0.0.1"].loopback)
        command("ip link set lan0 down")
        self.assertFalse(next(each for each in interfaceAddresses() if each.interface == "lan0").up)

    def test_pointToPoint(self) -> None:
        """Of a point-to-point link our own end counts."""
        command("ip addr add 198.51.100.1 peer 198.51.100.2 dev lan0")
        found = {each.address for each in interfaceAddresses()}
        self.assertIn("198.51.100.1", found)
        self.assertNotIn("198.51.100.2", found)

    def test_deprecated(self) -> None:
        """A deprecated address is not usable; one in doubt is neither."""
        command("ip addr add 2001:db8::2/64 dev lan0 nodad preferred_lft 0")
        found = {each.address: each.usable for each in interfaceAddresses()}
        self.assertEqual((found["2001:db8::1"], found["2001:db8::2"]), (True, False))

    def test_noCarrier(self) -> None:
        """An interface that is up, but without a carrier, does not count as up: an unplugged cable."""
        command("ip link set lan0-far down")
        self.assertFalse(next(each for each in interfaceAddresses() if each.interface == "lan0").up)

    def test_insideAsyncio(self) -> None:
        """Inside a running event loop of asyncio's (Twisted's asyncio reactor) the answer is the same."""

        async def ask() -> list[InterfaceAddress]:
            return interfaceAddresses()

        self.assertEqual(asyncio.run(ask()), interfaceAddresses())


class LeftTests(SpaceTestCase):
    def test_address(self) -> None:
        """A connection has left when its address has gone, of IPv4 or IPv6, whether the other end is known or not."""
        for own, far in (("192.0.2.1", "192.0.2.9"), ("2001:db8::1", "2001:db8::9"), ("192.0.2.1", "")):
            self.assertFalse(hasLeft(own, far))
        command("ip addr del 192.0.2.1/24 dev lan0")
        command("ip addr del 2001:db8::1/64 dev lan0")
        for own, far in (("192.0.2.1", "192.0.2.9"), ("2001:db8::1", "2001:db8::9"), ("192.0.2.1", "")):
            self.assertTrue(hasLeft(own, far))

    def test_route(self) -> None:
        """It has when another address is used towards its end now, and has not while there is no route at all."""
        self.assertFalse(hasLeft("192.0.2.1", "198.51.100.7"))
        command("ip route add default via 192.0.2.9")
        self.assertFalse(hasLeft("192.0.2.1", "198.51.100.7"))
        addInterface("lan1")
        command("ip addr add 203.0.113.1/24 dev lan1")
        command("ip route replace default via 203.0.113.9")
        self.assertTrue(hasLeft("192.0.2.1", "198.51.100.7"))


class OverlapTests(SpaceTestCase):
    def test_routes(self) -> None:
        """A block that contains a route, and one inside of a route, overlap; others do not."""
        command("ip route add 100.100.0.0/16 dev lan0")
        command("ip -6 route add fd00:1::/32 dev lan0")
        for block in ("100.64.0.0/10", "100.100.5.0/24", "100.100.0.0/16"):
            self.assertEqual(overlappingRoute(block), Overlap("100.100.0.0/16", "lan0"))
        self.assertEqual(overlappingRoute("fd00:1:2::/48"), Overlap("fd00:1::/32", "lan0"))
        self.assertIsNone(overlappingRoute("100.64.0.0/16"))
        self.assertIsNone(overlappingRoute("fd01::/48"))
        self.assertIsNone(overlappingRoute("100.64.0.0/10", excluding={"lan0"}))

    def test_otherTables(self) -> None:
        """Routes of other tables count: that is where other tunnels have theirs."""
        command("ip route add 100.100.0.0/16 dev lan0 table 52")
        self.assertEqual(overlappingRoute("100.64.0.0/10"), Overlap("100.100.0.0/16", "lan0"))

    def test_multipath(self) -> None:
        """A route with several next hops is found by any of its interfaces."""
        command("ip route add 100.100.0.0/16 nexthop via 192.0.2.2 dev lan0 nexthop via 192.0.2.3 dev lan0")
        self.assertEqual(overlappingRoute("100.64.0.0/10"), Overlap("100.100.0.0/16", "lan0"))

    def test_defaults(self) -> None:
        """Default routes do not count, however they are written; nor does a route that says "unreachable"."""
        command("ip route add default via 192.0.2.2")
        command("ip route add 0.0.0.0/1 via 192.0.2.2")
        command("ip -6 route add default dev lan0")
        command("ip -6 route add 8000::/1 dev lan0")
        command("ip route add unreachable 100.64.0.0/10")
        self.assertIsNone(overlappingRoute("100.64.0.0/10"))
        self.assertIsNone(overlappingRoute("fd00::/48"))

    def test_multicast(self) -> None:
        """What the kernel has for every interface by itself (multicast, link-local) is no overlap."""
        self.assertIsNone(overlappingRoute("fd00::/48"))


class WatcherTests(SpaceTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.reactor = HandReactor()
        self.calls: list[float] = []
        self.watcher = LinkWatcher(self.reactor, lambda: self.calls.append(self.reactor.seconds()))
        self.watcher.start()
        self.addCleanup(self.watcher.stop)

    def changed(self, line: str) -> bool:
        """Whether a command leads to a call."""
        before = len(self.calls)
        command(line)
        self.reactor.turn()
        self.reactor.advance(0.3)
        return len(self.calls) > before

    def test_kinds(self) -> None:
        """Interfaces, addresses and routes of both versions, coming and going, are noticed."""
        for line in (
            "ip addr add 192.0.2.9/24 dev lan0",
            "ip addr add 2001:db8::9/64 dev lan0 nodad",
            "ip route add 198.51.100.0/24 dev lan0",
            "ip route del 198.51.100.0/24 dev lan0",
            "ip -6 route add 2001:db8:7::/64 dev lan0",
            "ip link set lan0 down",
            "ip link set lan0 up",
            "ip link add other0 type bridge",
            "ip link del lan0",
        ):
            self.assertTrue(self.changed(line), line)

    def test_nothing(self) -> None:
        """Looking changes nothing; what the new interfaces themselves have to tell comes to an end."""
        for _ in range(30):
            if not self.changed("ip addr"):
                break
            time.sleep(0.1)
        else:
            self.fail("each look is a change")

    def test_burst(self) -> None:
        """A burst of changes is one call, 100 ms after the first, however long it goes on."""
        for number in range(50, 90):
            command(f"ip addr add 192.0.2.{number}/24 dev lan0")
            if number % 10 == 0:
                self.reactor.turn(0.005)
                self.reactor.advance(0.02)
        self.reactor.turn()
        self.reactor.advance(0.3)
        self.assertEqual(len(self.calls), 1)

    def test_flood(self) -> None:
        """More changes than the socket's buffer holds are one call too, and the watcher goes on."""
        lines = "\n".join(f"route add 198.18.{n // 256}.{n % 256}/32 dev lan0" for n in range(4000))
        subprocess.run(["ip", "-batch", "-"], input=lines, text=True, check=True, timeout=60)
        self.reactor.turn()
        self.reactor.advance(0.3)
        self.assertEqual(len(self.calls), 1)
        self.assertTrue(self.changed("ip link set lan0 down"))

    def test_failing(self) -> None:
        """A callback that fails is logged, and called again at the next change."""
        calls = []

        def fail() -> None:
            calls.append(1)
            raise RuntimeError("on purpose")

        watcher = LinkWatcher(self.reactor, fail)
        watcher.start()
        self.addCleanup(watcher.stop)
        self.changed("ip link set lan0 down")
        self.changed("ip link set lan0 up")
        self.assertEqual(len(calls), 2)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)

    def test_stopped(self) -> None:
        """After the stop there is no call, also none that was due."""
        command("ip link set lan0 down")
        self.reactor.turn()
        self.watcher.stop()
        self.watcher.stop()
        self.reactor.advance(1)
        self.assertEqual(self.calls, [])
        self.assertEqual((self.reactor.readers, self.reactor.getDelayedCalls()), ([], []))
