"""
Tests for L{vnet.client.portmapping.upnp}, with a router in memory.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.portmapping.asking import Asker
from vnet.client.portmapping.mapper import Uplink
from vnet.client.portmapping.routerhttp import RouterHttp
from vnet.client.portmapping.upnp import Upnp
from vnet.client.portmapping.way import Grant, NoMapping, Silent
from vnet.test.fakerouter import LOCAL, OUTSIDE, ROUTER, FakeRouter, Held, envelope, response
from vnet.values import Address

PORT = 41641
T = TypeVar("T")


class UpnpTestCase(SynchronousTestCase):
    """
    One way to one router.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.router = FakeRouter(self.clock, speaks={"upnp"})
        self.way = self.makeWay()
        self.addCleanup(lambda: self.assertEqual(self.clock.getDelayedCalls(), []))

    def makeWay(self) -> Upnp:
        uplink = Uplink(ROUTER, LOCAL)
        search = Asker(self.clock, lambda received: self.router.openSearch(uplink, received))
        http = RouterHttp(self.clock, lambda port: self.router.endpoint(uplink, port))
        random = iter(b"\x12\x34\x56\x78\x9a\xbc\xde\xf0" * 9)
        return Upnp(
            self.clock,
            search,
            http,
            ROUTER,
            LOCAL,
            PORT,
            lambda count: bytes(next(random) for _ in range(count)),
        )

    def run_(self, call: Coroutine[Any, Any, T]) -> T:
        done = Deferred.fromCoroutine(call)
        self.clock.pump([0.05] * 400)
        return self.successResultOf(done)

    def fail_(self, call: Coroutine[Any, Any, Any], kind: type[NoMapping] = NoMapping) -> str:
        done = Deferred.fromCoroutine(call)
        self.clock.pump([0.5] * 600)
        return str(self.failureResultOf(done, kind).value)

    def obtain(self) -> Grant:
        self.run_(self.way.find())
        return self.run_(self.way.obtain(PORT))


class ObtainTests(UpnpTestCase):
    """
    How a mapping is made.
    """

    def test_versions(self) -> None:
        """
        Version 1 is asked for a port, after it was asked who has it; version 2 may choose one itself.
        """
        asked = {1: ["GetSpecificPortMappingEntry", "AddPortMapping"], 2: ["AddAnyPortMapping"]}
        for version, calls in asked.items():
            self.way = self.makeWay()
            self.router.igd = version
            self.router.calls.clear()
            self.router.held.clear()
            self.assertEqual(self.obtain().external, Address(OUTSIDE, PORT))
            self.assertEqual(self.router.calls, ["GetExternalIPAddress", *calls])
            self.assertEqual(self.router.held, {PORT: Held(LOCAL, PORT, 7200, "upnp")})

    def test_notReallyVersion2(self) -> None:
        """
        A router that says that it is of version 2, and knows nothing of that, is asked as one of version 1.
        """
        self.router.igd = 2
        for code in (401, 602):
            self.router.faults = {"AddAnyPortMapping": code}
            self.assertEqual(self.obtain().external.port, PORT)

    def test_permanent(self) -> None:
        """
        A router that knows permanent mappings only gets one; it is not renewed, and removed at the end.
        """
        self.router.permanentOnly = True
        grant = self.obtain()
        self.assertEqual((grant.lifetime, grant.renewAt), (0, float("inf")))
        self.run_(self.way.remove(grant))
        self.assertEqual(self.router.held, {})

    def test_taken(self) -> None:
        """
        A port that another computer has is not touched, even if the router would overwrite it: others are tried.
        """
        for version in (1, 2):
            self.router.held = {PORT: Held("192.168.1.9", 7, 0, "upnp")}
            self.way = self.makeWay()
            self.router.igd = version
            port = self.obtain().external.port
            self.assertNotEqual(port, PORT)
            self.assertEqual(self.router.held[PORT], Held("192.168.1.9", 7, 0, "upnp"))
            self.assertEqual(self.router.held[port].internalPort, PORT)

    def test_allTaken(self) -> None:
        """
        After 4 ports it is enough.
        """
        for code in (718, 729, 501):
            self.router.faults = {"AddPortMapping": code}
            self.router.calls.clear()
            self.run_(self.way.find())
            self.fail_(self.way.obtain(PORT))
            self.assertEqual(self.router.calls.count("AddPortMapping"), 4)

    def test_samePortsOnly(self) -> None:
        """
        A router that maps a port to the same one only is asked for that one.
        """
        self.run_(self.way.find())
        self.router.faults = {"AddPortMapping": 724}
        self.fail_(self.way.obtain(PORT + 5))
        self.router.faults = {}
        self.assertEqual(self.run_(self.way.obtain(PORT)).external.port, PORT)

    def test_refused(self) -> None:
        """
        Another fault ends it, and says why.
        """
        for code, reason in ((606, "it does not permit a mapping"), (402, "it cannot read the request")):
            self.router.faults = {"AddPortMapping": code}
            self.router.calls.clear()
            self.run_(self.way.find())
            self.assertEqual(self.fail_(self.way.obtain(PORT)), reason)
            self.assertEqual(self.router.calls.count("AddPortMapping"), 1)

    def test_reservedPort(self) -> None:
        """
        A port that is none makes no mapping.
        """
        self.router.igd = 2
        self.run_(self.way.find())
        for port in ("0", "65536", "-1", "x", "", "9" * 500, "\u0661"):
            inside = f"<u:AddAnyPortMappingResponse><NewReservedPort>{port}</NewReservedPort></u:AddAnyPortMappingResponse>"
            body = envelope(inside)
            self.router.answerHttp = lambda head, request, body=body: response(body)
            self.fail_(self.way.obtain(PORT))


class FindTests(UpnpTestCase):
    """
    How the router's service is found.
    """

    def test_silent(self) -> None:
        """
        A search that nobody answers has failed after 2 minutes.
        """
        self.router.speaks = set()
        self.fail_(self.way.find(), Silent)

    def test_elsewhere(self) -> None:
        """
        A description that is said to be elsewhere is not fetched.
        """
        for location in (
            "http://192.168.1.9/",
            "http://127.0.0.1/",
            "file:///etc/passwd",
            "http://evil.example/",
        ):
            self.way = self.makeWay()
            self.router.location = location
            self.fail_(self.way.find(), Silent)
        self.assertEqual(self.router.pipes, [])

    def test_manyPlaces(self) -> None:
        """
        4 places are tried, however many there are; the first that works is taken.
        """
        self.router.answerHttp = lambda head, body: response(b"<root/>")
        self.router.tamper = lambda kind, data: [
            data.replace(b"root.xml", b"%d" % number) for number in range(1000)
        ]
        self.assertIn("no service", self.fail_(self.way.find()))
        self.assertEqual(len(self.router.pipes), 4)
        self.way = self.makeWay()
        good = FakeRouter(self.clock)
        self.router.answerHttp = lambda head, body: (
            response(b"<root/>") if "/0 " in head else good.http(head, body)
        )
        self.assertEqual(self.obtain().external.port, PORT)

    def test_badDescription(self) -> None:
        """
        A description that cannot be read, or is none, is a failure.
        """
        for body in (
            b"",
            b"garbage",
            b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
            b"<a>" * 10000,
            b"<root/>",
        ):
            self.way = self.makeWay()
            self.router.answerHttp = lambda head, request, body=body: response(body)
            self.fail_(self.way.find())
        self.router.answerHttp = lambda head, body: None
        self.way = self.makeWay()
        self.fail_(self.way.find(), Silent)

    def test_secondService(self) -> None:
        """
        Of two services the one that has an address is used.
        """
        kinds = ("WANIPConnection:1", "WANPPPConnection:1")
        services = "".join(
            f"<service><serviceType>urn:schemas-upnp-org:service:{kind}</serviceType><controlURL>/{kind}</controlURL></service>"
            for kind in kinds
        )
        other = FakeRouter(self.clock)

        def answer(head: str, body: bytes) -> bytes | None:
            if head.startswith("GET"):
                return response(f"<root>{services}</root>".encode())
            other.outside = "0.0.0.0" if "POST /WANIP" in head else OUTSIDE
            return other.http(head, body)

        self.router.answerHttp = answer
        self.assertEqual(self.obtain().external, Address(OUTSIDE, PORT))

    def test_noAddress(self) -> None:
        """
        A router that does not tell an address that can be one has no mapping to give.
        """
        for outside in (
            "",
            "0.0.0.0",
            "x",
            "127.0.0.1",
            "2001:db8::1",
            "1.2.3.4.5",
            " ",
            "\u0661.2.3.4",
            "9" * 1000,
        ):
            self.way = self.makeWay()
            self.router.outside = outside
            self.fail_(self.way.find())


class KeepTests(UpnpTestCase):
    """
    How a mapping is looked after.
    """

    def test_there(self) -> None:
        """
        A mapping that is there is left as it is; one that is gone, or due, is made again.
        """
        grant = self.obtain()
        self.router.calls.clear()
        self.assertEqual(self.run_(self.way.keep(grant, False)), grant)
        self.assertNotIn("AddPortMapping", self.router.calls)
        self.router.held.clear()
        again = self.run_(self.way.keep(grant, False))
        self.assertGreater(again.madeAt, grant.madeAt)
        self.assertIn(PORT, self.router.held)
        self.run_(self.way.keep(grant, True))
        self.assertEqual(self.router.calls.count("AddPortMapping"), 2)

    def test_otherComputer(self) -> None:
        """
        A port that another computer has got is lost, and left to it.
        """
        grant = self.obtain()
        self.router.held[PORT] = Held("192.168.1.9", PORT, 0, "upnp")
        self.assertIn("another computer", self.fail_(self.way.keep(grant, True)))
        self.assertEqual(self.router.held[PORT].client, "192.168.1.9")

    def test_unknownAction(self) -> None:
        """
        A router that does not tell who has a port is believed to have kept it, until it is due.
        """
        grant = self.obtain()
        self.router.faults = {"GetSpecificPortMappingEntry": 401}
        self.assertEqual(self.run_(self.way.keep(grant, False)), grant)
        self.run_(self.way.keep(grant, True))
        self.assertEqual(self.router.calls[-1], "AddPortMapping")

    def test_refusesNow(self) -> None:
        """
        A router that does not renew says why.
        """
        grant = self.obtain()
        self.router.faults = {"AddPortMapping": 606}
        self.assertEqual(self.fail_(self.way.keep(grant, True)), "it does not permit a mapping")

    def test_notAsked(self) -> None:
        """
        A way that has found nothing gives nothing.
        """
        self.fail_(self.way.obtain(PORT), Silent)
        self.way.close()
        self.fail_(self.way.find(), Silent)
