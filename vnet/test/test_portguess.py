"""
Which ports a NAT is likely to give.
"""

from __future__ import annotations

import os
import random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.natsignal import Prediction
from vnet.protocols.machine.portguess import bracket, guesses, meetings, stepOf, window

HOST = "203.0.113.1"


def met(first: int, second: int, seed: int = 0, others: int = 0) -> bool:
    """
    Whether two NATs meet, whose first ports are so many steps later than predicted.

    @param others: mappings of others a second, at both, which is predicted too.
    """
    draw = random.Random(seed)
    one = Prediction(1, "next", HOST, 1000, 1000, 1, others * 10)
    two = Prediction(1, "next", HOST, 5000, 5000, 2, others * 10)
    sent = []
    for own, peer, controlling, off in ((one, two, True, first), (two, one, False, second)):
        port = own.low + off * own.step
        flows = set()
        for destination in meetings(own, peer, controlling, 0, 48):
            flows.add((port, destination))
            port += own.step * (1 + (draw.random() < others * 0.005))
        sent.append(flows)
    return any((theirs, ours) in sent[1] for ours, theirs in sent[0])


class PortGuessTests(SynchronousTestCase):
    def test_step(self) -> None:
        """The step is the difference that is seen most often, whatever others take in between."""
        self.assertEqual(stepOf([10, 12, 14, 18]), 2)
        self.assertEqual(stepOf([10, 9, 8]), -1)
        self.assertEqual(stepOf([10, 266, 522]), 256)
        self.assertEqual(stepOf([10, 11, 13]), 1)
        self.assertEqual([stepOf([]), stepOf([7]), stepOf([7, 7])], [0, 0, 0])

    def test_window(self) -> None:
        """The window grows with what is expected, and holds a Poisson-distributed number nearly always."""
        self.assertEqual([window(0), window(1), window(16)], [2, 6, 30])

    def test_bracket(self) -> None:
        """A mapping lies between the samples before and after it."""
        self.assertEqual(bracket([10, 11], [13, 14], 1), (12, 12))
        self.assertEqual(bracket([100], [110], 2), (102, 108))
        self.assertEqual(bracket([100], [90], -2), (98, 92))
        # A port that was in use may have been left out.
        self.assertEqual(bracket([100], [95], -2), (98, 98))
        self.assertEqual(bracket([100], [107], 2), (102, 104))
        for before, after, step in (
            ([], [13], 1),
            ([11], [], 1),
            ([13], [11], 1),
            ([11], [12], 1),
            ([10], [1000], 1),
            ([65535], [65535 + 2], 1),
        ):
            self.assertIsNone(bracket(before, after, step), (before, after))

    @given(
        st.integers(1, 65535),
        st.integers(0, 5000),
        st.sampled_from([1, -1, 2, -3, 256]),
        st.integers(1, 2048),
    )
    def test_guesses(self, low: int, span: int, step: int, limit: int) -> None:
        """All that is guessed is possible, no port comes twice, and there are not more than wanted."""
        high = min(65535, low + span)
        found = guesses(Prediction(1, "ports", HOST, low, high, step), os.urandom, limit)
        self.assertEqual(len(found), min(limit, len(range(low, high + 1, abs(step)))))
        self.assertEqual(len(set(found)), len(found))
        self.assertTrue(all(low <= port <= high and (port - low) % abs(step) == 0 for port in found))

    def test_likelyFirst(self) -> None:
        """Few ports are tried in the order in which the NAT gives them; many in no order."""
        self.assertEqual(guesses(Prediction(1, "ports", HOST, 10, 14, 2), os.urandom, 99), [10, 12, 14])
        self.assertEqual(guesses(Prediction(1, "ports", HOST, 10, 14, -2), os.urandom, 99), [14, 12, 10])
        many = guesses(Prediction(1, "ports", HOST, 1000, 1999), os.urandom, 1000)
        self.assertNotEqual(many, sorted(many))

    def test_meet(self) -> None:
        """Two sequential NATs meet if both are as predicted, and if both together are a few steps off."""
        for first, second in ((0, 0), (1, 0), (0, 1), (2, 1), (-1, 0), (0, 3), (1, -1)):
            self.assertTrue(met(first, second), (first, second))
        self.assertFalse(met(40, 40))

    def test_meetAmongOthers(self) -> None:
        """They nearly always meet among others, too."""
        found = sum(met(seed % 5 - 2, seed % 3 - 1, seed, 20) for seed in range(100))
        self.assertGreater(found, 80)
        print(found)

    def test_meetAtTheEdge(self) -> None:
        """No port beyond the last one is named."""
        near = Prediction(1, "next", HOST, 65530, 65530, 1)
        self.assertTrue(all(port <= 65535 for port in meetings(near, near, True, 0, 48)))
