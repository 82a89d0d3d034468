"""
Tests for L{vnet.protocols.machine.membergroups}.
"""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.machine.membergroups import LIFETIME, MOST4, MOST6, MemberGroups, isForAll

ANN, BOB = b"a" * 32, b"b" * 32
GAME, OTHER = bytes((239, 1, 2, 3)), bytes((224, 0, 2, 60))
GAME6 = b"\xff\x15" + bytes(13) + b"\x99"


class ForAllTests(SynchronousTestCase):
    def test_addresses(self) -> None:
        """Broadcasts, what concerns the link and SSDP go to all; other groups to those that listen."""
        four = (
            "255.255.255.255",
            "100.127.255.255",
            "224.0.0.1",
            "224.0.0.251",
            "224.0.0.252",
            "239.255.255.250",
        )
        for text in (*four, "ff02::fb", "ff02::1:3", "ff02::1", "ff02::c", "ff05::c", "ff0e::c", "ff08::c"):
            self.assertTrue(isForAll(ip_address(text).packed), text)
        others = ("224.0.1.1", "224.0.2.60", "239.255.255.251", "232.1.1.1")
        for text in (*others, "ff05::2", "ff15::c", "ff05::1:c", "ff0e::99", "ff12::1"):
            self.assertFalse(isForAll(ip_address(text).packed), text)


class MemberGroupsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.table = MemberGroups()

    def test_reported(self) -> None:
        """A member gets what it has reported, of that version of IP; the last report counts."""
        self.assertTrue(self.table.wants(ANN, GAME, 0))
        self.table.report(ANN, 4, frozenset((GAME,)), 0)
        found = [
            self.table.wants(*each, 1) for each in ((ANN, GAME), (ANN, OTHER), (BOB, OTHER), (ANN, GAME6))
        ]
        self.assertEqual(found, [True, False, True, True])
        self.table.report(ANN, 4, frozenset((OTHER,)), 2)
        self.assertEqual([self.table.wants(ANN, each, 3) for each in (GAME, OTHER)], [False, True])
        self.table.report(ANN, 16, frozenset(), 3)
        self.assertFalse(self.table.wants(ANN, GAME6, 4))

    def test_expires(self) -> None:
        """An old report counts no longer: the member gets everything."""
        self.table.report(ANN, 4, frozenset((GAME,)), 10)
        self.assertFalse(self.table.wants(ANN, OTHER, 10 + LIFETIME - 0.1))
        self.assertTrue(self.table.wants(ANN, OTHER, 10 + LIFETIME))
        self.assertEqual(self.table._reports, {})

    def test_session(self) -> None:
        """In a new session a report from before counts for a moment only, unless there is a new one."""
        self.table.report(ANN, 4, frozenset((GAME,)), 0)
        self.table.mayHaveChanged(ANN, 100)
        self.assertFalse(self.table.wants(ANN, OTHER, 104))
        self.table.mayHaveChanged(ANN, 104)
        self.assertTrue(self.table.wants(ANN, OTHER, 105))
        self.table.report(ANN, 4, frozenset((GAME,)), 200)
        self.table.mayHaveChanged(ANN, 300)
        self.table.report(ANN, 4, frozenset((GAME,)), 300.2)
        self.assertFalse(self.table.wants(ANN, OTHER, 400))
        # The report was faster than the news of the session.
        self.table.mayHaveChanged(ANN, 301)
        self.assertFalse(self.table.wants(ANN, OTHER, 400))

    def test_tooMany(self) -> None:
        """Who listens to more groups than are kept gets everything."""
        many = [number.to_bytes(4, "big") for number in range(MOST4 + 1)]
        self.table.report(ANN, 4, frozenset(many[1:]), 0)
        self.assertFalse(self.table.wants(ANN, OTHER, 1))
        self.table.report(ANN, 4, frozenset(many), 1)
        self.assertTrue(self.table.wants(ANN, OTHER, 2))

    def test_forgotten(self) -> None:
        """Of somebody who is no member nothing is kept."""
        for size, group in ((4, GAME), (16, GAME6)):
            self.table.report(ANN, size, frozenset((group,)), 0)
        self.table.forget(ANN)
        self.table.forget(BOB)
        self.assertEqual((self.table._reports, self.table._count), ({}, 0))

    def test_bounded(self) -> None:
        """Of thousands of members no more is kept than there is room for; the others get everything."""
        groups4 = frozenset(number.to_bytes(4, "big") for number in range(MOST4))
        groups6 = frozenset(number.to_bytes(16, "big") for number in range(MOST6))
        for number in range(1000):
            self.table.report(number.to_bytes(32, "big"), 4, groups4, 0)
            self.table.report(number.to_bytes(32, "big"), 16, groups6, 0)
        self.assertLessEqual(sum(len(each.groups) for each in self.table._reports.values()), 32_768)
        self.assertTrue(self.table.wants((999).to_bytes(32, "big"), GAME, 1))

    @given(st.lists(st.tuples(st.sampled_from((ANN, BOB)), st.integers(0, 200), st.booleans()), max_size=20))
    def test_counted(self, steps: list[tuple[bytes, int, bool]]) -> None:
        """The number of all groups is right, whatever happens."""
        table = MemberGroups()
        for at, (member, count, forgets) in enumerate(steps):
            groups = frozenset(number.to_bytes(4, "big") for number in range(count))
            table.report(member, 4, groups, at * 300.0)
            if forgets:
                table.forget(member)
            table.wants(BOB, GAME, at * 400.0)
        self.assertEqual(table._count, sum(len(each.groups) for each in table._reports.values()))
