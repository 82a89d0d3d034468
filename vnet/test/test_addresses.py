"""
Tests for L{vnet.server.addresses} and the addresses in L{vnet.server.accounts}.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols import control
from vnet.protocols.codec.address6 import address6Of
from vnet.server import accounts
from vnet.server.addresses import Pool, network6Of, parsePool
from vnet.server.store import tables
from vnet.test.mediatorlab import memoryEngine

PREFIX = b"\xfd\x01\x02\x03\x04\x05"


class PoolTests(SynchronousTestCase):
    """
    L{parsePool} and L{Pool}.
    """

    def test_refused(self) -> None:
        """Blocks of home networks, loopback, multicast, link-local and reserved ones are refused with the reason."""
        for text, why in (
            ("10.0.0.0/8", "home and office"),
            ("10.200.0.0/16", "home and office"),
            ("172.16.0.0/12", "home and office"),
            ("172.20.0.0/24", "home and office"),
            ("192.168.0.0/16", "home and office"),
            ("192.168.7.0/24", "home and office"),
            ("127.0.0.0/8", "loopback"),
            ("224.0.0.0/8", "multicast"),
            ("239.1.0.0/16", "multicast"),
            ("169.254.0.0/16", "link-local"),
            ("240.0.0.0/8", "reserved"),
            ("0.0.0.0/8", "this network"),
            ("0.0.0.0/0", "overlaps"),
            ("100.64.0.0/25", "/24"),
            ("100.64.0.0/7", "CIDR"),
            ("100.0.0.0/6", "from /8"),
            ("100.64.0.1/10", "CIDR"),
            ("fd00::/48", "CIDR"),
            ("", "CIDR"),
            ("x", "CIDR"),
        ):
            with self.assertRaises(ValueError) as caught:
                parsePool(text)
            self.assertIn(why, str(caught.exception))
            self.assertNotIn("\n", str(caught.exception))

    def test_accepted(self) -> None:
        """Other blocks from /8 to /24 are taken."""
        for text in ("100.64.0.0/10", "203.0.113.0/24", "25.0.0.0/8", "198.18.0.0/15"):
            self.assertEqual(text, str(parsePool(text).network))

    @given(st.sets(st.integers(min_value=0, max_value=255)), st.integers(min_value=0, max_value=252))
    def test_choose(self, taken: set[int], drawn: int) -> None:
        """What is chosen was never given and is none of the three that are never given; it is nothing only when nothing is left."""
        pool = parsePool("203.0.113.0/24")
        base = int(IPv4Address("203.0.113.0"))
        given = {base + each for each in taken}
        chosen = pool.choose(
            lambda below: min(drawn, below - 1),
            given.__contains__,
            lambda first, last: sorted(each for each in given if first <= each <= last),
        )
        free = {base + each for each in range(2, 255)} - given
        if chosen is None:
            self.assertEqual(set(), free)
        else:
            self.assertIn(chosen, free)

    def test_address6(self) -> None:
        """A key's IPv6 address is in the mediator's /48, and another key's is another."""
        one, two = address6Of(PREFIX, b"1" * 32), address6Of(PREFIX, b"2" * 32)
        self.assertIn(one, network6Of(PREFIX))
        self.assertNotEqual(one, two)
        self.assertEqual(one, address6Of(PREFIX, b"1" * 32))
        self.assertEqual(IPv6Address("fd01:203:405::"), network6Of(PREFIX).network_address)


class AdmitTests(SynchronousTestCase):
    """
    L{accounts.admit}.
    """

    def setUp(self) -> None:
        self.engine = memoryEngine()

    def admit(self, key: bytes, pool: Pool, drawn: int = 0) -> accounts.Account:
        with self.engine.begin() as connection:
            return accounts.admit(connection, key, "n", pool, PREFIX, lambda below: drawn)

    def test_distinct(self) -> None:
        """Nodes get distinct addresses although the same number is drawn each time."""
        pool = parsePool("203.0.113.0/24")
        addresses = {self.admit(bytes([number]) * 32, pool).address for number in range(253)}
        self.assertEqual({f"203.0.113.{last}" for last in range(2, 255)}, addresses)
        with self.assertRaises(control.LoginFailed):
            self.admit(b"\xff" * 32, pool)

    def test_kept(self) -> None:
        """A node keeps its address when the pool changes."""
        first = self.admit(b"k" * 32, parsePool("203.0.113.0/24"))
        second = self.admit(b"k" * 32, parsePool("100.64.0.0/10"))
        self.assertEqual(first, second)

    def test_constraints(self) -> None:
        """The database itself refuses a second node with a key or an address that is given."""
        self.admit(b"k" * 32, parsePool("203.0.113.0/24"))
        with self.engine.begin() as connection:
            row = connection.execute(sa.select(tables.nodes)).one()
        other = {"key": b"o" * 32, "address": 1, "address6": b"6" * 16, "nick": "n", "present": True}
        for column in ("key", "address", "address6"):
            with self.assertRaises(IntegrityError), self.engine.begin() as connection:
                connection.execute(tables.nodes.insert().values({**other, column: getattr(row, column)}))
