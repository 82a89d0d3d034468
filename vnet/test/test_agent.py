"""
Tests for L{vnet.protocols.machine.agent}: how two agents find a path.
"""

from __future__ import annotations

from itertools import pairwise

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.signal import Credentials
from vnet.protocols.machine.agentevents import Failed, Selected
from vnet.protocols.machine.candidates import priority
from vnet.test.icepeers import Couple, connect, home, peer, run
from vnet.test.natsim import Host, Internet, Nat
from vnet.values import Address, Candidate

EIM, APDM = "endpoint-independent", "address-and-port-dependent"
EIF, ADF, APDF = "endpoint-independent", "address-dependent", "address-and-port-dependent"


class ConnectTests(SynchronousTestCase):
    """
    Two agents behind all kinds of NATs.
    """

    def test_public(self) -> None:
        """
        Two public hosts connect within one round trip after the start, by host candidates.
        """
        pair = Couple()
        pair.run(1.3)
        for each, other in ((pair.a, pair.b), (pair.b, pair.a)):
            path = each.agent.selected
            assert path is not None
            self.assertEqual(path.address, Address(next(iter(other.host.addresses)), 5000))
            self.assertEqual((path.localKind, path.remoteKind), ("host", "host"))
            self.assertAlmostEqual(path.rtt, 0.06, 2)
            assert each.connectedAt is not None
            self.assertTrue(1.0 < each.connectedAt < 1.1, each.connectedAt)
            self.assertEqual(len(each.of(Selected)), 1)

    def test_silentBeforeTheStart(self) -> None:
        """
        Nothing is sent before the common start.
        """
        pair = Couple()
        sent = len(pair.internet.log)
        pair.run(0.55)
        self.assertEqual(len(pair.internet.log), sent)

    def test_matrix(self) -> None:
        """
        All NATs that can connect without prediction do, within 2 seconds after the start.
        """
        easy = [("public", ""), (EIM, EIF), (EIM, ADF), (EIM, APDF)]
        hard = (APDM, APDF)
        combinations = [(one, other) for one in easy for other in easy]
        combinations += [(one, hard) for one in easy[:3]] + [(hard, one) for one in easy[:3]]
        for one, other in combinations:
            pair = Couple(one, other)
            pair.run(3.0)
            self.assertTrue(pair.connected, (one, other))

    def test_hopeless(self) -> None:
        """
        Two symmetric NATs do not connect, and both sides say that they have heard nothing.
        """
        pair = Couple((APDM, APDF), (APDM, APDF))
        pair.run(12.0)
        for each in (pair.a, pair.b):
            self.assertEqual([event for _, event in each.events], [Failed("heard nothing")])
            self.assertTrue(each.agent.tried)
            self.assertEqual(each.agent.heard, ())
            self.assertIs(each.agent.deadline(), None)

    def test_peerReflexive(self) -> None:
        """
        Behind a symmetric NAT the path is the address that the checks revealed.
        """
        pair = Couple((APDM, APDF), (EIM, EIF))
        pair.run(3.0)
        path = pair.b.agent.selected
        assert path is not None
        self.assertEqual(path.remoteKind, "prflx")
        self.assertNotIn(path.address, pair.a.mapped)

    def test_loss(self) -> None:
        """
        At 2 percent loss, 98 of 100 trials connect within 3 seconds for each pair of NATs that can
        connect at all.
        """
        for one, other in [((EIM, APDF), (EIM, APDF)), ((EIM, EIF), (APDM, APDF))]:
            connected = 0
            for seed in range(200):
                pair = Couple(one, other, loss=0.02, seed=seed)
                pair.run(3.5)
                connected += pair.connected
            self.assertTrue(connected >= 196, (one, other, connected))

    def test_sameLan(self) -> None:
        """
        In one LAN the LAN's path is taken, hairpin or not, and both sides stay on it.
        """
        for hairpin in (False, True):
            clock = Clock()
            internet = Internet(clock)
            lan = internet.lan()
            Nat(lan, internet, "198.51.100.1", EIM, EIF, hairpin=hairpin)
            a = peer("alice", clock, Host({"192.168.1.2": lan}, 5000), True)
            b = peer("bob", clock, Host({"192.168.1.3": lan}, 5000), False)
            connect(a, b, internet)
            run(clock, 60.0)
            for each, host in ((a, "192.168.1.3"), (b, "192.168.1.2")):
                assert each.agent.selected is not None
                self.assertEqual(each.agent.selected.address, Address(host, 5000))
                self.assertTrue(len(each.of(Selected)) <= 2)

    def test_lanReplacesReflexive(self) -> None:
        """
        A LAN path that is known later takes over from a path through the NAT.
        """
        clock = Clock()
        internet = Internet(clock)
        lan = internet.lan()
        Nat(lan, internet, "198.51.100.1", EIM, EIF, hairpin=True)
        a = peer("alice", clock, Host({"192.168.1.2": lan}, 5000), True)
        b = peer("bob", clock, Host({"192.168.1.3": lan}, 5001), False)
        connect(a, b, internet)
        for each in (a, b):
            checklist = each.agent._core.checklist
            hosts = [p.remote for p in checklist if p.remote.kind == "host"]
            for remote in hosts:
                del checklist._pairs[remote.address]
        run(clock, 2.0)
        before = a.agent.selected
        assert before is not None
        self.assertEqual(before.address.host, "198.51.100.1")
        a.tell(b)
        b.tell(a)
        run(clock, 2.0)
        for each in (a, b):
            assert each.agent.selected is not None
            self.assertTrue(each.agent.selected.address.host.startswith("192.168."))

    def test_trickled(self) -> None:
        """
        Candidates and credentials that come after the start are used.
        """
        pair = Couple.__new__(Couple)
        pair.clock = Clock()
        pair.internet = Internet(pair.clock)
        pair.a = peer("alice", pair.clock, home(pair.internet, 1, EIM, APDF), True)
        pair.b = peer("bob", pair.clock, home(pair.internet, 2, EIM, APDF), False)
        for each in (pair.a, pair.b):
            each.discover(pair.internet)
        pair.a.tell(pair.b)
        pair.run(4.0)
        self.assertFalse(pair.connected)
        pair.b.tell(pair.a)
        pair.run(2.0)
        self.assertTrue(pair.connected)

    def test_noSignal(self) -> None:
        """
        An agent that is told nothing of its peer says so, and connects when it is told after all.
        """
        clock = Clock()
        internet = Internet(clock)
        a = peer("alice", clock, home(internet, 1, "public", ""), True)
        b = peer("bob", clock, home(internet, 2, "public", ""), False)
        run(clock, 12.0)
        self.assertEqual([event for _, event in a.events], [Failed("the peer sent no signal")])
        connect(a, b, internet)
        run(clock, 2.0)
        self.assertIsInstance(a.events[-1][1], Selected)
        self.assertIsInstance(b.events[-1][1], Selected)

    def test_noCandidates(self) -> None:
        """
        A peer without a candidate is told from one that cannot be reached.
        """
        clock = Clock()
        a = peer("alice", clock, home(Internet(clock), 1, "public", ""), True)
        a.agent.setRemoteCredentials(Credentials("bobb", "b" * 22))
        run(clock, 12.0)
        self.assertEqual([event for _, event in a.events], [Failed("no remote candidates")])

    def test_revived(self) -> None:
        """
        A check that arrives after the failure starts the search again.
        """
        clock = Clock()
        internet = Internet(clock)
        a = peer("alice", clock, home(internet, 1, EIM, APDF), True)
        b = peer("bob", clock, home(internet, 2, EIM, APDF), False, startAt=20.0)
        connect(a, b, internet)
        run(clock, 18.0)
        self.assertEqual([event for _, event in a.events], [Failed("heard nothing")])
        run(clock, 3.0)
        self.assertEqual([type(event) for _, event in a.events], [Failed, Selected])
        self.assertEqual([type(event) for _, event in b.events], [Selected])

    def test_pace(self) -> None:
        """
        Checks leave at least 20 ms apart, but for nominations and consent.
        """
        pair = Couple((EIM, APDF), (APDM, APDF))
        for number in range(30):
            candidate = Candidate("srflx", Address(f"192.0.2.{number}", 7), priority("srflx", number), "f")
            pair.a.agent.addRemoteCandidate(candidate, 0.0)
        times: list[float] = []
        forward = pair.a.host.send

        def send(batch: list[tuple[bytes, Address]]) -> None:
            times.extend([pair.clock.seconds()] * len(batch))
            forward(batch)

        pair.a.driver._send = send
        pair.run(13.0)
        self.assertTrue(len(times) > 300)
        self.assertTrue(min(b - a for a, b in pairwise(times)) > 0.0199)
