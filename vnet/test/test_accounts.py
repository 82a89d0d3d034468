"""
Tests for L{vnet.server.accounts}: a database in memory.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols import control
from vnet.protocols.codec.address6 import address6Of
from vnet.server import accounts
from vnet.server.accounts import Account
from vnet.server.addresses import parsePool
from vnet.server.store import tables
from vnet.test.mediatorlab import memoryEngine

PREFIX = b"\xfd\x01\x02\x03\x04\x05"
POOL = parsePool("203.0.113.0/24")
KEY, OTHER = b"k" * 32, b"o" * 32


class AccountTests(SynchronousTestCase):
    """
    Nodes in the database.
    """

    def setUp(self) -> None:
        self.engine = memoryEngine()
        self.addCleanup(self.engine.dispose)

    def run_(self, work: Any, *arguments: Any) -> Any:
        with self.engine.begin() as connection:
            return work(connection, *arguments)

    def admit(self, key: bytes = KEY, nick: str = "nick", drawn: int = 0) -> Account:
        account: Account = self.run_(accounts.admit, key, nick, POOL, PREFIX, lambda below: drawn)
        return account

    def all(self) -> list[Account]:
        found: list[Account] = self.run_(accounts.allAccounts)
        return found

    def test_new(self) -> None:
        """A new key gets the first free address that is drawn, the IPv6 address of the key, and is present."""
        account = self.admit(drawn=7)
        self.assertEqual(
            ("203.0.113.9", "nick", True, KEY), (account.address, account.nick, account.present, account.key)
        )
        self.assertEqual(str(address6Of(PREFIX, KEY)), account.address6)
        self.assertEqual([account], self.all())

    def test_kept(self) -> None:
        """A known key keeps its addresses, whatever is drawn, and its nickname is the last one."""
        first = self.admit()
        self.run_(accounts.setPresent, KEY, False)
        self.assertFalse(self.all()[0].present)
        again = self.admit(nick="other", drawn=50)
        self.assertEqual(
            (first.address, first.address6, first.number), (again.address, again.address6, again.number)
        )
        self.assertEqual(("other", True), (again.nick, again.present))
        self.assertEqual([again], self.all())

    def test_oneNodeOnly(self) -> None:
        """What is kept of one node changes nothing of another."""
        one, other = self.admit(), self.admit(OTHER, "other", drawn=1)
        self.run_(accounts.setNick, KEY, "changed")
        self.run_(accounts.setPresent, KEY, False)
        self.assertEqual(other, self.all()[1])
        self.assertEqual(("changed", False), (self.all()[0].nick, self.all()[0].present))
        self.assertNotEqual(one.address, other.address)

    def test_neverReused(self) -> None:
        """No two keys ever have the same address, until the pool is full; that is said, and changes nothing."""
        given = [self.admit(b"%032d" % number).address for number in range(253)]
        self.assertEqual(253, len(set(given)))
        with self.assertRaisesRegex(control.LoginFailed, "larger --pool"):
            self.admit(b"late".ljust(32))
        self.assertEqual(253, len(self.all()))
        self.assertEqual(given[0], self.admit(b"%032d" % 0).address)

    def test_constraints(self) -> None:
        """The schema itself refuses a second row with the key, the address or the IPv6 address of another."""
        self.admit()
        with self.engine.begin() as connection:
            row = dict(connection.execute(sa.select(tables.nodes)).mappings().one())
        fresh = {"id": 2, "key": OTHER, "address": 1, "address6": b"6" * 16}
        for column in ("key", "address", "address6"):
            values = {**row, **fresh, column: row[column]}
            with self.assertRaisesRegex(IntegrityError, f"UNIQUE.*nodes.{column}"):
                self.run_(
                    lambda connection, values=values: connection.execute(tables.nodes.insert().values(values))
                )
        self.run_(lambda connection: connection.execute(tables.nodes.insert().values({**row, **fresh})))

    def test_realm(self) -> None:
        """The realm is what the database was made with."""
        self.assertEqual(accounts.Realm(b"R" * 16, PREFIX), self.run_(accounts.readRealm))
