"""
Tests for L{vnet.protocols.machine.election}.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.machine.election import Election
from vnet.protocols.machine.pair import Pair, State
from vnet.values import Address, Candidate


def pair(kind: str = "host", localKind: str = "host", rtt: float = 0.05, answeredAt: float = 1.0) -> Pair:
    """
    A pair that works.
    """
    made = Pair(Candidate(kind, Address("192.0.2.1", 1), 1, "f"))
    made.answered(localKind, rtt, answeredAt)
    return made


class ElectionTests(SynchronousTestCase):
    """
    L{Election}.
    """

    def better(self, new: Pair, old: Pair | None, controlling: bool = True, suspect: bool = False) -> bool:
        return Election(old).isBetter(new, controlling, suspect, 10.0)

    def test_first(self) -> None:
        """
        Any pair that works is better than none; one that does not work is never.
        """
        self.assertTrue(self.better(pair("relay"), None))
        failed = pair()
        failed.state = State.FAILED
        self.assertFalse(self.better(failed, None))

    def test_classes(self) -> None:
        """
        Without NAT is better than through one, and that better than a relay, for both roles and whatever
        the round trip.
        """
        ranked = [pair("relay", rtt=0.01), pair("srflx", rtt=0.02), pair("host", rtt=0.9)]
        for controlling in (True, False):
            for low, worse in enumerate(ranked):
                for best in ranked[low + 1 :]:
                    self.assertTrue(self.better(best, worse, controlling))
                    self.assertFalse(self.better(worse, best, controlling))
        self.assertFalse(self.better(pair("host", "prflx"), pair("prflx", "host")))

    def test_faster(self) -> None:
        """
        Among equals the controlling side takes a pair that is faster by 10 ms and 10 percent, not one
        that is hardly so.
        """
        self.assertTrue(self.better(pair(rtt=0.030), pair(rtt=0.050)))
        self.assertFalse(self.better(pair(rtt=0.042), pair(rtt=0.050)))
        self.assertFalse(self.better(pair(rtt=0.480), pair(rtt=0.500)))
        self.assertTrue(self.better(pair(rtt=0.440), pair(rtt=0.500)))
        self.assertFalse(self.better(pair(rtt=0.060), pair(rtt=0.050)))

    def test_neverBackAndForth(self) -> None:
        """
        Of two pairs at most one is better than the other.
        """
        pairs = [
            pair(kind, rtt=rtt) for kind in ("host", "srflx", "relay") for rtt in (0.01, 0.015, 0.03, 0.5)
        ]
        for one in pairs:
            for other in pairs:
                self.assertFalse(self.better(one, other) and self.better(other, one))

    def test_nominated(self) -> None:
        """
        Among equals the controlled side takes the pair that was nominated last, and no other.
        """
        one, other = pair(rtt=0.5), pair(rtt=0.01)
        self.assertFalse(self.better(other, one, controlling=False))
        election = Election(one)
        election.nominate(one, [one, other])
        election.nominate(other, [one, other])
        self.assertEqual((one.nominated, other.nominated), (False, True))
        self.assertTrue(election.isBetter(other, False, False, 10.0))

    def test_rests(self) -> None:
        """
        A pair that was given up is not taken again before it has rested, longer each time, unless there is nothing else.
        """
        direct, relayed = pair("srflx"), pair("relay")
        rests = []
        for _ in range(8):
            direct.demote(10.0)
            self.assertFalse(self.better(direct, relayed))
            self.assertTrue(self.better(direct, None))
            rests.append(direct.restsUntil - 10.0)
        self.assertEqual(rests, [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0])
        direct.restsUntil = 10.0
        self.assertTrue(self.better(direct, relayed))

    def test_hops(self) -> None:
        """
        One relay is better than two, whichever side it belongs to.
        """
        kinds = {"own": ("srflx", "r1"), "theirs": ("relay", ""), "both": ("relay", "r1")}
        made = {
            name: Pair(Candidate(kind, Address("192.0.2.1", 1, via), 1, "f"))
            for name, (kind, via) in kinds.items()
        }
        self.assertEqual(
            {name: each.preference for name, each in made.items()}, {"own": 1, "theirs": 1, "both": 0}
        )
        self.assertTrue(all(each.path().relayed for each in made.values()))

    def test_standby(self) -> None:
        """
        Ready to take over is the best other pair that answered when it was asked last.
        """
        selected, relayed, silent = (
            pair(answeredAt=9.0),
            pair("relay", answeredAt=8.0),
            pair("srflx", answeredAt=8.0),
        )
        silent.triedAt = 8.5
        election = Election(selected)
        pairs = [selected, relayed, silent]
        self.assertEqual(election.standbys(pairs, 10.0), [relayed])
        self.assertEqual(election.standbys(pairs, 9.0), [silent, relayed])
        self.assertEqual(election.standbys(pairs, 100.0), [])
        silent.triedAt, relayed.answeredAt = None, 8.5
        self.assertEqual(election.standbys(pairs, 9.0, since=8.2), [relayed, silent])

    def test_suspect(self) -> None:
        """
        A pair that answers is better than one that has ceased to, even of a better class.
        """
        silent, fresh = pair(answeredAt=5.0), pair("relay", answeredAt=6.0)
        self.assertTrue(self.better(fresh, silent, suspect=True))
        self.assertFalse(self.better(pair(answeredAt=4.0), silent, suspect=True))

    def test_freshest(self) -> None:
        """
        The freshest is the best of those that have answered since the selected one and in the last seconds.
        """
        silent, reflexive = pair(answeredAt=5.0), pair("srflx", answeredAt=6.0)
        relayed = pair("relay", answeredAt=7.0)
        never = Pair(Candidate("host", Address("192.0.2.9", 1), 1, "f"))
        pairs = [silent, never, reflexive, relayed]
        election = Election(silent)
        self.assertIs(election.freshest(pairs, 8.0), reflexive)
        self.assertIs(election.freshest(pairs, 21.5), relayed)
        self.assertIs(election.freshest(pairs, 60.0), None)
        self.assertIs(Election().freshest([never], 1.0), None)
