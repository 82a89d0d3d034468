"""
Trains opened by the WireGuard machine: what comes of them is what comes of the same datagrams one by one.
"""

from __future__ import annotations

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.transport import readCounters
from vnet.protocols.machine import opening
from vnet.protocols.machine.keypair import Keypair
from vnet.protocols.machine.wireguardevents import PacketsReceived, WireGuardEvent
from vnet.test.segmentreference import Packet, cutUp, trainFrame
from vnet.test.wgpair import ADDRESSES, INNER, STRANGER, Pair
from vnet.values import Address, Train

_SLOT = 65_856
_SOURCES = (ADDRESSES[0], STRANGER)


def established() -> Pair:
    """
    Two machines with a session; each time the same one.
    """
    pair = Pair()
    pair.send(0, pair.packet(0))
    pair.send(1, pair.packet(1))
    for number in (0, 1):
        pair.received(number)
        pair.told[number].clear()
    return pair


def inner() -> list[bytes]:
    """
    Packets of two flows, those of one like a kernel's train, and others that may not come in.
    """
    found: list[bytes] = []
    for size, segment in ((8000, 800), (500, 100)):
        train = Packet(4, payload=bytes(size), source=INNER[0], destination=INNER[1], ports=(size, 9))
        found += cutUp(trainFrame(train, segment), False)
    forged = Packet(4, payload=bytes(900), source=b"\x64\x40\0\7", destination=INNER[1])
    found += cutUp(trainFrame(forged, 300), False)
    return [*found, b"", b"\x45", b"nonsense that is no packet at all", b""]


def sealedOf(pair: Pair) -> list[bytes]:
    """
    The same in datagrams, each of them alone.
    """
    machine = pair.machines[0]
    machine.send(pair.publicKey(0), inner(), pair.now)
    return [data for data, _ in machine.datagramsToSend(pair.now)]


def laid(datagrams: list[bytes], way: int, source: Address) -> Train:
    """
    Datagrams of one size, the last of which may be shorter, as a train: one after the other, in slots, or after headers.
    """
    size = len(datagrams[0])
    if way == 0:
        return Train.of(b"".join(datagrams), size or 1, source)
    stride, start = (_SLOT, 0) if way == 1 else (-(-size // 4) * 4 + 4, 4)
    buffer = bytearray(stride * (len(datagrams) - 1) + start + len(datagrams[-1]))
    for number, data in enumerate(datagrams):
        buffer[number * stride + start : number * stride + start + len(data)] = data
    return Train(memoryview(buffer), stride, source, start, start + size)


@st.composite
def arrivals(draw: st.DrawFn) -> list[tuple[list[int], int, int, dict[int, str]]]:
    """
    Numbers of datagrams that are to come together, how they lie, from where, and what has become of some of them.
    """
    changes = st.sampled_from(("tag", "index", "stun", "short", "counter", "handshake"))
    return draw(
        st.lists(
            st.tuples(
                st.one_of(
                    st.lists(st.integers(0, 24), min_size=1, max_size=12),
                    st.tuples(st.integers(0, 20), st.integers(1, 20)).map(
                        lambda ends: list(range(ends[0], min(ends[0] + ends[1], 24)))
                    ),
                ),
                st.integers(0, 2),
                st.integers(0, 1),
                st.dictionaries(st.integers(0, 11), changes, max_size=3),
            ),
            min_size=1,
            max_size=4,
        )
    )


def changed(data: bytes, change: str) -> bytes:
    """
    What has become of a datagram; its size stays, but for one that was cut short.
    """
    match change:
        case "tag":
            return data[:-1] + bytes((data[-1] ^ 1,))
        case "index":
            return data[:4] + b"\1\2\3\4" + data[8:]
        case "stun":
            return b"\0\1" + data[2:]
        case "counter":
            return data[:8] + b"\xff" * 8 + data[16:]
        case "handshake":
            return b"\2\0\0\0" + data[4:]
        case _:
            return data[:20]


class TrainTests(SynchronousTestCase):
    """
    L{WireGuard.receiveTrains<vnet.protocols.machine.wireguard.WireGuard.receiveTrains>}.
    """

    def told(self, pair: Pair) -> tuple[list[bytes], list[WireGuardEvent]]:
        """
        The packets that have come out, and other events.
        """
        packets: list[bytes] = []
        others: list[WireGuardEvent] = []
        machine = pair.machines[1]
        while (event := machine.nextEvent()) is not None:
            if isinstance(event, PacketsReceived):
                packets += [packet for run in event.runs for packet in run]
            else:
                others.append(event)
        return packets, others

    @settings(max_examples=80, deadline=None)
    @given(arrivals())
    def test_oneByOne(self, groups: list[tuple[list[int], int, int, dict[int, str]]]) -> None:
        """
        Replays, forgeries, other sessions', strangers' and short datagrams in the middle, in any order and layout.
        """
        together, alone = established(), established()
        sealed = sealedOf(together)
        self.assertEqual(sealed, sealedOf(alone))
        for numbers, way, place, changes in groups:
            datagrams = [sealed[number % len(sealed)] for number in numbers]
            datagrams = [
                changed(data, changes[at]) if at in changes else data for at, data in enumerate(datagrams)
            ]
            trains: list[Train] = []
            while datagrams:
                size = len(datagrams[0])
                count = next((at for at, data in enumerate(datagrams) if len(data) != size), len(datagrams))
                if count < len(datagrams) and 0 < len(datagrams[count]) < size:
                    count += 1
                trains.append(laid(datagrams[:count], way, _SOURCES[place]))
                datagrams = datagrams[count:]
            strangers = together.machines[1].receiveTrains(trains, together.now)
            others: list[tuple[bytes, Address]] = []
            for train in trains:
                for data in train.datagrams():
                    others += alone.machines[1].receiveTrains([Train.single(data, train.address)], alone.now)
            self.assertEqual(list(strangers), others)
            self.assertEqual(self.told(together), self.told(alone))
            self.assertEqual(together.machines[1].counters, alone.machines[1].counters)
            statuses = [pair.machines[1].peerStatus(pair.publicKey(1)) for pair in (together, alone)]
            self.assertEqual(attrs.asdict(statuses[0]), attrs.asdict(statuses[1]))

    def test_joined(self) -> None:
        """
        What was a train comes out as one run, and what may not come in does not.
        """
        pair = established()
        sealed = sealedOf(pair)
        size = len(sealed[0])
        count = next(at for at, data in enumerate(sealed) if len(data) != size)
        for way in range(3):
            again = established()
            again.machines[1].receiveTrains([laid(sealed[:count], way, ADDRESSES[0])], again.now)
            event = again.machines[1].nextEvent()
            assert isinstance(event, PacketsReceived)
            self.assertEqual([list(run) for run in event.runs], [inner()[:count]])
        pair.machines[1].receiveTrains([Train.single(data, ADDRESSES[0]) for data in sealed], pair.now)
        counters = pair.machines[1].counters
        self.assertEqual((counters["wrongSource"], counters["notIp"], counters["badLength"]), (3, 1, 1))

    def test_turns(self) -> None:
        """
        Two sessions of a peer that take turns in a long train do not have all of it looked at again for each message.
        """
        pair = established()
        pair.now += 10.0
        pair.machines[0].initiate(pair.publicKey(0), pair.now)
        pair.run()
        entries = pair.machines[1]._device.indices.entries
        indices = [index for index, each in entries.items() if isinstance(each, Keypair)]
        self.assertEqual(len(indices), 2)
        looked: list[int] = []

        def counters(data: memoryview, stride: int, head: int) -> list[int]:
            looked.append(len(data) // stride)
            return readCounters(data, stride, head)

        self.patch(opening, "readCounters", counters)
        messages = [
            b"\4\0\0\0" + indices[number % 2].to_bytes(4, "little") + bytes(24) for number in range(4000)
        ]
        for until in (0.0, pair.now + 1.0):
            pair.machines[1].mute(pair.publicKey(1), until)
            pair.machines[1].receiveTrains([laid(messages, 0, ADDRESSES[0])], pair.now)
            self.assertTrue(0 < sum(looked) <= 64 * len(messages), sum(looked))
            looked.clear()
        self.assertEqual(pair.machines[1].counters, {"badTag": 4000, "muted": 4000})
