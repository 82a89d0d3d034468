"""
Tests for L{vnet.protocols.machine.joinedgroups}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.grouprecords import (
    ALLOW,
    BLOCK,
    IS_EXCLUDE,
    IS_INCLUDE,
    TO_EXCLUDE,
    TO_INCLUDE,
    GroupRecord,
)
from vnet.protocols.machine.joinedgroups import JoinedGroups

GAME, OTHER, MDNS = bytes((239, 1, 2, 3)), bytes((224, 0, 2, 60)), bytes((224, 0, 0, 251))


def group(number: int) -> bytes:
    return bytes((239, 7, number >> 8, number & 255))


class JoinedGroupsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.groups = JoinedGroups(4)

    def say(self, kind: int, *groups: bytes, sources: int = 0) -> tuple[bytes, ...]:
        self.groups.report([GroupRecord(kind, each, sources) for each in groups])
        return self.groups.told()

    def rounds(self, count: int, *mentioned: bytes) -> tuple[bytes, ...]:
        """Rounds that are answered with this."""
        for _ in range(count):
            self.groups.asked()
            self.say(IS_EXCLUDE, MDNS, *mentioned)
        return self.groups.told()

    def test_joinAndLeave(self) -> None:
        """A group that is joined, whatever the record, is told until it is left."""
        self.assertEqual((self.groups.isKnown, self.groups.told()), (False, ()))
        for joins in (IS_EXCLUDE, TO_EXCLUDE, ALLOW):
            self.assertEqual(self.say(joins, GAME, OTHER), (OTHER, GAME))
            self.assertEqual(self.say(TO_INCLUDE, OTHER), (GAME,))
            self.assertEqual(self.say(IS_INCLUDE, GAME), ())
        self.assertEqual(self.say(TO_INCLUDE, GAME, sources=2), (GAME,))
        self.assertEqual(self.say(BLOCK, GAME, sources=1), (GAME,))
        self.assertTrue(self.groups.isKnown)

    def test_forAll(self) -> None:
        """What all members get anyway is not told, but shows that the operating system reports."""
        self.assertEqual(self.say(IS_EXCLUDE, MDNS), ())
        self.assertTrue(self.groups.isKnown)

    def test_rounds(self) -> None:
        """What is not mentioned in several rounds that were answered is gone; rounds without an answer say nothing."""
        self.say(TO_EXCLUDE, GAME, OTHER)
        for _ in range(20):
            self.groups.asked()
        self.assertEqual(self.rounds(3, GAME), (OTHER, GAME))
        self.assertEqual(self.rounds(2, GAME), (GAME,))
        self.assertEqual(self.rounds(20, GAME), (GAME,))

    def test_shared(self) -> None:
        """
        Where others report, too, who leaves a group may not be the last: the rounds tell.  What others say shows not that the
        operating system reports, nor that it has answered.
        """
        self.groups.report([GroupRecord(TO_EXCLUDE, MDNS)], False)
        self.say(TO_EXCLUDE, OTHER)
        self.assertEqual(self.say(TO_INCLUDE, OTHER), ())
        self.groups = JoinedGroups(4)
        self.groups.report([GroupRecord(TO_EXCLUDE, GAME)], False)
        self.assertEqual((self.groups.isKnown, self.groups.told()), (False, (GAME,)))
        self.say(TO_EXCLUDE, GAME)
        self.groups.report([GroupRecord(TO_INCLUDE, GAME)], False)
        self.assertEqual(self.say(TO_INCLUDE, GAME), (GAME,))
        for _ in range(9):
            self.groups.asked()
            self.groups.report([GroupRecord(IS_EXCLUDE, OTHER)], False)
        self.assertEqual(self.groups.told(), (OTHER, GAME))
        self.assertEqual(self.rounds(5), ())

    def test_tooMany(self) -> None:
        """Of more groups than are told one more is told, so that it shows."""
        many = [group(number) for number in range(6)]
        self.assertEqual(self.say(TO_EXCLUDE, *many), tuple(many[:5]))
        self.assertEqual(self.say(TO_INCLUDE, *many[:2]), tuple(many[2:]))

    def test_bounded(self) -> None:
        """Beyond 1,024 groups none is kept, and they stay too many until the rounds have told which there are."""
        many = [group(number) for number in range(1030)]
        self.assertEqual(len(self.say(TO_EXCLUDE, *many)), 5)
        self.assertEqual(len(self.groups._joined), 1024)
        self.assertEqual(len(self.say(TO_INCLUDE, *many[:-1])), 5)
        self.assertEqual(len(self.rounds(3, many[-1])), 5)
        self.assertEqual(self.rounds(3, many[-1]), (many[-1],))
