"""
Tests for L{vnet.protocols.codec.signal}.
"""

from __future__ import annotations

import contextlib
from ipaddress import IPv4Address, IPv6Address

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import DecodeError
from vnet.protocols.codec.natsignal import Prediction, Traits
from vnet.protocols.codec.signal import MAXIMUM_SIZE, Credentials, Signal, decode, encode
from vnet.values import Address, Candidate

ICE_CHARS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def iceText(least: int, most: int) -> st.SearchStrategy[str]:
    return st.text(ICE_CHARS, min_size=least, max_size=most)


hosts = st.one_of(
    st.integers(0, 2**32 - 1).map(lambda n: str(IPv4Address(n))),
    st.integers(2**64, 2**128 - 1).map(lambda n: str(IPv6Address(n))),
)
candidates = st.builds(
    Candidate,
    st.sampled_from(["host", "srflx", "prflx", "relay"]),
    st.builds(Address, hosts, st.integers(1, 65535), st.just("")),
    st.integers(1, 2**31 - 1),
    iceText(1, 8),
)
ports = st.tuples(st.integers(1, 65535), st.integers(1, 65535)).map(sorted)
hosts4 = st.integers(0x01000000, 0xDFFFFFFF).map(lambda number: str(IPv4Address(number)))
dependence = st.sampled_from(["", "endpoint-independent", "address-dependent", "address-and-port-dependent"])


@st.composite
def someTraits(draw: st.DrawFn) -> Traits:
    """Traits of any NAT."""
    low, high = draw(ports)
    allocation = draw(st.sampled_from(["", "preserving", "sequential", "random", "block"]))
    step = draw(st.integers(-32768, 32767))
    return Traits(
        draw(dependence),
        draw(dependence),
        allocation,
        draw(st.booleans()),
        step,
        low,
        high,
        draw(hosts4),
        draw(st.booleans()),
        draw(st.booleans()),
    )


@st.composite
def predictions(draw: st.DrawFn) -> Prediction:
    """Any prediction."""
    low, high = draw(ports)
    step = draw(st.integers(1, 32767)) * draw(st.sampled_from([1, -1]))
    number = st.integers(0, 2**32 - 1)
    return Prediction(
        draw(st.integers(1, 255)),
        draw(st.sampled_from(["exact", "ports", "next"])),
        draw(hosts4),
        low,
        high,
        step,
        draw(st.integers(0, 65535)),
        draw(number),
        draw(number),
    )


signals = st.builds(
    Signal,
    st.integers(0, 2**64 - 1),
    st.builds(Credentials, iceText(4, 32), iceText(22, 64)),
    st.lists(candidates, max_size=32).map(tuple),
    st.booleans(),
    st.none() | someTraits(),
    st.none() | predictions(),
)

SIGNAL = Signal(
    0x0102030405060708,
    Credentials("ufra", "p" * 22),
    (
        Candidate("host", Address("192.0.2.1", 0x1234), 0x01020304, "f"),
        Candidate("srflx", Address("2001:db8::1", 2), 3, "+/"),
    ),
    True,
)


class SignalTests(SynchronousTestCase):
    """
    L{encode} and L{decode}.
    """

    def test_layout(self) -> None:
        """
        The bytes are those of the diagram.
        """
        expected = b"\x01\x01\x02\x04" + bytes(range(1, 9)) + b"\x16" + b"ufra" + b"p" * 22
        expected += b"\x14\x01\x12\x34\x01\x02\x03\x04" + bytes([192, 0, 2, 1]) + b"f"
        expected += b"\x26\x02\x00\x02\x00\x00\x00\x03" + IPv6Address("2001:db8::1").packed + b"+/"
        self.assertEqual(encode(SIGNAL), expected)
        self.assertEqual(decode(expected), SIGNAL)

    def test_natLayout(self) -> None:
        """
        So are those about the NAT, which follow the candidates.
        """
        traits = Traits(
            "endpoint-independent",
            "address-and-port-dependent",
            "sequential",
            True,
            -2,
            0x0102,
            0x0304,
            "192.0.2.1",
        )
        prediction = Prediction(7, "ports", "192.0.2.2", 5, 9, -4, 0x0A0B, 0x01020304, 0x05060708)
        bare = Signal(1, SIGNAL.credentials)
        head = encode(bare)
        both = encode(attrs.evolve(bare, traits=traits, prediction=prediction))
        self.assertEqual(both[1], 6)
        expected = bytes([1, 3, 2, 1]) + b"\xff\xfe\x01\x02\x03\x04" + bytes([192, 0, 2, 1])
        expected += bytes([7, 2]) + b"\xff\xfc\x00\x05\x00\x09\x0a\x0b\x01\x02\x03\x04\x05\x06\x07\x08"
        self.assertEqual(both[len(head) :], expected + bytes([192, 0, 2, 2]))
        self.assertEqual(encode(attrs.evolve(bare, prediction=prediction))[len(head) :], both[-22:])
        for other, flags in (
            (attrs.evolve(traits, limited=False), 0),
            (attrs.evolve(traits, limited=False, blocked=True), 2),
            (attrs.evolve(traits, natless=True), 5),
        ):
            data = encode(attrs.evolve(bare, traits=other))
            self.assertEqual(data[len(head) + 3], flags)
            # Flags that are not known yet mean nothing.
            later = data[: len(head) + 3] + bytes([flags | 0xF8]) + data[len(head) + 4 :]
            self.assertEqual(decode(later).traits, other)

    def test_natRefused(self) -> None:
        """
        Traits and predictions that make no sense, or that only a newer peer understands, are left out of what is read; none is
        written.
        """
        good = Prediction(1, "exact", "192.0.2.2", 5, 5)
        data = encode(attrs.evolve(SIGNAL, traits=Traits(), prediction=good))
        start = len(encode(SIGNAL))
        for at, value in ((0, 4), (1, 9), (2, 5), (7, 1), (14, 0), (15, 0), (15, 4), (17, 0), (19, 6)):
            bad = bytearray(data)
            bad[start + at] = value
            read = decode(bytes(bad))
            expected = (None, good) if at < 14 else (Traits(), None)
            self.assertEqual((read.traits, read.prediction), expected, (at, value))
            self.assertEqual(read.candidates, SIGNAL.candidates)
        for wrong in (
            attrs.evolve(good, round=256),
            attrs.evolve(good, kind="else"),
            attrs.evolve(good, step=40000),
            attrs.evolve(good, host="2001:db8::1"),
        ):
            self.assertRaises(ValueError, encode, attrs.evolve(SIGNAL, prediction=wrong))
        self.assertRaises(ValueError, encode, attrs.evolve(SIGNAL, traits=Traits("unheard of")))

    @given(signals)
    def test_roundTrip(self, signal: Signal) -> None:
        """
        What is written is read, and it is not too large.
        """
        data = encode(signal)
        self.assertTrue(len(data) <= MAXIMUM_SIZE)
        self.assertEqual(decode(data), signal)

    @given(st.binary(max_size=120), st.sampled_from([b"", b"\x01\x00\x02\x04", encode(SIGNAL)[:40]]))
    def test_anything(self, data: bytes, start: bytes) -> None:
        """
        Any bytes are a signal that is written the same way, or a L{DecodeError}.
        """
        with contextlib.suppress(DecodeError):
            signal = decode(start + data)
            self.assertEqual(decode(encode(signal)), signal)

    def test_truncatedOrLonger(self) -> None:
        """
        No part of a signal is one, and nothing may follow it.
        """
        data = encode(SIGNAL)
        for size in range(len(data)):
            self.assertRaises(DecodeError, decode, data[:size])
        self.assertRaises(DecodeError, decode, data + b"\0")

    def test_refused(self) -> None:
        """
        Another version, too many candidates, and impossible values are refused.
        """
        data = encode(SIGNAL)
        first = 13 + 26
        for offset, value in [(0, 2), (2, 33), (3, 3), (12, 21), (13, 0x20), (first, 0x04), (first, 0x54)]:
            self.assertRaises(DecodeError, decode, data[:offset] + bytes([value]) + data[offset + 1 :])
        for offset, values in [
            (first, b"\x15"),
            (first + 1, b"\0"),
            (first + 1, b"\x21"),
            (first + 2, b"\0\0"),
        ]:
            self.assertRaises(DecodeError, decode, data[:offset] + values + data[offset + len(values) :])
        for priority in (b"\0\0\0\0", b"\x80\0\0\0"):
            self.assertRaises(DecodeError, decode, data[: first + 4] + priority + data[first + 8 :])

    def test_mapped(self) -> None:
        """
        An IPv4-mapped IPv6 address is read as IPv4.
        """
        data = encode(attrs.evolve(SIGNAL, candidates=SIGNAL.candidates[1:]))
        data = data.replace(IPv6Address("2001:db8::1").packed, IPv6Address("::ffff:192.0.2.7").packed)
        self.assertEqual(decode(data).candidates[0].address, Address("192.0.2.7", 2))

    def test_notWritten(self) -> None:
        """
        What no reader would take is not written.
        """
        good = SIGNAL.candidates[0]
        for bad in [
            attrs.evolve(good, kind="best"),
            attrs.evolve(good, priority=0),
            attrs.evolve(good, foundation=""),
            attrs.evolve(good, foundation="f" * 33),
            attrs.evolve(good, foundation="-"),
            attrs.evolve(good, address=Address("192.0.2.1", 0)),
        ]:
            self.assertRaises(ValueError, encode, attrs.evolve(SIGNAL, candidates=(bad,)))
        self.assertRaises(ValueError, encode, attrs.evolve(SIGNAL, candidates=(good,) * 33))
        self.assertRaises(ValueError, encode, attrs.evolve(SIGNAL, start=2**64))
        self.assertRaises(ValueError, Credentials, "abc", "p" * 22)
        self.assertRaises(ValueError, Credentials, "abcd", "p" * 21)
        self.assertRaises(ValueError, Credentials, "ab:d", "p" * 22)

    def test_passwordIsNotShown(self) -> None:
        """
        C{repr} does not hold the password.
        """
        self.assertNotIn("pppp", repr(SIGNAL))
