"""
LANs behind nodes: plain hosts, nodes with static keys between them, and what a hostile member sends.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any, ClassVar

import pytest
from nacl.public import PrivateKey
from twisted.trial.unittest import SynchronousTestCase

from vnet.client.firewall.forwarded import FLOWS
from vnet.protocols.codec.ip import ICMP, TCP, UDP, encodeIp4, encodeIp6
from vnet.test.netlab import Host, Lab
from vnet.test.netlab._space import ROOT
from vnet.test.netlab._system import batch, configure

pytestmark = pytest.mark.privileged

PORT = 5000
NEAR, FAR, SHOP = "10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24"
#: Answers everybody on TCP and UDP port 7777: with what it got, after the address that it saw, and a blank.
SERVICE = """
import socketserver, threading
class Stream(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(self.client_address[0].encode() + b" ")
        while data := self.request.recv(65536):
            self.request.sendall(data)
class Packet(socketserver.BaseRequestHandler):
    def handle(self):
        self.request[1].sendto(self.client_address[0].encode() + b" " + self.request[0], self.client_address)
class Tcp(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads = True, True
class Udp(socketserver.ThreadingUDPServer):
    daemon_threads, max_packet_size = True, 65536
for server in (Tcp(("", 7777), Stream), Udp(("", 7777), Packet)):
    threading.Thread(target=server.serve_forever).start()
print("ready", flush=True)
"""
#: Fetches from there; prints the addresses that it saw, the size of segments, and whether all came back.
CLIENT = """
import os, socket, sys, threading
target, size, datagram = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
try:
    link = socket.create_connection((target, 7777), timeout=float(sys.argv[4]))
except OSError:
    print("closed")
    sys.exit()
sent = os.urandom(size)
def send():
    link.sendall(sent)
    link.shutdown(socket.SHUT_WR)
threading.Thread(target=send).start()
got = b"".join(iter(lambda: link.recv(65536), b""))
source, _, got = got.partition(b" ")
asked, other, answer = os.urandom(datagram), b"-", b""
if asked:
    near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    near.settimeout(2)
    near.connect((target, 7777))
    near.send(asked)
    other, _, answer = near.recv(65536).partition(b" ")
segment = link.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
print(source.decode(), other.decode(), segment, got == sent and answer == asked)
"""
#: Counts what is for nobody there.
COUNTED = """table inet counted {
counter found { }
chain in { type filter hook prerouting priority -300; policy accept;
udp dport 9999 counter name found
tcp dport 9999 counter name found
icmp type redirect counter name found
}
}"""


def waitUntil(isTrue: Callable[[], bool], what: str) -> None:
    """Wait until something holds."""
    end = time.monotonic() + 5
    while not isTrue():
        if time.monotonic() > end:
            raise AssertionError(f"not within 5 s: {what}")
        time.sleep(0.02)


def packed(text: str) -> bytes:
    """An address."""
    return ip_address(text).packed


class LanNode:
    """
    One node, as a program in a host.
    """

    def __init__(self, host: Host, config: dict[str, Any]) -> None:
        self.host, self._config = host, config
        Path(config["state"]).mkdir(exist_ok=True)
        self.start()

    def start(self) -> None:
        """Start it, again."""
        argv = [sys.executable, "-m", "vnet.test.priv.lannode", json.dumps(self._config)]
        self.process = self.host.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait(5)

    @property
    def isTun(self) -> bool:
        """Whether its interface is a TUN."""
        return bool(self._config["tun"])

    def become(self, isTun: bool) -> None:
        """Start it again, with another interface."""
        self.kill()
        self._config["tun"] = isTun
        self.start()

    def restart(self) -> None:
        """Start it after its end."""
        self.start()
        self.ready()

    def ready(self) -> None:
        """Wait until it runs."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def tell(self, verb: str, **what: Any) -> Any:
        """Tell it to do something; its answer."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": verb, **what}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def counters(self) -> dict[str, int]:
        """What it has dropped."""
        found: dict[str, int] = self.tell("counters")
        return found

    def inject(self, *packets: bytes, number: int) -> None:
        """Let it send packets into its tunnel to another."""
        self.tell("inject", number=number, packets=[packet.hex() for packet in packets])

    def left(self) -> dict[str, str]:
        """All that it might leave."""
        script = (
            "nft list ruleset; echo; grep -r . /proc/sys/net/ipv4/conf/*/forwarding /proc/sys/net/ipv4/ip_forward"
            " | grep -v vnet0; ip route show table all | sort; ls " + self._config["state"]
        )
        return {"left": self.host.run(["sh", "-c", script]).stdout}

    def forwards(self, interface: str) -> bool:
        """Whether its computer forwards what comes from there."""
        path = f"/proc/sys/net/ipv4/conf/{interface}/forwarding"
        return self.host.run(["cat", path]).stdout == "1\n"


class Village:
    """
    C{alice} (node 1) with the plain host C{near} on her LAN; C{bob} (node 2) with the plain hosts C{far} on his, and C{shop} on
    another; C{mallory} (node 3), whom both know.
    """

    def __init__(self) -> None:
        self.lab = Lab("village")
        self.lab.__enter__()
        try:
            self._build()
        except BaseException:
            self.lab.close()
            raise

    def _build(self) -> None:
        lab = self.lab
        hosts = [lab.addHost(each) for each in ("alice", "bob", "mallory")]
        self.near, self.far, self.shop = (lab.addHost(each) for each in ("near", "far", "shop"))
        for gateway, plain, device, number in (
            (hosts[0], self.near, "lan0", 1),
            (hosts[1], self.far, "lan0", 2),
            (hosts[1], self.shop, "dmz0", 3),
        ):
            batch(
                [
                    f"link add {device} netns {gateway.namespace} type veth peer name lan0 netns {plain.namespace}"
                ]
            )
            lines = [f"addr add 10.{number}.0.1/24 dev {device}", f"link set {device} up"]
            configure(gateway.namespace, {"ipv4/ip_forward": 0}, lines)
            lines = ["link set eth0 down", f"addr add 10.{number}.0.2/24 dev lan0", "link set lan0 up"]
            configure(plain.namespace, {}, [*lines, f"route add default via 10.{number}.0.1"], COUNTED)
        keys = [PrivateKey.generate() for _ in hosts]
        self.nodes = []
        for number, host in enumerate(hosts, 1):
            peers = [
                {"number": other, "key": bytes(key.public_key).hex(), "host": each.address, "port": PORT}
                for other, (key, each) in enumerate(zip(keys, hosts, strict=True), 1)
                if other != number
            ]
            config = {
                "number": number,
                "port": PORT,
                "key": bytes(keys[number - 1]).hex(),
                "tun": False,
                "peers": peers,
                "state": str(lab.directory / host.name),
            }
            self.nodes.append(LanNode(host, config))
        services = [
            host.popen([sys.executable, "-c", SERVICE], stdout=subprocess.PIPE)
            for host in (self.far, self.shop, hosts[1])
        ]
        self.alice, self.bob, self.mallory = self.nodes
        for each in self.nodes:
            each.ready()
        for service in services:
            assert service.stdout is not None
            service.stdout.readline()

    def become(self, isTun: bool) -> None:
        """Alice and bob have interfaces of this kind."""
        others = [node for node in (self.alice, self.bob) if node.isTun != isTun]
        for node in others:
            node.become(isTun)
        for node in others:
            node.ready()

    def join(self) -> None:
        """Alice and bob share their LANs with each other, and use those."""
        for node, own, other, number in ((self.alice, NEAR, FAR, 2), (self.bob, FAR, NEAR, 1)):
            assert node.tell("offer", prefixes=[own], admitted=[number]) == {}
            assert node.tell("use", used={number: [other]}) == {}

    def part(self) -> None:
        """Nothing is shared or used."""
        for node in (self.alice, self.bob):
            node.tell("use", used={})
            node.tell("offer", prefixes=[], admitted=[])

    def found(self, host: Host) -> int:
        """How much of what is for nobody there has reached a host."""
        listed = host.run(["nft", "list", "counter", "inet", "counted", "found"]).stdout
        return int(re.findall(r"packets (\d+)", listed)[0])


def fetch(
    host: Host, target: str, size: int = 1000, datagram: int = 1000, timeout: float = 5
) -> tuple[str, ...]:
    """What a plain program sees of the service at an address."""
    return tuple(host.python(CLIENT, target, str(size), str(datagram), str(timeout)).split())


class LanTests(SynchronousTestCase):
    """
    One village for all.
    """

    village: ClassVar[Village]

    @classmethod
    def setUpClass(cls) -> None:
        """Build it."""
        cls.village = Village()

    @classmethod
    def tearDownClass(cls) -> None:
        """Remove it."""
        cls.village.lab.close()

    def setUp(self) -> None:
        self.alice, self.bob, self.mallory = self.village.nodes
        self.near, self.far = self.village.near, self.village.far
        self.village.become(isTun=False)
        self.village.join()
        self.addCleanup(self.village.part)

    def test_tun(self) -> None:
        """
        The same by TUN interfaces.
        """
        self.village.become(isTun=True)
        self.village.join()
        self.test_plainHosts()
        self.test_hostile()

    def test_plainHosts(self) -> None:
        """
        A plain host in one LAN fetches from a plain host in the other over TCP, and exchanges datagrams, long ones too, in both
        directions; each sees a neighbour ask.  So does a node.  A packet that is too long and must not be fragmented is told so,
        and segments of TCP fit from the beginning.
        """
        self.assertEqual(
            fetch(self.near, "10.2.0.2", 2 << 20, 4000), ("10.2.0.1", "10.2.0.1", "1348", "True")
        )
        self.assertEqual(
            fetch(self.alice.host, "10.2.0.2", 200_000), ("10.2.0.1", "10.2.0.1", "1348", "True")
        )
        ping = "ping -n -c 2 -i 0.1 -W 1 -M do -s {} 10.2.0.2"
        said = self.near.run(ping.format(1372).split()).stdout
        self.assertIn(" 0% packet loss", said)
        done = self.near.run(ping.format(1400).split(), check=False)
        self.assertRegex(done.stdout + done.stderr, "mtu ?= ?1400")
        self.near.run(["ip", "route", "flush", "cache"])
        # What the path carries is less than the interface takes.
        for node, number in ((self.alice, 2), (self.bob, 1)):
            node.tell("size", number=number, size=1332)
        try:
            found = fetch(self.near, "10.2.0.2", 1 << 20)
            self.assertEqual(found, ("10.2.0.1", "10.2.0.1", str(1296 - 52), "True"))
            done = self.near.run(ping.format(1372).split(), check=False)
            self.assertRegex(done.stdout + done.stderr, "mtu ?= ?1296")
            self.assertTrue(self.alice.counters()["tooBigTold"])
        finally:
            # What was learned is true no more.
            for host in (self.near, self.far, self.alice.host, self.bob.host):
                host.run(["ip", "route", "flush", "cache"])
            for node, number in ((self.alice, 2), (self.bob, 1)):
                node.tell("size", number=number, size=1472)

    def test_hostile(self) -> None:
        """
        Nobody gets into a LAN who is not admitted, from where it must not send, or to what is not shared; all of it is counted.
        """
        village = self.village
        far, shop = packed("10.2.0.2"), packed("10.3.0.2")
        alice, mallory = packed("100.64.0.1"), packed("100.64.0.3")
        datagram = b"\x27\x0f\x27\x0f\x00\x0c\0\0evil"
        before = self.bob.counters()
        self.mallory.inject(
            encodeIp4(mallory, far, UDP, datagram),
            encodeIp4(mallory, far, TCP, datagram + bytes(12)),
            encodeIp4(mallory, shop, UDP, datagram),
            # From where others may send.
            encodeIp4(alice, far, UDP, datagram),
            encodeIp4(packed("10.1.0.2"), far, UDP, datagram),
            encodeIp4(packed("10.2.0.9"), far, UDP, datagram),
            number=2,
        )
        self.alice.inject(
            encodeIp4(alice, shop, UDP, datagram),
            encodeIp4(alice, packed("10.2.1.2"), UDP, datagram),
            encodeIp4(alice, packed("8.8.8.8"), UDP, datagram),
            encodeIp4(alice, packed("100.64.0.3"), UDP, datagram),
            encodeIp4(alice, far, ICMP, b"\x05\x00" + bytes(26)),
            # From the LAN that it goes to, from another member, from elsewhere.
            encodeIp4(packed("10.2.0.9"), far, UDP, datagram),
            encodeIp4(mallory, far, UDP, datagram),
            encodeIp4(packed("192.0.2.1"), far, UDP, datagram),
            number=2,
        )

        def grown(name: str) -> int:
            return self.bob.counters().get(name, 0) - before.get(name, 0)

        waitUntil(lambda: grown("wrongSource") == 6, "foreign sources are counted")
        waitUntil(lambda: grown("notForUs") == 7, "foreign destinations are counted")
        waitUntil(lambda: grown("redirect") == 1, "redirects are counted")
        # To everybody on that LAN: a program there or on bob himself does not get it, nor does it go round.
        self.alice.inject(encodeIp4(alice, packed("10.2.0.255"), UDP, datagram), number=2)
        dropped = r"ip daddr @shared_4 fib daddr type broadcast counter packets [1-9]"
        waitUntil(
            lambda: re.search(dropped, self.bob.left()["left"]) is not None, "a broadcast to a LAN is dropped"
        )
        self.assertEqual((village.found(village.far), village.found(village.shop)), (0, 0))
        # The same as before, but allowed: it would have been seen.
        self.alice.inject(encodeIp4(alice, far, UDP, datagram), number=2)
        waitUntil(lambda: village.found(village.far) == 1, "a member reaches the LAN")
        self.alice.inject(encodeIp4(packed("10.1.0.7"), far, UDP, datagram), number=2)
        waitUntil(lambda: village.found(village.far) == 2, "and from the LAN that bob uses")
        self.far.run(["nft", "reset", "counters"])

    def crosses(self) -> bool:
        """Whether bob's computer is a router between his LANs."""
        return bool(self.far.ping("10.3.0.2", timeout=0.3))

    def test_flood(self) -> None:
        """
        A member that begins connection after connection fills its own part of the kernel's table, and nobody else's.
        """
        source, far = packed("100.64.0.1"), packed("10.2.0.2")
        packets = [
            encodeIp4(source, far, UDP, port.to_bytes(2, "big") + b"\x27\x0f\x00\x0c\0\0evil")
            for port in range(10_000, 10_000 + FLOWS + 1500)
        ]
        for place in range(0, len(packets), 500):
            self.alice.inject(*packets[place : place + 500], number=2)
        dropped = r"add @flows_4 .* counter packets [1-9]"
        waitUntil(lambda: re.search(dropped, self.bob.left()["left"]) is not None, "it is dropped")
        found = self.village.found(self.far)
        self.assertTrue(FLOWS // 2 < found <= FLOWS, found)
        self.assertEqual(self.bob.tell("offer", prefixes=[FAR], admitted=[1, 3]), {})
        self.mallory.inject(encodeIp4(packed("100.64.0.3"), far, UDP, packets[0][20:]), number=2)
        waitUntil(lambda: self.village.found(self.far) > found, "another member reaches it")
        self.bob.host.run(["conntrack", "-F"])
        self.far.run(["nft", "reset", "counters"])

    def test_six(self) -> None:
        """
        An IPv6 prefix is shared by a computer that forwards IPv6 already, and what that takes is gone afterwards.
        """
        prefix, bob, host = "fd05::/64", self.bob, self.bob.host
        configure(host.namespace, {}, ["addr add fd05::1/64 dev lan0 nodad"])
        configure(self.far.namespace, {}, ["addr add fd05::2/64 dev lan0 nodad"])
        self.assertIn(
            "net.ipv6.conf.all.forwarding", bob.tell("offer", prefixes=[prefix], admitted=[1])[prefix]
        )
        configure(host.namespace, {"ipv6/conf/all/forwarding": 1})
        self.assertEqual(bob.tell("offer", prefixes=[prefix], admitted=[1]), {})
        self.assertEqual(self.alice.tell("use", used={2: [prefix]}), {})
        self.mallory.inject(
            encodeIp6(packed("fd76:1:2::3"), packed("fd05::2"), UDP, b"\x27\x0f\x27\x0f\x00\x0c\0\0evil"),
            number=2,
        )
        self.assertTrue(self.alice.host.ping("fd05::2", count=2, timeout=2))
        self.assertEqual(self.village.found(self.far), 0)
        self.assertIn("fe80::", host.run(["ip", "-6", "addr", "show", "dev", "vnet0"]).stdout)
        bob.tell("offer", prefixes=[], admitted=[])
        self.assertNotIn("fe80::", host.run(["ip", "-6", "addr", "show", "dev", "vnet0"]).stdout)
        self.assertFalse(self.alice.host.ping("fd05::2", timeout=0.3))

    def test_firewall(self) -> None:
        """
        Networks that let in pings only do not close a LAN that is shared; they go on to close the computer that shares it, also by
        its address on that LAN.
        """
        self.bob.tell("policy", text="ping-only")
        self.addCleanup(self.bob.tell, "policy", text="open")
        self.assertEqual(fetch(self.near, "10.2.0.2")[-1], "True")
        for target in ("100.64.0.2", "10.2.0.1"):
            self.assertEqual(fetch(self.alice.host, target, timeout=0.3), ("closed",))
        self.bob.tell("policy", text="open")
        self.assertEqual(fetch(self.alice.host, "10.2.0.1", datagram=0)[-1], "True")
        self.bob.tell("policy", text="ping-only")
        self.bob.tell("offer", prefixes=[], admitted=[])
        self.assertEqual(fetch(self.near, "10.2.0.2", timeout=0.3), ("closed",))

    def test_forwarding(self) -> None:
        """
        A computer that shares a LAN is no router for anything else, during that and after a crash; afterwards all is as it was.
        """
        self.village.part()
        before = self.bob.left()
        self.assertEqual((self.crosses(), self.bob.forwards("lan0")), (False, False))
        self.village.join()
        self.assertEqual(
            (self.crosses(), self.bob.forwards("lan0"), self.bob.forwards("dmz0")), (False, True, False)
        )
        self.bob.kill()
        self.assertEqual((self.crosses(), self.bob.forwards("lan0")), (False, True))
        self.bob.restart()
        self.assertEqual(self.bob.left(), before)
        self.village.join()
        self.assertEqual(fetch(self.near, "10.2.0.2")[-1], "True")
        self.assertTrue(self.bob.tell("stop") is None and self.bob.process.wait(5) == 0)
        self.bob.restart()
        self.assertEqual(self.bob.left(), before)

    def test_router(self) -> None:
        """
        A computer that is a router already stays one, before, during and after; so does one that becomes one meanwhile.
        """
        configure(self.bob.host.namespace, {"ipv4/ip_forward": 1})
        self.addCleanup(configure, self.bob.host.namespace, {"ipv4/ip_forward": 0})
        self.assertFalse(self.crosses())
        # Something that is told, as a new bridge.
        configure(self.bob.host.namespace, {}, ["link add br9 type bridge", "link del br9"])
        waitUntil(self.crosses, "it is a router")
        # It would be one into the overlay, too.
        self.assertFalse(self.far.ping("100.64.0.1", timeout=0.3))
        # Of a larger prefix it sends nothing to where its default route leads.
        self.assertEqual(self.bob.tell("offer", prefixes=["10.2.0.0/16"], admitted=[1]), {})
        self.alice.inject(
            encodeIp4(packed("100.64.0.1"), packed("10.2.9.9"), UDP, b"\0\7\0\7\0\x08\0\0"), number=2
        )
        dropped = r'iifname "vnet0" ip daddr @shared_4 counter packets [1-9]'
        waitUntil(lambda: re.search(dropped, self.bob.left()["left"]) is not None, "it is dropped")
        self.village.join()
        self.assertEqual(fetch(self.near, "10.2.0.2")[-1], "True")
        self.village.part()
        self.assertTrue(self.bob.forwards("lan0") and self.crosses())
        self.village.join()
        self.assertTrue(self.crosses())
        self.bob.kill()
        self.bob.restart()
        self.assertTrue(self.crosses())

    def test_exception(self) -> None:
        """
        On a router that leaves out the LAN, or our interface, a LAN is shared all the same; it is no router for anything else from
        there, and all is as it was afterwards, also after a crash.
        """
        space = self.bob.host.namespace
        self.village.part()
        configure(space, {"ipv4/ip_forward": 1})
        self.addCleanup(configure, space, {"ipv4/ip_forward": 0})
        configure(space, {"ipv4/conf/lan0/forwarding": 0, "ipv4/conf/vnet0/forwarding": 0})
        before = self.bob.left()
        self.village.join()
        self.assertEqual(fetch(self.near, "10.2.0.2")[-1], "True")
        self.assertTrue(self.far.ping("10.1.0.2", timeout=2))
        self.assertEqual((self.bob.forwards("lan0"), self.crosses()), (True, False))
        self.bob.kill()
        self.bob.restart()
        self.assertEqual((self.bob.left(), self.crosses()), (before, False))
        self.village.join()
        self.assertEqual(fetch(self.near, "10.2.0.2")[-1], "True")
        self.village.part()
        self.assertEqual(self.bob.left(), before)

    def test_overlap(self) -> None:
        """
        When a computer gets into such a network itself, its own one wins, and the reason is told; afterwards it is as before.
        """
        space = self.alice.host
        configure(space.namespace, {}, ["link add other0 type veth peer name other1", "link set other0 up"])
        batch(["addr add 10.2.0.77/16 dev other0"], space.namespace)
        waitUntil(lambda: bool(self.alice.tell("problems")), "the overlap is seen")
        self.assertEqual(
            self.alice.tell("problems"),
            {FAR: f"{FAR} overlaps 10.2.0.0/16 on other0, a network of this computer"},
        )
        self.assertIn("dev other0", space.run(["ip", "route", "get", "10.2.0.2"]).stdout)
        # Nothing from there is taken any more either.
        before = self.alice.counters().get("wrongSource", 0)
        self.bob.inject(encodeIp4(packed("10.2.0.2"), packed("100.64.0.1"), UDP, bytes(8)), number=1)
        waitUntil(lambda: self.alice.counters().get("wrongSource", 0) == before + 1, "it is not taken")
        batch(["link del other0"], space.namespace)
        waitUntil(lambda: not self.alice.tell("problems"), "it is gone")
        self.assertIn("dev vnet0 src 100.64.0.1", space.run(["ip", "route", "get", "10.2.0.2"]).stdout)
        self.assertEqual(fetch(self.near, "10.2.0.2")[-1], "True")

    def test_refused(self) -> None:
        """
        What a computer is not connected to is not shared; what its tunnels go through is not used.
        """
        self.assertIn(
            "not connected", self.bob.tell("offer", prefixes=["10.9.0.0/24"], admitted=[1])["10.9.0.0/24"]
        )
        self.assertEqual(self.bob.left()["left"].count("vnet-vnet0"), 0)
        around = f"{self.bob.host.address}/32"
        problem = self.alice.tell("use", used={2: [around]})[around]
        self.assertIn(f"holds {self.bob.host.address}", problem)
