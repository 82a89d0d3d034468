"""
Tests for L{vnet.test.natsim}: the laboratory itself has to behave.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.test.natsim import MAPPING, Host, Internet, Nat
from vnet.values import Address

ONE, OTHER_PORT, OTHER_HOST = Address("203.0.113.1", 1), Address("203.0.113.1", 2), Address("203.0.113.2", 1)


class Stranger:
    """
    A public host that notes from where it hears.
    """

    def __init__(self, internet: Internet, address: Address) -> None:
        self.heard: list[Address] = []
        self.host = Host(
            {address.host: internet}, address.port, lambda data, source: self.heard.append(source)
        )


class NatTests(SynchronousTestCase):
    """
    L{Nat}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.internet = Internet(self.clock, delay=0.0)
        self.heard: list[tuple[bytes, Address]] = []

    def inside(self, mapping: str, filtering: str, **more: bool) -> Host:
        lan = self.internet.lan(0.0)
        self.nat = Nat(lan, self.internet, "198.51.100.1", mapping, filtering, **more)
        self.lan = lan
        return Host({"10.0.0.2": lan}, 5000, lambda data, source: self.heard.append((data, source)))

    def run_(self) -> None:
        for _ in range(5):
            self.clock.advance(0)

    def sourcesSeen(self, mapping: str) -> list[Address]:
        host = self.inside(mapping, "endpoint-independent")
        strangers = []
        for address in (ONE, OTHER_HOST):
            strangers.append(Stranger(self.internet, address))
            host.send([(b"x", address)])
        # The second port of the first host is a host of its own here.
        self.run_()
        host.send([(b"x", OTHER_PORT)])
        self.run_()
        third = [source for source, destination, _ in self.internet.log if destination == OTHER_PORT]
        return [strangers[0].heard[0], strangers[1].heard[0], third[-1]]

    def test_mapping(self) -> None:
        """
        The external address depends on what of the destination the mapping says, and on nothing else.
        """
        one, host, port = self.sourcesSeen("endpoint-independent")
        self.assertEqual({one, host, port}, {Address("198.51.100.1", 5000)})
        one, host, port = self.sourcesSeen("address-dependent")
        self.assertEqual(one, port)
        self.assertNotEqual(one, host)
        self.assertEqual(len(set(self.sourcesSeen("address-and-port-dependent"))), 3)

    def test_filtering(self) -> None:
        """
        From outside comes in what the filtering permits, and nothing else.
        """
        passed = {}
        for filtering in MAPPING:
            self.heard.clear()
            host = self.inside("endpoint-independent", filtering)
            host.send([(b"x", ONE)])
            self.run_()
            for source in (ONE, OTHER_PORT, OTHER_HOST):
                self.internet.send(b"y", source, Address("198.51.100.1", 5000))
            self.internet.send(b"y", ONE, Address("198.51.100.1", 5001))
            self.run_()
            passed[filtering] = [source for _, source in self.heard]
        self.assertEqual(passed["endpoint-independent"], [ONE, OTHER_PORT, OTHER_HOST])
        self.assertEqual(passed["address-dependent"], [ONE, OTHER_PORT])
        self.assertEqual(passed["address-and-port-dependent"], [ONE])

    def test_lifetime(self) -> None:
        """
        A mapping that is not used ends.
        """
        host = self.inside("endpoint-independent", "endpoint-independent")
        host.send([(b"x", ONE)])
        self.run_()
        self.clock.advance(121)
        self.internet.send(b"y", ONE, Address("198.51.100.1", 5000))
        self.run_()
        self.assertEqual(self.heard, [])

    def test_hairpin(self) -> None:
        """
        A host reaches another by the external address exactly when the NAT hairpins.
        """
        for hairpin in (False, True):
            self.heard.clear()
            host = self.inside("endpoint-independent", "endpoint-independent", hairpin=hairpin)
            other = Host({"10.0.0.3": self.lan}, 6000)
            host.send([(b"x", ONE)])
            self.run_()
            other.send([(b"z", Address("198.51.100.1", 5000))])
            self.run_()
            self.assertEqual(self.heard, [(b"z", Address("198.51.100.1", 6000))] if hairpin else [])
