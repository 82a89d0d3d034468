"""
Tests for L{vnet.client.natwording}.
"""

from __future__ import annotations

import random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from vnet.client.natwording import natLines, natSummary
from vnet.client.report import describeNat
from vnet.values import Address, NatReport, PortMapping

EI, AD, APD = "endpoint-independent", "address-dependent", "address-and-port-dependent"
PUBLIC = Address("203.0.113.7", 41641)


def report(**known: Any) -> NatReport:
    """
    A report of a node behind a NAT.
    """
    return NatReport(
        **{"udp": True, "publicAddress": PUBLIC, "natted": True, "hosts": (PUBLIC.host,), **known}
    )


def hard(allocation: str, **known: Any) -> NatReport:
    """
    One behind a NAT that gives each destination another port.
    """
    return report(mapping=APD, mappingVaries=True, filtering=APD, allocation=allocation, **known)


class SummaryTests(SynchronousTestCase):
    """
    L{natSummary}.
    """

    def summary(self, found: NatReport, **more: Any) -> str:
        """
        The sentence, as users get it.
        """
        said = describeNat(found, **more)["summary"]
        assert isinstance(said, str)
        return said

    def test_kinds(self) -> None:
        """Each kind of NAT has its own sentences, which name the public address where there is one."""
        kinds = [
            NatReport(),
            NatReport(udp=False),
            NatReport(udp=True, publicAddress6=Address("2001:db8::1", 1)),
            report(natted=False, mapping=EI, filtering=EI),
            report(natted=False, mapping=EI, filtering=APD),
            report(),
            report(mappingVaries=True),
            report(mapping=EI, mappingVaries=False),
            hard("sequential", step=1, noise=3.0),
            hard("sequential", step=1, noise=120.0),
            hard("block", ports=(50000, 50511)),
            hard("random"),
            hard("random", shared=True),
            hard("random", hosts=(PUBLIC.host, "203.0.113.8"), shared=True),
        ]
        said = [self.summary(each) for each in kinds]
        self.assertEqual(len(set(said)), len(said))
        self.assertTrue(all(str(PUBLIC) in each for each in said[3:]), said)

    def test_meaning(self) -> None:
        """The sentences say with whom direct links work."""
        for found in (report(natted=False, filtering=APD), report(mapping=EI), report(mappingVaries=False)):
            self.assertIn("with nearly everyone", self.summary(found))
        self.assertIn(
            "predicts it, and direct links work with most", self.summary(hard("sequential", step=2))
        )
        self.assertIn("relayed over TCP. Allow outgoing UDP", self.summary(NatReport(udp=False)))
        for kind in ("random", "block"):
            self.assertIn("whose NAT is easier", self.summary(hard(kind)))

    def test_help(self) -> None:
        """What would help is said: forwarding a port, but not of a NAT that the provider has."""
        self.assertIn("--port", self.summary(hard("random")))
        self.assertIn("UPnP", self.summary(hard("random")))
        self.assertNotIn("--port", self.summary(hard("random", shared=True)))
        self.assertIn("provider", self.summary(hard("random", shared=True)))

    def test_forwarded(self) -> None:
        """A port that is forwarded, by the router or by the user, makes any NAT easy; not one behind a carrier's NAT."""
        mapped = PortMapping("upnp", Address("203.0.113.7", 41641), 7200)
        self.assertIn("nearly everyone", self.summary(hard("random"), portMapping=mapped))
        self.assertIn("nearly everyone", self.summary(hard("random"), forwardedPort="open"))
        self.assertIn("easier", self.summary(hard("random"), forwardedPort="closed"))
        self.assertIn("easier", self.summary(hard("random", shared=True), portMapping=mapped))
        self.assertIn(
            "easier", self.summary(hard("random"), portMapping=PortMapping(reason="there is no router"))
        )


class LinesTests(SynchronousTestCase):
    """
    L{natLines}.
    """

    def test_all(self) -> None:
        """All that is known is there, in the words of the RFCs or plainer ones."""
        mapped = PortMapping("nat-pmp", Address("203.0.113.7", 5), 7200)
        found = hard("sequential", step=-2, noise=12.5, hairpin=True, lifetime=45.0, shared=True)
        lines = dict(natLines(describeNat(found, mapped, "closed")))
        self.assertEqual(lines["UDP"], "gets out")
        self.assertEqual(lines["port"], "another for each address and port")
        self.assertEqual(lines["lets in"], "only addresses and ports that something was sent to")
        self.assertEqual(
            lines["ports"], "one after the other, in steps of -2; others take about 12.5 a second"
        )
        self.assertEqual((lines["hairpin"], lines["lifetime"]), ("works", "a silent path is kept for 45 s"))
        self.assertEqual(lines["router"], "forwards 203.0.113.7:5 to this computer (NAT-PMP)")
        self.assertEqual(lines["--port"], "is not forwarded")
        block = dict(natLines(describeNat(hard("block", ports=(50000, 50511)))))
        self.assertEqual(block["ports"], "at random from about 50000 to 50511")
        hosts = dict(natLines(describeNat(hard("random", hosts=(PUBLIC.host, "203.0.113.8")))))
        self.assertEqual(hosts["IPv4"], "seen as 203.0.113.7:41641, also as 203.0.113.8")

    def test_nothing(self) -> None:
        """What is not known is said to be so, or left out."""
        lines = dict(natLines(describeNat(NatReport())))
        self.assertEqual((lines["UDP"], lines["NAT"], lines["port"], lines["lets in"]), ("not known",) * 4)
        self.assertNotIn("ports", lines)
        self.assertEqual(dict(natLines({}))["IPv4"], "seen as nothing")

    def test_anything(self) -> None:
        """Whatever JSON a client answers with, there are lines and sentences."""
        source = random.Random(1)
        values: list[Any] = [
            None,
            True,
            False,
            0,
            -1,
            1.5,
            "",
            "x\x1b",
            [],
            [1, 2],
            {},
            {"protocol": []},
            EI,
            "block",
            "sequential",
        ]
        keys = list(describeNat(NatReport()))
        for _ in range(2000):
            answer = {key: source.choice(values) for key in keys}
            for text in (natSummary(answer), *(value for _, value in natLines(answer))):
                self.assertNotIn("\x1b", text)
