"""
ChannelData, and streams of it and of STUN messages.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import DecodeError
from vnet.protocols.codec.stun import Class, Message, authenticate, decode, encode
from vnet.protocols.codec.stunattributes import LIFETIME, XOR_PEER_ADDRESS, Attribute
from vnet.protocols.codec.turn import (
    ALLOCATE,
    CHANNELS,
    CREATE_PERMISSION,
    MAX_FRAME,
    Splitter,
    cutTrain,
    decodeChannelData,
    encodeChannelData,
    encodeMany,
    repeated,
)
from vnet.values import Address, Train

channels = st.integers(CHANNELS.start, CHANNELS.stop - 1)
STUN = encode(Message(ALLOCATE, Class.REQUEST, b"t" * 12))


class ChannelDataTests(SynchronousTestCase):
    def test_bytes(self) -> None:
        """The header is channel and length, and padding is not counted (RFC 8656 sections 12.4 and 12.5)."""
        self.assertEqual(encodeChannelData(0x4001, b"hello"), bytes.fromhex("40010005") + b"hello")
        self.assertEqual(
            encodeChannelData(0x4001, b"hello", True), bytes.fromhex("40010005") + b"hello\0\0\0"
        )

    @given(channels, st.binary(max_size=100), st.booleans())
    def test_roundTrip(self, channel: int, data: bytes, stream: bool) -> None:
        """What is written is read back, with padding and without."""
        self.assertEqual(decodeChannelData(encodeChannelData(channel, data, stream)), (channel, data))

    def test_malformed(self) -> None:
        """Truncated ones, and those of no channel, are refused."""
        for wrong in ("", "4000", "40000005ffff", "3fff0000", "50000000", "ffff0000"):
            self.assertRaises(DecodeError, decodeChannelData, bytes.fromhex(wrong))


class TrainTests(SynchronousTestCase):
    """
    Trains of ChannelData.
    """

    @given(channels, st.integers(0, 40), st.integers(1, 100), st.integers(0, 40), st.booleans())
    def test_many(self, channel: int, size: int, count: int, last: int, stream: bool) -> None:
        """A train becomes the messages that its datagrams become, one by one."""
        datagrams = [*(bytes([n]) * size for n in range(count)), b"z" * last]
        found = encodeMany(channel, datagrams, stream)
        self.assertEqual(found, b"".join(encodeChannelData(channel, each, stream) for each in datagrams))

    @given(st.integers(1, 30), st.data(), st.binary(max_size=4000))
    def test_cut(self, stride: int, draw: st.DataObject, data: bytes) -> None:
        """A train is cut into its datagrams, wherever in their strides they lie."""
        start = draw.draw(st.integers(0, stride))
        end = draw.draw(st.integers(start, stride))
        train = Train(data, stride, Address("192.0.2.1", 1), start, end)
        self.assertEqual(cutTrain(train), list(train.datagrams()))

    @given(
        st.integers(4, 20),
        st.lists(st.sampled_from([b"\x40\0\0\1", b"\x40\0\0\2"]), min_size=1),
        st.integers(0, 5),
    )
    def test_repeated(self, stride: int, heads: list[bytes], place: int) -> None:
        """Messages are counted up to the first one that begins with something else."""
        data = bytes(place) + b"".join(head + bytes(stride - 4) for head in heads)
        expected = next((n for n, head in enumerate(heads) if head != heads[0]), len(heads))
        for buffer in (data, memoryview(data)):
            self.assertEqual(repeated(buffer, place, stride, heads[0]), expected)
            self.assertEqual(repeated(buffer[: place + 6], place, stride, heads[0]), 1)


class SplitterTests(SynchronousTestCase):
    def test_trains(self) -> None:
        """
        What is of one channel and one size comes as a train, with a last one that is shorter but not empty; a message that is cut
        comes alone.
        """
        first, second, other = (encodeChannelData(0x4000 + n, b"x" * 9, True) for n in range(3))
        short, empty = encodeChannelData(0x4001, b"y", True), encodeChannelData(0x4002, b"", True)
        splitter = Splitter()
        self.assertEqual(splitter.take(first[:7]), [])
        stream = first[7:] + second * 3 + short + STUN + other * 2 + empty + first[:5]
        trains = splitter.take(stream)
        self.assertEqual([each.datagramCount for each in trains], [1, 4, 1, 2, 1])
        self.assertEqual((trains[1].stride, trains[1].end), (16, 13))
        self.assertEqual(splitter.waiting, 5)
        self.assertTrue(all(isinstance(each.data, memoryview) for each in trains[1:]))

    @given(
        st.lists(st.one_of(st.just(STUN), st.builds(encodeChannelData, channels, st.binary(max_size=9)))),
        st.data(),
    )
    def test_anyPieces(self, messages: list[bytes], data: st.DataObject) -> None:
        """However a stream is cut, its messages come out, in order and without padding."""
        stream = b"".join(each + bytes(-len(each) % 4) for each in messages)
        splitter, found = Splitter(), []
        while stream:
            cut = data.draw(st.integers(1, len(stream)))
            found += splitter.feed(stream[:cut])
            stream = stream[cut:]
        self.assertEqual(found, messages)
        self.assertEqual(splitter.waiting, 0)

    def test_foreign(self) -> None:
        """What is neither STUN nor ChannelData ends the stream, before it can make anybody wait."""
        for wrong in (b"\0\1\0\0\0\0\0\0", b"\x80\0\0\0", b"\xff\xff\xff\xff", b"\x50\0\0\0", b"\0\1\0\1"):
            self.assertRaises(DecodeError, Splitter().feed, wrong)

    def test_limit(self) -> None:
        """A message above the limit is refused when its header is there, so that nothing more is kept."""
        splitter = Splitter(limit=100)
        self.assertEqual(splitter.feed(b"\x40\0\0\x60"), [])
        self.assertRaises(DecodeError, Splitter(limit=100).feed, b"\x40\0\0\x61")
        self.assertEqual(len(Splitter().feed(encodeChannelData(0x4000, bytes(65535), True))), 1)
        self.assertEqual(MAX_FRAME, 65542)


class PeersTests(SynchronousTestCase):
    def test_several(self) -> None:
        """A message may name several peers, each of them covered by the integrity; of other duplicates the first counts."""
        peers = [Address("192.0.2.1", 1), Address("2001:db8::1", 2), Address("192.0.2.1", 3)]
        named = [XOR_PEER_ADDRESS(each) for each in peers]
        attributes: tuple[Attribute[Any], ...] = (*named, LIFETIME(1), LIFETIME(2))
        sent = Message(CREATE_PERMISSION, Class.REQUEST, b"t" * 12, attributes)
        found = authenticate(decode(encode(sent, b"key")), b"key")
        self.assertIsNotNone(found)
        if found is not None:
            self.assertEqual(found.getAll(XOR_PEER_ADDRESS), tuple(peers))
            self.assertEqual(found.getAll(LIFETIME), (1,))
