"""
What Wireshark makes of our tunnel, when it has the keys: WireGuard outside, EtherIP inside, and in that the frames of programs.
"""

from __future__ import annotations

import os
import struct
import subprocess
import time
from base64 import b64encode
from ipaddress import ip_address
from pathlib import Path

import pytest
from nacl.public import PrivateKey
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.dataplane.forwarder import Forwarder
from vnet.protocols.codec.ethernet import BROADCAST, memberMac
from vnet.protocols.codec.ip import UDP, encodeIp4
from vnet.protocols.machine.wireguard import WireGuard
from vnet.test.priv.test_lan import ipxFrames
from vnet.testing import MemoryDevice, MemoryNetwork
from vnet.values import Address

pytestmark = pytest.mark.privileged

HERE, THERE = Address("192.0.2.1", 51820), Address("192.0.2.2", 51820)
POOL, POOL6 = "100.64.0.0/10", "fd00::/48"
OURS, ITS = ip_address("100.64.0.1").packed, ip_address("100.64.0.2").packed
# Of packets without a header of a link.
LINKTYPE_RAW = 101


class DissectedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.datagrams: list[tuple[bytes, Address, Address]] = []
        self.drawn: list[bytes] = []
        self.key = bytes(PrivateKey.generate())
        port = MemoryNetwork(self.clock).port(HERE.host)
        us = WireGuard(self.key, random=self._draw, wallClock=time.time_ns)
        self.it = WireGuard(bytes(PrivateKey.generate()), random=os.urandom, wallClock=time.time_ns)
        self.device, self.port = MemoryDevice(mtu=1440), port
        forwarder = Forwarder(self.device, port, us, self.clock, lambda data, addr: None, lambda event: None)
        self.device.open()
        port.open()
        forwarder.start()
        forwarder.configure("100.64.0.1", POOL, "fd00::1", POOL6)
        us.addPeer(self.it.publicKey, allowedIps=("100.64.0.2/32", "fd00::2/128"), endpoint=THERE)
        self.it.addPeer(us.publicKey, allowedIps=("100.64.0.1/32", "fd00::1/128"))
        forwarder.addMember(self.it.publicKey, "100.64.0.2", "fd00::2")
        forwarder.setLive(self.it.publicKey, True)
        us.initiate(self.it.publicKey, self.clock.seconds())
        forwarder.flush()
        self._exchange()

    def _draw(self, size: int) -> bytes:
        drawn = os.urandom(size)
        # Another object: what is drawn is wiped.
        self.drawn.append(bytes(bytearray(drawn)))
        return drawn

    def _exchange(self) -> None:
        now = self.clock.seconds()
        for data, _ in self.port.sent:
            self.datagrams.append((data, HERE, THERE))
            self.it.receive(data, HERE, now)
        self.port.sent.clear()
        for data, _ in self.it.datagramsToSend(now):
            self.datagrams.append((data, THERE, HERE))
            self.port.arrived([(data, THERE)])

    def _write(self, directory: Path) -> tuple[Path, Path]:
        """
        @return: the files of the packets and of the keys.
        """
        pcap, keys = directory / "tunnel.pcap", directory / "keys"
        records = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, LINKTYPE_RAW)]
        for number, (data, source, destination) in enumerate(self.datagrams):
            header = struct.pack("!HHHH", source.port, destination.port, 8 + len(data), 0)
            ends = [ip_address(each.host).packed for each in (source, destination)]
            packet = encodeIp4(ends[0], ends[1], UDP, header + data)
            records.append(struct.pack("<IIII", 1000, number, len(packet), len(packet)) + packet)
        pcap.write_bytes(b"".join(records))
        lines = [("LOCAL_STATIC_PRIVATE_KEY", self.key), ("REMOTE_STATIC_PUBLIC_KEY", self.it.publicKey)]
        lines += [("LOCAL_EPHEMERAL_PRIVATE_KEY", drawn) for drawn in self.drawn if len(drawn) == 32]
        keys.write_text("".join(f"{name} = {b64encode(value).decode()}\n" for name, value in lines))
        return pcap, keys

    def test_dissected(self) -> None:
        """
        Each of the four kinds of IPX frames, to a member and to all, is IPX in Ethernet in EtherIP in IP in WireGuard in UDP.
        """
        source = memberMac(OURS)
        frames = [*ipxFrames(memberMac(ITS), source), *ipxFrames(BROADCAST, source)]
        self._exchange()
        self.device.deliver(frames)
        self._exchange()
        directory = Path(self.mktemp())
        directory.mkdir()
        pcap, keys = self._write(directory)
        fields = ["frame.protocols", "ip.proto", "ip.dst", "eth.dst", "ipx.dst.node", "etherip.ver"]
        wanted = [part for field in fields for part in ("-e", field)]
        read = ["tshark", "-r", str(pcap), "-o", f"wg.keylog_file:{keys.resolve()}", "-Y", "etherip"]
        done = subprocess.run([*read, "-T", "fields", *wanted], capture_output=True, text=True, check=True)
        rows = [line.split("\t") for line in done.stdout.splitlines()]
        self.assertEqual(len(rows), 8, done.stdout + done.stderr)
        for row, frame in zip(rows, frames, strict=True):
            protocols, numbers, ends, mac, node, version = row
            self.assertRegex(protocols, r"^raw:ip:udp:wg:ip:etherip:eth:(ethertype:|llc:)?ipx")
            self.assertEqual((numbers, ends), ("17,97", f"{THERE.host},100.64.0.2"))
            self.assertEqual((mac, node), (frame[:6].hex(":"), frame[:6].hex(":")))
            self.assertEqual(version, "3")
