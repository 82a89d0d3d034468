"""
Trains that a TURN server sends to its client.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.turn import encodeChannelData
from vnet.protocols.machine.channeldata import unwrapTrain
from vnet.protocols.machine.turnchannels import Channels
from vnet.values import Address, Train

SERVER = Address("203.0.113.1", 3478)
PEERS = [Address("192.0.2.9", port, "r1") for port in (1, 2)]
ONE, TWO, NONE = 0x4000, 0x4001, 0x4ABC

messages = st.one_of(
    st.builds(encodeChannelData, st.sampled_from([ONE, ONE, TWO, NONE]), st.binary(min_size=6, max_size=6)),
    st.builds(
        lambda head, body: head + body,
        st.sampled_from([b"\x40\0\0\5", b"\x40\0\0\7", b"\x40\0"]),
        st.binary(max_size=8),
    ),
    st.binary(max_size=10),
)


def trainOf(frames: Sequence[bytes], stride: int, start: int, end: int) -> Train:
    """
    Messages in strides; those but the last one are as long as C{end} says.
    """
    parts = [
        bytes(start) + each[: end - start].ljust(end - start, b"\0").ljust(stride - start, b"?")
        for each in frames[:-1]
    ]
    return Train(memoryview(b"".join(parts) + bytes(start) + frames[-1]), stride, SERVER, start, end)


class UnwrapTests(SynchronousTestCase):
    """
    Two channels.
    """

    def setUp(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Forget what was found."""
        self.channels = Channels()
        for peer in PEERS:
            self.channels.open(peer, 0.0)
        self.counters: Counter[str] = Counter()
        self.found: list[Train] = []

    def unwrap(self, train: Train) -> list[bytes]:
        return unwrapTrain(train, self.channels, self.counters, self.found)

    def slow(self, frames: Sequence[bytes]) -> tuple[list[tuple[bytes, Address]], list[bytes], int]:
        """What is in messages, looked at one by one: data, others, and how many are wrong."""
        data, others, wrong = [], [], 0
        for frame in frames:
            if len(frame) < 4 or not 0x40 <= frame[0] <= 0x4F:
                others.append(frame)
                continue
            number, end = frame[0] << 8 | frame[1], (frame[2] << 8 | frame[3]) + 4
            channel = self.channels.at(number)
            if channel is None or end > len(frame):
                wrong += 1
            else:
                data.append((frame[4:end], channel.peer))
        return data, others, wrong

    def test_train(self) -> None:
        """A train of one channel stays a train, and nothing is copied; the last one may be shorter."""
        for last in (b"x" * 100, b"y" * 99, b"z"):
            self.begin()
            data = b"".join(encodeChannelData(ONE, each) for each in (*[b"x" * 100] * 9, last))
            view = memoryview(data)
            self.assertEqual(self.unwrap(Train(view, 104, SERVER, 0, 104)), [])
            [train] = self.found
            self.assertEqual(train[1:], (104, PEERS[0], 4, 104))
            self.assertIs(train.data.obj if isinstance(train.data, memoryview) else None, data)
            self.assertEqual(list(train.datagrams()), [*[b"x" * 100] * 9, last])

    def test_slots(self) -> None:
        """So it does where its messages lie apart, and are longer than they say."""
        frame = encodeChannelData(TWO, b"x" * 50) + b"??"
        self.assertEqual(self.unwrap(trainOf([frame] * 5, 1000, 3, 59)), [])
        [train] = self.found
        self.assertEqual(list(train.datagrams()), [b"x" * 50] * 5)
        self.assertEqual(train[1:], (1000, PEERS[1], 7, 57))

    def test_two(self) -> None:
        """Where channels change in a train, each stretch is one."""
        frames = [*[encodeChannelData(ONE, b"a" * 20)] * 5, *[encodeChannelData(TWO, b"b" * 20)] * 4]
        self.unwrap(Train(memoryview(b"".join(frames)), 24, SERVER, 0, 24))
        self.assertEqual(
            [(each.address, each.datagramCount) for each in self.found], [(PEERS[0], 5), (PEERS[1], 4)]
        )

    def test_tooLong(self) -> None:
        """A length beyond the message is none, also of a whole train, and of its last one."""
        frames = [b"\x40\0\0\x15" + bytes(20)] * 5
        self.unwrap(Train(b"".join(frames), 24, SERVER, 0, 24))
        self.assertEqual((self.found, self.counters["noChannel"]), ([], 5))
        frames = [encodeChannelData(ONE, b"a" * 20)] * 5
        self.unwrap(Train(b"".join(frames)[:-1], 24, SERVER, 0, 24))
        self.assertEqual([each.datagramCount for each in self.found], [4])
        self.assertEqual(self.counters["noChannel"], 6)

    def test_noTrain(self) -> None:
        """What is no train is nothing."""
        for stride, start, end in ((0, 0, 0), (-1, 0, 0), (10, 4, 3), (10, 0, 11), (10, -1, 5)):
            self.assertEqual(self.unwrap(Train(b"\x40\0\0\4" * 9, stride, SERVER, start, end)), [])
        self.assertEqual((self.found, self.counters["malformed"]), ([], 5))

    @given(st.lists(messages, min_size=1, max_size=12), st.integers(0, 3), st.integers(0, 5))
    def test_asSingle(self, frames: list[bytes], start: int, after: int) -> None:
        """Whatever a train has in it, the same comes out of it as of its messages one by one, in order for each peer."""
        self.begin()
        train = trainOf(frames, start + 10 + after, start, start + 10)
        others = self.unwrap(train)
        data, expected, wrong = self.slow(list(train.datagrams()))
        self.assertEqual([(each, t.address) for t in self.found for each in t.datagrams()], data)
        self.assertEqual((others, self.counters["noChannel"]), (expected, wrong))
