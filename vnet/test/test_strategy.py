"""
What two NATs call for.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.natsignal import Traits
from vnet.protocols.machine.strategy import Strategy, isEasy, isRandom, isSequential, strategy

EI, AD, APD = "endpoint-independent", "address-dependent", "address-and-port-dependent"

EASY = Traits(EI, APD, "preserving")
OPEN = Traits(EI, EI)
NARROW = Traits(EI, AD)
SEQUENTIAL = Traits(APD, APD, "sequential", step=2)
RANDOM = Traits(APD, APD, "random")
BLOCK = Traits(APD, APD, "block", low=1024, high=1535)


class StrategyTests(SynchronousTestCase):
    def test_kinds(self) -> None:
        """Each NAT is one of three; what is not known counts as easy, and a port that is always kept is easy to tell."""
        for traits, kind in (
            (Traits(), 0),
            (EASY, 0),
            (Traits(APD, APD, "preserving"), 0),
            (SEQUENTIAL, 1),
            (Traits(APD, APD, "sequential"), 2),
            (RANDOM, 2),
            (BLOCK, 2),
            (Traits(AD, APD), 2),
        ):
            found = [isEasy(traits), isSequential(traits), isRandom(traits)]
            self.assertEqual(found, [kind == each for each in range(3)], traits)

    def test_pairs(self) -> None:
        """Both sides choose what fits together."""
        for one, two, expected in (
            (EASY, EASY, ("repair", "repair")),
            (Traits(), EASY, ("repair", "repair")),
            (SEQUENTIAL, EASY, ("predict", "answer")),
            (RANDOM, EASY, ("birthday", "answer")),
            (BLOCK, EASY, ("birthday", "answer")),
            (SEQUENTIAL, SEQUENTIAL, ("meet", "meet")),
            (RANDOM, SEQUENTIAL, ("hopeless", "hopeless")),
            (SEQUENTIAL, BLOCK, ("scatter", "answer")),
            (RANDOM, BLOCK, ("hopeless", "hopeless")),
            (RANDOM, OPEN, ("plain", "plain")),
            (Traits(blocked=True), EASY, ("hopeless", "hopeless")),
            (SEQUENTIAL, NARROW, ("plain", "plain")),
        ):
            chosen = strategy(one, two), strategy(two, one)
            self.assertEqual(chosen, tuple(map(Strategy, expected)), (one, two))
