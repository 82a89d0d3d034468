"""
Tests for L{vnet.protocols.machine.binding}.
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.driver import DatagramMachine
from vnet.protocols.codec.stun import BINDING, Class, Message, decode, encode
from vnet.protocols.codec.stunattributes import (
    ERROR_CODE,
    MAPPED_ADDRESS,
    XOR_MAPPED_ADDRESS,
    Attribute,
    ErrorCode,
)
from vnet.protocols.machine.binding import (
    MAX_SERVERS,
    BindingEvent,
    Bindings,
    Mapped,
    MappingChanged,
    ServerSilent,
)
from vnet.values import Address

ONE = Address("192.0.2.1", 3478)
TWO = Address("2001:db8::2", 3478)
ME = Address("203.0.113.9", 4711)
ME2 = Address("203.0.113.9", 4712)


def answer(request: bytes, *attributes: Attribute[Any], klass: Class = Class.SUCCESS) -> bytes:
    return encode(Message(BINDING, klass, decode(request).transactionId, attributes))


def events(bindings: Bindings) -> list[BindingEvent]:
    return list(iter(bindings.nextEvent, None))


class BindingsTests(SynchronousTestCase):
    def ask(self, bindings: Bindings, now: float) -> bytes:
        """
        The one request that is sent now.
        """
        [(data, _addr)] = bindings.datagramsToSend(now)
        return data

    def learn(self, bindings: Bindings, now: float, mapped: Address = ME) -> None:
        bindings.receive(answer(self.ask(bindings, now), XOR_MAPPED_ADDRESS(mapped)), ONE, now)

    def test_machine(self) -> None:
        """It has the five verbs."""
        machine: DatagramMachine[BindingEvent] = Bindings([], random=os.urandom)
        self.assertIsNone(machine.deadline())
        self.assertEqual(machine.datagramsToSend(0.0), [])

    def test_asksAllAtOnce(self) -> None:
        """Each server is asked at once, with a plain request of 20 bytes and an id of its own."""
        bindings = Bindings([ONE, TWO], random=os.urandom)
        sent = bindings.datagramsToSend(5.0)
        self.assertEqual([addr for _, addr in sent], [ONE, TWO])
        requests = [decode(data) for data, _ in sent]
        self.assertEqual([len(data) for data, _ in sent], [20, 20])
        self.assertEqual({(r.method, r.klass) for r in requests}, {(BINDING, Class.REQUEST)})
        self.assertEqual(len({r.transactionId for r in requests}), 2)
        self.assertEqual(bindings.datagramsToSend(5.0), [])

    def test_mapped(self) -> None:
        """An answer tells the address and the time that it took."""
        bindings = Bindings([ONE], random=os.urandom)
        request = self.ask(bindings, 5.0)
        bindings.receive(answer(request, XOR_MAPPED_ADDRESS(ME)), ONE, 5.25)
        self.assertEqual(events(bindings), [Mapped(ONE, ME, 0.25)])
        self.assertEqual(bindings.mappings, {ONE: ME})

    def test_refreshes(self) -> None:
        """A server is asked for ever, every 16 to 24 seconds, and not always after the same time."""
        bindings = Bindings([ONE], random=os.urandom)
        now, waits = 0.0, []
        for _ in range(50):
            self.learn(bindings, now)
            deadline = bindings.deadline()
            assert deadline is not None
            self.assertEqual(bindings.datagramsToSend(deadline - 0.01), [])
            waits.append(deadline - now)
            now = deadline
            bindings.timerFired(now)
        self.assertTrue(16 <= min(waits) < max(waits) <= 24.0001, waits)

    def test_refreshEvery(self) -> None:
        """A shorter interval holds at once, a longer one from the next answer on."""
        bindings = Bindings([ONE], random=lambda size: b"\x80" * size)
        self.learn(bindings, 0.0)
        bindings.refreshEvery(8.0)
        self.assertAlmostEqual(bindings.deadline() or 0.0, 8.0, 1)
        bindings.refreshEvery(60.0)
        self.assertAlmostEqual(bindings.deadline() or 0.0, 8.0, 1)
        bindings.timerFired(8.1)
        self.learn(bindings, 8.1)
        self.assertAlmostEqual(bindings.deadline() or 0.0, 68.1, 0)

    def test_changed(self) -> None:
        """A server that sees another address than before is told, with both."""
        bindings = Bindings([ONE], random=os.urandom)
        self.learn(bindings, 0.0)
        self.learn(bindings, 30.0)
        self.assertEqual(events(bindings), [Mapped(ONE, ME, 0.0)] * 2)
        self.learn(bindings, 60.0, ME2)
        self.assertEqual(events(bindings), [MappingChanged(ONE, ME, ME2), Mapped(ONE, ME2, 0.0)])
        self.assertEqual(bindings.mappings, {ONE: ME2})

    def test_silent(self) -> None:
        """A server that never answers is told as silent after 39.5 seconds, and asked again later."""
        bindings = Bindings([ONE], random=os.urandom)
        sent = len(bindings.datagramsToSend(0.0))
        while not (got := events(bindings)):
            now = bindings.deadline() or 0
            bindings.timerFired(now)
            sent += len(bindings.datagramsToSend(now))
        self.assertEqual((got, now, sent), ([ServerSilent(ONE)], 39.5, 7))
        again = bindings.deadline() or 0
        self.assertTrue(39.5 + 16 <= again <= 39.5 + 24.001)
        bindings.timerFired(again)
        self.assertEqual(len(bindings.datagramsToSend(again)), 1)

    def test_silentIsNotMapped(self) -> None:
        """What a server that fell silent once saw is not a mapping, but its change is still told."""
        bindings = Bindings([ONE], random=os.urandom, rc=1, rm=1)
        self.learn(bindings, 0.0)
        self.ask(bindings, 30.0)
        bindings.timerFired(30.5)
        self.assertEqual(events(bindings)[1:], [ServerSilent(ONE)])
        self.assertEqual(bindings.mappings, {})
        self.learn(bindings, 60.0, ME2)
        self.assertEqual(events(bindings)[0], MappingChanged(ONE, ME, ME2))

    def test_forged(self) -> None:
        """An answer from another address, with another id, for another method or class is ignored,
        and the true one still counts."""
        bindings = Bindings([ONE], random=os.urandom)
        request = self.ask(bindings, 0.0)
        good = answer(request, XOR_MAPPED_ADDRESS(ME2))
        tid = decode(request).transactionId
        for data, addr in [
            (good, TWO),
            (good, Address(ONE.host, 1)),
            (answer(b"".join([request[:8], bytes(12)]), XOR_MAPPED_ADDRESS(ME2)), ONE),
            (encode(Message(3, Class.SUCCESS, tid, (XOR_MAPPED_ADDRESS(ME2),))), ONE),
            (encode(Message(BINDING, Class.INDICATION, tid, (XOR_MAPPED_ADDRESS(ME2),))), ONE),
            (encode(Message(BINDING, Class.REQUEST, tid)), ONE),
            (good[:-1], ONE),
            (b"", ONE),
        ]:
            bindings.receive(data, addr, 0.1)
        self.assertEqual((events(bindings), bindings.ignored), ([], 8))
        bindings.receive(answer(request, XOR_MAPPED_ADDRESS(ME)), ONE, 0.2)
        self.assertEqual(bindings.mappings, {ONE: ME})

    def test_answeredOnce(self) -> None:
        """A second answer to one request is ignored."""
        bindings = Bindings([ONE], random=os.urandom)
        request = self.ask(bindings, 0.0)
        for mapped in (ME, ME2):
            bindings.receive(answer(request, XOR_MAPPED_ADDRESS(mapped)), ONE, 0.1)
        self.assertEqual(bindings.mappings, {ONE: ME})

    def test_refused(self) -> None:
        """An error, an answer without address and one that is not understood count as silence."""
        for attributes, klass in [
            ((ERROR_CODE(ErrorCode(500)),), Class.ERROR),
            ((), Class.SUCCESS),
        ]:
            bindings = Bindings([ONE], random=os.urandom)
            bindings.receive(answer(self.ask(bindings, 0.0), *attributes, klass=klass), ONE, 0.1)
            self.assertEqual(events(bindings), [ServerSilent(ONE)])
        bindings = Bindings([ONE], random=os.urandom)
        good = answer(self.ask(bindings, 0.0), XOR_MAPPED_ADDRESS(ME))
        bindings.receive(good[:2] + b"\x00\x10" + good[4:] + b"\x7f\xff\x00\x00", ONE, 0.1)
        self.assertEqual(events(bindings), [ServerSilent(ONE)])

    def test_oldServer(self) -> None:
        """A server that answers with MAPPED-ADDRESS only is understood."""
        bindings = Bindings([ONE], random=os.urandom)
        bindings.receive(answer(self.ask(bindings, 0.0), MAPPED_ADDRESS(ME)), ONE, 0.1)
        self.assertEqual(bindings.mappings, {ONE: ME})

    def test_refresh(self) -> None:
        """On demand a server is asked now, long before its time."""
        bindings = Bindings([ONE], random=os.urandom)
        self.learn(bindings, 0.0)
        self.assertEqual(bindings.datagramsToSend(1.0), [])
        bindings.refresh(1.0)
        self.assertEqual(bindings.deadline(), 1.0)
        self.learn(bindings, 1.0)
        self.assertEqual(bindings.datagramsToSend(1.5), [])

    def test_refreshWhileAsking(self) -> None:
        """A demand renews a request that waits for long, and leaves one that was only just sent."""
        bindings = Bindings([ONE], random=os.urandom)
        first = self.ask(bindings, 0.0)
        bindings.refresh(0.04)
        self.assertEqual(bindings.datagramsToSend(0.04), [])
        while (now := bindings.deadline() or 0) < 20:
            bindings.timerFired(now)
            bindings.datagramsToSend(now)
        bindings.refresh(20.0)
        second = self.ask(bindings, 20.0)
        self.assertNotEqual(first, second)
        self.assertEqual(bindings.deadline(), 20.5)
        bindings.receive(answer(first, XOR_MAPPED_ADDRESS(ME2)), ONE, 20.1)
        self.assertEqual(events(bindings), [])

    def test_setServers(self) -> None:
        """New servers are asked at once, kept ones keep their mapping, and removed ones are not heard."""
        bindings = Bindings([ONE], random=os.urandom)
        self.learn(bindings, 0.0)
        bindings.setServers([ONE, TWO])
        [(request, addr)] = bindings.datagramsToSend(1.0)
        self.assertEqual(addr, TWO)
        self.assertEqual(bindings.mappings, {ONE: ME})
        bindings.setServers([ONE])
        bindings.receive(answer(request, XOR_MAPPED_ADDRESS(ME)), TWO, 1.1)
        self.assertEqual(bindings.mappings, {ONE: ME})
        self.assertTrue((bindings.deadline() or 0) >= 16)
        bindings.setServers([])
        self.assertEqual((bindings.mappings, bindings.deadline()), ({}, None))

    def test_atMostEight(self) -> None:
        """Of a list without end the first eight servers are asked, each once."""
        servers = [Address("192.0.2.1", port) for port in range(1, 100)]
        bindings = Bindings(servers[:4] * 2 + servers, random=os.urandom)
        self.assertEqual([a for _, a in bindings.datagramsToSend(0.0)], servers[:MAX_SERVERS])

    def test_expects(self) -> None:
        """It tells the answers to its own requests from those to others."""
        bindings = Bindings([ONE], random=os.urandom)
        tid = self.ask(bindings, 0.0)[8:20]
        self.assertTrue(bindings.expects(tid, ONE))
        self.assertFalse(bindings.expects(tid, TWO))
        self.assertFalse(bindings.expects(bytes(12), ONE))

    @given(st.binary(max_size=60), st.booleans())
    def test_anyBytes(self, data: bytes, header: bool) -> None:
        """Whatever a server sends, nothing is raised."""
        bindings = Bindings([ONE], random=os.urandom)
        request = self.ask(bindings, 0.0)
        if header:
            data += bytes(-len(data) % 4)
            data = b"\x01\x01" + len(data).to_bytes(2, "big") + request[4:] + data
        bindings.receive(data, ONE, 0.1)
        self.assertTrue(len(events(bindings)) + bindings.ignored == 1)
