"""
Tests for L{vnet.protocols.machine.agent}: how a path is kept, lost and found again.
"""

from __future__ import annotations

from itertools import pairwise

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.stun import Class, decode
from vnet.protocols.machine.agentevents import Alive, ConsentLost, Dead, Failed, Selected
from vnet.protocols.machine.checklist import MAXIMUM_PAIRS
from vnet.protocols.machine.slots import WIDTH, Slots
from vnet.test.icepeers import Couple, connect, home, peer, run
from vnet.test.natsim import Host, Internet
from vnet.values import Address

EIM = "endpoint-independent"
APDF = "address-and-port-dependent"


class ConsentTests(SynchronousTestCase):
    """
    Keep-alive, consent and liveness.
    """

    def busy(self, pair: Couple, seconds: float) -> None:
        for _ in range(int(seconds)):
            for each in (pair.a, pair.b):
                if each.agent.noteTraffic(pair.clock.seconds()):
                    each.driver.wake()
            pair.run(1.0)

    def checksOf(self, pair: Couple, since: float) -> list[bytes]:
        host = next(iter(pair.a.host.addresses))
        sent = [data for source, _, data in pair.internet.log[int(since) :] if source.host == host]
        return [data for data in sent if decode(data).klass is Class.REQUEST]

    def test_intervals(self) -> None:
        """
        A path with traffic is checked by each side each 4 to 6 seconds, an idle one by either each 18 to 21, in turns.
        """
        pair = Couple()
        pair.run(3.0)
        for busy, least, most in [(True, 50, 75), (False, 7, 9)]:
            mark = len(pair.internet.log)
            if busy:
                self.busy(pair, 300)
            else:
                pair.run(300)
            self.assertTrue(least <= len(self.checksOf(pair, mark)) <= most, len(self.checksOf(pair, mark)))
            pair.run(20)
        self.assertEqual(len(pair.a.events), 1)

    def requests(self, pair: Couple, seconds: int) -> list[tuple[float, str]]:
        """
        The times of checks from now on, and who sent them.
        """
        found, mark = [], len(pair.internet.log)
        for _ in range(10 * seconds):
            pair.run(0.1)
            for source, _, data in pair.internet.log[mark:]:
                if decode(data).klass is Class.REQUEST:
                    found.append((pair.clock.seconds(), source.host))
            mark = len(pair.internet.log)
        return found

    def test_turns(self) -> None:
        """
        An idle path sees a check within 1.2 intervals, and one of each side within 2.2.
        """
        pair = Couple()
        pair.run(60.0)
        found = self.requests(pair, 900)
        every = [time for time, _ in found]
        self.assertTrue(max(b - a for a, b in pairwise(every)) <= 24.2)
        for host in ("198.51.100.1", "198.51.100.2"):
            own = [time for time, source in found if source == host]
            self.assertTrue(len(own) > 900 / 44)
            self.assertTrue(max(b - a for a, b in pairwise(own)) <= 44.2)

    def test_oneWay(self) -> None:
        """
        An idle path that has gone dead in one direction only is given up by both sides, as soon as one that is dead in both.
        """
        pair = Couple()
        pair.run(60.0)
        pair.a.driver._send = lambda batch: None
        cutAt = pair.clock.seconds()
        pair.run(60.0)
        for each in (pair.a, pair.b):
            times = [time for time, event in each.events if isinstance(event, ConsentLost)]
            self.assertTrue(times and times[0] - cutAt <= 24 + 21, times)

    def test_idleLost(self) -> None:
        """
        An idle path that is cut is given up 20 seconds after the first check without an answer, which follows in 1.2 intervals.
        """
        for seed in range(10):
            pair = Couple(seed=seed)
            pair.run(60.0 + seed * 3.1)
            pair.internet.cut = True
            cutAt = pair.clock.seconds()
            pair.run(50.0)
            for each in (pair.a, pair.b):
                times = [time for time, event in each.events if isinstance(event, ConsentLost)]
                self.assertTrue(times and times[0] - cutAt <= 24 + 20.1, times)

    def test_slots(self) -> None:
        """
        Who looks after idle paths in slots does nothing between them, but with traffic checks when it is time.
        """
        clock, slots = Clock(), Slots(0.1)
        internet = Internet(clock)
        a = peer("alice", clock, home(internet, 1, "public", ""), True, slots=slots)
        b = peer("bob", clock, home(internet, 2, "public", ""), False, slots=slots)
        connect(a, b, internet)
        run(clock, 60.0)
        mark, offsets = len(internet.log), []
        for _ in range(12000):
            run(clock, 0.01)
            for _, _, data in internet.log[mark:]:
                if decode(data).klass is Class.REQUEST:
                    offsets.append((clock.seconds() - 0.1) % WIDTH)
            mark = len(internet.log)
        self.assertTrue(offsets)
        self.assertTrue(all(min(each, WIDTH - each) < 0.0101 for each in offsets), offsets)
        # A check is due at once, whatever the slot.
        run(clock, 0.07)
        self.assertTrue(a.agent.noteTraffic(clock.seconds()))
        a.driver.wake()
        run(clock, 0.001)
        self.assertIs(decode(internet.log[mark][2]).klass, Class.REQUEST)

    def test_idleNatStaysOpen(self) -> None:
        """
        The keep-alive holds the mappings of NATs that forget after 30 seconds.
        """
        pair = Couple((EIM, APDF), (EIM, APDF))
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
        pair = Couple((EIM, APDF), (EIM, APDF))
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
        pair = Couple((EIM, APDF), (EIM, APDF))
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
        pair = Couple()
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
        pair = Couple(delay=0.05)
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
        pair = Couple()
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
        pair = Couple()
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

    def test_roamsForEver(self) -> None:
        """
        A peer that moves on and on is followed each time, although not all the addresses that it had can be remembered.
        """
        pair = Couple()
        self.busy(pair, 5)
        for number in range(100, 100 + MAXIMUM_PAIRS + 6):
            here = f"198.51.100.{number}"
            Host({here: pair.internet}, 5000, pair.b.driver.datagramReceived)
            for old in list(pair.b.host.addresses):
                del pair.internet.members[old]
            pair.b.host.addresses = {here: pair.internet}
            pair.a.agent.addressHeard(Address(here, 5000), pair.clock.seconds())
            pair.a.driver.wake()
            self.busy(pair, 3)
            assert pair.a.agent.selected is not None
            self.assertEqual(pair.a.agent.selected.address.host, here)
        self.assertEqual(pair.a.of(ConsentLost), [])

    def test_mappingLost(self) -> None:
        """
        When a NAT restarts and gives another port, the new candidate brings the path back without a pause
        of 30 seconds.
        """
        pair = Couple((EIM, APDF), (EIM, APDF))
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
        pair = Couple()
        self.busy(pair, 12)
        for each in (pair.a, pair.b):
            each.driver.wake()
        pair.clock.rightNow += 3600.0
        pair.run(10)
        self.assertTrue(pair.connected)
        self.assertEqual(pair.a.of(ConsentLost), [])
