"""
Waiting until a member forwards.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.lanroutes.firsthop import PATIENCE, Probe, whenForwarded
from vnet.test.test_lanroutes import FakeProbe


class WhenForwardedTests(SynchronousTestCase):
    """
    Tests of L{whenForwarded}.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.probes: list[FakeProbe] = []
        self.isRefusing = False

    def send(self, host: str) -> Probe:
        """A datagram that is not answered yet."""
        if self.isRefusing:
            raise OSError(1, "Operation not permitted")
        self.probes.append(FakeProbe(host, False))
        return self.probes[-1]

    def wait(self, prefix: str) -> Deferred[bool]:
        return Deferred.fromCoroutine(whenForwarded(self.clock, prefix, self.send))

    def pass_(self, seconds: float) -> None:
        self.clock.pump([0.01] * round(seconds / 0.01))

    def test_answered(self) -> None:
        """
        It is asked again and again, until any datagram is answered, also one of before.
        """
        waiting = self.wait("192.168.7.0/24")
        self.assertEqual(len(self.probes), 1)
        self.pass_(0.2)
        self.assertTrue(3 <= len(self.probes) <= 5, len(self.probes))
        self.assertNoResult(waiting)
        self.probes[0].isAnswered = True
        self.pass_(0.02)
        self.assertTrue(self.successResultOf(waiting))
        self.assertTrue(all(probe.isClosed for probe in self.probes))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_silent(self) -> None:
        """
        Who never answers, or cannot be asked, is not waited for without end.
        """
        for self.isRefusing in (False, True):
            waiting = self.wait("192.168.7.0/24")
            self.pass_(PATIENCE - 0.1)
            self.assertNoResult(waiting)
            self.pass_(0.2)
            self.assertFalse(self.successResultOf(waiting))
            self.assertTrue(all(probe.isClosed for probe in self.probes))

    def test_hosts(self) -> None:
        """
        Datagrams go to hosts of the prefix, to others each time; in one of two addresses, or one, to the first.
        """
        for prefix in (
            "192.168.7.0/24",
            "192.168.7.9/32",
            "192.168.7.8/31",
            "fd05::/64",
            "fd05::7/128",
            "::ff:0/112",
        ):
            self.probes.clear()
            self.wait(prefix)
            self.pass_(PATIENCE + 0.1)
            network = ip_network(prefix)
            hosts = {ip_address(probe.host) for probe in self.probes}
            self.assertTrue(all(host in network for host in hosts), hosts)
            if network.num_addresses > 2:
                self.assertGreater(len(hosts), 5)
                self.assertFalse(hosts & {network[0], network[-1]})
            else:
                self.assertEqual(hosts, {network[0]})
