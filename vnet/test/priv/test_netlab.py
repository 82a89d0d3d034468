"""
Tests for L{vnet.test.netlab}, with real namespaces and sockets.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from vnet.errors import ConfigurationError
from vnet.test.netlab import Home, Host, Lab, LabError, unavailable
from vnet.test.netlab._space import ROOT, awaitLine
from vnet.test.netlab._system import namespaces
from vnet.test.netlab.probe import Observation, observe

pytestmark = pytest.mark.privileged

ECHO_TCP = """
import socket, sys
listener = socket.create_server(("0.0.0.0", int(sys.argv[1])))
print("ready", file=sys.stderr, flush=True)
while True:
    listener.accept()[0].sendall(b"hello")
"""

SEND = """
import socket, sys
sockets = []
for number in range(int(sys.argv[3])):
    each = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    each.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, int(sys.argv[2]))
    each.sendto(b"x", (sys.argv[1], 4001))
    sockets.append(each)
"""

HOLD = """
import sys, time
from vnet.test.netlab import Lab
with Lab("victim") as lab:
    home = lab.addHome("alice")
    process = home.host.popen(["sleep", "600"])
    print("ready", process.pid, file=sys.stderr, flush=True)
    time.sleep(600)
"""

BUILD = """
import sys
from vnet.test.netlab import Lab
print("ready", file=sys.stderr, flush=True)
for turn in range(1000):
    with Lab("victim") as lab:
        home = lab.addHome("alice", nat="double")
        home.host.popen(["sleep", "600"])
"""


def alive(pid: int) -> bool:
    """
    Whether a process runs; one that only waits to be reaped does not.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def ends(pid: int) -> bool:
    """
    Whether a process that has been killed is gone soon.
    """
    deadline = time.monotonic() + 10
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not alive(pid)


class NetlabCase(SynchronousTestCase):
    """
    Skips where no lab can be built.
    """

    def setUp(self) -> None:
        if reason := unavailable("ping", "tcpdump", "conntrack"):
            raise SkipTest(reason)


class NatTests(NetlabCase):
    """
    Each kind of NAT behaves as its name says, as seen by sockets on both sides of it.
    """

    def observation(self, nat: str) -> Observation:
        """
        What a NAT of this kind does.
        """
        with Lab("nat") as lab:
            server = lab.addHost("server")
            return observe(lab.addHome("alice", nat=nat).host, server)

    def behaviour(self, nat: str) -> tuple[str, str]:
        """
        Its mapping and filtering.
        """
        seen = self.observation(nat)
        self.assertTrue(seen.udp)
        return seen.mapping, seen.filtering

    def test_public(self) -> None:
        """
        A public home is reached by everyone at its own addresses.
        """
        seen = self.observation("public")
        self.assertEqual((seen.mapping, seen.filtering), ("endpoint", "endpoint"))
        self.assertTrue(seen.preserved)

    def test_portRestricted(self) -> None:
        """
        A port-restricted NAT keeps one mapping, lets only known endpoints in; an early packet does
        not change that.
        """
        seen = self.observation("port-restricted")
        self.assertEqual((seen.mapping, seen.filtering), ("endpoint", "address-and-port"))
        self.assertTrue(seen.steady)
        self.assertFalse(seen.hairpin)

    def test_earlyPacket(self) -> None:
        """
        Behind an early-packet NAT, a datagram that comes before ours moves our mapping to another port.
        """
        seen = self.observation("early-packet")
        self.assertEqual((seen.mapping, seen.filtering), ("endpoint", "address-and-port"))
        self.assertFalse(seen.steady)

    def test_addressRestricted(self) -> None:
        """
        An address-restricted NAT lets in other ports of a known address.
        """
        self.assertEqual(self.behaviour("address-restricted"), ("endpoint", "address"))

    def test_fullCone(self) -> None:
        """
        A full-cone NAT lets everyone in at a mapping, but has no hairpin.
        """
        seen = self.observation("full-cone")
        self.assertEqual((seen.mapping, seen.filtering), ("endpoint", "endpoint"))
        self.assertFalse(seen.hairpin)

    def test_hairpin(self) -> None:
        """
        Behind a hairpin NAT, inside sockets reach each other at public endpoints and see public sources.
        """
        self.assertTrue(self.observation("hairpin").hairpin)

    def test_symmetricRandom(self) -> None:
        """
        A random symmetric NAT maps each destination to a port far from the others.
        """
        seen = self.observation("symmetric-random")
        self.assertEqual((seen.mapping, seen.filtering), ("address-and-port", "address-and-port"))
        self.assertGreater(max(seen.ports) - min(seen.ports), 2)

    def test_symmetricSequential(self) -> None:
        """
        A sequential symmetric NAT maps each destination to the next port.
        """
        first, second, third = self.observation("symmetric-sequential").ports
        self.assertEqual((second - first, third - second), (1, 1))

    def test_symmetricSequential2(self) -> None:
        """
        This one maps each destination to the next port but one.
        """
        first, second, third = self.observation("symmetric-sequential2").ports
        self.assertEqual((second - first, third - second), (2, 2))

    def test_addressDependent(self) -> None:
        """
        An address-dependent NAT has one mapping for all ports of an address outside, another for the next address.
        """
        self.assertEqual(self.behaviour("address-dependent"), ("address", "address-and-port"))

    def test_pooling(self) -> None:
        """
        A pooling NAT has three public addresses, and takes another one for each mapping.
        """
        seen = self.observation("pooling")
        self.assertEqual((seen.mapping, seen.filtering), ("address-and-port", "address-and-port"))
        self.assertEqual(len(set(seen.addresses)), 3)

    def test_eimBlock(self) -> None:
        """
        A NAT that gives ports of a block, not the socket's own, keeps one mapping all the same.
        """
        seen = self.observation("eim-block")
        self.assertEqual((seen.mapping, seen.filtering), ("endpoint", "address-and-port"))
        self.assertTrue(seen.steady)
        self.assertFalse(seen.preserved)
        self.assertIn(seen.ports[0], range(50000, 50512))

    def test_oneToOne(self) -> None:
        """
        A host with a public address for itself is reached there by everyone.
        """
        seen = self.observation("one-to-one")
        self.assertEqual((seen.mapping, seen.filtering), ("endpoint", "endpoint"))
        self.assertTrue(seen.preserved)

    def test_symmetricBlock(self) -> None:
        """
        A block NAT maps each destination to another port of one block of 512.
        """
        seen = self.observation("symmetric-block")
        self.assertEqual(len(set(seen.ports)), 3)
        self.assertEqual([port for port in seen.ports if not 50000 <= port < 50512], [])

    def test_double(self) -> None:
        """
        Two NATs in series behave as one, at the carrier's address.
        """
        with Lab("nat") as lab:
            server = lab.addHost("server")
            home = lab.addHome("alice", nat="double")
            seen = observe(home.host, server)
            self.assertTrue(home.router.address.startswith("10.64."))
            self.assertTrue(home.publicAddress.startswith("198.51.100."))
        self.assertEqual((seen.mapping, seen.filtering), ("endpoint", "address-and-port"))

    def test_shortLived(self) -> None:
        """
        A short-lived NAT gives no mapping more than 15 s, and the kernel's time again when it becomes another kind.
        """
        names = ["udp_timeout", "udp_timeout_stream"]
        files = [f"/proc/sys/net/netfilter/nf_conntrack_{name}" for name in names]
        with Lab("nat") as lab:
            server = lab.addHost("server")
            home = lab.addHome("alice", nat="short-lived")
            home.host.python(SEND, server.address, "64", "1")
            listed = home.router.run(["conntrack", "-L", "-p", "udp"]).stdout
            self.assertIn(int(listed.split()[2]), range(10, 16), listed)
            self.assertEqual(home.router.run(["cat", *files]).stdout.split(), ["15", "15"])
            home.setNat("port-restricted")
            self.assertEqual(home.router.run(["cat", *files]).stdout.split(), ["30", "120"])

    def test_fewSessions(self) -> None:
        """
        Of 300 sockets inside, a NAT with few sessions lets 256 out; the sessions in use can be counted.
        """
        with Lab("nat") as lab:
            server = lab.addHost("server")
            home = lab.addHome("alice", nat="few-sessions")
            home.host.python(SEND, server.address, "64", "10")
            self.assertEqual(home.udpSessions(), {home.host.address: 10})
            home.host.python(SEND, server.address, "64", "290")
            self.assertEqual(home.udpSessions(), {home.host.address: 256})

    def reachable(self, nat: str, ports: tuple[int, ...] = (443, 80)) -> tuple[bool, list[int]]:
        """
        Whether UDP passes, and which of these TCP ports do.
        """
        with Lab("nat") as lab:
            server = lab.addHost("server")
            home = lab.addHome("alice", nat=nat)
            open_ = []
            for port in ports:
                listener = server.popen([sys.executable, "-c", ECHO_TCP, str(port)], stderr=subprocess.PIPE)
                awaitLine(listener, "ready", 10)
                code = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 0.5)"
                try:
                    home.host.python(code, server.address, str(port))
                except LabError:
                    continue
                open_.append(port)
            return observe(home.host, server).udp, open_

    def test_udpBlocked(self) -> None:
        """
        Where UDP is blocked, all of TCP passes.
        """
        self.assertEqual(self.reachable("udp-blocked"), (False, [443, 80]))

    def test_tcp443Only(self) -> None:
        """
        Where only HTTPS is allowed, TCP to port 443 passes and nothing else.
        """
        self.assertEqual(self.reachable("tcp443-only"), (False, [443]))

    def test_proxyOnly(self) -> None:
        """
        Where only proxies are reached, TCP to their ports passes and nothing else.
        """
        self.assertEqual(self.reachable("proxy-only", (443, 3128, 1080)), (False, [3128, 1080]))

    def test_unknown(self) -> None:
        """
        A kind that does not exist is refused.
        """
        with Lab("nat") as lab, self.assertRaises(ConfigurationError):
            lab.addHome("alice", nat="magic")


class TopologyTests(NetlabCase):
    """
    Hosts and homes reach whom they should, and what is done to their links has its effect.
    """

    lab: Lab
    server: Host
    alice: Home
    bob: Home

    def setUp(self) -> None:
        super().setUp()
        lab = Lab("topo").__enter__()
        self.addCleanup(lab.close)
        self.lab = lab
        self.server = lab.addHost("server")
        self.alice = lab.addHome("alice", ipv6="firewalled")
        self.bob = lab.addHome("bob", ipv6="open")

    def test_speed(self) -> None:
        """
        A mediator's host and two homes are built within 1.5 s, where nothing else takes the processor.
        """
        took: list[float] = []
        while not took or (min(took) > 1.5 and len(took) < 8):
            start = time.monotonic()
            with Lab("speed") as lab:
                lab.addHost("mediator")
                lab.addHome("alice")
                lab.addHome("bob")
                took.append(time.monotonic() - start)
        self.assertLess(min(took), 1.5)

    def test_reach(self) -> None:
        """
        A home reaches a public host over IPv4 and IPv6; nobody reaches the private addresses of another home.
        """
        self.assertTrue(self.alice.host.ping(self.server.address))
        self.assertTrue(self.alice.host.ping(str(self.server.address6)))
        self.assertFalse(self.alice.host.ping(self.bob.host.address, timeout=0.2))

    def test_firewall6(self) -> None:
        """
        An IPv6 firewall keeps out what an open home lets in, and lets answers pass.
        """
        self.assertFalse(self.server.ping(str(self.alice.host.address6), timeout=0.2))
        self.assertTrue(self.server.ping(str(self.bob.host.address6)))
        self.assertTrue(self.alice.host.ping(str(self.bob.host.address6)))

    def test_sameLan(self) -> None:
        """
        Two hosts of one home reach each other directly.
        """
        carol = self.alice.addHost("carol")
        # The first question for the neighbour may be lost while the bridge takes the new port in.
        self.assertTrue(carol.ping(self.alice.host.address, timeout=5))
        self.assertTrue(carol.ping(self.server.address, timeout=5))

    def test_publicHome(self) -> None:
        """
        The hosts of a public home are reached at their own addresses, over IPv4 and IPv6.
        """
        home = self.lab.addHome("carol", nat="public", ipv6="open")
        for host in (home.host, home.addHost("dave")):
            self.assertTrue(self.server.ping(host.address))
            self.assertTrue(self.alice.host.ping(str(host.address6)))

    def test_carrier(self) -> None:
        """
        Two homes behind one carrier have one public address, and both get out.
        """
        carrier = self.lab.addCarrier("isp")
        homes = [self.lab.addHome(name, behind=carrier) for name in ("carol", "dave")]
        self.assertEqual(len({home.publicAddress for home in homes}), 1)
        for home in homes:
            self.assertTrue(home.host.ping(self.server.address))

    def test_loss(self) -> None:
        """
        A link loses the share of packets that was asked for, and none when that is set back.
        """
        # Else the question for the neighbour's address may be lost three times.
        self.assertTrue(self.alice.host.ping(self.server.address))
        self.lab.setLoss(self.alice, 30)
        seen = self.alice.host.ping(self.server.address, count=200, interval=0.002, timeout=0.2)
        # Two directions of 70 %: 98 of 200 expected, standard deviation 7.
        self.assertTrue(60 < len(seen.millis) < 136, len(seen.millis))
        self.lab.setLoss(self.alice, 0)
        self.assertTrue(self.alice.host.ping(self.server.address, count=50, interval=0.002))

    def test_linkDown(self) -> None:
        """
        A host whose link is down reaches nobody; when it is up again all is as before, IPv6 included.
        """
        for host in (self.server, self.alice.host, self.alice.router):
            host.linkDown()
            self.assertFalse(self.alice.host.ping(self.server.address, timeout=0.2))
            host.linkUp()
            self.assertTrue(self.alice.host.ping(self.server.address))
            self.assertTrue(self.alice.host.ping(str(self.server.address6)))

    def test_dropPeer(self) -> None:
        """
        Dropping one peer leaves the others reachable, until it is restored.
        """
        self.alice.host.dropPeer(self.server.address)
        self.assertFalse(self.alice.host.ping(self.server.address, timeout=0.2))
        self.assertTrue(self.alice.host.ping(str(self.server.address6)))
        self.alice.host.restorePeer(self.server.address)
        self.assertTrue(self.alice.host.ping(self.server.address))

    def test_blockUdp(self) -> None:
        """
        A host where UDP is blocked still has ICMP, and UDP again when it is unblocked.
        """
        self.alice.host.blockUdp()
        self.assertFalse(observe(self.alice.host, self.server).udp)
        self.assertTrue(self.alice.host.ping(self.server.address))
        self.alice.host.unblockUdp()
        self.assertTrue(observe(self.alice.host, self.server).udp)

    def test_changeAddress(self) -> None:
        """
        Inside hosts and homes keep their connectivity under a new address, and lose the old one.
        """
        self.alice.host.changeAddress("192.168.1.77")
        self.assertTrue(self.alice.host.ping(self.server.address))
        old = self.bob.publicAddress
        self.bob.changeAddress("198.51.100.200")
        self.assertEqual(self.bob.publicAddress, "198.51.100.200")
        self.assertTrue(self.bob.host.ping(self.server.address))
        self.assertEqual(self.lab.internet.run(["ip", "route", "show", old]).stdout, "")
        self.server.changeAddress("198.51.100.201")
        self.assertTrue(self.bob.host.ping("198.51.100.201"))

    def test_hops(self) -> None:
        """
        What leaves a home with few hops left is mapped by the home's NAT and by its carrier's, and arrives at no other
        home's router; what has enough arrives.
        """
        carol = self.lab.addHome("carol", nat="double")
        capture = self.lab.directory / "hops.pcap"
        with self.bob.router.capture(capture, "wan", "udp port 4001"):
            for home, hops in ((self.alice, "2"), (self.alice, "5"), (carol, "3"), (carol, "6")):
                home.host.python(SEND, self.bob.publicAddress, hops, "1")
            for home, hops in ((self.alice, "8"), (carol, "8")):
                home.host.python(SEND, self.bob.publicAddress, hops, "1")
        if carol.carrier is None:
            self.fail("no carrier")
        self.assertEqual(self.alice.udpSessions(), {self.alice.host.address: 3})
        self.assertEqual(carol.carrier.udpSessions(), {carol.router.address: 3})
        read = subprocess.run(["tcpdump", "-nvr", str(capture)], capture_output=True, text=True, check=True)
        self.assertEqual(re.findall(r"ttl (\d+)", read.stdout), ["6", "5"])

    def test_forgetPeer(self) -> None:
        """
        A router that forgets one address outside keeps the mappings to others.
        """
        home = self.lab.addHome("carol", nat="address-restricted")
        home.host.python(SEND, self.server.address, "64", "3")
        home.host.python(SEND, self.bob.publicAddress, "64", "4")
        home.forgetPeer(self.bob.publicAddress)
        self.assertEqual(home.udpSessions(), {home.host.address: 3})

    def test_counters(self) -> None:
        """
        The counters of an interface show which hosts carry traffic.
        """
        idle, busy = self.bob.host, self.alice.host
        before = idle.rxBytes("eth0"), busy.txBytes("eth0")
        busy.ping(self.server.address, count=20, interval=0.002)
        self.assertLess(idle.rxBytes("eth0") - before[0], 500)
        self.assertGreaterEqual(busy.txBytes("eth0") - before[1], 20 * 98)

    def test_capture(self) -> None:
        """
        A capture has the packets that passed while it ran.
        """
        with TemporaryDirectory() as directory:
            path = Path(directory) / "ping.pcap"
            with self.server.capture(path, "eth0", "icmp"):
                self.alice.host.ping(self.server.address, count=3, interval=0.01)
            read = subprocess.run(
                ["tcpdump", "-n", "-r", str(path)], capture_output=True, text=True, check=True
            )
        self.assertEqual(read.stdout.count("ICMP echo request"), 3)
        self.assertIn(self.alice.publicAddress, read.stdout)

    def test_flushConntrack(self) -> None:
        """
        A router that forgets its mappings lets an old one's answers in no more.
        """
        code = f"""
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 4000)); s.settimeout(0.8)
if len(sys.argv) > 1: s.sendto(b"x", ({self.server.address!r}, 4001))
try: s.recv(9); print("in")
except TimeoutError: print("out")
"""
        answer = f"""
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 4001)); s.settimeout(0.05)
while True:
    s.sendto(b"y", ({self.alice.publicAddress!r}, 4000))
    try: s.recv(9)
    except TimeoutError: pass
"""
        answering = self.server.popen([sys.executable, "-c", answer])
        self.assertEqual(self.alice.host.python(code).strip(), "out")
        self.assertEqual(self.alice.host.python(code, "send").strip(), "in")
        self.assertEqual(self.alice.host.python(code).strip(), "in")
        self.alice.flushConntrack()
        self.assertEqual(self.alice.host.python(code).strip(), "out")
        self.assertIsNone(answering.poll())


class RunTests(NetlabCase):
    """
    Programs run in hosts, and never outlive the lab.
    """

    def test_run(self) -> None:
        """
        C{run} gives output and input, says what failed, and ends what takes too long.
        """
        with Lab("run") as lab:
            host = lab.addHost("one")
            self.assertEqual(host.run(["cat"], text="abc").stdout, "abc")
            self.assertEqual(host.run(["false"], check=False).returncode, 1)
            error = self.assertRaises(LabError, host.run, ["sh", "-c", "echo why >&2; exit 3"])
            self.assertIn("why", str(error))
            start = time.monotonic()
            self.assertRaises(LabError, host.run, ["sleep", "60"], timeout=0.1)
            self.assertLess(time.monotonic() - start, 20)

    def test_close(self) -> None:
        """
        Closing ends every process, the stubborn, the forked and those that left their group too.
        """
        stubborn = "trap '' TERM; echo $$ >&2; sleep 600 & setsid sleep 601 & wait; sleep 602"
        with Lab("close") as lab:
            host = lab.addHost("one")
            process = host.popen(["sh", "-c", stubborn], stderr=subprocess.PIPE)
            awaitLine(process, str(process.pid), 20)
            while len(pids := host.run(["ip", "netns", "pids", host.namespace]).stdout.split()) < 4:
                time.sleep(0.01)
            prefix = lab.prefix
        self.assertEqual([pid for pid in pids if not ends(int(pid))], [])
        self.assertFalse(alive(process.pid))
        self.assertEqual([name for name in namespaces() if name.startswith(prefix)], [])

    def test_exception(self) -> None:
        """
        An exception in the block passes through, and nothing is left.
        """

        def broken() -> None:
            with Lab("broken") as lab:
                lab.addHome("alice")
                raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, broken)
        prefix = Lab("broken").prefix
        self.assertEqual([name for name in namespaces() if name.startswith(prefix)], [])

    def test_names(self) -> None:
        """
        Bad names, names in use and a second lab of one name are refused.
        """
        self.assertRaises(ConfigurationError, Lab("a-b").__enter__)
        with Lab("twin") as lab:
            self.assertRaises(ConfigurationError, Lab("twin").__enter__)
            lab.addHost("one")
            self.assertRaises(ConfigurationError, lab.addHost, "one")
            self.assertRaises(ConfigurationError, lab.addHost, "x;reboot")
        self.assertRaises(ConfigurationError, lab.addHost, "two")

    def start(self, code: str) -> subprocess.Popen[str]:
        """
        Another program that has a lab.
        """
        process = subprocess.Popen(
            [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def leftovers(self, process: subprocess.Popen[str]) -> list[str]:
        """
        The namespaces that another program's labs have left.
        """
        return [name for name in namespaces() if name.startswith(f"vnl-{process.pid}-")]

    def test_signals(self) -> None:
        """
        SIGINT, SIGTERM and SIGHUP end a program with a lab, its processes and its namespaces.
        """
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process = self.start(HOLD)
            inside = int(awaitLine(process, "ready", 30).split()[1])
            self.assertTrue(alive(inside))
            process.send_signal(signum)
            process.communicate(timeout=30)
            self.assertNotEqual(process.returncode, 0)
            self.assertEqual(self.leftovers(process), [])
            self.assertTrue(ends(inside))

    def test_anyMoment(self) -> None:
        """
        Whenever in building or closing a signal comes, and comes again, nothing is left.
        """
        for turn in range(12):
            process = self.start(BUILD)
            awaitLine(process, "ready", 30)
            time.sleep(turn * 0.017)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.005)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)
            self.assertNotEqual(process.returncode, 0)
            self.assertEqual(self.leftovers(process), [])

    def test_sweep(self) -> None:
        """
        A lab whose process was killed is swept by the next one; that of a living process is not.
        """
        process = self.start(HOLD)
        inside = int(awaitLine(process, "ready", 30).split()[1])
        Lab.sweep()
        self.assertNotEqual(self.leftovers(process), [])
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        self.assertTrue(alive(inside))
        with Lab("sweeper"):
            self.assertEqual(self.leftovers(process), [])
        self.assertTrue(ends(inside))
