"""
Tests for L{vnet.client.dataplane.clamp}.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.dataplane.clamp import Clamp, Limit
from vnet.protocols.codec.ip import ICMP6, TCP, UDP, encodeIp4, encodeIp6
from vnet.protocols.machine.pathmtu import BASE, SMALLEST
from vnet.test.test_ip import A4, A6, B4, B6
from vnet.test.test_mss import isRight, syn

PEER, OTHER = b"p" * 32, b"o" * 32


def unfragmentable(packet: bytes) -> bytes:
    """The same with the don't-fragment bit."""
    return packet[:6] + b"\x40\x00" + packet[8:]


class LimitTests(SynchronousTestCase):
    def test_of(self) -> None:
        """What is sealed is padded to 16 bytes, but not beyond the interface's MTU; 1,280 bytes may be sent at least."""
        self.assertEqual(Limit.of(1360, 1440), Limit(1328, 1328, 1328, 1288, 1268))
        self.assertEqual(Limit.of(1372, 1440), Limit(1328, 1328, 1328, 1288, 1268))
        self.assertEqual(Limit.of(BASE, 1440), Limit(1280, 1280, 1280, 1240, 1220))
        self.assertEqual(Limit.of(SMALLEST, 1440), Limit(1168, 1280, 1280, 1128, 1108))
        self.assertIsNone(Limit.of(1472, 1440))
        self.assertIsNone(Limit.of(1452, 1420))
        self.assertIsNone(Limit.of(BASE, 1280))


class ClampTests(SynchronousTestCase):
    def setUp(self) -> None:
        """An interface of 1,440 bytes, and a peer whose path carries 1,328."""
        self.clock = Clock()
        self.clamp = Clamp(1440, self.clock)
        self.clamp.setSize(PEER, 1372)
        limit = self.clamp.limitOf(PEER)
        assert limit is not None
        self.limit = limit
        self.errors: list[bytes] = []

    def out(self, *packets: bytes) -> list[bytes]:
        """What is sent to the peer."""
        return self.clamp.outgoing(PEER, self.limit, packets, self.errors)

    def test_sizes(self) -> None:
        """Before a path is known the base holds; a path that carries all has no limit."""
        self.assertEqual((self.clamp.mtuOf(PEER), self.clamp.mtuOf(OTHER)), (1328, 1280))
        self.clamp.setSize(PEER, 1472)
        self.assertEqual((self.clamp.mtuOf(PEER), self.clamp.limitOf(PEER)), (1440, None))
        self.clamp.forget(PEER)
        self.assertEqual(self.clamp.mtuOf(PEER), 1280)

    def test_syn(self) -> None:
        """The segment size is lowered in both directions, over IPv4 and IPv6; other packets stay as they are."""
        for version, mss in ((4, 1288), (6, 1268)):
            start = 40 if version == 4 else 60
            one, other, data = (
                syn(version),
                syn(version, flags=0x12),
                syn(version, flags=0x10, payload=b"x" * 1200),
            )
            arrived = self.clamp.incoming(self.limit, [[data], [one], [other]])
            for done in (self.out(data, one, other), [packet for run in arrived for packet in run]):
                self.assertIs(done[0], data)
                for each in done[1:]:
                    self.assertEqual(each[start + 2 : start + 4], mss.to_bytes(2, "big"))
                    self.assertTrue(isRight(each))
        self.assertEqual((self.clamp.counters["clamped"], self.errors), (8, []))
        runs = [[syn(4, flags=0x10)], [encodeIp4(A4, B4, UDP, b"x" * 400)] * 3]
        self.assertIs(self.clamp.incoming(self.limit, runs), runs)

    def test_fits(self) -> None:
        """What just fits is sent as it is."""
        for packet in (encodeIp4(A4, B4, UDP, bytes(1308)), encodeIp6(A6, B6, UDP, bytes(1288))):
            self.assertEqual(self.out(packet), [packet])
        self.assertEqual((self.errors, sum(self.clamp.counters.values())), ([], 0))

    def test_fragments(self) -> None:
        """IPv4 whose sender allows it is cut into fragments that fit, and nobody is told."""
        packet = encodeIp4(A4, B4, UDP, bytes(range(250)) * 5 + bytes(170))
        sent = self.out(packet)
        self.assertEqual((b"".join(each[20:] for each in sent), self.errors), (packet[20:], []))
        self.assertTrue(all(len(each) <= 1328 for each in sent))
        self.assertEqual(dict(self.clamp.counters), {"fragmented": 1})

    def test_tooBig(self) -> None:
        """The sender of any other packet is told what fits, and the packet is sent nevertheless."""
        packets = [
            unfragmentable(encodeIp4(A4, B4, TCP, bytes(1400))),
            encodeIp6(A6, B6, TCP, bytes(1400)),
        ]
        self.assertEqual(self.out(*packets), packets)
        four, six = self.errors
        self.assertEqual(
            (four[20:22], four[26:28], four[12:20]), (b"\x03\x04", (1328).to_bytes(2, "big"), B4 + A4)
        )
        self.assertEqual((six[6], six[40:42], six[44:48]), (ICMP6, b"\x02\x00", (1328).to_bytes(4, "big")))

    def test_toldSeldom(self) -> None:
        """Who goes on sending too much is told ten times a second at most; another peer's share is its own."""
        packet = encodeIp6(A6, B6, UDP, bytes(1390))
        for _ in range(100):
            self.out(packet)
        self.assertEqual(len(self.errors), 10)
        self.clamp.outgoing(OTHER, self.limit, [packet], self.errors)
        self.clock.advance(0.1)
        self.out(packet)
        self.assertEqual(len(self.errors), 12)
        self.assertEqual((self.clamp.counters["tooBig"], self.clamp.counters["tooBigTold"]), (102, 12))

    def test_errorsAreNotAnswered(self) -> None:
        """An error that is too long is not answered with another one."""
        error = unfragmentable(encodeIp4(A4, B4, 1, b"\x03\x04" + bytes(1400)))
        self.assertEqual((self.out(error), self.errors), ([error], []))

    def test_narrow(self) -> None:
        """Where a path carries less than 1,280 bytes, these are cut, TCP fits nevertheless, and nobody is told less."""
        self.clamp.setSize(PEER, SMALLEST)
        limit = self.clamp.limitOf(PEER)
        assert limit is not None
        whole = [encodeIp6(A6, B6, UDP, bytes(1240)), unfragmentable(encodeIp4(A4, B4, UDP, bytes(1260)))]
        *sent, last = self.clamp.outgoing(PEER, limit, [*whole, syn(6)], self.errors)
        self.assertEqual([len(each) for each in sent], [1168, 168, 1164, 136])
        self.assertEqual(self.errors, [])
        self.assertEqual(len({each[44:48] for each in sent[:2]} | {each[4:6] for each in sent[2:]}), 2)
        self.assertEqual(last[62:64], (1108).to_bytes(2, "big"))
        self.assertEqual((self.clamp.mtuOf(PEER), self.clamp.counters["fragmented"]), (1280, 2))

    def test_unsettled(self) -> None:
        """While a larger size is being looked for all is cut, and nobody told, who would remember it for minutes."""
        self.clamp.setSize(PEER, BASE, isSettled=False)
        limit = self.clamp.limitOf(PEER)
        assert limit is not None
        packets = [encodeIp6(A6, B6, TCP, bytes(1390)), unfragmentable(encodeIp4(A4, B4, TCP, bytes(1420)))]
        sent = self.clamp.outgoing(PEER, limit, packets, self.errors)
        self.clamp.complain(PEER, limit, packets[0], 1430, self.errors)
        self.assertEqual(([len(each) for each in sent], self.errors), ([1280, 206, 1276, 184], []))

    def test_train(self) -> None:
        """Of a train, the size of each packet counts."""
        head = encodeIp4(A4, B4, TCP, bytes(4000))
        self.clamp.complain(PEER, self.limit, head, 1328, self.errors)
        self.assertEqual(self.errors, [])
        self.clamp.complain(PEER, self.limit, head, 1440, self.errors)
        self.assertEqual(len(self.errors), 1)
