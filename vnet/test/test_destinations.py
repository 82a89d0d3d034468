"""
Addresses through a NAT that has few mappings.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.machine.destinations import Destinations
from vnet.values import Address


class DestinationsTests(SynchronousTestCase):
    def test_most(self) -> None:
        """There are never more than so many; those in use go on; one that was not used for long makes room."""
        places = [Address("192.0.2.1", number) for number in range(1, 6)]
        destinations = Destinations(3, 120.0)
        self.assertEqual([destinations.allow(each, 0.0) for each in places], [True] * 3 + [False] * 2)
        self.assertTrue(destinations.allow(places[0], 100.0))
        self.assertFalse(destinations.allow(places[3], 120.0))
        self.assertTrue(destinations.allow(places[3], 121.0))
        self.assertTrue(destinations.allow(places[0], 121.0))
        self.assertEqual(len(destinations), 2)

    def test_each(self) -> None:
        """A peer that names many leaves some for others."""
        places = [Address("192.0.2.1", number) for number in range(1, 6)]
        destinations = Destinations(4, 120.0, 2)
        self.assertEqual([destinations.allow(each, 0.0, b"one") for each in places], [True] * 2 + [False] * 3)
        self.assertTrue(destinations.allow(places[2], 0.0, b"two"))
        self.assertTrue(destinations.allow(places[0], 0.0, b"one"))

    def test_sockets(self) -> None:
        """The same address from another socket is another mapping."""
        destinations = Destinations(1, 120.0)
        self.assertTrue(destinations.allow(Address("192.0.2.1", 1), 0.0))
        self.assertFalse(destinations.allow(Address("192.0.2.1", 1, "#1"), 0.0))
