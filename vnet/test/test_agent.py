"""
Tests for L{vnet.protocols.machine.agent}.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.signal import Credentials
from vnet.protocols.codec.stun import BINDING, Class, Message, decode, encode, isStun, shortTermKey
from vnet.protocols.codec.stunattributes import (
    CHANGE_REQUEST,
    ERROR_CODE,
    ICE_CONTROLLED,
    ICE_CONTROLLING,
    PRIORITY,
    UNKNOWN_ATTRIBUTES,
    USE_CANDIDATE,
    USERNAME,
    XOR_MAPPED_ADDRESS,
    Attribute,
    ChangeRequest,
    ErrorCode,
)
from vnet.protocols.machine.agent import Agent
from vnet.protocols.machine.agentevents import Alive, ConsentLost, Dead, Failed, Selected
from vnet.protocols.machine.candidates import priority
from vnet.test.icepeers import connect, home, peer, run, seeded
from vnet.test.natsim import Host, Internet, Nat
from vnet.values import Address, Candidate

EIM, APDM = "endpoint-independent", "address-and-port-dependent"
EIF, ADF, APDF = "endpoint-independent", "address-dependent", "address-and-port-dependent"


class Pair:
    """
    Two peers on an Internet.
    """

    def __init__(
        self,
        one: tuple[str, str] = ("public", ""),
        other: tuple[str, str] = ("public", ""),
        loss: float = 0.0,
        seed: int = 0,
        delay: float = 0.03,
    ) -> None:
        self.clock = Clock()
        self.internet = Internet(self.clock, seed, delay)
        self.a = peer("alice", self.clock, home(self.internet, 1, *one), True)
        self.b = peer("bob", self.clock, home(self.internet, 2, *other), False)
        connect(self.a, self.b, self.internet)
        self.internet.loss = loss

    def run(self, seconds: float) -> None:
        run(self.clock, seconds)

    @property
    def connected(self) -> bool:
        return self.a.agent.selected is not None and self.b.agent.selected is not None


class ConnectTests(SynchronousTestCase):
    """
    Two agents behind all kinds of NATs.
    """

    def test_public(self) -> None:
        """
        Two public hosts connect within one round trip after the start, by host candidates.
        """
        pair = Pair()
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
        pair = Pair()
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
            pair = Pair(one, other)
            pair.run(3.0)
            self.assertTrue(pair.connected, (one, other))

    def test_hopeless(self) -> None:
        """
        Two symmetric NATs do not connect, and both sides say that they have heard nothing.
        """
        pair = Pair((APDM, APDF), (APDM, APDF))
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
        pair = Pair((APDM, APDF), (EIM, EIF))
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
                pair = Pair(one, other, loss=0.02, seed=seed)
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
        pair = Pair.__new__(Pair)
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
        pair = Pair((EIM, APDF), (EIM, APDF))
        pair.internet.cut = True
        pair.run(12.0)
        self.assertIsInstance(pair.a.events[-1][1], Failed)
        self.assertIsInstance(pair.b.events[-1][1], Failed)
        pair.internet.cut = False
        pair.run(20.0)
        self.assertFalse(pair.connected)
        now = pair.clock.seconds()
        pair.b.agent.addRemoteCandidate(Candidate("host", Address("192.0.2.9", 9), 1, "x"), now)
        pair.b.driver.wake()
        pair.run(2.0)
        self.assertTrue(pair.connected)

    def test_pace(self) -> None:
        """
        Checks leave at least 20 ms apart, but for nominations and consent.
        """
        pair = Pair((EIM, APDF), (APDM, APDF))
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


class ConsentTests(SynchronousTestCase):
    """
    Keep-alive, consent and liveness.
    """

    def busy(self, pair: Pair, seconds: float) -> None:
        for _ in range(int(seconds)):
            for each in (pair.a, pair.b):
                if each.agent.noteTraffic(pair.clock.seconds()):
                    each.driver.wake()
            pair.run(1.0)

    def checksOf(self, pair: Pair, since: float) -> list[bytes]:
        host = next(iter(pair.a.host.addresses))
        sent = [data for source, _, data in pair.internet.log[int(since) :] if source.host == host]
        return [data for data in sent if decode(data).klass is Class.REQUEST]

    def test_intervals(self) -> None:
        """
        A path with traffic is checked each 4 to 6 seconds, an idle one each 16 to 24.
        """
        pair = Pair()
        pair.run(3.0)
        for busy, least, most in [(True, 50, 75), (False, 12, 19)]:
            mark = len(pair.internet.log)
            if busy:
                self.busy(pair, 300)
            else:
                pair.run(300)
            self.assertTrue(least <= len(self.checksOf(pair, mark)) <= most, len(self.checksOf(pair, mark)))
            pair.run(20)
        self.assertEqual(len(pair.a.events), 1)

    def test_idleNatStaysOpen(self) -> None:
        """
        The keep-alive holds the mappings of NATs that forget after 30 seconds.
        """
        pair = Pair((EIM, APDF), (EIM, APDF))
        for realm in (*pair.a.host.addresses.values(), *pair.b.host.addresses.values()):
            realm.gateway.__self__.lifetime = 30.0  # type: ignore[union-attr]
        pair.run(1800)
        self.assertTrue(pair.connected)
        self.assertEqual([len(pair.a.events), len(pair.b.events)], [1, 1])

    def test_lost(self) -> None:
        """
        Consent ends 30 seconds after the last answer; the search that follows fails, and the path is back
        when the network is.
        """
        pair = Pair((EIM, APDF), (EIM, APDF))
        self.busy(pair, 5)
        pair.internet.cut = True
        cutAt = pair.clock.seconds()
        self.busy(pair, 60)
        times = [time for time, event in pair.a.events if isinstance(event, ConsentLost)]
        self.assertEqual(len(times), 1)
        self.assertTrue(24 <= times[0] - cutAt <= 31, times[0] - cutAt)
        self.assertIs(pair.a.agent.selected, None)
        self.assertIsInstance(pair.a.events[-1][1], Failed)

    def test_recovery(self) -> None:
        """
        A network that comes back while the agents search again is found.
        """
        pair = Pair((EIM, APDF), (EIM, APDF))
        self.busy(pair, 5)
        pair.internet.cut = True
        while not pair.a.of(ConsentLost):
            self.busy(pair, 1)
        pair.internet.cut = False
        self.busy(pair, 8)
        self.assertTrue(pair.connected)

    def test_idleLoss(self) -> None:
        """
        An idle path survives the loss of two checks in a row.
        """
        pair = Pair()
        pair.run(60)
        pair.internet.cut = True
        sent = len(pair.internet.log)
        while len(self.checksOf(pair, sent)) < 2:
            pair.run(0.5)
        pair.internet.cut = False
        pair.run(60)
        self.assertEqual(len(pair.a.of(ConsentLost)), 0)

    def test_alive(self) -> None:
        """
        A peer that is asked for answers within a round trip, also when packets are lost.
        """
        pair = Pair(delay=0.05)
        pair.run(3.0)
        pair.a.agent.check(pair.clock.seconds())
        pair.a.driver.wake()
        pair.run(0.15)
        self.assertEqual(pair.a.of(Alive), [Alive()])
        pair.internet.cut = True
        pair.a.agent.check(pair.clock.seconds())
        pair.a.driver.wake()
        pair.run(2.2)
        pair.internet.cut = False
        pair.run(1.0)
        self.assertEqual(pair.a.of(Alive), [Alive()] * 2)
        self.assertEqual(pair.a.of(Dead), [])

    def test_dead(self) -> None:
        """
        A peer that does not answer is dead after 5 seconds, and its path is given up.
        """
        pair = Pair()
        pair.run(3.0)
        pair.internet.cut = True
        asked = pair.clock.seconds()
        pair.a.agent.check(asked)
        pair.a.driver.wake()
        pair.run(6.0)
        self.assertEqual(pair.a.events[-2:], [(asked + 5.0, Dead()), (asked + 5.0, ConsentLost())])

    def test_deadWithoutPath(self) -> None:
        """
        Without a path the answer is at once that the peer is dead.
        """
        clock = Clock()
        a = peer("alice", clock, home(Internet(clock), 1, "public", ""), True)
        a.agent.check(0.0)
        a.driver.wake()
        self.assertEqual([event for _, event in a.events], [Dead()])

    def test_livenessFindsAnotherPath(self) -> None:
        """
        When the selected path is dead and another lives, the check moves there and the peer is alive.
        """
        clock = Clock()
        internet, second = Internet(clock), Internet(clock)
        a = peer("alice", clock, Host({"198.51.100.1": internet, "2001:db8::1": second}, 5000), True)
        b = peer("bob", clock, Host({"198.51.100.2": internet, "2001:db8::2": second}, 5000), False)
        a.tell(b)
        b.tell(a)
        run(clock, 3.0)
        first = a.agent.selected
        assert first is not None
        (second if ":" in first.address.host else internet).cut = True
        a.agent.check(clock.seconds())
        a.driver.wake()
        run(clock, 3.0)
        self.assertEqual(a.of(Alive), [Alive()])
        self.assertNotEqual(a.agent.selected and a.agent.selected.address, first.address)

    def test_roaming(self) -> None:
        """
        When the tunnel hears the peer at a new address and the old one is silent, the path follows within
        5 seconds.
        """
        pair = Pair()
        self.busy(pair, 5)
        moved = Host({"198.51.100.77": pair.internet}, 5000, pair.b.driver.datagramReceived)
        del pair.internet.members["198.51.100.2"]
        pair.b.host.addresses, pair.b.host.received = moved.addresses, None
        for _ in range(5):
            pair.a.agent.addressHeard(Address("198.51.100.77", 5000), pair.clock.seconds())
            pair.a.driver.wake()
            self.busy(pair, 1)
        assert pair.a.agent.selected is not None
        self.assertEqual(pair.a.agent.selected.address.host, "198.51.100.77")
        self.assertEqual(pair.a.of(ConsentLost), [])

    def test_mappingLost(self) -> None:
        """
        When a NAT restarts and gives another port, the new candidate brings the path back without a pause
        of 30 seconds.
        """
        pair = Pair((EIM, APDF), (EIM, APDF))
        self.busy(pair, 5)
        nat = next(iter(pair.a.host.addresses.values())).gateway.__self__  # type: ignore[union-attr]
        nat.forget()
        nat.preserves = False
        pair.a.discover(pair.internet)
        self.assertNotEqual(pair.a.mapped[0].port, 5000)
        pair.a.tell(pair.b)
        self.busy(pair, 10)
        assert pair.b.agent.selected is not None
        self.assertEqual(pair.b.agent.selected.address, pair.a.mapped[0])
        self.assertEqual(pair.a.of(ConsentLost) + pair.b.of(ConsentLost), [])

    def test_fasterIsTakenOnce(self) -> None:
        """
        Of two paths the faster one is taken by both sides, and neither leaves it in 10 minutes of traffic
        and jitter.
        """
        clock = Clock()
        slow, fast = Internet(clock, delay=0.09), Internet(clock, seed=1, delay=0.02)
        a = peer("alice", clock, Host({"2001:db8::1": slow, "198.51.100.1": fast}, 5000), True)
        b = peer("bob", clock, Host({"2001:db8::2": slow, "198.51.100.2": fast}, 5000), False)
        a.tell(b)
        b.tell(a)
        for second in range(600):
            slow.delay, fast.delay = 0.09 - 0.01 * (second % 7), 0.02 + 0.01 * (second % 5)
            for each in (a, b):
                if each.agent.noteTraffic(clock.seconds()):
                    each.driver.wake()
            run(clock, 1.0)
        for each, host in ((a, "198.51.100.2"), (b, "198.51.100.1")):
            assert each.agent.selected is not None
            self.assertEqual(each.agent.selected.address.host, host)
            self.assertTrue(len(each.of(Selected)) <= 2)

    def test_lateWake(self) -> None:
        """
        A computer that slept for an hour keeps the path when the peer still answers.
        """
        pair = Pair()
        self.busy(pair, 12)
        for each in (pair.a, pair.b):
            each.driver.wake()
        pair.clock.rightNow += 3600.0
        pair.run(10)
        self.assertTrue(pair.connected)
        self.assertEqual(pair.a.of(ConsentLost), [])


LOCAL, REMOTE = Credentials("locl", "l" * 22), Credentials("remo", "r" * 22)
ADDRESS = Address("192.0.2.1", 1000)


class WireTests(SynchronousTestCase):
    """
    One agent and what arrives.
    """

    def setUp(self) -> None:
        self.agent = self.makeAgent(True)

    def makeAgent(self, controlling: bool) -> Agent:
        agent = Agent(controlling=controlling, local=LOCAL, startAt=100.0, random=seeded(1))
        agent.setRemoteCredentials(REMOTE)
        return agent

    def request(self, **changes: Attribute[Any] | None) -> Message:
        attributes: dict[str, Attribute[Any] | None] = {
            "username": USERNAME("locl:remo"),
            "priority": PRIORITY(1),
            "role": ICE_CONTROLLED(5),
        }
        attributes.update(changes)
        return Message(
            BINDING, Class.REQUEST, b"t" * 12, tuple(a for a in attributes.values() if a is not None)
        )

    def receive(self, message: Message, key: str = "l" * 22, **options: bool) -> list[tuple[bytes, Address]]:
        data = encode(message, key=shortTermKey(key), fingerprint=options.get("fingerprint", True))
        self.agent.receive(data, ADDRESS, 0.0)
        return [
            (data, addr)
            for data, addr in self.agent.datagramsToSend(0.0)
            if decode(data).klass is not Class.REQUEST
        ]

    def test_answer(self) -> None:
        """
        An authentic check is answered to where it came from, saying so.
        """
        ((data, addr),) = self.receive(self.request())
        self.assertEqual(addr, ADDRESS)
        answer = decode(data)
        self.assertEqual((answer.klass, answer.transactionId), (Class.SUCCESS, b"t" * 12))
        self.assertEqual(answer.get(XOR_MAPPED_ADDRESS), ADDRESS)

    def test_silence(self) -> None:
        """
        What is not authentic and complete gets no byte back, and changes nothing.
        """
        for message, key, fingerprint in [
            (self.request(), "x" * 22, True),
            (self.request(), "l" * 22, False),
            (self.request(username=None), "l" * 22, True),
            (self.request(username=USERNAME("locl:othr")), "l" * 22, True),
            (self.request(username=USERNAME("othr:remo")), "l" * 22, True),
            (self.request(username=USERNAME("locl")), "l" * 22, True),
            (self.request(priority=None), "l" * 22, True),
            (self.request(role=None), "l" * 22, True),
            (self.request(more=ICE_CONTROLLING(5)), "l" * 22, True),
            (attrs.evolve(self.request(), klass=Class.INDICATION), "l" * 22, True),
            (attrs.evolve(self.request(), klass=Class.SUCCESS), "l" * 22, True),
            (attrs.evolve(self.request(), method=3), "l" * 22, True),
        ]:
            before = self.agent.ignored
            self.assertEqual(self.receive(message, key, fingerprint=fingerprint), [], message)
            self.assertEqual(self.agent.ignored, before + 1)
            self.assertEqual(self.agent.tried, ())
        self.agent.receive(encode(self.request(), fingerprint=True), ADDRESS, 0.0)
        self.assertEqual(self.agent.datagramsToSend(0.0), [])

    def test_replay(self) -> None:
        """
        A check that somebody sends again from another address gets silence; from the same one it is
        answered again.
        """
        data = encode(self.request(), key=shortTermKey("l" * 22), fingerprint=True)
        self.agent.receive(data, ADDRESS, 0.0)
        self.agent.datagramsToSend(0.0)
        self.agent.receive(data, Address("192.0.2.66", 1000), 1.0)
        self.assertNotIn("192.0.2.66", [addr.host for _, addr in self.agent.datagramsToSend(1.0)])
        self.agent.receive(data, ADDRESS, 2.0)
        self.assertIn(ADDRESS, [addr for _, addr in self.agent.datagramsToSend(2.0)])

    def test_triggered(self) -> None:
        """
        A check of the peer makes a check back to the same address, even before the start.
        """
        self.agent.receive(encode(self.request(), key=shortTermKey("l" * 22), fingerprint=True), ADDRESS, 0.0)
        sent = self.agent.datagramsToSend(0.0)
        self.assertEqual([decode(data).klass for data, _ in sent], [Class.SUCCESS, Class.REQUEST])
        self.assertEqual({addr for _, addr in sent}, {ADDRESS})

    def test_conflictWon(self) -> None:
        """
        The side with the larger tie-breaker keeps its role and refuses the other's check with 487.
        """
        for controlling, role, lesser in [(True, ICE_CONTROLLING, 0), (False, ICE_CONTROLLED, 2**64 - 1)]:
            self.agent = self.makeAgent(controlling)
            ((data, _),) = self.receive(self.request(role=role(lesser)))
            error = decode(data).get(ERROR_CODE)
            assert error is not None
            self.assertEqual((decode(data).klass, error.code), (Class.ERROR, 487))
            self.assertEqual(self.agent.controlling, controlling)

    def test_conflictLost(self) -> None:
        """
        The side with the smaller tie-breaker switches and answers.
        """
        for controlling, role, greater in [(True, ICE_CONTROLLING, 2**64 - 1), (False, ICE_CONTROLLED, 0)]:
            self.agent = self.makeAgent(controlling)
            ((data, _),) = self.receive(self.request(role=role(greater)))
            self.assertEqual(decode(data).klass, Class.SUCCESS)
            self.assertEqual(self.agent.controlling, not controlling)

    def test_unknownAttribute(self) -> None:
        """
        A check that demands what is not understood is refused with 420.
        """
        ((data, _),) = self.receive(self.request(more=CHANGE_REQUEST(ChangeRequest())))
        answer = decode(data)
        error = answer.get(ERROR_CODE)
        assert error is not None
        self.assertEqual((error.code, answer.get(UNKNOWN_ATTRIBUTES)), (420, (3,)))

    def outgoing(self) -> Message:
        self.agent.addRemoteCandidate(Candidate("host", ADDRESS, 5, "f"), 0.0)
        self.agent.timerFired(100.0)
        ((data, addr),) = self.agent.datagramsToSend(100.0)
        self.assertEqual(addr, ADDRESS)
        return decode(data)

    def answerTo(self, request: Message, key: str = "r" * 22, addr: Address = ADDRESS) -> None:
        answer = Message(BINDING, Class.SUCCESS, request.transactionId, (XOR_MAPPED_ADDRESS(ADDRESS),))
        self.agent.receive(encode(answer, key=shortTermKey(key), fingerprint=True), addr, 100.1)

    def test_forgedAnswer(self) -> None:
        """
        An answer with another key, from another address or to no request of ours selects nothing; the
        true one then does.
        """
        request = self.outgoing()
        self.answerTo(request, key="x" * 22)
        self.answerTo(request, addr=Address("192.0.2.66", 1000))
        self.answerTo(attrs.evolve(request, transactionId=b"x" * 12))
        self.assertIs(self.agent.selected, None)
        self.assertEqual(self.agent.ignored, 3)
        self.answerTo(request)
        self.assertIsNot(self.agent.selected, None)

    def test_contents(self) -> None:
        """
        A check holds what RFC 8445 section 7.2.2 asks for, and the nomination USE-CANDIDATE too.
        """
        request = self.outgoing()
        self.assertEqual(request.get(USERNAME), "remo:locl")
        self.assertEqual(request.get(PRIORITY), priority("prflx"))
        self.assertIn(ICE_CONTROLLING, request)
        self.assertNotIn(USE_CANDIDATE, request)
        self.answerTo(request)
        ((data, _),) = self.agent.datagramsToSend(100.1)
        self.assertIn(USE_CANDIDATE, decode(data))

    def test_487(self) -> None:
        """
        An agent whose check is refused with 487 takes the other role and checks again at once.
        """
        request = self.outgoing()
        answer = Message(BINDING, Class.ERROR, request.transactionId, (ERROR_CODE(ErrorCode(487)),))
        self.agent.receive(encode(answer, key=shortTermKey("r" * 22), fingerprint=True), ADDRESS, 100.1)
        ((data, _),) = self.agent.datagramsToSend(100.1)
        self.assertIn(ICE_CONTROLLED, decode(data))
        self.assertFalse(self.agent.controlling)

    def test_bothControl(self) -> None:
        """
        Two agents that take the same role agree in the end, and connect.
        """
        for controlling in (True, False):
            clock = Clock()
            internet = Internet(clock)
            a = peer("alice", clock, home(internet, 1, EIM, APDF), controlling)
            b = peer("bob", clock, home(internet, 2, EIM, APDF), controlling)
            connect(a, b, internet)
            run(clock, 3.0)
            self.assertNotEqual(a.agent.controlling, b.agent.controlling)
            self.assertTrue(a.agent.selected is not None and b.agent.selected is not None)

    def test_bounded(self) -> None:
        """
        However many candidates a peer names, the pairs are bounded.
        """
        for number in range(500):
            candidate = Candidate("host", Address(f"192.0.{number >> 8}.{number & 255}", 7), 1, "f")
            self.agent.addRemoteCandidate(candidate, 0.0)
        self.assertEqual(len(self.agent._core.checklist), 64)

    @given(st.binary(max_size=200), st.booleans())
    def test_anything(self, data: bytes, framed: bool) -> None:
        """
        Any datagram is taken without an exception, and without an answer.
        """
        if framed:
            data = data[: len(data) // 4 * 4]
            data = b"\x00\x01" + len(data).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + b"t" * 12 + data
            self.assertTrue(isStun(data))
        agent = self.makeAgent(True)
        agent.receive(data, ADDRESS, 0.0)
        self.assertEqual(agent.datagramsToSend(0.0), [])
