"""
Tests for what the WireGuard machine erases: W15 of the list that L{vnet.test.test_wireguard} tells of.
L{vnet.test.test_wipe} looks through memory.
"""

from __future__ import annotations

from vnet.test.wgpair import STRANGER, SessionTestCase


class EraseTests(SessionTestCase):
    """
    Sessions, handshakes and peers that end.
    """

    def test_w15_erasure(self) -> None:
        """
        540 seconds after the last session all its keys are gone, and nothing waits for time any more.
        """
        self.establish()
        pair = self.pair
        keypairs = [self.keypair(number) for number in (0, 1)]
        pair.advance(539.9)
        for keypair in keypairs:
            keypair.seal(bytes(12), b"", None)
        pair.advance(0.2)
        for number, keypair in enumerate(keypairs):
            self.assertRaises(RuntimeError, keypair.seal, bytes(12), b"", None)
            self.assertRaises(RuntimeError, keypair.open, bytes(12), bytes(16), None)
            self.assertEqual(pair.machines[number]._device.indices.entries, {})
            self.assertIsNone(pair.machines[number].deadline())

    def test_w15_replaced(self) -> None:
        """
        Of the sessions that were replaced, all but the two that the peer has used last are erased as soon as the next is there.
        """
        self.establish()
        oldest = self.keypair(0)
        for _ in range(3):
            self.pair.now += 1
            oldest.seal(bytes(12), b"", None)
            self.pair.machines[0].initiate(self.pair.publicKey(0), self.pair.now)
            self.pair.run()
        self.assertRaises(RuntimeError, oldest.seal, bytes(12), b"", None)

    def test_w15_previous(self) -> None:
        """
        A responder too erases what was replaced by three others: never are there more than four.
        """
        self.establish()
        pair, oldest = self.pair, self.keypair(1)
        for _ in range(3):
            pair.now += 1
            oldest.seal(bytes(12), b"", None)
            pair.machines[0].initiate(pair.publicKey(0), pair.now)
            initiation = pair.machines[0].datagramsToSend(pair.now)[0][0]
            pair.machines[1].receive(initiation, pair.addresses[0], pair.now)
            response = pair.machines[1].datagramsToSend(pair.now)[0][0]
            pair.machines[0].receive(response, pair.addresses[1], pair.now)
            pair.run()
        self.assertRaises(RuntimeError, oldest.seal, bytes(12), b"", None)

    def test_w15_handshake(self) -> None:
        """
        The state of a handshake is zeroed when its session is derived, and when it has failed.
        """
        pair = self.pair
        for drop in (False, True):
            pair.drop = lambda sender, data, drop=drop: drop  # type: ignore[misc]
            pair.machines[0].initiate(pair.publicKey(0), pair.now)
            handshake = pair.machines[0]._peers[pair.publicKey(0)].handshake
            assert handshake._sent is not None
            sent = handshake._sent[1]
            self.assertNotEqual(sent._state.chain, bytes(32))
            pair.advance(90.1)
            self.assertEqual(sent._state.chain, bytes(32))
            self.assertIsNone(handshake._sent)

    def test_w15_overtaken(self) -> None:
        """
        A handshake that the peer's own has overtaken is zeroed with the session at the latest.
        """
        pair = self.pair
        pair.drop = lambda sender, data: sender == 0 and data[0] == 1
        pair.machines[0].initiate(pair.publicKey(0), pair.now)
        pair.run()
        handshake = pair.machines[0]._peers[pair.publicKey(0)].handshake
        assert handshake._sent is not None
        sent = handshake._sent[1]
        pair.machines[1].initiate(pair.publicKey(1), pair.now)
        pair.run()
        self.assertTrue(pair.machines[0].peerStatus(pair.publicKey(0)).established)
        pair.advance(540.1)
        self.assertEqual(sent._state.chain, bytes(32))
        self.assertEqual(pair.machines[0]._device.indices.entries, {})

    def test_removePeer(self) -> None:
        """
        When a peer is removed its keys are erased, its addresses are free, and what comes from it is dropped.
        """
        self.establish()
        pair = self.pair
        keypair = self.keypair(1)
        machine = pair.machines[1]
        session = machine._peers[pair.publicKey(1)]
        machine.setEndpoint(pair.publicKey(1), STRANGER)
        machine.removePeer(pair.publicKey(1))
        self.assertRaises(RuntimeError, keypair.seal, bytes(12), b"", None)
        self.assertEqual(session.handshake._staticStatic, bytes(32))
        self.assertIsNone(machine.peerFor("100.64.0.1"))
        self.assertIsNone(machine.deadline())
        pair.send(0, pair.packet(0))
        self.assertEqual((pair.received(1), pair.sent(1)), ([], []))
        self.assertRaises(KeyError, machine.peerStatus, pair.publicKey(1))
