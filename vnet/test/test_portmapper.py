"""
Tests for L{vnet.client.portmapping.mapper} and the ways that it takes, with a router in memory.
"""

from __future__ import annotations

import struct

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.portmapping.mapper import CHECK_EVERY, PortMapper, Uplink
from vnet.test.fakerouter import LOCAL, OUTSIDE, ROUTER, FakeRouter, Held
from vnet.values import Address, PortMapping

PORT = 41641
NONCE = b"n" * 12


class MapperTestCase(SynchronousTestCase):
    """
    A node's mapper and its router.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.router = FakeRouter(self.clock)
        self.changes: list[PortMapping] = []
        self.mapper = self.makeMapper()

    def makeMapper(self, lifetime: int = 7200) -> PortMapper:
        mapper = PortMapper(
            self.clock,
            self.router,
            lambda router, port: NONCE,
            lambda count: b"\x12\x34"[:count],
            lambda: self.changes.append(mapper.status),
            lifetime,
        )
        return mapper

    def begin(self, *speaks: str) -> PortMapping:
        """
        Ask a router that speaks some protocols.
        """
        self.router.speaks = set(speaks)
        self.mapper.update(PORT)
        self.run_(1.0)
        return self.mapper.status

    def run_(self, seconds: float, step: float = 0.05) -> None:
        self.clock.pump([step] * round(seconds / step))

    def close(self) -> None:
        closed = Deferred.fromCoroutine(self.mapper.close())
        self.run_(1.5)
        self.successResultOf(closed)
        self.assertEqual((self.router.open, self.clock.getDelayedCalls()), ([], []))


class FindTests(MapperTestCase):
    """
    Which way is taken.
    """

    def test_each(self) -> None:
        """
        Each protocol alone gives the mapping, which is removed at the end, with all sockets and timers.
        """
        for protocol in ("pcp", "nat-pmp", "upnp"):
            status = self.begin(protocol)
            self.assertEqual(status, PortMapping(protocol, Address(OUTSIDE, PORT), 7200))
            self.assertEqual(self.mapper.addresses, (Address(OUTSIDE, PORT),))
            held = self.router.held[PORT]
            self.assertEqual((held.client, held.internalPort, held.by), (LOCAL, PORT, protocol))
            self.close()
            self.assertEqual(self.router.held, {})

    def test_best(self) -> None:
        """
        Of those that answer at about the same time the best is taken, and no other makes a mapping.
        """
        for speaks, taken in (
            (("pcp", "nat-pmp", "upnp"), "pcp"),
            (("nat-pmp", "upnp"), "nat-pmp"),
            (("pcp", "upnp"), "pcp"),
        ):
            self.assertEqual(self.begin(*speaks).protocol, taken)
            self.assertEqual([each.by for each in self.router.held.values()], [taken])
            self.close()

    def test_laterButBetter(self) -> None:
        """
        A better one that answers a moment later is waited for.
        """
        lost = iter((True,))
        self.router.tamper = lambda kind, data: [] if kind == "pcp" and next(lost, False) else [data]
        self.assertEqual(self.begin("pcp", "nat-pmp", "upnp").protocol, "pcp")
        self.assertEqual([each.by for each in self.router.held.values()], ["pcp"])

    def test_first(self) -> None:
        """
        A better one that does not answer is not waited for longer than a moment.
        """
        self.router.speaks = {"upnp"}
        self.mapper.update(PORT)
        self.run_(0.7)
        self.assertEqual(self.mapper.status.protocol, "upnp")

    def test_next(self) -> None:
        """
        A protocol in which the router refuses gives way to the next.
        """
        self.router.results = {"pcp": 2}
        self.assertEqual(self.begin("pcp", "nat-pmp", "upnp").protocol, "nat-pmp")
        self.close()
        self.router.results = {"pcp": 2, "nat-pmp": 2}
        self.assertEqual(self.begin("pcp", "nat-pmp", "upnp").protocol, "upnp")

    def test_lost(self) -> None:
        """
        A datagram that is lost is sent again after 250 ms.
        """
        lost = iter((True,))
        self.router.tamper = lambda kind, data: [] if next(lost, False) else [data]
        self.router.speaks = {"pcp"}
        self.mapper.update(PORT)
        self.run_(0.2)
        self.assertEqual(self.mapper.status.protocol, "")
        self.run_(0.15)
        self.assertEqual(self.mapper.status.protocol, "pcp")

    def test_nobody(self) -> None:
        """
        A router that answers nothing is so called after 4 s, and asked again, less and less often, for ever.
        """
        self.begin()
        self.assertIn("was asked just now", self.mapper.status.reason)
        self.run_(4.0)
        self.assertEqual(
            self.mapper.status.reason, f"the router {ROUTER} answers neither PCP nor NAT-PMP nor UPnP"
        )
        self.run_(3600, 1.0)
        self.assertLess(len(self.router.sent), 600)
        self.router.speaks = {"nat-pmp"}
        self.run_(700, 1.0)
        self.assertEqual(self.mapper.status.protocol, "nat-pmp")

    def test_refused(self) -> None:
        """
        The reason names each protocol that the router refuses in.
        """
        self.router.results = {"pcp": 10, "nat-pmp": 4}
        self.router.faults = {"AddPortMapping": 606}
        self.begin("pcp", "nat-pmp", "upnp")
        self.assertEqual(
            self.mapper.status.reason,
            f"the router {ROUTER} gives no port by PCP: this computer has its share of mappings already; "
            "by NAT-PMP: it has no room for one more mapping; by UPnP: it does not permit a mapping",
        )
        self.assertEqual(self.mapper.addresses, ())
        self.close()

    def test_noRouter(self) -> None:
        """
        Without a default route, and with a public address, nobody is asked.
        """
        for route, reason in (
            (None, "there is no default route, and so no router to ask"),
            (Uplink("198.51.100.1", "198.51.100.7"), "this computer has a public address"),
        ):
            self.router.route = route
            self.assertEqual(self.begin("pcp").reason, reason)
            self.assertEqual((self.router.sent, self.router.open), ([], []))

    def test_noSocket(self) -> None:
        """
        Where no socket can be opened, that is a router that does not answer.
        """
        self.router.refuse = OSError(99, "Cannot assign requested address")
        self.begin("pcp")
        self.assertIn("answers neither", self.mapper.status.reason)
        self.close()

    def test_anotherPort(self) -> None:
        """
        The external port that the router gives counts, not the one that was wished for.
        """
        for protocol in ("pcp", "nat-pmp"):
            self.router.held = {PORT: Held("192.168.1.77", 1, 100, "upnp")}
            self.assertEqual(self.begin(protocol).external, Address(OUTSIDE, PORT + 1))
            self.close()
            self.assertEqual(list(self.router.held), [PORT])


class KeepTests(MapperTestCase):
    """
    How a mapping is kept.
    """

    def test_renewed(self) -> None:
        """
        It is renewed at half of its lifetime.
        """
        self.mapper = self.makeMapper(lifetime=100)
        for protocol in ("pcp", "nat-pmp", "upnp"):
            self.assertEqual(self.begin(protocol).lifetime, 100)
            self.router.held.clear()
            self.run_(48.0)
            self.assertEqual(self.router.held, {})
            self.run_(2.0)
            self.assertEqual(self.router.held[PORT].by, protocol)
            self.close()
        self.assertEqual([each.lifetime for each in self.changes if each.external], [100] * 3)

    def test_restarted(self) -> None:
        """
        A router that has restarted has the mapping again within a minute, and nobody sees a change.
        """
        for protocol in ("pcp", "nat-pmp", "upnp"):
            self.begin(protocol)
            self.run_(100.0)
            self.changes.clear()
            self.router.restart()
            self.run_(CHECK_EVERY + 1)
            self.assertEqual(self.router.held[PORT].by, protocol)
            self.assertEqual(self.changes, [])
            # Afterwards it is only looked after again.
            del self.router.sent[:], self.router.calls[:]
            self.run_(3 * CHECK_EVERY)
            self.assertNotIn("AddPortMapping", self.router.calls)
            mapped = [data for _, data in self.router.sent if data[:2] == b"\0\1"]
            self.assertEqual(mapped, [])
            self.close()

    def test_announced(self) -> None:
        """
        After an announcement of the router it is looked after at once, but not after each of many.
        """
        for protocol in ("pcp", "nat-pmp", "upnp"):
            self.begin(protocol)
            self.run_(10.0)
            self.router.restart()
            before = len(self.router.sent) + len(self.router.calls)
            for _ in range(100):
                self.router.announce()
            self.run_(1.0)
            self.assertEqual(self.router.held[PORT].by, protocol)
            for _ in range(100):
                self.router.announce()
                self.run_(0.05)
            self.assertLess(len(self.router.sent) + len(self.router.calls) - before, 8)
            self.close()

    def test_hintWhileAsking(self) -> None:
        """
        A router that announces itself while it is asked in vain is asked anew at once.
        """
        self.begin()
        self.run_(40.0)
        self.router.speaks = {"nat-pmp"}
        self.router.announce()
        self.run_(1.0)
        self.assertEqual(self.mapper.status.protocol, "nat-pmp")

    def test_otherAddress(self) -> None:
        """
        A new address outside is seen within a minute.
        """
        for protocol in ("pcp", "nat-pmp", "upnp"):
            self.router.outside = OUTSIDE
            self.begin(protocol)
            self.router.outside = "203.0.113.10"
            self.run_(CHECK_EVERY + 1)
            self.assertEqual(self.mapper.status.external, Address("203.0.113.10", PORT))
            self.close()

    def test_otherProtocol(self) -> None:
        """
        A router that speaks another protocol now is found.
        """
        self.begin("pcp")
        self.router.speaks = {"upnp"}
        self.router.restart()
        self.run_(CHECK_EVERY + 12)
        self.assertEqual(self.mapper.status.protocol, "upnp")

    def test_gone(self) -> None:
        """
        A router that is gone takes the mapping with it, though not for one lost answer.
        """
        self.begin("nat-pmp")
        self.router.speaks = set()
        self.run_(CHECK_EVERY + 2)
        self.router.speaks = {"nat-pmp"}
        self.run_(10.0)
        self.router.speaks = set()
        self.run_(CHECK_EVERY + 14)
        self.assertEqual(
            [(each.protocol, each.reason != "") for each in self.changes],
            [("", True), ("nat-pmp", False), ("", True)],
        )

    def test_refusesNow(self) -> None:
        """
        A router that ends the mapping says so, and another way is taken.
        """
        self.begin("pcp", "upnp")
        self.router.results = {"pcp": 8}
        self.run_(CHECK_EVERY + 2)
        self.assertEqual(
            [(each.protocol, each.reason) for each in self.changes][-2:],
            [
                ("", f"the router {ROUTER} has ended the mapping: it has no room for one more mapping"),
                ("upnp", ""),
            ],
        )

    def test_nonce(self) -> None:
        """
        A program that was killed gets the mapping of its port again: the nonce of PCP is the same.
        """
        self.begin("pcp")
        self.mapper = self.makeMapper()
        self.assertEqual(self.begin("pcp").external, Address(OUTSIDE, PORT))


class NetworkTests(MapperTestCase):
    """
    The network changes.
    """

    def test_otherRouter(self) -> None:
        """
        Another router, and another address of this computer's, are asked anew; the old one's mapping is no candidate.
        """
        self.begin("pcp")
        for uplink in (Uplink(ROUTER, "192.168.1.3"), Uplink("10.0.0.1", "10.0.0.2")):
            self.router.route = uplink
            before = len(self.router.sent)
            self.mapper.update(PORT)
            self.assertEqual(self.mapper.addresses, ())
            self.assertGreater(len(self.router.sent), before)
            self.run_(1.0)
            self.assertEqual(self.mapper.status.protocol, "pcp")
        self.router.route = None
        self.mapper.update(PORT)
        self.assertEqual((self.mapper.addresses, self.router.open), ((), []))

    def test_same(self) -> None:
        """
        A change that leaves the router in its place is a reason to look after the mapping.
        """
        self.begin("nat-pmp")
        self.run_(10.0)
        self.router.restart()
        self.mapper.update(PORT)
        self.run_(1.0)
        self.assertIn(PORT, self.router.held)
        self.assertEqual(len([each for each in self.changes if each.external]), 1)

    def test_closeInVain(self) -> None:
        """
        A router that does not answer any more holds up the end for one second, in each protocol.
        """
        for protocol in ("pcp", "nat-pmp", "upnp"):
            self.begin(protocol)
            self.router.speaks = set()
            self.router.answerHttp = lambda head, body: None
            closed = Deferred.fromCoroutine(self.mapper.close())
            self.run_(0.9)
            self.assertNoResult(closed)
            self.run_(0.2)
            self.successResultOf(closed)
            self.assertEqual((self.router.open, self.clock.getDelayedCalls()), ([], []))
            self.router.answerHttp = None

    def test_closeAtAnyTime(self) -> None:
        """
        However far it has come, nothing stays open after the end, and no timer.
        """
        for number in range(60):
            self.router.speaks = {"upnp"} if number % 2 else {"nat-pmp", "pcp"}
            self.mapper.update(PORT)
            self.clock.pump([0.007] * number)
            self.close()


class BadRouterTests(MapperTestCase):
    """
    What a hostile or broken router cannot do.
    """

    def test_address(self) -> None:
        """
        An address outside to which nobody can send makes no mapping.
        """
        for outside, reason in (
            ("127.0.0.1", "it takes 127.0.0.1 for its address on the Internet"),
            ("224.0.0.1", "it takes 224.0.0.1 for its address on the Internet"),
            ("255.255.255.255", "it takes 255.255.255.255 for its address on the Internet"),
            ("0.1.2.3", "it takes 0.1.2.3 for its address on the Internet"),
            ("169.254.1.1", "it takes 169.254.1.1 for its address on the Internet"),
            ("0.0.0.0", "it has no connection to the Internet"),
        ):
            for protocol in ("pcp", "nat-pmp", "upnp"):
                self.router.outside = outside
                status = self.begin(protocol)
                self.run_(5.0)
                self.assertIn(reason, self.mapper.status.reason)
                self.assertEqual((status.external, self.mapper.addresses), (None, ()))
                self.close()

    def test_carrier(self) -> None:
        """
        An address of a private network is a sign of another NAT: the mapping stays, and is no candidate.
        """
        for outside in ("10.1.2.3", "100.64.0.9", "172.16.0.1", "192.168.0.1"):
            for protocol in ("pcp", "nat-pmp", "upnp"):
                self.router.outside = outside
                status = self.begin(protocol)
                self.assertEqual(status, PortMapping(protocol, Address(outside, PORT), 7200, "", True))
                self.assertEqual(self.mapper.addresses, ())
                self.close()

    def test_lifetimes(self) -> None:
        """
        No time is no mapping; eternity is a day; and a moment does not make this node ask without end.
        """
        for protocol in ("pcp", "nat-pmp"):
            self.router.grants = 0
            self.assertEqual(self.begin(protocol).external, None)
            self.close()
            self.router.grants = 2**32 - 1
            self.assertEqual(self.begin(protocol).lifetime, 86400)
            self.close()
            self.router.grants = 1
            self.begin(protocol)
            before = len(self.router.sent)
            self.run_(60.0)
            self.assertLess(len(self.router.sent) - before, 26)
            self.close()

    def test_forged(self) -> None:
        """
        An answer with another nonce or another port is none; the right one that follows is taken.
        """

        def nonce(kind: str, data: bytes) -> list[bytes]:
            return [data[:24] + b"x" * 12 + data[36:42] + b"\1\1" + data[44:], data]

        def port(kind: str, data: bytes) -> list[bytes]:
            at = 40 if kind == "pcp" else 8
            bad = data[:at] + struct.pack("!HH", 1, 2) + data[at + 4 :]
            return [bad, data] if len(data) > 12 else [data]

        for protocol, tamper in (("pcp", nonce), ("pcp", port), ("nat-pmp", port)):
            self.router.tamper = tamper
            self.assertEqual(self.begin(protocol).external, Address(OUTSIDE, PORT))
            self.close()

    def test_garbage(self) -> None:
        """
        Garbage, huge answers, and a thousand for each request do no harm.
        """
        for garbage in (b"", b"\0", b"\xff" * 1500, bytes(60000), b"\2\x81\0\0" * 15):
            self.router.tamper = lambda kind, data, garbage=garbage: [garbage] * 1000  # type: ignore[misc]
            self.begin("pcp", "nat-pmp", "upnp")
            self.run_(4.0)
            self.assertIn("answers neither", self.mapper.status.reason)
            self.close()

    def test_portZero(self) -> None:
        """
        A mapping at port 0 is none.
        """
        self.router.tamper = lambda kind, data: (
            [data[:42] + b"\0\0" + data[44:]]
            if kind == "pcp"
            else [data[:10] + b"\0\0" + data[12:] if len(data) == 16 else data]
        )
        for protocol in ("pcp", "nat-pmp"):
            self.assertEqual(self.begin(protocol).external, None)
            self.close()

    def test_epoch(self) -> None:
        """
        A router whose epoch stands still, or jumps, is asked for its mapping each minute, and nobody sees a change.
        """
        self.router.tamper = lambda kind, data: [
            data[:4] + self.clock.seconds().hex().encode()[-6:-2] + data[8:]
        ]
        self.begin("nat-pmp")
        before = len(self.router.sent)
        self.run_(600.0)
        self.assertLess(len(self.router.sent) - before, 25)
        self.assertEqual(len([each for each in self.changes if each.external]), 1)
