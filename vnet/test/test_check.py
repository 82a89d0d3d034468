"""
Tests for L{vnet.protocols.machine.check} and L{vnet.protocols.machine.responder}: checks that are repeated.
"""

from __future__ import annotations

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.signal import Credentials
from vnet.protocols.codec.stun import BINDING, Class, Message, decode, encode, shortTermKey
from vnet.protocols.codec.stunattributes import (
    ICE_CONTROLLING,
    MESSAGE_INTEGRITY_SHA256,
    PRIORITY,
    USERNAME,
    XOR_MAPPED_ADDRESS,
)
from vnet.protocols.machine.check import Signer
from vnet.protocols.machine.responder import Responder
from vnet.test.icepeers import seeded
from vnet.values import Address

ALICE, BOB = Credentials("aliceuuu", "a" * 24), Credentials("bobuuuuu", "b" * 24)
IDS = st.binary(min_size=12, max_size=12)
ADDRESSES = st.one_of(
    st.builds(Address, st.ip_addresses(v=4).map(str), st.integers(1, 65535), st.just("")),
    st.integers(1, 65535).map(lambda port: Address("2001:db8::1", port)),
)
FROM = Address("192.0.2.1", 1)


def signer(mine: Credentials, theirs: Credentials, controlling: bool = True) -> Signer:
    return Signer(mine, controlling, seeded(1), theirs)


class RepeatedTests(SynchronousTestCase):
    """
    L{Signer} and what it remembers.
    """

    @given(st.lists(st.tuples(IDS, st.integers(0, 2**31 - 1), st.booleans(), st.booleans()), max_size=8))
    def test_requests(self, checks: list[tuple[bytes, int, bool, bool]]) -> None:
        """
        Each check is written, and read, as by a signer that has never seen another.
        """
        ours, theirs = signer(ALICE, BOB), signer(BOB, ALICE)
        for transactionId, priority, nominates, again in checks:
            for number in range(1 + again):
                each = bytes([number]) + transactionId[1:]
                fresh = attrs.evolve(ours)
                fresh.tieBreaker = ours.tieBreaker
                data = ours.request(each, priority, nominates)
                self.assertEqual(data, fresh.request(each, priority, nominates))
                expected = signer(BOB, ALICE).readRequest(decode(data))
                self.assertIsNotNone(expected)
                self.assertIn(theirs.repeatedRequest(data), (None, expected))
                self.assertEqual(theirs.readRequest(decode(data)), expected)
                self.assertEqual(theirs.repeatedRequest(data), expected)

    @given(st.lists(st.tuples(IDS, ADDRESSES), max_size=8))
    def test_responses(self, answers: list[tuple[bytes, Address]]) -> None:
        """
        So is each answer, for IPv4 and IPv6.
        """
        ours, theirs = signer(ALICE, BOB), signer(BOB, ALICE)
        for transactionId, address in answers:
            data = theirs.success(transactionId, address)
            self.assertEqual(data, signer(BOB, ALICE).success(transactionId, address))
            expected = signer(ALICE, BOB).readResponse(decode(data))
            self.assertEqual(expected and expected.get(XOR_MAPPED_ADDRESS), address)
            self.assertIn(ours.repeatedResponse(data), (None, expected))
            self.assertEqual(ours.readResponse(decode(data)), expected)
            self.assertEqual(ours.repeatedResponse(data), None if ":" in address.host else expected)

    def test_role(self) -> None:
        """
        Who takes the other role writes other checks, and an error is no answer that is remembered.
        """
        ours, theirs = signer(ALICE, BOB), signer(BOB, ALICE)
        first = ours.request(bytes(12), 1, False)
        ours.switchRole()
        second = theirs.readRequest(decode(ours.request(bytes(12), 1, False)))
        self.assertTrue(theirs.readRequest(decode(first)) and second and not second.controlling)
        ours.readResponse(decode(theirs.conflict(bytes(12))))
        self.assertIsNone(ours.repeatedResponse(theirs.conflict(bytes(12))))

    def test_strangers(self) -> None:
        """
        A check that somebody else has signed, or that came before the peer's credentials, is not remembered.
        """
        theirs = signer(BOB, ALICE)
        forged = signer(ALICE, attrs.evolve(BOB, password="x" * 24)).request(bytes(12), 1, False)
        self.assertIsNone(theirs.readRequest(decode(forged)))
        self.assertIsNone(theirs.repeatedRequest(forged))
        early = Signer(BOB, False, seeded(1))
        data = signer(ALICE, BOB).request(bytes(12), 1, False)
        self.assertIsNotNone(early.readRequest(decode(data)))
        self.assertIsNone(early.repeatedRequest(data))

    def test_otherIntegrity(self) -> None:
        """
        A check with MESSAGE-INTEGRITY-SHA256 is read each time anew.
        """
        theirs, key = signer(BOB, ALICE), shortTermKey(BOB.password)
        attributes = USERNAME("bobuuuuu:aliceuuu"), PRIORITY(1), ICE_CONTROLLING(1)
        message = Message(BINDING, Class.REQUEST, bytes(12), attributes)
        for keys in ({"key256": key}, {"key": key, "key256": key}):
            data = encode(message, fingerprint=True, **keys)
            self.assertIn(MESSAGE_INTEGRITY_SHA256, decode(data))
            self.assertIsNotNone(theirs.readRequest(decode(data)))
            self.assertIsNone(theirs.repeatedRequest(data))


class ResponderTests(SynchronousTestCase):
    """
    L{Responder} and copies.
    """

    def test_copies(self) -> None:
        """
        A copy of a check is answered to the same address, but is not new; to another address it is not answered.
        """
        responder = Responder(signer(BOB, ALICE, False))
        check = decode(signer(ALICE, BOB).request(bytes(12), 1, False))
        found = [responder.answer(check, FROM) for _ in range(2)]
        self.assertEqual([each and each.isNew for each in found], [True, False])
        self.assertEqual(found[0] and found[0].data, found[1] and found[1].data)
        self.assertIsNone(responder.answer(check, Address("192.0.2.2", 1)))
