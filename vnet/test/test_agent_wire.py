"""
Tests for L{vnet.protocols.machine.agent}: one agent and what arrives.
"""

from __future__ import annotations

import zlib
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
    AttributeType,
    ChangeRequest,
    ErrorCode,
    _Format,
)
from vnet.protocols.machine.agent import Agent
from vnet.protocols.machine.candidates import priority
from vnet.test.icepeers import connect, home, peer, run, seeded
from vnet.test.natsim import Internet
from vnet.values import Address, Candidate

EIM = "endpoint-independent"
APDF = "address-and-port-dependent"


LOCAL, REMOTE = Credentials("locl", "l" * 22), Credentials("remo", "r" * 22)
ADDRESS = Address("192.0.2.1", 1000)


def _asIs(value: bytes, transactionId: bytes) -> bytes:
    return value


def _more(data: bytes, attribute: bytes) -> bytes:
    """
    A message with one more attribute after its integrity, and a FINGERPRINT.
    """
    body = data[20:] + attribute
    data = data[:2] + (len(body) + 8).to_bytes(2, "big") + data[4:20] + body
    return data + b"\x80\x28\0\4" + (zlib.crc32(data) ^ 0x5354554E).to_bytes(4, "big")


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

    def test_afterTheIntegrity(self) -> None:
        """
        What follows the integrity counts for nothing (RFC 8489 section 14.5), even if it looks like it: neither a check nor an
        answer of a peer that writes so makes anything fail.
        """
        request = self.outgoing()
        answer = Message(BINDING, Class.SUCCESS, request.transactionId, (XOR_MAPPED_ADDRESS(ADDRESS),))
        for kind in (b"\xc0\1\0\x14", b"\0\x08\0\x14"):
            data = encode(attrs.evolve(self.request(), transactionId=kind * 3), key=shortTermKey("l" * 22))
            self.agent.receive(_more(data, kind + data[-20:]), ADDRESS, 100.1)
            self.assertIn(kind * 3, [each[8:20] for each, _ in self.agent.datagramsToSend(100.1)])
            data = encode(answer, key=shortTermKey("r" * 22))
            self.agent.receive(_more(data, kind + data[-20:]), ADDRESS, 100.1)
            self.assertIsNot(self.agent.selected, None)
        self.assertEqual(self.agent.ignored, 1)

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

    def test_answerNotUnderstood(self) -> None:
        """
        An answer with an attribute that would have to be understood, and is not, finds no path (RFC 8489 section 6.3.3).
        """
        request = self.outgoing()
        foreign: AttributeType[bytes] = AttributeType(0x7FFF, "FOREIGN", _Format(_asIs, _asIs))
        answer = Message(
            BINDING, Class.SUCCESS, request.transactionId, (XOR_MAPPED_ADDRESS(ADDRESS), foreign(b""))
        )
        self.agent.receive(encode(answer, key=shortTermKey("r" * 22), fingerprint=True), ADDRESS, 100.1)
        self.assertIs(self.agent.selected, None)
        self.assertEqual(self.agent.ignored, 0)

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

    def test_noReflector(self) -> None:
        """
        A peer that names new addresses without end makes the agent send fewer than 10 checks a second in the long run.
        """
        sent = 0
        self.agent.timerFired(100.0)
        for tick in range(60000):
            now = 100.0 + tick / 100
            address = Address(f"192.0.{tick >> 8 & 255}.{tick & 255}", 7)
            self.agent.addRemoteCandidate(Candidate("host", address, 1, "f"), now)
            self.agent.timerFired(now)
            sent += len(self.agent.datagramsToSend(now))
        self.assertTrue(500 < sent < 6000, sent)

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
