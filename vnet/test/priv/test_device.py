"""
Tests for L{vnet.client.dataplane.device}, with real interfaces in a namespace of each test's own.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from vnet.client.dataplane.device import TapDevice
from vnet.errors import ConfigurationError
from vnet.test.bordertests import ARGUMENTS, EXPERIMENTAL, DeviceContract, frame
from vnet.test.priv.ownspace import HandReactor, addInterface, command, ownSpace

pytestmark = pytest.mark.privileged

ROOT = Path(__file__).resolve().parents[3]

OPEN = """
import sys
sys.path.insert(0, sys.argv[1])
from vnet.client.dataplane.device import TapDevice
from vnet.errors import ConfigurationError
try:
    TapDevice(None).open()
except ConfigurationError as error:
    print(error)
"""


class TapDeviceTests(DeviceContract):
    """
    The contract of devices, and what only the kernel can show.
    """

    __test__ = True

    def setUp(self) -> None:
        self.enterSpace = ownSpace()
        self.enterSpace.__enter__()
        self.addCleanup(self.enterSpace.__exit__, None, None, None)
        self.reactor = HandReactor()
        self.tap = self.device = TapDevice(self.reactor)
        self.addCleanup(self.tap.close)
        self.packetSocket: socket.socket | None = None

    def systemSocket(self) -> socket.socket:
        """A socket that sends and receives frames by the interface, as a program would."""
        if self.packetSocket is None or self.packetSocket.getsockname()[0] != "vnet0":
            kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
            protocol = int.from_bytes(EXPERIMENTAL, "big")
            opened = socket.socket(socket.AF_PACKET, kind, socket.htons(protocol))
            opened.bind(("vnet0", protocol))
            self.addCleanup(opened.close)
            self.packetSocket = opened
        return self.packetSocket

    def started(self) -> list[bytes]:
        received = super().started()
        self.packetSocket = None
        self.systemSocket()
        return received

    def systemSends(self, frames: Sequence[bytes]) -> None:
        for each in frames:
            self.systemSocket().send(each)
        self.reactor.turn()

    def systemGot(self) -> list[bytes]:
        found = []
        while True:
            try:
                found.append(self.systemSocket().recv(65536))
            except BlockingIOError:
                return found

    def blockedBy(self, prefix: str, interface: str) -> None:
        addInterface(interface)
        command(f"ip route add {prefix} dev {interface}")

    def test_addressesAndRoutes(self) -> None:
        """It has the two addresses and their connected routes, MTU 1400, and nothing else: no default route."""
        self.started()
        (link,) = json.loads(command("ip -j addr show dev vnet0"))
        self.assertEqual(link["mtu"], 1400)
        self.assertIn("UP", link["flags"])
        self.assertEqual(link["address"], self.tap.mac.hex(":"))
        found = {(each["local"], each["prefixlen"]) for each in link["addr_info"]}
        self.assertEqual(found, {("100.64.0.1", 10), ("fd76:1:2::1", 48)})
        self.assertFalse(any(each.get("tentative") for each in link["addr_info"]))
        routes = json.loads(command("ip -j route")) + json.loads(command("ip -j -6 route"))
        self.assertEqual({each["dst"] for each in routes}, {"100.64.0.0/10", "fd76:1:2::/48"})

    def test_sysctls(self) -> None:
        """The interface takes no router advertisements, configures nothing by itself, and filters strictly."""
        self.started()
        for path, value in (
            ("ipv6/conf/vnet0/accept_ra", "0"),
            ("ipv6/conf/vnet0/autoconf", "0"),
            ("ipv6/conf/vnet0/addr_gen_mode", "1"),
            ("ipv4/conf/vnet0/rp_filter", "1"),
        ):
            self.assertEqual(Path("/proc/sys/net", path).read_text().strip(), value)

    def test_otherAddresses(self) -> None:
        """Addresses of an earlier configuration are gone after the next, and those that stay are not touched."""
        self.started()
        self.tap.configure("100.64.0.9", "100.64.0.0/16", *ARGUMENTS[2:])
        (link,) = json.loads(command("ip -j addr show dev vnet0"))
        found = {(each["local"], each["prefixlen"]) for each in link["addr_info"]}
        self.assertEqual(found, {("100.64.0.9", 16), ("fd76:1:2::1", 48)})

    def test_ipv6Off(self) -> None:
        """Where IPv6 is off, the interface works with IPv4 alone."""
        command("sysctl -q -w net.ipv6.conf.default.disable_ipv6=1 net.ipv6.conf.all.disable_ipv6=1")
        self.started()
        (link,) = json.loads(command("ip -j addr show dev vnet0"))
        self.assertEqual([each["local"] for each in link["addr_info"]], ["100.64.0.1"])

    def test_defaultRoute(self) -> None:
        """A default route is no overlap, nor are the two halves of everything that stand for one."""
        addInterface("wan0")
        command("ip addr add 192.0.2.1/24 dev wan0")
        command("ip route add default via 192.0.2.2")
        command("ip route add 0.0.0.0/1 dev wan0")
        before = command("ip route show dev wan0")
        self.started()
        self.assertEqual(command("ip route show dev wan0"), before)

    def test_overlappingAddress(self) -> None:
        """An address of another interface inside the block is an overlap, even where that interface is down."""
        addInterface("office0", up=False)
        command("ip addr add 100.127.0.1/32 dev office0")
        self.tap.open()
        error = self.assertRaises(ConfigurationError, self.tap.configure, *ARGUMENTS)
        self.assertIn("100.127.0.1/32 on office0", str(error))

    def test_nameTaken(self) -> None:
        """A name that another interface has is refused in one line, whatever that interface is."""
        for kind in ("ip link add vnet0 type bridge", "ip tuntap add dev vnet0 mode tap"):
            command(kind)
            error = self.assertRaises(ConfigurationError, self.tap.open)
            self.assertIn("vnet0 exists already", str(error))
            command("ip link delete vnet0")
        other = TapDevice(self.reactor)
        other.open()
        self.addCleanup(other.close)
        self.assertRaises(ConfigurationError, self.tap.open)

    def test_badNames(self) -> None:
        """A name that no interface can have is refused before the kernel sees it."""
        for name in ("", "a" * 16, "a/b", "v%d", "a b", "..", "a\n", "\0"):
            self.assertRaises(ConfigurationError, TapDevice(self.reactor, name).open)

    def test_removed(self) -> None:
        """Closing removes the interface."""
        self.started()
        self.tap.close()
        self.assertNotIn("vnet0", command("ip link"))
        self.assertEqual(self.reactor.readers, [])

    def test_removedBySomebody(self) -> None:
        """An interface that somebody deletes is read no longer: that is logged, and writing does nothing."""
        self.started()
        command("ip link delete vnet0")
        self.reactor.turn()
        self.assertEqual(self.reactor.readers, [])
        self.write(frame(1))

    def test_down(self) -> None:
        """While the interface is down frames are dropped and counted; afterwards it works on."""
        received = self.started()
        command("ip link set vnet0 down")
        self.reactor.turn()
        self.write(frame(1))
        self.assertEqual(self.tap.counters["EIO"], 1)
        command("ip link set vnet0 up")
        self.packetSocket = None
        self.systemSends([frame(2)])
        self.assertEqual(received, [frame(2)])

    def test_batch(self) -> None:
        """A wake hands over what has gathered as one batch, of 64 frames at most."""
        self.started()
        sizes: list[int] = []
        self.tap.start(
            lambda frames: sizes.append(sum(bytes(each)[22:24] == EXPERIMENTAL for each in frames))
        )
        self.systemSends([frame(1)] * 100)
        self.assertEqual(sum(sizes), 100)
        self.assertTrue(35 <= max(sizes) <= 64, sizes)

    def openElsewhere(self, *prefix: str) -> str:
        done = subprocess.run(
            [*prefix, sys.executable, "-c", OPEN, str(ROOT)], capture_output=True, text=True, timeout=30
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    @pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
    def test_noPrivilege(self) -> None:
        """Without CAP_NET_ADMIN there is one line that says so and what to do."""
        said = self.openElsewhere("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
        self.assertEqual(
            said,
            "creating the network interface needs root or CAP_NET_ADMIN: run vnet-client with sudo\n",
        )

    def test_noTun(self) -> None:
        """Where /dev/net/tun is missing, one line says so."""
        said = self.openElsewhere(
            "unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev/net && exec "$@"', "sh"
        )
        self.assertIn("/dev/net/tun is missing", said)
        self.assertEqual(len(said.splitlines()), 1)
