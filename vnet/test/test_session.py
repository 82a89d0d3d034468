"""
Tests for the sessions of the WireGuard machine: timers and the queue.

The items W10 to W14, W24 and W25 of the list that L{vnet.test.test_wireguard} tells of.
"""

from __future__ import annotations

from itertools import pairwise

from vnet.protocols.machine.keypair import REJECT_AFTER_MESSAGES, REKEY_AFTER_MESSAGES
from vnet.protocols.machine.wireguard import (
    HandshakeFailed,
    SessionEstablished,
    SessionExpired,
)
from vnet.test.wgpair import ADDRESSES, Pair, SessionTestCase, trainsOf


class TimeTests(SessionTestCase):
    """
    W10 to W14, W24 and W25.
    """

    def test_w10_rekeyAfterMessages(self) -> None:
        """
        After 2**60 messages either side makes a new session, and none is made before.
        """
        for number in (0, 1):
            self.pair = Pair()
            self.establish()
            self.pair.now += 10
            self.keypair(number).sent = REKEY_AFTER_MESSAGES - 1
            self.pair.send(number, self.pair.packet(number))
            self.assertEqual(self.pair.sent(number, 1), [])
            self.pair.send(number, self.pair.packet(number))
            self.assertEqual(len(self.pair.sent(number, 1)), 1)
            self.assertEqual(len(self.pair.received(1 - number)), 2)
            self.assertLess(self.keypair(number).sent, 10)

    def test_w10_rejectAfterMessages(self) -> None:
        """
        The counter never reaches 2**64 - 2**13 - 1, neither sent nor received.
        """
        self.establish()
        pair = self.pair
        pair.now += 10
        self.assertEqual(REJECT_AFTER_MESSAGES, 2**64 - 2**13 - 1)
        old = self.keypair(0)
        old.sent = REJECT_AFTER_MESSAGES - 2
        pair.drop = lambda sender, data: data[0] == 1
        pair.send(0, *[pair.packet(0)] * 3)
        self.assertEqual(pair.sent(0, 4), [])
        pair.send(0, *[pair.packet(0)] * 2)
        self.assertEqual(len(pair.sent(0, 4)), 2)
        self.assertEqual(len(pair.received(1)), 2)
        self.assertEqual(old.sent, REJECT_AFTER_MESSAGES)

    def test_w11_initiatorRekeys(self) -> None:
        """
        120 seconds after the handshake its initiator makes a new one when it sends; the responder does not.
        """
        self.establish()
        pair = self.pair
        pair.now += 119.9
        pair.send(0, pair.packet(0))
        pair.now += 0.2
        pair.send(1, pair.packet(1))
        self.assertEqual((pair.sent(0, 1), pair.sent(1, 1)), ([], []))
        pair.send(0, pair.packet(0))
        self.assertEqual(len(pair.sent(0, 1)), 1)
        self.assertEqual(len(pair.received(1)), 2)
        self.assertEqual(pair.received(0), [pair.packet(1)])
        self.assertEqual(pair.events(0), [SessionEstablished(pair.publicKey(0))])

    def test_w11_rekeyOnReceive(self) -> None:
        """
        An initiator that only receives makes a new session when the old is 165 seconds old.
        """
        self.establish()
        pair = self.pair
        for age, expected in ((164.0, 0), (165.0, 1), (170.0, 0)):
            pair.now = 1000.0 + age
            pair.send(1, pair.packet(1))
            self.assertEqual(len(pair.sent(0, 1)), expected)

    def test_w12_rejectAfterTime(self) -> None:
        """
        A session of 180 seconds neither sends nor receives.
        """
        self.establish()
        pair = self.pair
        pair.now += 179
        pair.machines[1].send(pair.publicKey(1), [pair.packet(1)], pair.now)
        late = pair.machines[1].datagramsToSend(pair.now)
        self.assertEqual([data[0] for data, _ in late], [4])
        pair.now += 1
        pair.machines[0].receiveTrains(trainsOf((data, ADDRESSES[1]) for data, _ in late), pair.now)
        self.assertIsNone(pair.machines[0].nextEvent())
        self.assertEqual(pair.machines[0].counters["noSession"], 1)
        pair.machines[1].send(pair.publicKey(1), [pair.packet(1)], pair.now)
        self.assertEqual([data[0] for data, _ in pair.machines[1].datagramsToSend(pair.now)], [1])

    def test_w12_expiry(self) -> None:
        """
        When a session ends and none has followed, both sides tell it, once.
        """
        self.establish()
        pair = self.pair
        pair.advance(179.9)
        for number in (0, 1):
            self.assertEqual(pair.events(number), [])
            self.assertTrue(pair.machines[number].peerStatus(pair.publicKey(number)).established)
        pair.advance(1000)
        for number in (0, 1):
            self.assertEqual(pair.events(number), [SessionExpired(pair.publicKey(number))])
            self.assertFalse(pair.machines[number].peerStatus(pair.publicKey(number)).established)

    def test_w13_retries(self) -> None:
        """
        A handshake is tried each 5 to 5.333 seconds, for 90; then it has failed, what was queued is gone, and a
        new packet begins again.
        """
        pair = self.pair
        times: list[float] = []

        def drop(sender: int, data: bytes) -> bool:
            times.append(pair.now)
            return True

        pair.drop = drop
        pair.send(0, pair.packet(0))
        pair.advance(89.9)
        self.assertEqual(pair.events(0), [])
        gaps = [after - before for before, after in pairwise(times)]
        self.assertTrue(all(5.0 <= gap <= 5.334 for gap in gaps), gaps)
        self.assertGreater(len(set(gaps)), 5)
        self.assertIn(len(times), (17, 18))
        pair.advance(0.2)
        self.assertEqual(pair.events(0), [HandshakeFailed(pair.publicKey(0))])
        count = len(times)
        pair.advance(1000)
        self.assertEqual(len(times), count)
        pair.drop = lambda sender, data: False
        pair.send(0, pair.packet(0, b"new"))
        self.assertEqual(pair.received(1), [pair.packet(0, b"new")])

    def test_w13_afresh(self) -> None:
        """
        Each try is another message, with another index and ephemeral key, and more packets do not bring it forward.
        """
        pair = self.pair
        pair.drop = lambda sender, data: True
        for _ in range(100):
            pair.send(0, pair.packet(0))
            pair.advance(0.1)
        sent = pair.sent(0)
        self.assertEqual(len(sent), 2)
        self.assertNotEqual(sent[0][4:8], sent[1][4:8])
        self.assertNotEqual(sent[0][8:40], sent[1][8:40])

    def test_w13_rounding(self) -> None:
        """
        The end comes at its time, also where 90 seconds added to a time and taken away again leave less than 90.
        """
        pair = self.pair
        pair.drop = lambda sender, data: True
        machine, began = pair.machines[0], 4048.3415134886513
        self.assertLess((began + 90.0) - began, 90.0)
        machine.send(pair.publicKey(0), [pair.packet(0)], began)
        times: list[float] = []
        while (at := machine.deadline()) is not None and len(times) < 30:
            machine.timerFired(at)
            times.append(at)
        self.assertEqual(sorted(set(times)), times)
        self.assertEqual(times[-1], began + 90.0)

    def test_w13_steadyTraffic(self) -> None:
        """
        More packets do not put off the end of a handshake that is not answered, with and without an endpoint.
        """
        for endpoint in (ADDRESSES[1], None):
            pair = Pair()
            pair.drop = lambda sender, data: True
            pair.machines[0].setEndpoint(pair.publicKey(0), endpoint)
            for _ in range(890):
                pair.send(0, pair.packet(0))
                pair.advance(0.1)
            self.assertEqual(pair.events(0), [])
            pair.advance(1.1)
            self.assertEqual(pair.events(0), [HandshakeFailed(pair.publicKey(0))])

    def test_w13_interval(self) -> None:
        """
        Within 5 seconds of an initiation no other is begun, though that one was answered.
        """
        self.establish()
        pair = self.pair
        self.keypair(0).sent = REKEY_AFTER_MESSAGES
        pair.now += 4.9
        pair.send(0, pair.packet(0))
        self.assertEqual(pair.sent(0, 1), [])
        pair.now += 0.1
        pair.send(0, pair.packet(0))
        self.assertEqual(len(pair.sent(0, 1)), 1)

    def test_w13_forced(self) -> None:
        """
        C{initiate} begins at once, in place of what is under way; the old response is then refused.
        """
        pair = self.pair
        first, second = pair.machines
        first.initiate(pair.publicKey(0), pair.now)
        second.receive(first.datagramsToSend(pair.now)[0][0], ADDRESSES[0], pair.now)
        response = second.datagramsToSend(pair.now)[0][0]
        pair.now += 0.1
        first.initiate(pair.publicKey(0), pair.now)
        first.receive(response, ADDRESSES[1], pair.now)
        self.assertEqual(first.counters["noSession"], 1)
        pair.run()
        self.assertEqual(pair.events(0), [SessionEstablished(pair.publicKey(0))])

    def test_w14_passiveKeepalive(self) -> None:
        """
        10 seconds after data came, if nothing was sent since, a keepalive is sent, and none in answer to it.
        """
        self.establish()
        pair = self.pair
        pair.advance(9.9)
        self.assertEqual(pair.sent(1), [])
        pair.advance(0.2)
        self.assertEqual([len(data) for data in pair.sent(1)], [32])
        pair.advance(60)
        self.assertEqual((pair.sent(0), pair.sent(1)), ([], []))

    def test_w14_another(self) -> None:
        """
        What comes while a keepalive is due is told of by another, 10 seconds after it.
        """
        self.establish()
        pair = self.pair
        pair.advance(5)
        pair.send(0, pair.packet(0))
        pair.advance(5.1)
        self.assertEqual(len(pair.sent(1)), 1)
        pair.advance(9.8)
        self.assertEqual(len(pair.sent(1)), 0)
        pair.advance(0.2)
        self.assertEqual(len(pair.sent(1)), 1)
        pair.advance(60)
        self.assertEqual(pair.sent(1), [])

    def test_w14_steadyTraffic(self) -> None:
        """
        Who receives for long and sends nothing sends a keepalive each 10 seconds; who answers sends none.
        """
        self.establish()
        pair = self.pair
        pair.advance(10.5)
        pair.sent(1)
        for _ in range(400):
            pair.send(0, pair.packet(0))
            pair.advance(0.1)
        self.assertEqual([len(data) for data in pair.sent(1)], [32] * 3)
        for _ in range(300):
            pair.send(0, pair.packet(0))
            pair.send(1, pair.packet(1))
            pair.advance(0.1)
        self.assertNotIn(32, [len(data) for data in pair.sent(1)])

    def test_w14_silence(self) -> None:
        """
        15 seconds after data was sent, if nothing authentic came since, a new handshake is begun.
        """
        self.establish()
        pair = self.pair
        pair.advance(20)
        pair.sent(0)
        pair.drop = lambda sender, data: data[0] == 4
        pair.send(0, pair.packet(0))
        pair.sent(0)
        pair.advance(14.9)
        self.assertEqual(pair.sent(0), [])
        pair.drop = lambda sender, data: False
        pair.advance(0.5)
        self.assertEqual([data[0] for data in pair.sent(0)], [1, 4])

    def test_w24_queue(self) -> None:
        """
        128 packets wait for a session, in order; of more, the oldest are lost.
        """
        pair = self.pair
        packets = [pair.packet(0, number.to_bytes(2, "big")) for number in range(200)]
        pair.drop = lambda sender, data: True
        for start in range(0, 200, 50):
            pair.send(0, *packets[start : start + 50])
        pair.drop = lambda sender, data: False
        pair.advance(6)
        self.assertEqual(pair.received(1), packets[72:])
        self.assertEqual(pair.machines[0].counters["queueFull"], 72)
        many = Pair()
        many.send(0, *packets)
        self.assertEqual(many.received(1), packets[72:])

    def test_w24_noEndpoint(self) -> None:
        """
        Packets for a peer that is nowhere wait until it is somewhere; no datagram is sent before.
        """
        pair = self.pair
        first = pair.machines[0]
        first.setEndpoint(pair.publicKey(0), None)
        pair.send(0, pair.packet(0))
        pair.advance(30)
        self.assertEqual(pair.wire, [])
        first.setEndpoint(pair.publicKey(0), ADDRESSES[1])
        self.assertLessEqual(first.deadline() or 0.0, pair.now)
        pair.run()
        self.assertEqual(pair.received(1), [pair.packet(0)])
        # The same within a session.
        first.setEndpoint(pair.publicKey(0), None)
        pair.send(0, pair.packet(0, b"more"))
        self.assertEqual(pair.received(1), [])
        first.setEndpoint(pair.publicKey(0), ADDRESSES[1])
        pair.run()
        self.assertEqual(pair.received(1), [pair.packet(0, b"more")])

    def test_endpointChangesMeanwhile(self) -> None:
        """
        When the endpoint changes right after an initiation, the answer to it still counts; only if there is none soon, another
        initiation goes to the new endpoint.
        """
        pair = self.pair
        first, other = pair.machines[0], ADDRESSES[0]
        first.send(pair.publicKey(0), [pair.packet(0)], pair.now)
        sent = first.datagramsToSend(pair.now)
        self.assertEqual([data[0] for data, _ in sent], [1])
        pair.now += 0.01
        first.setEndpoint(pair.publicKey(0), other)
        self.assertEqual(first.datagramsToSend(pair.now), [])
        pair.now += 0.1
        first.timerFired(pair.now)
        self.assertEqual([(data[0], where) for data, where in first.datagramsToSend(pair.now)], [(1, other)])

    def test_w25_wallClock(self) -> None:
        """
        Steps of the wall clock, forward and back, by an hour and by ten years, delay no handshake; and ages do not
        depend on it.
        """
        self.establish()
        pair = self.pair
        for step in (3600, -3600, 10 * 31_557_600, -20 * 31_557_600, 0, 0, -1):
            pair.wall.nanoseconds += step * 10**9
            pair.advance(1)
            self.assertTrue(pair.machines[0].peerStatus(pair.publicKey(0)).established)
            pair.machines[0].initiate(pair.publicKey(0), pair.now)
            pair.run()
            self.assertEqual(len(pair.sent(1, 2)), 1)
        self.assertEqual(pair.machines[1].counters["oldTimestamp"], 0)


class SealedTimeTests(TimeTests):
    """
    The same with packets that are sealed for who sends them: their sessions' timers are not looked at for each.
    """

    def setUp(self) -> None:
        super().setUp()
        self.pair.seals = True

    def test_seldom(self) -> None:
        """
        While packets pass, timers are looked at every five seconds, on both sides.
        """
        self.establish()
        pair = self.pair
        pair.advance(5)
        looks = 0
        for _ in range(100):
            pair.send(0, pair.packet(0))
            for number, machine in enumerate(pair.machines):
                looks += machine.isPending
                pair.deadline(number)
            pair.advance(0.2)
        self.assertLessEqual(looks, 2 * (20 / 5 + 1))
        self.assertEqual(len(pair.received(1)), 100)
