"""
Trains that are cut up.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.trainbuffer import TrainBuffer, repeats
from vnet.protocols.trains import cut

trains = st.tuples(st.binary(min_size=1, max_size=400), st.integers(1, 60))


class TrainBufferTests(SynchronousTestCase):
    """
    L{TrainBuffer}.
    """

    @given(st.lists(trains, min_size=1, max_size=60), st.integers(0, 4))
    def test_cut(self, found: list[tuple[bytes, int]], skip: int) -> None:
        """Whatever was read before, a train's whole datagrams come out, from the buffer and from elsewhere."""
        buffer = TrainBuffer()
        for data, segment in found:
            buffer.memory[: len(data)] = data
            wanted = [bytes(each[skip:]) for each in cut(memoryview(data), segment) if len(each) == segment]
            for train in (buffer.memory[: len(data)], memoryview(data)):
                self.assertEqual(wanted, [bytes(each) for each in buffer.cut(train, segment, skip)])

    @given(st.binary(min_size=4, max_size=4), st.integers(4, 50), st.integers(1, 20), st.data())
    def test_repeats(self, head: bytes, segment: int, count: int, data: st.DataObject) -> None:
        """Datagrams that all begin alike are told from those of which one does not; a shorter last one does not count."""
        rest = data.draw(st.integers(0, segment - 1))
        train = bytearray((head + bytes(segment - 4)) * count + b"x" * rest)
        self.assertTrue(repeats(memoryview(train), segment, head))
        place = data.draw(st.integers(0, count - 1)) * segment + data.draw(st.integers(0, 3))
        train[place] ^= 1
        self.assertFalse(repeats(memoryview(train), segment, head))
