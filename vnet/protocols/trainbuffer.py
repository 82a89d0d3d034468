# -*- test-case-name: vnet.test.test_trainbuffer -*-
"""
Trains that are cut up: to cut one in Python costs more than to send it, so what was cut is kept.
"""

from __future__ import annotations

from attrs import define, field

from vnet.protocols.trains import BUFFER

__all__ = ["TrainBuffer", "repeats"]

#: Lengths of datagrams for which it is kept how a buffer was cut.
_KEPT = 32


@define(eq=False, repr=False)
class TrainBuffer:
    """
    What trains are read into.  It keeps how it was cut: to cut it costs more than to send a train.

    @ivar memory: L{BUFFER} bytes.
    """

    memory: memoryview = field(factory=lambda: memoryview(bytearray(BUFFER)), init=False)
    _pieces: dict[tuple[int, int], list[memoryview]] = field(factory=dict, init=False)

    def cut(self, train: memoryview, segment: int, skip: int = 0) -> list[memoryview]:
        """
        The datagrams of a train but the last one where that is shorter.

        @param train: the beginning of C{memory}, or something else, whose pieces are not kept.
        @param skip: bytes that are left out at the beginning of each.
        """
        count = len(train) // segment
        if train.obj is not self.memory.obj:
            return [train[start + skip : start + segment] for start in range(0, count * segment, segment)]
        pieces = self._pieces.get((segment, skip))
        if pieces is None:
            if len(self._pieces) >= _KEPT:
                self._pieces.clear()
            pieces = self._pieces[segment, skip] = []
        for start in range(len(pieces) * segment, count * segment, segment):
            pieces.append(self.memory[start + skip : start + segment])
        return pieces[:count]


def repeats(train: memoryview, segment: int, head: bytes) -> bool:
    """
    Whether each datagram of a train, but for the last one where that is shorter, begins with these four bytes.
    """
    count = len(train) // segment
    whole = train[: count * segment]
    if segment % 4 == 0:
        return whole.cast("I")[:: segment // 4].tobytes() == head * count
    return all(whole[place::segment].tobytes() == head[place : place + 1] * count for place in range(4))
