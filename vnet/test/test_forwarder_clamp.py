"""
Tests for L{vnet.client.dataplane.forwarder} where the path to a peer carries less than the interface takes.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.dataplane.clamp import Clamp
from vnet.client.dataplane.forwarder import Forwarder
from vnet.protocols.codec.ip import UDP, encodeIp4, encodeIp6
from vnet.protocols.machine.wireguardevents import PacketsReceived
from vnet.test.test_forwarder import (
    BOB,
    BOB_MAC,
    OUR_MAC,
    POOL,
    POOL6,
    STATUS,
    ScriptedMachine,
    frame4,
    frame6,
)
from vnet.test.test_ip import A4, A6, B4, B6
from vnet.test.test_mss import isRight, syn
from vnet.testing import MemoryDevice, MemoryNetwork


class ClampedTests(SynchronousTestCase):
    def setUp(self) -> None:
        """A member whose path carries packets of 1,328 bytes."""
        self.clock = Clock()
        self.device = MemoryDevice(mtu=1440)
        self.port = MemoryNetwork(self.clock).port("192.0.2.1")
        self.machine = ScriptedMachine({B4: BOB, B6: BOB}, {BOB: STATUS})
        self.clamp = Clamp(1440, self.clock)
        self.forwarder = Forwarder(
            self.device,
            self.port,
            self.machine,
            self.clock,
            lambda data, addr: None,
            lambda event: None,
            clamp=self.clamp,
        )
        self.device.open()
        self.port.open()
        self.forwarder.start()
        self.forwarder.configure("100.64.0.1", POOL, "fd00::1", POOL6)
        self.forwarder.addMember(BOB, "100.64.0.2", "fd00::2")
        self.clamp.setSize(BOB, 1372)

    def sent(self, *frames: bytes) -> list[bytes]:
        """The packets that go to the member when the operating system sends these."""
        self.machine.sent.clear()
        self.device.deliver(frames)
        return [packet for _, packets in self.machine.sent for packet in packets]

    def test_syn(self) -> None:
        """TCP begins with segments that fit, on either side."""
        one, six = self.sent(frame4(syn(4)), frame6(syn(6)))
        self.assertEqual((one[42:44], six[62:64]), ((1288).to_bytes(2, "big"), (1268).to_bytes(2, "big")))
        self.assertTrue(isRight(one) and isRight(six))
        answer = syn(4, flags=0x12)
        answer = answer[:12] + B4 + A4 + answer[20:]
        self.machine.events.append(PacketsReceived(BOB, [[answer]]))
        self.forwarder.flush()
        (frame,) = self.device.take()
        self.assertEqual(frame[14 + 42 : 14 + 44], (1288).to_bytes(2, "big"))
        self.assertTrue(isRight(frame[14:]))

    def test_tooLong(self) -> None:
        """What is too long is cut, or sent as it is and its sender told, as if the member had said so."""
        cut = encodeIp4(A4, B4, UDP, bytes(1400))
        whole = encodeIp6(A6, B6, UDP, bytes(1390))
        sent = self.sent(frame4(cut), frame6(whole))
        self.assertEqual([len(packet) for packet in sent], [1324, 116, len(whole)])
        (error,) = self.device.take()
        self.assertEqual(error[:14], OUR_MAC + BOB_MAC + b"\x86\xdd")
        self.assertEqual(error[14 + 44 : 14 + 48], (1328).to_bytes(4, "big"))

    def test_wide(self) -> None:
        """Where the path carries all, nothing is changed."""
        self.clamp.setSize(BOB, 1472)
        packets = [syn(4), encodeIp4(A4, B4, UDP, bytes(1420))]
        self.assertEqual(self.sent(*map(frame4, packets)), packets)
        self.assertEqual(self.device.take(), [])
