"""
Nodes that move while TCP goes through the tunnel, and paths that idle behind NATs that forget soon.

C{VNET_IDLE=120} idles for so many seconds.  How soon traffic is back is measured by L{vnet.test.priv.roaming}; here are
bounds that a busy computer keeps, too.
"""

from __future__ import annotations

import os
import time

import attrs
import pytest
from twisted.trial.unittest import SynchronousTestCase

from vnet.test.priv.cluster import Cluster
from vnet.test.priv.roaming import COURSES, measure
from vnet.test.priv.test_relayed import pair, say

IDLE = float(os.environ.get("VNET_IDLE", "18"))
SOON = 5.0


@pytest.mark.timeout(180)
@pytest.mark.commands("iperf3", "conntrack", "ss")
class RoamingTests(SynchronousTestCase):
    """
    L{measure}, once.
    """

    def test_moves(self) -> None:
        """
        One TCP connection through the tunnel outlives another address of the computer, other ports of its NAT and another public
        address, with a filter on the other side that knows none of them, and goes on each time before a mediator that does not
        answer would be given up by TCP.
        """
        events = ("address", "rebinding", "public")
        outcome = measure("roam", attrs.evolve(COURSES["natted"], events=events), 1, "10M", say)
        self.assertEqual(outcome.broken, [])
        self.assertEqual(tuple(outcome.back), events)
        for event, times in outcome.back.items():
            self.assertLessEqual(max(times), SOON, event)


@pytest.mark.timeout(300)
class KeepAliveTests(SynchronousTestCase):
    """
    Both sides are behind NATs that forget a mapping after 15 s.
    """

    def test_idle(self) -> None:
        """
        After a longer silence in the tunnel the first packet arrives, in each direction, and the path is the one before.
        """
        with Cluster("idle") as cluster:
            cluster.startMediator()
            alice, bob = pair(cluster, "short-lived", "short-lived")
            before = alice.waitPath(bob)["endpoint"], bob.waitPath(alice)["endpoint"]
            addresses = alice.address, bob.address
            self.assertTrue(alice.host.ping(addresses[1], timeout=3.0))
            time.sleep(IDLE)
            self.assertTrue(bob.host.ping(addresses[0]))
            time.sleep(IDLE / 2)
            self.assertTrue(alice.host.ping(addresses[1]))
            self.assertEqual(
                (alice.peer(addresses[1])["endpoint"], bob.peer(addresses[0])["endpoint"]), before
            )
