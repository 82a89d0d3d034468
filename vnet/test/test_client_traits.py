"""
What peers are told of the NAT in front of this node.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.client.traits import traitsOf
from vnet.protocols.codec.natsignal import Traits, decodeTraits, encodeTraits
from vnet.values import Address, NatReport

EI, APD = "endpoint-independent", "address-and-port-dependent"
PUBLIC = Address("203.0.113.7", 41641)


class TraitsTests(SynchronousTestCase):
    """
    L{traitsOf}.
    """

    def test_nat(self) -> None:
        """Of a NAT peers are told what they need to get through it."""
        report = NatReport(
            udp=True,
            publicAddress=PUBLIC,
            natted=True,
            mapping=APD,
            filtering=APD,
            allocation="block",
            step=None,
            ports=(1024, 1535),
            shared=True,
        )
        expected = Traits(APD, APD, "block", False, 0, 1024, 1535, PUBLIC.host)
        self.assertEqual(traitsOf(report), expected)

    def test_limited(self) -> None:
        """A carrier that numbers this computer itself may give few mappings; a block alone says how many."""
        inside, home = ["100.64.3.2", "fd00::1"], ["192.168.1.2"]
        for shared, allocation, hosts, limited in (
            (True, "random", home, True),
            (True, "block", home, False),
            (True, "block", inside, True),
            (None, "preserving", home, False),
            (None, "preserving", inside, True),
            (None, None, [], False),
        ):
            report = NatReport(shared=shared, allocation=allocation)
            self.assertEqual(traitsOf(report, hosts).limited, limited, (shared, allocation, hosts))

    def test_blocked(self) -> None:
        """That no UDP gets out is told, as soon as it is known."""
        self.assertEqual(traitsOf(NatReport(udp=False)), Traits(blocked=True))
        self.assertEqual(traitsOf(NatReport()), Traits())

    def test_natless(self) -> None:
        """So is that there is no NAT."""
        report = NatReport(udp=True, publicAddress=PUBLIC, natted=False, mapping=EI, filtering=APD)
        self.assertEqual(traitsOf(report), Traits(EI, APD, host=PUBLIC.host, natless=True))

    def test_any(self) -> None:
        """What is out of range, or of IPv6, is left out: a signal can always be written."""
        for report in (
            NatReport(udp=True, publicAddress=Address("2001:db8::1", 1), step=40000),
            NatReport(step=-40000, ports=(1, 65535)),
        ):
            traits = traitsOf(report)
            self.assertEqual((traits.step, traits.host), (0, ""))
            self.assertEqual(decodeTraits(encodeTraits(traits)), traits)
