"""
Tests for L{vnet.protocols.machine.sealing}: what is sealed in trains is what is sealed one by one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from itertools import islice

from attrs import define, field
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.transport import OVERHEAD, TransportHeader, encodeTransport
from vnet.protocols.machine.device import OUTPUT
from vnet.protocols.machine.keypair import Keypair
from vnet.protocols.machine.noise import TransportKeys
from vnet.protocols.machine.sealing import sealPackets, sealSegments
from vnet.test.wgpair import ADDRESSES, makeMachine
from vnet.values import Pieces, Train

KEY = bytes(range(32))
REMOTE = 0x11223344
COUNTERS = st.sampled_from((0, 1, 255, 2**32 - 3, 2**60, 2**63))


def makeKeypair(sent: int = 0) -> Keypair:
    """
    A keypair that has sent so many messages.
    """
    session: object = makeMachine("a")
    keypair = Keypair(session, 1, REMOTE, TransportKeys(bytearray(KEY), bytearray(KEY)), True, 0.0)  # type: ignore[arg-type]
    keypair.sent = sent
    return keypair


def plainly(packet: bytes, counter: int, mtu: int) -> bytes:
    """
    One transport message (whitepaper section 5.4.6), padded as wireguard-go does: to 16 bytes, but not beyond the MTU.
    """
    padded = packet + bytes(min(-len(packet) % 16, max(mtu - len(packet), 0)))
    nonce = bytes(4) + counter.to_bytes(8, "little")
    return encodeTransport(TransportHeader(REMOTE, counter)) + ChaCha20Poly1305(KEY).encrypt(
        nonce, padded, None
    )


@define
class Pretended:
    """
    A train of packets.

    @ivar failing: before which of them something goes wrong.
    """

    packets: list[bytes]
    failing: int = -1
    count: int = field(init=False)
    size: int = field(init=False)
    lastSize: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.count, self.size, self.lastSize = len(self.packets), len(self.packets[0]), len(self.packets[-1])

    def __iter__(self) -> Iterator[bytes]:
        for number, packet in enumerate(self.packets):
            if number == self.failing:
                raise RuntimeError("in the middle")
            yield packet

    def first(self) -> Iterator[bytes]:
        """All but the last."""
        return islice(self, self.count - 1)

    def last(self) -> bytes:
        """The last."""
        return list(self)[-1]


def trainsOf(size: int, count: int, last: int) -> list[bytes]:
    """
    Packets of one size, and one that is shorter.
    """
    return [bytes((number % 251,)) * size for number in range(count)] + [b"z" * (1 + last % size)]


class SealingTests(SynchronousTestCase):
    """
    L{sealPackets} and L{sealSegments}.
    """

    def check(self, trains: list[Train], packets: list[bytes], counter: int, mtu: int) -> None:
        """
        The trains hold these packets, in this order, and no train is longer than the kernel takes.
        """
        found = [data for train in trains for data in train.datagrams()]
        self.assertEqual(
            found, [plainly(packet, counter + place, mtu) for place, packet in enumerate(packets)]
        )
        for train in trains:
            self.assertEqual((train.address, train.start, train.end), (ADDRESSES[1], 0, train.stride))
            self.assertTrue(1 <= train.datagramCount <= 64)
            self.assertTrue(len(train.data) <= 65_000 or train.datagramCount == 1)

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from((0, 1, 15, 16, 17, 40, 600, 1390, 1400, 1440, 8900)), st.integers(1, 70)
            ),
            min_size=1,
            max_size=6,
        ),
        st.sampled_from((1280, 1400, 1440, 8940)),
        COUNTERS,
    )
    def test_packets(self, rows: list[tuple[int, int]], mtu: int, counter: int) -> None:
        """
        Packets of any sizes in any order.
        """
        packets = [bytes((number,)) * size for size, count in rows for number in range(count)]
        keypair = makeKeypair(counter)
        self.check(sealPackets(keypair, packets, ADDRESSES[1], mtu), packets, counter, mtu)
        self.assertEqual(keypair.sent, counter + len(packets))

    @settings(max_examples=150, deadline=None)
    @given(
        st.sampled_from((29, 40, 41, 576, 1399, 1400, 1440, 1500, 8940, 60_000)),
        st.integers(0, 150),
        st.integers(0, 9000),
        st.sampled_from((1280, 1400, 1440, 8940)),
        COUNTERS,
    )
    def test_segments(self, size: int, count: int, last: int, mtu: int, counter: int) -> None:
        """
        Trains of any size, also longer than there is room for.
        """
        packets = trainsOf(size, min(count, 400_000 // size), last)
        keypair, output = makeKeypair(counter), Pieces(OUTPUT)
        for _ in range(2):
            trains = sealSegments(keypair, Pretended(packets), ADDRESSES[1], mtu, output)
            self.check(trains, packets, counter, mtu)
            counter += len(packets)
            self.assertEqual(keypair.sent, counter)

    def test_longest(self) -> None:
        """
        Packets of which not two fit in a train.
        """
        for size in (32_480, 64_968, 64_969, 65_000, 65_500):
            packets = [b"x" * size] * 2
            for seal in self.ways(packets):
                self.check(seal(makeKeypair()), packets, 0, 1400)

    def ways(self, packets: list[bytes]) -> list[Callable[[Keypair], list[Train]]]:
        """
        Both ways to seal packets.
        """
        return [
            lambda keypair: sealPackets(keypair, packets, ADDRESSES[1], 1400),
            lambda keypair: sealSegments(keypair, Pretended(packets), ADDRESSES[1], 1400, Pieces(OUTPUT)),
        ]

    def test_empty(self) -> None:
        """
        An empty packet is a keepalive of 32 bytes.
        """
        (train,) = sealPackets(makeKeypair(7), [b""], ADDRESSES[1], 1400)
        self.assertEqual(len(train.data), OVERHEAD)

    def test_counters(self) -> None:
        """
        Whatever goes wrong in the middle, no counter is used twice.
        """
        packets = trainsOf(100, 9, 30)
        for failing in range(10):
            for size in (OUTPUT, 300):
                used: list[bytes] = []
                keypair = makeKeypair()
                seal, sealInto = keypair.seal, keypair.sealInto

                def sealing(
                    nonce: bytes, data: bytes, more: None, used: list[bytes] = used, seal: object = seal
                ) -> bytes:
                    used.append(nonce)
                    if len(used) == failing + 1:  # noqa: B023
                        raise RuntimeError("in the middle")
                    return seal(nonce, data, more)  # type: ignore[operator,no-any-return]

                def sealingInto(
                    nonce: bytes,
                    data: bytes,
                    more: None,
                    space: memoryview,
                    used: list[bytes] = used,
                    seal: object = sealInto,
                ) -> int:
                    used.append(nonce)
                    if len(used) == failing + 1:  # noqa: B023
                        raise RuntimeError("in the middle")
                    return seal(nonce, data, more, space)  # type: ignore[operator,no-any-return]

                keypair.seal, keypair.sealInto = sealing, sealingInto  # type: ignore[assignment]
                for train in (Pretended(packets), Pretended(packets, failing), Pretended(packets)):
                    with contextlib.suppress(RuntimeError):
                        sealSegments(keypair, train, ADDRESSES[1], 1400, Pieces(size))
                    with contextlib.suppress(RuntimeError):
                        sealPackets(keypair, packets, ADDRESSES[1], 1400)
                self.assertEqual(len(used), len(set(used)))
                self.assertTrue(len(used) > 30)
