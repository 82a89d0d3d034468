# -*- test-case-name: vnet.test.test_strategy -*-
"""
What two NATs call for, beyond the checks of ICE::

                  easy       sequential   block       random
    easy          repair     predict      birthday    birthday
    sequential               meet         scatter     hopeless
    block                                 hopeless    hopeless
    random                                            hopeless

A NAT is easy when all that a socket sends leaves from one port (endpoint-independent mapping), or when there is none.

 - Repair: both use a fresh socket, and another order: a packet that came early may have spoilt the mapping.
 - Predict: the sequential side takes samples of its ports right before and after it opens one for the peer, so that
   the peer has few to try.
 - Birthday: the random side opens many sockets, and the other one tries ports until one of them is hit.
 - Meet: both predict their next ports, and begin at the same moment.
 - Scatter: the sequential side predicts its next ports, the other one aims at each of them from a socket of its own, and
   each datagram of the sequential side is one guess in a block of ports.  It is a small chance, taken a few times.
"""

from __future__ import annotations

import enum

from vnet.protocols.codec.natsignal import Traits

__all__ = ["Strategy", "isEasy", "isRandom", "isSequential", "strategy"]


class Strategy(enum.Enum):
    """
    What this side does.
    """

    PLAIN = "plain"
    REPAIR = "repair"
    PREDICT = "predict"
    BIRTHDAY = "birthday"
    ANSWER = "answer"
    MEET = "meet"
    SCATTER = "scatter"
    HOPELESS = "hopeless"


def isEasy(traits: Traits) -> bool:
    """
    Whether one port serves all destinations, as far as is known.
    """
    return traits.mapping in ("", "endpoint-independent") or traits.allocation == "preserving"


def isSequential(traits: Traits) -> bool:
    """
    Whether the next port can be told.
    """
    return not isEasy(traits) and traits.allocation == "sequential" and traits.step != 0


def isRandom(traits: Traits) -> bool:
    """
    Whether the next port cannot be told.
    """
    return not isEasy(traits) and not isSequential(traits)


def strategy(own: Traits, peer: Traits) -> Strategy:
    """
    What to do beside the checks of ICE.

    @param own: the traits of this side's NAT; C{peer} of the other one's.
    """
    if own.blocked or peer.blocked:
        return Strategy.HOPELESS
    if isEasy(own) and isEasy(peer):
        return Strategy.REPAIR
    if isEasy(own) or isEasy(peer):
        if (own if isEasy(own) else peer).filtering in ("endpoint-independent", "address-dependent"):
            # The other side's checks come through.
            return Strategy.PLAIN
        if isEasy(own):
            return Strategy.ANSWER
        return Strategy.PREDICT if isSequential(own) else Strategy.BIRTHDAY
    if isSequential(own) and isSequential(peer):
        return Strategy.MEET
    if isSequential(own) and _isBlock(peer):
        return Strategy.SCATTER
    return Strategy.ANSWER if _isBlock(own) and isSequential(peer) else Strategy.HOPELESS


def _isBlock(traits: Traits) -> bool:
    return traits.allocation == "block" and 0 < traits.low < traits.high
