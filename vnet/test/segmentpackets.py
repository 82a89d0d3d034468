"""
Strategies for packets of L{vnet.test.segmentreference}.
"""

from __future__ import annotations

from hypothesis import strategies as st

from vnet.test.segmentreference import ACK, CWR, FIN, PSH, SACK, TCP, TIMESTAMPS, UDP, Packet

__all__ = ["packets"]


def _edges(bits: int) -> st.SearchStrategy[int]:
    """
    Numbers, those about where they run over more often.
    """
    most = (1 << bits) - 1
    return st.one_of(st.integers(0, most), st.integers(0, 70), st.integers(most - 70, most))


def payloads(most: int) -> st.SearchStrategy[bytes]:
    """
    Payloads of 1 to C{most} bytes, of few different bytes.
    """
    return st.builds(
        lambda size, word: (word * (size // len(word) + 1))[:size],
        st.integers(1, most),
        st.sampled_from([b"\0", b"\xff", bytes(range(251)), b"ab\xff"]),
    )


def packets(most: int = 3000, isPlain: bool = False) -> st.SearchStrategy[Packet]:
    """
    Packets of TCP and UDP.

    @param most: bytes of the payload.
    @param isPlain: whether none has IP options, extension headers, or bits of fragments.
    """
    return st.sampled_from((4, 6)).flatmap(lambda version: _packets(version, most, isPlain))


def _packets(version: int, most: int, isPlain: bool) -> st.SearchStrategy[Packet]:
    size = 4 if version == 4 else 16
    ends = st.sampled_from(
        [b"\x64" * size, b"\xff" * size, b"\x64" * (size - 1) + b"\xff", bytes(size - 1) + b"\1"]
    )
    unit = 4 if version == 4 else 8
    options = st.integers(1, 4).map(lambda count: bytes(unit - 4) + b"\1\1\1\0" + b"\1" * unit * (count - 1))
    return st.builds(
        Packet,
        version=st.just(version),
        protocol=st.sampled_from((TCP, TCP, UDP)),
        payload=payloads(most),
        source=ends,
        destination=ends,
        ports=st.tuples(_edges(16), _edges(16)),
        options=st.just(b"") if isPlain else st.one_of(st.just(b""), st.just(b""), options),
        tcpOptions=st.sampled_from([b"", TIMESTAMPS, SACK, b"\1" * 40, b"\2\4\5\0"]),
        flags=st.one_of(
            st.sampled_from([ACK, ACK | PSH, ACK | CWR, ACK | CWR | PSH | FIN]), st.integers(0, 0xFFF)
        ),
        sequence=_edges(32),
        acknowledged=_edges(32),
        window=_edges(16),
        urgent=_edges(16),
        traffic=st.integers(0, 255),
        identification=_edges(16),
        fragmentation=st.sampled_from((0, 0x4000)),
        hops=st.integers(0, 255),
        checksum=st.one_of(st.none(), st.integers(0, 70), st.integers(0xFFF0, 0xFFFE)),
    )
