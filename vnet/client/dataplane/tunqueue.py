# -*- test-case-name: vnet.test.priv.test_device -*-
"""
One queue of a TAP or TUN, and the buffer that all queues are read into.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

import attrs
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from vnet.directreads import IDirectReader
from vnet.protocols.codec import virtio
from vnet.protocols.codec.ethernet import HEADER, IPV4, IPV6
from vnet.protocols.codec.segmentation import IP
from vnet.values import Pieces, Superframe

__all__ = ["FrameBuffer", "TunQueue"]

#: Frames and segment trains of one turn; then other queues have theirs.
_FRAMES, _TRAINS = 64, 4
_LARGEST, _MOST = 68_000, 0xFFFF
_SILENCE = 0.0005
#: Addresses of a frame that has none.
_NO_ADDRESSES = bytes(12)


class FrameBuffer:
    """
    What frames are read into.

    @ivar superframe: what is there, if it is a segment train.
    """

    def __init__(self, isTun: bool, hasHeader: bool) -> None:
        """
        @param isTun: whether the kernel gives IP packets; the Ethernet header in front is made up, then.
        @param hasHeader: whether it gives virtio headers.
        """
        self.superframe = Superframe(Pieces(_LARGEST))
        self._memory = memory = self.superframe.pieces.memory
        self._isTun = isTun
        front = [memory[: virtio.SIZE]] if hasHeader else []
        if isTun:
            self._vector = [*front, memory[IP:]]
            self._more = HEADER + (0 if hasHeader else virtio.SIZE)
        else:
            self._vector = [memory] if hasHeader else [memory[virtio.SIZE :]]
            self._more = 0 if hasHeader else virtio.SIZE

    def read(self, descriptor: int) -> bytes | Superframe:
        """
        Read a frame.

        @raise OSError: there is none.
        """
        size = os.readv(descriptor, self._vector) + self._more
        memory = self._memory
        if self._isTun:
            self._makeUp()
        if memory[1]:
            self.superframe.size = size
            return self.superframe
        return bytes(memory[:size])

    def _makeUp(self) -> None:
        memory = self._memory
        memory[virtio.SIZE : IP - 2] = _NO_ADDRESSES
        memory[IP - 2 : IP] = IPV4 if memory[IP] >> 4 == 4 else IPV6
        if memory[0] & virtio.NEEDS_CSUM:
            flags, kind, size, segment, start, offset = virtio.unpackHeader(memory)
            memory[: virtio.SIZE] = virtio.packHeader(
                flags, kind, min(size + HEADER, _MOST), segment, min(start + HEADER, _MOST), offset
            )


@implementer(IReadDescriptor, IDirectReader)
@attrs.define(eq=False)
class TunQueue:
    """
    A queue.

    @ivar isFull: see L{IDirectReader}.
    @ivar _name: of the interface.
    @ivar _lost: called when the interface is gone.
    """

    _log = Logger()

    _fd: int
    _name: str
    _frames: FrameBuffer
    _lost: Callable[[Failure], None]
    _received: Callable[[Sequence[bytes | Superframe]], None] | None = attrs.field(default=None, init=False)
    _readAt: float = attrs.field(default=0.0, init=False)
    isFull: bool = attrs.field(default=False, init=False)

    def start(self, received: Callable[[Sequence[bytes | Superframe]], None]) -> None:
        """
        See L{vnet.interfaces.IDevice.start}.
        """
        self._received = received

    def close(self) -> None:
        """
        Give the queue back.
        """
        self._received = None
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def fileno(self) -> int:
        """
        See L{IReadDescriptor}.
        """
        return self._fd

    def logPrefix(self) -> str:
        """
        See L{IReadDescriptor}.
        """
        return self._name

    def doRead(self) -> Failure | None:
        """
        Read what there is, up to 64 frames.

        @return: why there is nothing more to read, ever.
        """
        fd, read = self._fd, self._frames.read
        now = time.monotonic()
        # After a silence a frame is alone, most often; to look for another would cost as much as to send it.
        most = _FRAMES if now - self._readAt < _SILENCE else 1
        self._readAt = now
        batch: list[bytes | Superframe] = []
        trains = 0
        self.isFull = most > 1
        try:
            for _ in range(most):
                frame = read(fd)
                batch.append(frame)
                if frame.__class__ is not bytes:
                    self._give(batch)
                    batch = []
                    trains += 1
                    if trains == _TRAINS:
                        return None
        except BlockingIOError:
            self.isFull = False
        except OSError:
            self._give(batch)
            return Failure()
        self._give(batch)
        return None

    def _give(self, batch: list[bytes | Superframe]) -> None:
        if batch and self._received is not None:
            try:
                self._received(batch)
            except Exception:
                self._log.failure("while frames are received")

    def connectionLost(self, reason: Failure) -> None:
        """
        See L{IReadDescriptor}.
        """
        self._lost(reason)
