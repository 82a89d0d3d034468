"""
Tests for the WireGuard machine: what its messages say.

C{test_w01} to C{test_w25} are the items of the list of what an implementation must meet: 1 to 9 here, 17 to 20 in
L{vnet.test.test_gate}, 15 in L{vnet.test.test_erasure}, 16 and 21 to 23 in
L{vnet.test.test_opening}, the others in L{vnet.test.test_session}.
"""

from __future__ import annotations

import random
from hashlib import blake2s

from nacl.bindings import crypto_aead_xchacha20poly1305_ietf_decrypt
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.handshake import (
    Initiation,
    Response,
    decodeHandshake,
    encodeHandshake,
)
from vnet.protocols.machine.cookie import CookieChecker, CookieHolder
from vnet.protocols.machine.wireguard import HandshakeFailed, SessionEstablished
from vnet.test.test_noise import LOW_ORDER
from vnet.test.wgpair import ADDRESSES, STRANGER, Pair, initiationTo, makeMachine, seededRandom, trainsOf


class MessageTests(SynchronousTestCase):
    """
    W1 to W9: what the machines say to each other.
    """

    def setUp(self) -> None:
        self.pair = Pair()

    def test_w01_construction(self) -> None:
        """
        The construction and the labels are WireGuard's: mac1 and the cookie's key can be computed from the public
        key as the whitepaper says (L{vnet.test.test_noise} compares the handshake itself with another program).
        """
        pair = self.pair
        pair.send(0, pair.packet(0))
        for number, data in ((0, pair.sent(0, 1)[0]), (1, pair.sent(1, 2)[0])):
            key = blake2s(b"mac1----" + pair.publicKey(number)).digest()
            self.assertEqual(blake2s(data[:-32], key=key, digest_size=16).digest(), data[-32:-16])
        checker = CookieChecker(pair.publicKey(0), seededRandom(1))
        reply = checker.reply(5, bytes(148), ADDRESSES[0], 0.0)
        key = blake2s(b"cookie--" + pair.publicKey(0)).digest()
        opened = crypto_aead_xchacha20poly1305_ietf_decrypt(
            reply.encryptedCookie, bytes(16), reply.nonce, key
        )
        self.assertEqual(len(opened), 16)

    def test_w02_sizes(self) -> None:
        """
        A message of another size than its type's, or whose reserved bytes are not zero, is dropped unread.
        """
        pair = self.pair
        pair.send(0, pair.packet(0))
        wire = [(sender, data) for sender, data, _ in pair.wire]
        self.assertEqual([(data[0], len(data)) for _, data in wire], [(1, 148), (2, 92), (4, 64)])
        pair.drop = lambda sender, data: False
        fresh = Pair()
        for sender, data in wire:
            machine = fresh.machines[1 - sender]
            bad = [data[:-1], data[:4], b""] + [
                data[:place] + b"\x01" + data[place + 1 :] for place in (1, 2, 3)
            ]
            if data[0] != 4:
                bad.append(data + b"\0")
            for datagram in bad:
                machine.receive(datagram, ADDRESSES[sender], fresh.now)
                self.assertEqual(machine.datagramsToSend(fresh.now), [])
                self.assertIsNone(machine.nextEvent())
            self.assertEqual(sum(machine.counters.values()), len(bad))
            machine.counters.clear()

    def test_w03_lowOrder(self) -> None:
        """
        A message whose public key is of low order is dropped without an answer or an exception, and such a peer
        cannot be added.
        """
        pair = self.pair
        machine = pair.machines[1]
        for point in LOW_ORDER:
            fake = encodeHandshake(Initiation(1, point, bytes(48), bytes(28)))
            fake = CookieHolder(machine.publicKey).addMacs(fake, 0.0)
            machine.receive(fake, STRANGER, pair.now)
            self.assertEqual(machine.datagramsToSend(pair.now), [])
            self.assertRaises(ValueError, machine.addPeer, point, allowedIps=[])
        self.assertEqual(machine.counters["badInitiation"], len(LOW_ORDER))
        pair.machines[0].initiate(pair.publicKey(0), pair.now)
        sender = int.from_bytes(pair.machines[0].datagramsToSend(pair.now)[0][0][4:8], "little")
        for point in LOW_ORDER:
            fake = encodeHandshake(Response(1, sender, point, bytes(16)))
            fake = CookieHolder(pair.machines[0].publicKey).addMacs(fake, 0.0)
            pair.machines[0].receive(fake, STRANGER, pair.now)
        self.assertEqual(pair.machines[0].counters["badResponse"], len(LOW_ORDER))
        self.assertFalse(pair.machines[0].peerStatus(pair.publicKey(0)).established)

    def test_w04_presharedKey(self) -> None:
        """
        No preshared key is the same as 32 zero bytes, and not the same as any other; where keys are set, zeros are
        not tried.
        """
        key = b"k" * 32
        for first, second, agree in (
            ([], [bytes(32)], True),
            ([key], [key], True),
            ([], [key], False),
            ([key], [], False),
            ([b"j" * 32], [key], False),
        ):
            pair = Pair(presharedKeys=(first, second))
            pair.send(0, pair.packet(0))
            pair.advance(80)
            self.assertEqual(pair.received(1) != [], agree)

    def test_w05_timestamp(self) -> None:
        """
        An initiation whose timestamp is not greater than the last of that peer is dropped.
        """
        pair = self.pair
        private = seededRandom("a")(32)
        machine = pair.machines[1]
        base = bytes.fromhex("4000000060000000")
        for nanoseconds, fine in ((5, True), (5, False), (4, False), (6, True), (0, False)):
            pair.now += 1
            timestamp = base + nanoseconds.to_bytes(4, "big")
            data = initiationTo(machine, pair.now, private=private, timestamp=timestamp)
            machine.receive(data, ADDRESSES[0], pair.now)
            self.assertEqual(len(machine.datagramsToSend(pair.now)), int(fine))
        self.assertEqual(machine.counters["oldTimestamp"], 3)

    def test_w05_addedAgain(self) -> None:
        """
        An initiation of before is refused also when its sender was removed and added again meanwhile; and what
        is then sent is greater than what was sent before, though the clock went back.
        """
        pair = self.pair
        for number in (0, 1):
            pair.machines[number].initiate(pair.publicKey(number), pair.now)
            pair.run()
        recorded = pair.sent(0, 1)[0]
        machine = pair.machines[1]
        machine.removePeer(pair.publicKey(1))
        machine.addPeer(pair.publicKey(1), allowedIps=[], endpoint=ADDRESSES[0])
        pair.now += 1
        machine.receive(recorded, ADDRESSES[0], pair.now)
        self.assertEqual(machine.datagramsToSend(pair.now), [])
        pair.wall.nanoseconds -= 3600 * 10**9
        machine.initiate(pair.publicKey(1), pair.now)
        pair.run()
        self.assertEqual(len(pair.sent(0, 2)), 2)

    def test_w06_initiationRate(self) -> None:
        """
        Of one peer's initiations one in 20 ms is worked on.
        """
        pair = self.pair
        private = seededRandom("a")(32)
        machine = pair.machines[1]
        answered = 0
        for number in range(200):
            now = pair.now + number / 256
            timestamp = b"\x40" + bytes(7) + number.to_bytes(4, "big")
            data = initiationTo(machine, number, private=private, timestamp=timestamp)
            # From a place with a cookie the gate would let it pass; here it is below the gate's rate.
            opened = decodeHandshake(data)
            assert isinstance(opened, Initiation)
            machine._receiveInitiation(opened, len(data), ADDRESSES[0], now)
            answered += len(machine.datagramsToSend(now))
        self.assertEqual(answered, 34)
        self.assertEqual(machine.counters["initiationFlood"], 166)

    def test_w07_indices(self) -> None:
        """
        Indices are random numbers of 32 bits, another for each handshake, and none is left over when a peer goes.
        """
        pair = self.pair
        for _ in range(30):
            pair.now += 1
            pair.machines[0].initiate(pair.publicKey(0), pair.now)
            pair.run()
        senders = [data[4:8] for _, data, _ in pair.wire if data[0] in (1, 2)]
        self.assertEqual(len(senders), 60)
        self.assertEqual(len(set(senders)), 60)
        self.assertTrue(any(int.from_bytes(sender, "little") > 2**31 for sender in senders))
        for number, machine in enumerate(pair.machines):
            self.assertLessEqual(len(machine._device.indices.entries), 3)
            machine.removePeer(pair.publicKey(number))
            self.assertEqual(machine._device.indices.entries, {})

    def test_w07_taken(self) -> None:
        """
        A number that is in use is not given again.
        """
        numbers = iter([b"aaaa", b"aaaa", b"aaaa", b"bbbb"])
        table = makeMachine(1)._device.indices
        table._random = lambda size: next(numbers)
        self.assertEqual([table.reserve(), table.reserve()], [0x61616161, 0x62626262])

    def test_w08_responderWaits(self) -> None:
        """
        The responder sends nothing under the new keys before it has received something under them.
        """
        pair = self.pair
        pair.drop = lambda sender, data: data[0] == 4
        pair.machines[0].initiate(pair.publicKey(0), pair.now)
        pair.run()
        self.assertEqual(len(pair.sent(0, 4)), 1)
        pair.machines[1].send(pair.publicKey(1), [pair.packet(1)], pair.now)
        # It begins a handshake of its own.
        self.assertEqual([data[0] for data, _ in pair.machines[1].datagramsToSend(pair.now)], [1])
        self.assertFalse(pair.machines[1].peerStatus(pair.publicKey(1)).established)
        self.assertEqual(pair.events(1), [])

    def test_w08_confirmation(self) -> None:
        """
        The initiator confirms the session at once: with what is queued, else with a keepalive.
        """
        pair = self.pair
        pair.machines[0].initiate(pair.publicKey(0), pair.now)
        pair.run()
        self.assertEqual([len(data) for data in pair.sent(0, 4)], [32])
        self.assertIsInstance(pair.events(1)[0], SessionEstablished)
        other = Pair()
        other.send(0, other.packet(0))
        self.assertEqual([len(data) for data in other.sent(0, 4)], [64])
        self.assertEqual(other.received(1), [other.packet(0)])

    def test_w08_previous(self) -> None:
        """
        What was sent under the session before is still received after a new one.
        """
        pair = self.pair
        pair.send(0, pair.packet(0))
        pair.received(1)
        pair.machines[0].send(pair.publicKey(0), [pair.packet(0, b"late")], pair.now)
        late = pair.machines[0].datagramsToSend(pair.now)
        pair.now += 10
        pair.machines[0].initiate(pair.publicKey(0), pair.now)
        pair.run()
        pair.machines[1].receiveTrains(trainsOf((data, ADDRESSES[0]) for data, _ in late), pair.now)
        pair.run()
        self.assertEqual(pair.received(1), [pair.packet(0, b"late")])

    def test_w08_crossing(self) -> None:
        """
        Two nodes that begin at the same moment both get a session, and packets pass both ways.
        """
        pair = self.pair
        for number in (0, 1):
            pair.machines[number].send(pair.publicKey(number), [pair.packet(number)], pair.now)
        batches = [machine.datagramsToSend(pair.now) for machine in pair.machines]
        for number in (0, 1):
            for data, _ in batches[number]:
                pair.machines[1 - number].receive(data, ADDRESSES[number], pair.now)
        pair.run()
        for number in (0, 1):
            self.assertEqual(pair.received(number), [pair.packet(1 - number)])
        for number in (0, 1):
            pair.send(number, pair.packet(number, b"again"))
            self.assertEqual(pair.received(1 - number), [pair.packet(number, b"again")])

    def test_w08_inFlight(self) -> None:
        """
        Of continuous traffic both ways on a slow line nothing is lost, whether handshakes cross or follow each other.
        """
        for seed in range(6):
            pair, dice = Pair(), random.Random(seed)
            delay = dice.choice((0.3, 0.8, 1.4))
            flying: list[tuple[float, int, bytes]] = []
            pair.machines[seed % 2].send(pair.publicKey(seed % 2), [b""], pair.now)
            pair.run()
            start, sent = pair.now, [0, 0]
            for step in range(6000):
                pair.now = start + step / 10
                while flying and flying[0][0] <= pair.now:
                    _, number, data = flying.pop(0)
                    pair.machines[1 - number].receive(data, ADDRESSES[number], pair.now)
                for number, machine in enumerate(pair.machines):
                    machine.timerFired(pair.now)
                    if step < 5900:
                        machine.send(pair.publicKey(number), [pair.packet(number)], pair.now)
                        sent[number] += 1
                    if seed and step % 200 == 0 and step < 5900 and (dice.random() < 0.7):
                        machine.initiate(pair.publicKey(number), pair.now)
                    for data, _ in machine.datagramsToSend(pair.now):
                        flying.append((pair.now + delay, number, data))
                    while (event := machine.nextEvent()) is not None:
                        pair.told[number].append(event)
            for number, machine in enumerate(pair.machines):
                self.assertEqual(len(pair.received(number)), sent[1 - number], (seed, machine.counters))
                self.assertEqual(machine.counters["noSession"], 0)

    def test_w09_nonce(self) -> None:
        """
        Counters begin at 0, grow by one and are never used twice, even when sealing fails in the middle.
        """
        pair = self.pair
        pair.send(0, *[pair.packet(0)] * 5)
        pair.send(0, *[pair.packet(0)] * 3)
        counters = [int.from_bytes(data[8:16], "little") for data in pair.sent(0, 4)]
        self.assertEqual(counters, list(range(8)))
        self.assertRaises(TypeError, pair.machines[0].send, pair.publicKey(0), [b"", None, b""], pair.now)
        pair.run()
        pair.send(0, pair.packet(0))
        used = [int.from_bytes(data[8:16], "little") for data in pair.sent(0, 4)]
        self.assertEqual(used, [11])

    def test_severalPresharedKeys(self) -> None:
        """
        Peers that share one of several keys find it: at once when the responder's first is known to the initiator,
        else after at most as many tries as the responder has keys.
        """
        keys = [bytes([number]) * 32 for number in range(1, 9)]
        for first, second, tries in (
            ([keys[0], keys[1]], [keys[1], keys[2]], 1),
            ([keys[1]], [keys[2], keys[1]], 2),
            ([keys[0], keys[1]], [keys[2], keys[3], keys[1]], 3),
        ):
            pair = Pair(presharedKeys=(first, second))
            pair.send(0, pair.packet(0))
            pair.advance(30)
            self.assertEqual(pair.received(1), [pair.packet(0)])
            self.assertEqual(len(pair.sent(0, 1)), tries)
            # What has worked is used again.
            pair.machines[0].initiate(pair.publicKey(0), pair.now)
            pair.run()
            self.assertEqual(len(pair.sent(0, 1)), 1)
            self.assertEqual(pair.machines[0].peerStatus(pair.publicKey(0)).lastHandshake, pair.now)
            # The initiator has learned which key the other knows, and answers with that.
            pair.advance(1)
            pair.machines[1].initiate(pair.publicKey(1), pair.now)
            pair.run()
            self.assertEqual(pair.machines[1].peerStatus(pair.publicKey(1)).lastHandshake, pair.now)

    def test_disjointPresharedKeys(self) -> None:
        """
        Peers that share none of their keys get no session, however often they try.
        """
        pair = Pair(presharedKeys=([b"a" * 32, b"b" * 32], [b"c" * 32, b"d" * 32]))
        pair.send(0, pair.packet(0))
        pair.advance(100)
        self.assertEqual(pair.received(1), [])
        self.assertEqual([type(event) for event in pair.events(0)], [HandshakeFailed])
