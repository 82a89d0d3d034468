"""
Tests for the gate before the handshakes: what a node does with strangers (W17 to W20).
"""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.handshake import CookieReply, decodeHandshake
from vnet.protocols.machine.cookie import CookieChecker, CookieHolder
from vnet.protocols.machine.gate import LoadMeter
from vnet.test.wgpair import STRANGER, Pair, initiationTo, seededRandom
from vnet.values import Address


class GateTests(SynchronousTestCase):
    """
    W17 to W20: what a node does with strangers.
    """

    def setUp(self) -> None:
        self.pair = Pair()
        self.machine = self.pair.machines[1]

    def load(self, now: float) -> None:
        """
        Put machine 1 under load.
        """
        for number in range(60):
            self.machine.receive(initiationTo(self.machine, number), STRANGER, now)
        self.machine.datagramsToSend(now)

    def test_w17_mac1(self) -> None:
        """
        A message with a wrong mac1 costs no agreement: it is dropped before.
        """
        data = initiationTo(self.machine, 1)
        for place in (8, 100, 116, 131):
            bad = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
            self.machine.receive(bad, STRANGER, 0.0)
        self.assertEqual(dict(self.machine.counters), {"badMac1": 4})
        self.machine.receive(data, STRANGER, 0.0)
        self.assertEqual(self.machine.counters["unknownPeer"], 1)

    def test_w18_loadMeter(self) -> None:
        """
        50 events a second are no load; more are, and for a second after the last that was too many.
        """
        meter = LoadMeter()
        self.assertFalse(any(meter.add(number * 0.02) for number in range(500)))
        meter = LoadMeter()
        self.assertEqual([meter.add(0.0) for _ in range(51)], [False] * 50 + [True])
        self.assertTrue(meter.add(0.99))
        self.assertFalse(meter.add(1.01))

    def test_w18_underLoad(self) -> None:
        """
        Under load an initiation without a cookie gets one in place of an answer, and with it is answered.
        """
        pair = self.pair
        self.load(pair.now)
        pair.machines[0].send(pair.publicKey(0), [pair.packet(0)], pair.now)
        pair.run()
        self.assertEqual([data[0] for data in pair.sent(1)], [3])
        self.assertEqual(pair.sent(0, 1)[0][-16:], bytes(16))
        self.load(pair.now + 5)
        pair.advance(5.4)
        self.assertNotEqual(pair.sent(0, 1)[0][-16:], bytes(16))
        self.assertEqual(pair.received(1), [pair.packet(0)])

    def test_w18_bucket(self) -> None:
        """
        Under load one source with a cookie gets 5 agreements at once and 20 a second; another source its own.
        """
        machine, now = self.machine, self.pair.now
        holders = {}
        for host in ("198.51.100.1", "198.51.100.2"):
            self.load(now)
            holder = CookieHolder(machine.publicKey)
            addr = Address(host, 5)
            data = holder.addMacs(initiationTo(machine, host), now)
            machine.receive(data, addr, now)
            reply = decodeHandshake(machine.datagramsToSend(now)[0][0])
            assert isinstance(reply, CookieReply)
            self.assertTrue(holder.receive(reply, now))
            holders[addr] = holder
        for addr, holder in holders.items():
            machine.counters.clear()
            for number in range(30):
                machine.receive(holder.addMacs(initiationTo(machine, number), now), addr, now)
            self.assertEqual(machine.counters["unknownPeer"], 5)
            self.assertEqual(machine.counters["sourceLimited"], 25)
        machine.counters.clear()
        for number in range(100):
            data = holders[addr].addMacs(initiationTo(machine, number), now)
            machine.receive(data, addr, now + 0.01 * (number + 1))
        self.assertEqual(machine.counters["unknownPeer"], 20)

    def test_w19_cookie(self) -> None:
        """
        A cookie is good for the address and port that it was given to, for 120 seconds, and receiving it sends nothing.
        """
        checker = CookieChecker(self.machine.publicKey, seededRandom(1))
        holder = CookieHolder(self.machine.publicKey)
        first = holder.addMacs(initiationTo(self.machine, 1), 0.0)
        self.assertFalse(checker.hasMac2(first, STRANGER, 0.0))
        reply = checker.reply(7, first, STRANGER, 0.0)
        self.assertTrue(holder.receive(reply, 0.0))
        self.assertFalse(holder.receive(reply, 0.0))
        data = holder.addMacs(initiationTo(self.machine, 2), 119.0)
        self.assertTrue(checker.hasMac2(data, STRANGER, 119.0))
        self.assertFalse(checker.hasMac2(data, STRANGER._replace(port=1), 119.0))
        self.assertFalse(checker.hasMac2(data, STRANGER._replace(host="203.0.113.8"), 119.0))
        self.assertFalse(checker.hasMac2(data, STRANGER, 120.0))
        self.assertEqual(holder.addMacs(data, 120.0)[-16:], bytes(16))
        checker.reply(7, data, STRANGER, 121.0)
        self.assertFalse(checker.hasMac2(data, STRANGER, 121.0))

    def test_w19_answersMac1(self) -> None:
        """
        A cookie reply to another message than the last, or from another key, is refused.
        """
        checker = CookieChecker(self.machine.publicKey, seededRandom(1))
        holder = CookieHolder(self.machine.publicKey)
        first = holder.addMacs(initiationTo(self.machine, 1), 0.0)
        holder.addMacs(initiationTo(self.machine, 2), 0.0)
        self.assertFalse(holder.receive(checker.reply(7, first, STRANGER, 0.0), 0.0))
        stranger = CookieChecker(bytes(32), seededRandom(1))
        third = holder.addMacs(initiationTo(self.machine, 3), 0.0)
        self.assertFalse(holder.receive(stranger.reply(7, third, STRANGER, 0.0), 0.0))

    def test_w19_noRetransmit(self) -> None:
        """
        Receiving a cookie does not bring forward the next try.
        """
        pair = self.pair
        self.load(pair.now)
        pair.machines[0].initiate(pair.publicKey(0), pair.now)
        pair.run()
        self.assertEqual(len(pair.sent(1, 3)), 1)
        self.assertEqual(len(pair.sent(0, 1)), 1)
        self.assertGreaterEqual(pair.machines[0].deadline() or 0, pair.now + 5)

    def test_w20_silence(self) -> None:
        """
        To a wrong length, type or mac1, an unknown peer, a failed tag, a replay and an old timestamp there is no
        answer, and nothing is told.
        """
        pair = self.pair
        pair.send(0, pair.packet(0))
        wire = [data for sender, data, _ in pair.wire if sender == 0]
        pair.events(1)
        pair.now += 1
        before = self.machine.peerStatus(pair.publicKey(1))
        for data in [
            *wire,
            *(data[:-17] + bytes([data[-17] ^ 1]) + data[-16:] for data in wire),
            *(data[:20] for data in wire),
            b"\x05" + wire[0][1:],
            initiationTo(self.machine, "stranger"),
        ]:
            self.machine.receive(data, STRANGER, pair.now)
        self.assertEqual(self.machine.datagramsToSend(pair.now), [])
        self.assertIsNone(self.machine.nextEvent())
        self.assertEqual(self.machine.peerStatus(pair.publicKey(1)), before)
        for reason in ("malformed", "badMac1", "unknownPeer", "badTag", "replayed", "oldTimestamp"):
            self.assertGreater(self.machine.counters[reason], 0, reason)

    @settings(suppress_health_check=[HealthCheck.differing_executors])
    @given(st.data())
    def test_w20_garbage(self, choose: st.DataObject) -> None:
        """
        No datagram raises out of the machine or is answered: random ones, and true ones that were damaged.
        """
        pair = Pair()
        pair.send(0, pair.packet(0))
        wire = [data for sender, data, _ in pair.wire if sender == 0]
        pair.events(1)
        machine = pair.machines[1]
        data = choose.draw(st.one_of(st.binary(max_size=200), st.sampled_from(wire)))
        if data in wire:
            place = choose.draw(st.integers(0, len(data) - 1))
            flip = choose.draw(st.integers(1, 255))
            data = data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :]
            data = data[: choose.draw(st.integers(0, len(data)))] + choose.draw(st.binary(max_size=3))
        machine.receive(data, STRANGER, pair.now + 1)
        self.assertEqual(machine.datagramsToSend(pair.now + 1), [])
        self.assertIsNone(machine.nextEvent())
