"""
Tests for L{vnet.protocols.stun}.
"""

from __future__ import annotations

import itertools
import os
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.error import InvalidAddressError
from twisted.internet.interfaces import IUDPTransport
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from vnet.protocols.codec import stunattributes as attr
from vnet.protocols.codec.stun import BINDING, Class, Message, decode, encode
from vnet.protocols.machine.binding import BindingEvent, Bindings, Mapped
from vnet.protocols.stun import StunClient, StunServer, canonicalAddress
from vnet.test.relaycallers import Relay
from vnet.values import Address

TID = bytes(range(12))
ME = ("203.0.113.9", 4711)
ME6 = ("2001:db8::9", 4711)


@implementer(IUDPTransport)
class Wire:
    """
    A UDP transport that keeps what is written, or fails.
    """

    def __init__(self, fault: Exception | None = None, place: tuple[str, int] = ("192.0.2.1", 3478)) -> None:
        self.place = place
        self.written: list[tuple[bytes, tuple[str, int]]] = []
        self.fault = fault

    def write(self, packet: bytes, addr: Any = None) -> None:
        if self.fault is not None:
            raise self.fault
        self.written.append((packet, addr))

    def connect(self, host: str, port: int) -> None: ...

    def getHost(self) -> IPv4Address:
        return IPv4Address("UDP", *self.place)

    def stopListening(self) -> None: ...

    def setBroadcastAllowed(self, enabled: bool) -> None: ...

    def getBroadcastAllowed(self) -> bool:
        return False


def request(*attributes: attr.Attribute[Any], fingerprint: bool = False) -> bytes:
    return encode(Message(BINDING, Class.REQUEST, TID, attributes), fingerprint=fingerprint)


class StunServerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.start()

    def start(self, fault: Exception | None = None) -> None:
        self.wire = Wire(fault)
        self.server = StunServer(self.clock)
        self.server.makeConnection(self.wire)

    def ask(self, data: bytes, addr: tuple[str, int] = ME) -> bytes | None:
        """
        What the server answers to a datagram, if it does.
        """
        self.wire.written.clear()
        self.server.datagramReceived(data, addr)
        if not self.wire.written:
            return None
        [(answer, to)] = self.wire.written
        self.assertEqual(to, addr)
        return answer

    def test_v4(self) -> None:
        """A plain request over IPv4 is answered with its sender's address in 32 bytes."""
        answer = self.ask(request())
        assert answer is not None
        self.assertEqual(len(answer), 32)
        self.assertEqual(
            decode(answer), Message(BINDING, Class.SUCCESS, TID, (attr.XOR_MAPPED_ADDRESS(Address(*ME)),))
        )

    def test_v6(self) -> None:
        """A plain request over IPv6 is answered with its sender's address in 44 bytes."""
        answer = self.ask(request(), ME6)
        assert answer is not None
        self.assertEqual(len(answer), 44)
        self.assertEqual(decode(answer).get(attr.XOR_MAPPED_ADDRESS), Address(*ME6))

    def test_mapped(self) -> None:
        """A sender that a dual-stack socket sees as IPv4-mapped gets its IPv4 address."""
        answer = self.ask(request(), ("::ffff:203.0.113.9", 4711))
        assert answer is not None
        self.assertEqual(decode(answer).get(attr.XOR_MAPPED_ADDRESS), Address(*ME))

    def test_fingerprint(self) -> None:
        """The answer has a fingerprint when the request has one, and only then."""
        for fingerprint in (False, True):
            answer = self.ask(request(fingerprint=fingerprint))
            assert answer is not None
            self.assertEqual(attr.FINGERPRINT in decode(answer), fingerprint)

    def test_unknown(self) -> None:
        """A request with required attributes that the server does not know gets 420 with their numbers."""
        for data, codes in [
            (b"\x7f\xff\x00\x00", (0x7FFF,)),
            (b"\x7f\xff\x00\x00\x00\x02\x00\x00", (0x7FFF, 0x0002)),
            (b"\x00\x03\x00\x04\x00\x00\x00\x06", (0x0003,)),
        ]:
            answer = self.ask(b"\x00\x01\x00" + bytes([len(data)]) + request()[4:] + data)
            assert answer is not None
            got = decode(answer)
            self.assertEqual((got.klass, got.transactionId), (Class.ERROR, TID))
            self.assertEqual(got.get(attr.ERROR_CODE), attr.ErrorCode(420))
            self.assertEqual(got.get(attr.UNKNOWN_ATTRIBUTES), codes)

    def test_harmless(self) -> None:
        """Attributes of authentication, of ICE and optional ones do not keep a client from its answer."""
        answer = self.ask(
            request(attr.USERNAME("a"), attr.PRIORITY(1), attr.SOFTWARE("x"), attr.ICE_CONTROLLING(1))
        )
        assert answer is not None
        self.assertEqual(decode(answer).klass, Class.SUCCESS)

    def test_silence(self) -> None:
        """What is no Binding request gets no answer and is counted."""
        others = [
            encode(Message(BINDING, klass, TID)) for klass in (Class.INDICATION, Class.SUCCESS, Class.ERROR)
        ]
        for data in [
            b"",
            os.urandom(100),
            request()[:-1],
            request() + b"\x00",
            request(fingerprint=True)[:-1] + b"\x00",
            encode(Message(3, Class.REQUEST, TID)),
            *others,
        ]:
            self.assertIsNone(self.ask(data), data)
        self.assertEqual(self.server.counters.ignored, 9)
        self.assertEqual(self.server.counters.answered, 0)

    @given(st.binary(max_size=120), st.booleans())
    def test_amplification(self, tail: bytes, v6: bool) -> None:
        """Whatever is asked, an answer is at most 1.6 times as long over IPv4 and 2.2 over IPv6."""
        self.clock.advance(1.0)
        tail += bytes(-len(tail) % 4)
        for data in (tail, b"\x00\x01" + len(tail).to_bytes(2, "big") + request()[4:] + tail):
            answer = self.ask(data, ME6 if v6 else ME)
            self.assertTrue(len(answer or b"") <= len(data) * (2.2 if v6 else 1.6))

    @given(st.lists(st.integers(0, 0x7FFF), max_size=40), st.booleans())
    def test_amplificationOfErrors(self, codes: list[int], fingerprint: bool) -> None:
        """The refusal of empty unknown attributes, however many, is no amplifier either."""
        self.clock.advance(1.0)
        body = b"".join(code.to_bytes(2, "big") + bytes(2) for code in codes)
        data = b"\x00\x01" + len(body).to_bytes(2, "big") + request()[4:] + body
        answer = self.ask(data)
        self.assertTrue(len(answer or b"") <= len(data) * 1.6)

    def test_rate(self) -> None:
        """A source gets 100 answers a second, however often and from however many ports it asks."""
        for second in range(3):
            answered = 0
            for i in range(1000):
                answered += self.ask(request(), (ME[0], 1024 + i)) is not None
                self.clock.advance(1 / 1024)
            self.clock.advance(24 / 1024)
            self.assertEqual(answered, 100, second)
        self.assertEqual((self.server.counters.answered, self.server.counters.limited), (300, 2700))

    def test_rateIsPerSource(self) -> None:
        """One source that asks too often does not keep another from its answer; a /64 is one source."""
        for i in range(200):
            self.ask(request())
            self.ask(request(), (f"2001:db8::{i:x}", 1))
        self.assertIsNone(self.ask(request()))
        self.assertIsNone(self.ask(request(), ("2001:db8::ffff:1", 1)))
        self.assertIsNotNone(self.ask(request(), ("203.0.113.10", 1)))
        self.assertIsNotNone(self.ask(request(), ("2001:db8:0:1::1", 1)))

    def test_garbageIsFree(self) -> None:
        """Datagrams that are no request use up nobody's answers."""
        for _ in range(500):
            self.ask(b"garbage")
        self.assertIsNotNone(self.ask(request()))

    def test_unsendable(self) -> None:
        """An answer that the system does not take is counted, and nothing is raised or logged."""
        self.start(OSError(22, "Invalid argument"))
        self.assertIsNone(self.ask(request(), (ME[0], 0)))
        self.assertEqual(self.server.counters.unsendable, 1)
        self.assertEqual(self.server.counters.answered, 0)


A1, A2, B1, B2 = ("192.0.2.1", 3478), ("192.0.2.1", 3479), ("192.0.2.2", 3478), ("192.0.2.2", 3479)
A61, A62 = ("2001:db8::a", 3478), ("2001:db8::a", 3479)
B61, B62 = ("2001:db8::b", 3478), ("2001:db8::b", 3479)
EVERY = ((A1, B2), (A2, B1), (B1, A2), (B2, A1))
Place = tuple[str, int]


def change(address: bool, port: bool) -> attr.Attribute[attr.ChangeRequest]:
    return attr.CHANGE_REQUEST(attr.ChangeRequest(address, port))


class OriginsTests(SynchronousTestCase):
    """
    A server on several sockets (RFC 5780).
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.serve(A1, A2, B1, B2)

    def serve(self, *places: Place) -> None:
        self.main = StunServer(self.clock)
        self.main.origins.pairPorts(3478, 3479)
        self.main.origins.pairHosts("192.0.2.1", "192.0.2.2")
        self.main.origins.pairHosts("2001:db8::a", "2001:db8::b")
        self.sockets: dict[Place, StunServer] = {}
        self.wires: dict[Place, Wire] = {}
        for place in places:
            self.sockets[place] = self.main.sibling()
            self.wires[place] = Wire(place=place)
            self.sockets[place].makeConnection(self.wires[place])

    def ask(self, to: Place, *attributes: attr.Attribute[Any], me: Place = ME) -> tuple[Message, Place]:
        """
        What the server answers to a request, and from where.
        """
        return self.send(to, request(*attributes), me)

    def send(self, to: Place, data: bytes, me: Place = ME) -> tuple[Message, Place]:
        for wire in self.wires.values():
            wire.written.clear()
        self.sockets[to].datagramReceived(data, me)
        [(place, answer, addr)] = [(p, *w) for p, wire in self.wires.items() for w in wire.written]
        self.assertEqual(addr, me)
        self.assertTrue(len(answer) <= 3 * len(data), (len(answer), len(data)))
        return decode(answer), place

    def test_bytes(self) -> None:
        """
        The answer of a server at 192.0.2.1 and .2 is the mapped address, RESPONSE-ORIGIN and OTHER-ADDRESS, 56 bytes.
        """
        self.sockets[A1].datagramReceived(request(), ME)
        expected = (
            "010100242112a442000102030405060708090a0b"
            "0020000800013375ea12d54b"  # 4711 ^ 0x2112, 203.0.113.9 ^ 0x2112a442
            "802b000800010d96c0000201"
            "802c000800010d97c0000202"
        )
        self.assertEqual(self.wires[A1].written, [(bytes.fromhex(expected), ME)])

    def test_every(self) -> None:
        """Each of the four is answered from where the request asks, and names the one that differs in both."""
        for host, port in (A1, A2, B1, B2):
            otherHost = "192.0.2.2" if host == "192.0.2.1" else "192.0.2.1"
            otherPort = 6957 - port
            for address, number in itertools.product((False, True), repeat=2):
                answer, place = self.ask((host, port), change(address, number))
                self.assertEqual(place, (otherHost if address else host, otherPort if number else port))
                self.assertEqual(answer.get(attr.RESPONSE_ORIGIN), Address(*place))
                self.assertEqual(answer.get(attr.OTHER_ADDRESS), Address(otherHost, otherPort))
                self.assertEqual(answer.get(attr.XOR_MAPPED_ADDRESS), Address(*ME))

    def test_oneAddress(self) -> None:
        """
        With one address and two ports there is no OTHER-ADDRESS, the port can be changed, and the address cannot: 420.
        """
        self.serve(A1, A2)
        plain, place = self.ask(A2)
        self.assertEqual((len(plain.attributes), place), (1, A2))
        answer, place = self.ask(A1, change(False, True))
        self.assertEqual((answer.klass, place), (Class.SUCCESS, A2))
        for both in (False, True):
            refusal, place = self.ask(A1, change(True, both))
            self.assertEqual((refusal.get(attr.ERROR_CODE), place), (attr.ErrorCode(420), A1))
            self.assertEqual(refusal.get(attr.UNKNOWN_ATTRIBUTES), (3,))

    def test_incomplete(self) -> None:
        """A socket that could not be opened, or is closed again, is neither named nor used."""
        self.sockets[B1].stopProtocol()
        del self.sockets[B1], self.wires[B1]
        for place in (A1, A2, B2):
            self.assertNotIn(attr.OTHER_ADDRESS, self.ask(place)[0])
        self.assertEqual(self.ask(A1, change(True, True))[1], B2)
        self.assertEqual(self.ask(A1, change(True, False))[0].klass, Class.ERROR)

    def test_refused(self) -> None:
        """RESPONSE-PORT and PADDING get 420, wherever the answer was to come from."""
        for forbidden, code in ((attr.RESPONSE_PORT(53), 0x27), (attr.PADDING(bytes(1400)), 0x26)):
            for more in ((), (change(True, True),)):
                answer, place = self.ask(A1, forbidden, *more)
                self.assertEqual(place, A1)
                self.assertEqual(answer.get(attr.ERROR_CODE), attr.ErrorCode(420))
                self.assertEqual(answer.get(attr.UNKNOWN_ATTRIBUTES), (code,))

    def test_unspecified(self) -> None:
        """A socket of all addresses answers plainly: it does not know which one was asked."""
        self.serve(("0.0.0.0", 3478), A2)
        answer, place = self.ask(("0.0.0.0", 3478))
        self.assertEqual((len(answer.attributes), place), (1, ("0.0.0.0", 3478)))
        self.assertEqual(self.ask(("0.0.0.0", 3478), change(False, True))[0].klass, Class.ERROR)

    def test_ipv6(self) -> None:
        """
        Over IPv6 an answer to a plain request would be too long with more than the mapped address: OTHER-ADDRESS is for
        requests of 28 bytes, both for 36, as CHANGE-REQUEST and FINGERPRINT make them.
        """
        self.serve(A61, A62, B61, B62)
        for asked, fingerprint, size, others in (
            ((), False, 20, 0),
            ((change(False, False),), False, 28, 1),
            ((change(False, False),), True, 36, 2),
        ):
            data = request(*asked, fingerprint=fingerprint)
            answer, place = self.send(A61, data, ME6)
            self.assertEqual((len(data), place), (size, A61))
            kinds = {attr.RESPONSE_ORIGIN, attr.OTHER_ADDRESS}
            self.assertEqual(sum(each.kind in kinds for each in answer.attributes), others)
            self.assertEqual(attr.OTHER_ADDRESS in answer, others > 0)

    def test_rate(self) -> None:
        """A source gets 100 answers a second of all sockets together."""
        for i in range(400):
            self.sockets[EVERY[i % 4][0]].datagramReceived(request(), ME)
        self.assertEqual(sum(len(wire.written) for wire in self.wires.values()), 100)
        self.assertEqual((self.main.counters.answered, self.main.counters.limited), (100, 300))

    @given(st.binary(max_size=120), st.booleans(), st.booleans())
    def test_amplification(self, tail: bytes, v6: bool, typed: bool) -> None:
        """Whatever is asked, an answer is at most 3 times as long."""
        self.clock.advance(1.0)
        self.serve(A1, A2, B1, B2, A61, A62, B61, B62)
        tail = (b"\x00\x03\x00\x04" if typed else b"") + tail
        tail += bytes(-len(tail) % 4)
        data = b"\x00\x01" + len(tail).to_bytes(2, "big") + request()[4:] + tail
        self.sockets[A61 if v6 else A1].datagramReceived(data, ME6 if v6 else ME)
        for wire in self.wires.values():
            for answer, _addr in wire.written:
                self.assertTrue(len(answer) <= 3 * len(data), (answer, data))


class RelayOriginsTests(SynchronousTestCase):
    """
    The same on the sockets of a relay, which have names.
    """

    def ask(self, via: str, *attributes: attr.Attribute[Any]) -> tuple[Message, str]:
        """
        What is answered to a client, and through which socket.
        """
        machine = Relay().machine
        machine.origins.pairHosts(A1[0], B1[0])
        machine.origins.pairPorts(3478, 3479)
        for name, place in (("udp1", A1), ("udp2", A2), ("udp3", B1), ("udp4", B2)):
            machine.origins.add(Address(*place), name)
        client = Address(*ME, via)
        machine.receive(request(*attributes), client, 0.0)
        [(answer, to)] = machine.datagramsToSend(0.0)
        self.assertEqual(to._replace(via=via), client)
        return decode(answer), to.via

    def test_udp(self) -> None:
        """A client over UDP is answered through the socket that it asks for, and told the other address."""
        for via, address, port, through in (
            ("udp1", True, True, "udp4"),
            ("udp1", False, True, "udp2"),
            ("udp4", True, False, "udp2"),
            ("udp3", False, False, "udp3"),
        ):
            answer, found = self.ask(via, change(address, port))
            self.assertEqual(found, through)
            self.assertIn(attr.RESPONSE_ORIGIN, answer)
        self.assertEqual(self.ask("udp2")[0].get(attr.OTHER_ADDRESS), Address(*B1))

    def test_connection(self) -> None:
        """A client over TCP or TLS is answered there, and can change nothing."""
        plain, through = self.ask("tcp7")
        self.assertEqual((len(plain.attributes), through), (1, "tcp7"))
        self.assertEqual(self.ask("tls7", change(False, False))[0].klass, Class.SUCCESS)
        self.assertEqual(self.ask("tls7", change(False, True))[0].klass, Class.ERROR)


class StunClientTests(SynchronousTestCase):
    def test_asksAndRefreshes(self) -> None:
        """A client of our own learns its address from a server of our own, and keeps asking."""
        clock = Clock()
        events: list[BindingEvent] = []
        client = StunClient(Bindings([Address("192.0.2.1", 3478)], random=os.urandom), clock, events.append)
        server = StunServer(clock)
        there, back = Wire(), Wire()
        server.makeConnection(back)
        client.makeConnection(there)
        for second in range(100):
            for data, addr in there.written:
                self.assertEqual(addr, ("192.0.2.1", 3478))
                server.datagramReceived(data, ME)
            for data, _addr in back.written:
                client.datagramReceived(data, ("192.0.2.1", 3478))
            there.written.clear()
            back.written.clear()
            clock.advance(1.0)
            self.assertTrue(events, second)
        self.assertTrue(5 <= len(events) <= 7, events)
        self.assertEqual({type(event) for event in events}, {Mapped})
        client.stopProtocol()
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_unreachable(self) -> None:
        """A server that the port cannot reach is silent, and no error."""
        clock = Clock()
        for fault in (OSError(101, "unreachable"), InvalidAddressError("::1", "other family")):
            events: list[BindingEvent] = []
            bindings = Bindings([Address("::1", 1), Address("::1", 2)], random=os.urandom)
            client = StunClient(bindings, clock, events.append)
            client.makeConnection(Wire(fault))
            clock.advance(0.5)
            clock.pump([1.0] * 60)
            self.assertEqual(len(events), 2)
            client.stopProtocol()


class CanonicalAddressTests(SynchronousTestCase):
    def test_forms(self) -> None:
        """Addresses are written in one form, without zone."""
        for host, canonical in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:DB8:0::1", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
        ]:
            self.assertEqual(canonicalAddress(host, 7), Address(canonical, 7))
