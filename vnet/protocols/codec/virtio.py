# -*- test-case-name: vnet.test.test_segmentation -*-
"""
The header that Linux puts in front of each frame of a TAP with IFF_VNET_HDR (virtio 1.2 section 5.1.6, linux/virtio_net.h),
10 bytes in the byte order of the machine::

    0       1       2               4               6               8               10
    +-------+-------+---------------+---------------+---------------+---------------+
    | flags | type  | header length | segment size  |checksum start |checksum offset|
    +-------+-------+---------------+---------------+---------------+---------------+

A frame may be unfinished in two ways.  With flag L{NEEDS_CSUM} the checksum at C{start + offset} holds the sum of the
pseudo-header only, and is to be made over all from C{start} on.  With a type other than L{NONE} the frame is a segment
train: it is to be cut into segments that carry C{segment size} bytes each, the last one perhaps fewer.
C{start} counts from the beginning of the frame; the header length is a hint.
"""

from __future__ import annotations

from struct import Struct

__all__ = [
    "ECN",
    "FINISHED",
    "NEEDS_CSUM",
    "NONE",
    "SIZE",
    "TCP4",
    "TCP6",
    "TCP_OFFSET",
    "UDP",
    "UDP_OFFSET",
    "packHeader",
    "unpackHeader",
]

SIZE = 10
NEEDS_CSUM = 1
NONE, TCP4, TCP6, UDP, ECN = 0, 1, 4, 5, 0x80

#: Of the checksum in a header of TCP and of UDP.
TCP_OFFSET, UDP_OFFSET = 16, 6

#: In front of a frame that needs nothing.
FINISHED = bytes(SIZE)

_HEADER = Struct("=BBHHHH")

packHeader = _HEADER.pack
unpackHeader = _HEADER.unpack_from
