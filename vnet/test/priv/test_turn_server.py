"""
The TURN server as a process, judged by coturn's client, and by hostile ones of our own.

With C{VNET_FULL=1} the floods are as large as they may become: a million spoofed requests, 10,000 idle connections, and 1,000
allocations that go on.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import resource
import select
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.stun import BINDING, Class, Message, decode, encode
from vnet.protocols.codec.stunattributes import (
    ADDITIONAL_ADDRESS_FAMILY,
    CHANNEL_NUMBER,
    DONT_FRAGMENT,
    ICMP,
    LIFETIME,
    REQUESTED_TRANSPORT,
    XOR_PEER_ADDRESS,
    Icmp,
)
from vnet.protocols.codec.turn import ALLOCATE, CHANNEL_BIND, CREATE_PERMISSION, UDP, decodeChannelData
from vnet.test.forbiddenpeers import FORBIDDEN_PEERS
from vnet.test.netlab import Host, Lab
from vnet.test.netlab._system import batch
from vnet.test.priv.daemons import waitUntil
from vnet.test.priv.relay import SECRET, Relay, secretFile
from vnet.test.priv.turnclient import BlockingClient, inside, openPeer, receiveAll
from vnet.values import Address

pytestmark = pytest.mark.privileged

FULL = os.environ.get("VNET_FULL", "") not in ("", "0")
SPOOFED = 1_000_000 if FULL else 100_000
IDLE = 10_000 if FULL else 2_000
KEPT = 1_000 if FULL else 100
MEBI = 1 << 20
TCP_PORT, TLS_PORT = 3478, 5349
ONE, TWO = 0x4000, 0x4001

WATCH = """
table inet watch {
    counter peers { }
    counter clients { }
    chain out {
        type filter hook output priority 0;
        udp sport 49152-65535 counter name peers
        udp sport 3478 counter name clients
    }
}
"""


def sourceOf(number: int) -> str:
    """
    One of the many addresses of the client's host.
    """
    return f"10.50.{number >> 8 & 255}.{number & 255}"


class TurnServerCase(SynchronousTestCase):
    """
    A relay, a host of clients and one of peers.
    """

    def setUp(self) -> None:
        lab = Lab(type(self).__name__.lower()[:10])
        lab.__enter__()
        self.addCleanup(lab.close)
        self.lab = lab
        self.host, self.clients, self.peers = (
            lab.addHost(name, ipv6=True) for name in ("relay", "clients", "peers")
        )
        self.relay = self.startRelay()

    def startRelay(self, *options: str) -> Relay:
        addresses = (self.peers.address, self.peers.address6)
        chosen = [
            f"--secret-file={secretFile(self.lab.directory)}",
            *(f"--listen={each}" for each in (self.host.address, self.host.address6)),
            *(f"--allow-peer={each}" for each in addresses),
            "--user-quota=1000",
            *options,
        ]
        relay = Relay("relay", self.host, self.lab.directory / "relay", "vnet-relay", chosen)
        relay.start()
        self.addCleanup(self.judge, relay)
        return relay

    def judge(self, relay: Relay) -> None:
        """
        It has lived until now, ends when it is told to, and has logged nothing of what strangers did.
        """
        lived = relay.running
        relay.stop()
        log = relay.log.read_text()
        self.assertTrue(lived, log)
        self.assertNotIn("Traceback", log)
        self.assertLess(len(log.splitlines()), 40, log)
        self.assertIn("Server Shut Down", log)

    def client(self, transport: str = "udp", **values: Any) -> BlockingClient:
        port = TLS_PORT if transport == "tls" else TCP_PORT
        made = BlockingClient(self.clients, Address(self.host.address, port), SECRET, transport, **values)
        self.addCleanup(made.close)
        return made

    def allocated(self, transport: str = "udp", **values: Any) -> BlockingClient:
        """
        A client with an address of each family.
        """
        made = self.client(transport, **values)
        made.allocate(ADDITIONAL_ADDRESS_FAMILY(6))
        return made

    def memory(self) -> int:
        """
        The relay's resident memory, bytes.
        """
        assert self.relay.process is not None
        status = Path(f"/proc/{self.relay.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    def watch(self) -> None:
        """
        Count what the relay's host sends: see L{sent}.
        """
        self.host.run(["nft", "-f", "-"], text=WATCH)

    def sent(self, name: str) -> int:
        """
        Datagrams that have left since L{watch}, for C{peers} or for C{clients}.
        """
        listed = json.loads(self.host.run(["nft", "-j", "list", "counter", "inet", "watch", name]).stdout)
        return int(listed["nftables"][1]["counter"]["packets"])

    def addSources(self) -> None:
        """
        Give the clients' host all addresses of 10.50.0.0/16, and let no answer to other addresses come back as an error.
        """
        batch(["route add local 10.50.0.0/16 dev lo"], self.clients.namespace)
        link = self.clients.link.upDevice
        batch(
            [
                f"route add 10.50.0.0/16 via {self.clients.address} dev {link}",
                "route add blackhole 0.0.0.0/0",
            ],
            self.lab.internet.namespace,
        )


@define(eq=False)
class Uclient:
    """
    A run of coturn's client.
    """

    options: Sequence[str]
    process: subprocess.Popen[str]
    output: str = field(default="", init=False)

    def verdict(self) -> str:
        """
        What it says when it has ended.
        """
        self.output, _ = self.process.communicate(timeout=60)
        found = re.findall(r"Total lost packets .*", self.output)
        return found[-1] if found else self.output[-800:]


@pytest.mark.commands("turnutils_uclient", "turnutils_peer")
class UclientTests(TurnServerCase):
    """
    coturn's client.
    """

    def setUp(self) -> None:
        super().setUp()
        addresses = (self.peers.address, self.peers.address6 or "")
        self.peers.popen(
            ["turnutils_peer", "-p", "3480", *(part for each in addresses for part in ("-L", each))],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.addSources()
        self.number = 0
        self.four = ("-e", addresses[0], "-r", "3480")
        self.six = ("-x", "-e", addresses[1], "-r", "3480")

    def begin(self, *options: str, server: str = "") -> Uclient:
        """
        Start a run, from an address of its own: of one only so many are let in at once.
        """
        self.number += 1
        source = () if server else ("-L", sourceOf(self.number))
        who = ("-u", "high-judge", "-W", SECRET)
        argv = ["turnutils_uclient", *who, *source, *options, server or self.host.address]
        process = self.clients.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return Uclient(options, process)

    def assertNothingLost(self, *runs: Uclient) -> None:
        for run in runs:
            verdict = run.verdict()
            self.assertTrue(verdict.startswith("Total lost packets 0 "), f"{run.options}: {verdict}")

    def test_modes(self) -> None:
        """
        It loses nothing, in channels and in indications, over UDP, TCP and TLS, IPv4 and IPv6, to peers outside and to another
        of its own.
        """
        few, slow = ("-n", "30", "-m", "2"), ("-n", "30", "-m", "2", "-z", "40")
        modes = [
            (*self.four, *few),
            (*self.four, *few, "-s"),
            (*self.four, *few, "-g", "-D", "-G"),
            (*self.four, *few, "-l", "1300", "-z", "5"),
            (*self.six, *few),
            ("-y", *few),
            ("-y", "-s", *few),
            ("-y", "-x", *few),
            (*self.four, *few, "-t"),
            (*self.four, *few, "-t", "-s"),
            ("-y", *few, "-t"),
            (*self.four, *slow, "-t", "-S"),
            (*self.six, *slow, "-t", "-S"),
            ("-y", *slow, "-t", "-S"),
        ]
        six = self.begin(*self.six, *few, server=self.host.address6 or "")
        self.assertNothingLost(six, *(self.begin(*options) for options in modes))

    def test_hostile(self) -> None:
        """While others break the protocol and come and go as fast as they can, a run beside them loses nothing."""
        modes = [
            ("-y", "-N", "-R"),
            ("-y", "-N", "-R", "-s"),
            ("-y", "-N", "-R", "-t"),
            ("-y", "-N", "-R", "-t", "-S"),
            ("-y", "-O"),
            ("-y", "-O", "-t"),
            ("-y", "-O", "-t", "-S"),
            ("-y", "-B", "-t"),
        ]
        command = ["turnutils_uclient", "-u", "high-bad", "-W", SECRET, "-n", "20", "-m", "4", "-z", "5"]
        lines = [" ".join(["timeout", "2", *command, *mode, self.host.address]) for mode in modes]
        script = f"while true; do {'; '.join(lines)}; done"
        bad = self.clients.popen(["sh", "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        good = [self.begin(*self.four, "-n", "200", "-m", "2"), self.begin(*self.four, "-n", "200", "-t")]
        self.assertNothingLost(*good)
        self.assertIsNone(bad.poll())


class DataTests(TurnServerCase):
    """
    Data.
    """

    def test_trains(self) -> None:
        """What passes is equal byte for byte and in order, both ways, also in trains, whatever the transport and the family are."""
        choose = random.Random(3)
        for transport in ("udp", "tcp", "tls"):
            client = self.allocated(transport)
            for number, host in ((ONE, self.peers.address), (TWO, self.peers.address6 or "")):
                peer = openPeer(self.peers, host)
                self.addCleanup(peer.close)
                relayed = client.relayed[number == TWO]
                self.assertEqual(client.bind(number, Address(host, peer.address.port)), 0)
                for size, count in (
                    (1, 3),
                    (100, 64),
                    (1372, 40),
                    (1400, 40),
                    (9000, 6),
                    (0, 1),
                    (60_000, 1),
                ):
                    texts = [choose.randbytes(size) for _ in range(count)]
                    client.tell(number, *texts)
                    self.assertEqual(receiveAll(peer, count), [(text, relayed) for text in texts])
                    to = peer.socketAddress(relayed)
                    self.assertTrue(peer.send(texts, size, count, to))
                    frames = [decodeChannelData(frame) for frame in client.data(count)]
                    self.assertEqual(frames, [(number, text) for text in texts])

    def test_mixedTrain(self) -> None:
        """A train of a client that holds messages of different kinds and channels is taken apart."""
        client = self.allocated()
        peer = openPeer(self.peers, self.peers.address)
        self.addCleanup(peer.close)
        target = Address(self.peers.address, peer.address.port)
        client.bind(ONE, target)
        frame = b"\x40\0\0\x58" + b"x" * 88
        stun = encode(Message(6, Class.INDICATION, bytes(12), (XOR_PEER_ADDRESS(target),)))
        stun = stun[:2] + (92 - 20).to_bytes(2, "big") + stun[4:] + b"\0\x13\0\x38" + b"s" * 56
        shorter, other = b"\x40\0\0\x57" + b"y" * 87 + b"\0", b"\x40\1\0\x58" + b"z" * 88
        broken = b"\x40\0\0\x59" + b"w" * 88
        self.assertEqual({len(each) for each in (frame, stun, shorter, other, broken)}, {92})
        client.put(frame, frame, stun, frame, shorter, other, broken, frame)
        found = [data for data, _ in receiveAll(peer, 6)]
        self.assertEqual(found.count(b"s" * 56), 1)
        self.assertEqual(
            [each for each in found if each != b"s" * 56], [b"x" * 88] * 3 + [b"y" * 87, b"x" * 88]
        )
        self.assertEqual(receiveAll(peer, 1, 0.2), [])

    def test_whole(self) -> None:
        """A datagram that may not be fragmented and is too long for the link does not leave; others do, in fragments."""
        client = self.allocated()
        peer = openPeer(self.peers, self.peers.address)
        self.addCleanup(peer.close)
        target = Address(self.peers.address, peer.address.port)
        client.permit(target)
        client.indicate(target, b"w" * 3000, DONT_FRAGMENT(True))
        client.indicate(target, b"f" * 3000)
        client.indicate(target, b"w" * 1400, DONT_FRAGMENT(True))
        self.assertEqual([data for data, _ in receiveAll(peer, 2)], [b"f" * 3000, b"w" * 1400])

    def test_refused(self) -> None:
        """A client is told what ICMP says of what it sent: that nobody listens, or that it was too large for the way."""
        client = self.allocated()
        assert self.peers.address6 is not None
        closed = [Address(host, 9) for host in (self.peers.address, self.peers.address6)]
        client.permit(*closed)
        for peer, kind, code in zip(closed, (3, 1), (3, 4), strict=True):
            client.indicate(peer, b"data")
            self.assertEqual(self.icmp(client), (peer, Icmp(kind, code)))
            client.bind(ONE + kind, peer)
            client.tell(ONE + kind, b"data")
            self.assertEqual(self.icmp(client), (peer, Icmp(kind, code)))
        batch([f"link set {self.peers.link.upDevice} mtu 1300"], self.lab.internet.namespace)
        client.indicate(closed[0], b"x" * 1400, DONT_FRAGMENT(True))
        self.assertEqual(self.icmp(client), (closed[0], Icmp(3, 4, (1300).to_bytes(4, "big"))))
        client.indicate(closed[1], b"x" * 1400)
        self.assertEqual(self.icmp(client), (closed[1], Icmp(2, 0, (1300).to_bytes(4, "big"))))

    def icmp(self, client: BlockingClient) -> tuple[Address | None, Icmp | None]:
        """
        Of what a client is told next.
        """
        message = client.take()
        assert message is not None
        return decode(message).get(XOR_PEER_ADDRESS), decode(message).get(ICMP)

    def test_low(self) -> None:
        """Class low has its 256 kbit/s and its burst, and no more."""
        client = self.allocated(user="low-x")
        peer = openPeer(self.peers, self.peers.address)
        self.addCleanup(peer.close)
        client.bind(ONE, Address(self.peers.address, peer.address.port))
        began = time.monotonic()
        for _ in range(20):
            client.tell(ONE, *[b"x" * 972] * 40)
            time.sleep(0.05)
        seconds = time.monotonic() - began
        passed = len(receiveAll(peer, 800, 0.3))
        self.assertTrue(64 <= passed <= 66 + 32 * seconds, (passed, seconds))


class ForbiddenTests(TurnServerCase):
    """
    Where nothing may go.
    """

    def forbidden(self) -> list[Address]:
        """
        More than 60 addresses of no host of the Internet, and those of the relay's own host.
        """
        assert self.host.address6 is not None
        own = [Address(host, port) for host in (self.host.address, self.host.address6) for port in (22, 3478)]
        return [*(Address(host, 3480) for host in FORBIDDEN_PEERS), *own]

    def test_forbidden(self) -> None:
        """Each is refused in CreatePermission and ChannelBind, Send is silent, and no packet leaves."""
        client, other = self.allocated(), self.allocated()
        peer = openPeer(self.peers, self.peers.address)
        self.addCleanup(peer.close)
        # The relay's own host has permissions, as peers of the other allocation.
        self.assertEqual(client.permit(*other.relayed), 0)
        self.watch()
        for each in self.forbidden():
            held = XOR_PEER_ADDRESS(each)
            self.assertEqual(client.code(CREATE_PERMISSION, held), 403, each)
            self.assertEqual(client.code(CHANNEL_BIND, CHANNEL_NUMBER(ONE), held), 403, each)
            client.indicate(each, b"data")
            client.tell(ONE, b"data")
        self.assertEqual(client.refresh(), 0)
        self.assertEqual(self.sent("peers"), 0)
        target = Address(self.peers.address, peer.address.port)
        client.permit(target)
        client.indicate(target, b"data")
        self.assertEqual(receiveAll(peer, 1), [(b"data", client.relayed[0])])
        self.assertEqual(self.sent("peers"), 1)

    def test_ownHost(self) -> None:
        """What programs of the relay's host send to a relayed address does not come; what another allocation sends does."""
        client, other = self.allocated(), self.allocated()
        self.assertEqual((client.permit(*other.relayed), other.permit(*client.relayed)), (0, 0))
        program = openPeer(self.host, self.host.address)
        self.addCleanup(program.close)
        self.watch()
        program.send((b"own",), 3, 1, program.socketAddress(client.relayed[0]))
        other.bind(ONE, client.relayed[0])
        other.tell(ONE, b"inside")
        message = client.take()
        assert message is not None
        self.assertIn(b"inside", message)
        self.assertIsNone(client.take(0.3))
        self.assertLessEqual(self.sent("peers"), 1)


@pytest.mark.timeout(600 if FULL else 120)
class StrangersTests(TurnServerCase):
    """
    Crowds of strangers.
    """

    def setUp(self) -> None:
        super().setUp()
        self.addSources()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 2 * IDLE + 4096)), hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))

    def connect(self, count: int, port: int) -> list[socket.socket]:
        """
        Open connections, 50 from each address, and do nothing.
        """
        opened = []
        with inside(self.clients):
            for number in range(count):
                source = (sourceOf(port % 100 * 256 + number // 50), 0)
                opened.append(socket.create_connection((self.host.address, port), 10, source))
                self.addCleanup(opened[-1].close)
        return opened

    def serve(self, transport: str) -> float:
        """
        How long a real client waits until it is served.
        """
        began = time.monotonic()
        client = self.allocated(transport)
        peer = openPeer(self.peers, self.peers.address)
        client.bind(ONE, Address(self.peers.address, peer.address.port))
        client.tell(ONE, b"hello")
        found = receiveAll(peer, 1)
        peer.close()
        self.assertEqual([data for data, _ in found], [b"hello"])
        return time.monotonic() - began

    def test_idle(self) -> None:
        """
        Connections on which nothing is said, or nothing after TLS, or one byte a time, are cut within 15 seconds, and real
        clients are served meanwhile.
        """
        half = [self.client(transport, host=sourceOf(1)) for transport in ("tls", "tcp") for _ in range(5)]
        for each in half[5:]:
            each.stream.sendall(b"\x40\0\x07\0")
        waiting = {port: self.connect(IDLE // 2, port) for port in (TCP_PORT, TLS_PORT)}
        last = time.monotonic()
        times = [self.serve(transport) for transport in ("udp", "tcp", "tls")]
        self.assertLess(max(times), 5.0)
        poll = select.poll()
        left = {each.fileno() for group in waiting.values() for each in group}
        for descriptor in left:
            poll.register(descriptor, select.POLLIN)
        while left and time.monotonic() < last + 15:
            for descriptor, _ in poll.poll(500):
                poll.unregister(descriptor)
                left.discard(descriptor)
            times += [self.serve(transport) for transport in ("tcp", "tls")]
            for each in half[5:]:
                with contextlib.suppress(OSError):
                    each.stream.send(b"\0")
        self.assertEqual(len(left), 0)
        for each in half:
            self.assertTrue(self.isCut(each.stream))
        self.assertLess(max(times), 5.0)
        print(
            f"{IDLE} idle connections: cut after {time.monotonic() - last:.1f} s, real ones waited {max(times):.2f} s"
        )

    def isCut(self, stream: socket.socket) -> bool:
        """
        Whether a connection is closed; what there is to be read is passed over.
        """
        stream.settimeout(1.0)
        try:
            while stream.recv(4096):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True

    def test_perSource(self) -> None:
        """One address has 64 connections without an allocation at most; those with one do not count."""
        known = [self.client("tcp", host=sourceOf(9)) for _ in range(3)]
        for client in known:
            client.allocate()
        with inside(self.clients):
            source = (sourceOf(9), 0)
            opened = [socket.create_connection((self.host.address, TCP_PORT), 5, source) for _ in range(80)]
        for each in opened:
            self.addCleanup(each.close)
        waitUntil(lambda: len(self.cut(opened)) >= 80 - 64, 10, "some are cut")
        time.sleep(0.3)
        self.assertEqual(len(self.cut(opened)), 80 - 64)
        self.assertEqual([client.refresh() for client in known], [0, 0, 0])
        self.serve("tcp")

    def cut(self, opened: list[socket.socket]) -> list[socket.socket]:
        return [each for each in opened if select.select([each], [], [], 0)[0]]

    def test_challenges(self) -> None:
        """A source that does not say who it is gets ten answers a second at most."""
        request = encode(Message(ALLOCATE, Class.REQUEST, bytes(12), (REQUESTED_TRANSPORT(UDP),)))
        opened = openPeer(self.clients, sourceOf(1))
        self.addCleanup(opened.close)
        to, began = (self.host.address, TCP_PORT), time.monotonic()
        for _ in range(100):
            opened.send([request] * 10, len(request), 10, to)
            time.sleep(0.02)
        found = receiveAll(opened, 1000, 0.3)
        seconds = time.monotonic() - began
        self.assertTrue(10 <= len(found) <= 10 * (seconds + 1), (len(found), seconds))

    def flood(self, count: int) -> float:
        """
        Send Allocate requests from random addresses, no faster than the relay takes them.

        @return: how many seconds that took.
        """
        stun = encode(Message(ALLOCATE, Class.REQUEST, b"spoofed by a", (REQUESTED_TRANSPORT(UDP),)))
        size = 28 + len(stun)
        head = bytearray(b"\x45\0" + size.to_bytes(2, "big") + b"\0\0\0\0\x40\x11\0\0" + bytes(4))
        head += socket.inet_aton(self.host.address)
        head += b"\0\0" + TCP_PORT.to_bytes(2, "big") + (8 + len(stun)).to_bytes(2, "big") + b"\0\0"
        packet = head + stun
        with inside(self.clients):
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        choose, to, began = random.Random(4), (self.host.address, 0), time.monotonic()
        with raw:
            for number in range(count):
                packet[12:16] = (choose.randrange(1, 120) << 24 | choose.getrandbits(24)).to_bytes(4, "big")
                packet[20:22] = (1024 + choose.getrandbits(15)).to_bytes(2, "big")
                raw.sendto(packet, to)
                if not number % 1000:
                    waitUntil(lambda: self.queued() < MEBI, 20.0, "the relay has read", 0.001)
        waitUntil(lambda: not self.queued(), 20.0, "the relay has read all")
        return time.monotonic() - began

    def queued(self) -> int:
        """
        Bytes that wait for the relay to read them.
        """
        assert self.relay.process is not None
        lines = Path(f"/proc/{self.relay.process.pid}/net/udp").read_text().splitlines()[1:]
        fields = [line.split() for line in lines]
        return sum(
            int(each[4].partition(":")[2], 16) for each in fields if each[1].endswith(f":{TCP_PORT:04X}")
        )

    def test_spoofed(self) -> None:
        """Requests from random addresses make nothing grow, and allocations go on."""
        kept = [self.client(host=sourceOf(1000 + number)) for number in range(KEPT)]
        peer = openPeer(self.peers, self.peers.address)
        self.addCleanup(peer.close)
        target = Address(self.peers.address, peer.address.port)
        for each in kept:
            each.allocate(LIFETIME(3600))
            self.assertEqual(each.bind(ONE, target), 0)
        self.watch()
        before = self.memory()
        seconds = self.flood(SPOOFED)
        grown = self.memory() - before
        self.assertGreater(self.sent("clients"), 0.9 * SPOOFED)
        self.assertLessEqual(grown, 4 * MEBI)
        for each in kept:
            self.assertEqual(each.refresh(), 0)
            each.tell(ONE, b"alive")
        self.assertEqual(len(receiveAll(peer, KEPT)), KEPT)
        print(
            f"{SPOOFED} spoofed requests in {seconds:.1f} s: resident memory grew by {grown / MEBI:.2f} MiB"
        )


class EndTests(TurnServerCase):
    """
    The ends of connections and of the relay.
    """

    def ports(self) -> int:
        """
        How many UDP ports the relay has.
        """
        assert self.relay.process is not None
        found = [Path(f"/proc/{self.relay.process.pid}/net/{name}").read_text() for name in ("udp", "udp6")]
        return sum(len(text.splitlines()) - 1 for text in found)

    def test_gone(self) -> None:
        """With a connection its allocation ends, and gives its ports back; so it does when it is refreshed no more."""
        before = self.ports()
        for transport in ("tcp", "tls"):
            client = self.allocated(transport)
            self.assertEqual(self.ports(), before + 2)
            client.close()
            waitUntil(lambda: self.ports() == before, 15.0, "the ports are free")
        client = self.allocated()
        self.assertEqual((self.ports(), client.refresh(LIFETIME(0)), self.ports()), (before + 2, 0, before))

    def test_garbage(self) -> None:
        """Connections that speak something else are closed at once, and datagrams of nothing are not answered."""
        with inside(self.clients):
            for data in (b"GET / HTTP/1.1\r\n\r\n", b"\x80" * 20, b"\0\1\0\1" + bytes(20), b"\x16\3\1\2\0\1"):
                opened = socket.create_connection((self.host.address, TCP_PORT), 5)
                with opened:
                    opened.sendall(data)
                    opened.settimeout(3)
                    with contextlib.suppress(ConnectionResetError):
                        self.assertEqual(opened.recv(100), b"", data)
        udp = openPeer(self.clients, self.clients.address)
        self.addCleanup(udp.close)
        for size in (0, 1, 3, 4, 20, 1000, 60_000):
            for first in (0, 0x40, 0x7F, 0x80, 0xFF):
                udp.send((bytes([first]) * size,), size, 1, (self.host.address, TCP_PORT))
        self.assertEqual(receiveAll(udp, 1, 0.3), [])
        self.allocated()

    def test_slowly(self) -> None:
        """A client that says who it is byte for byte is served, if it is not too slow."""
        client = self.client("tcp")
        request = client.signer.request(ALLOCATE, bytes(12), (REQUESTED_TRANSPORT(UDP),))
        for place in range(len(request)):
            client.stream.sendall(request[place : place + 1])
        answer = client.take()
        assert answer is not None
        self.assertEqual(answer[8:20], bytes(12))


class AddressesTests(SynchronousTestCase):
    """
    A relay on a host with several addresses, of which none is named.
    """

    def test_everyAddress(self) -> None:
        """Each address answers from where it was asked, over IPv4 and IPv6, and so does one that comes later."""
        with Lab("addresses") as lab:
            host, client = lab.addHost("relay", ipv6=True), lab.addHost("client", ipv6=True)
            second = host.addAddress()
            relay = Relay(
                "relay",
                host,
                lab.directory / "relay",
                "vnet-relay",
                [f"--secret-file={secretFile(lab.directory)}", f"--host={host.address}"],
            )
            relay.start()
            try:
                for each in (host.address, second, host.address6 or ""):
                    self.assertTrue(self.answers(client, each), each)
                third = host.addAddress()
                waitUntil(lambda: self.answers(client, third), 15.0, "a new address answers")
                batch([f"addr del {third}/32 dev eth0"], host.namespace)
                batch([f"addr add {third}/32 dev eth0"], host.namespace)
                waitUntil(lambda: self.answers(client, third), 15.0, "an address that is back answers")
                self.assertTrue(self.answers(client, host.address))
                self.assertNotIn("Traceback", relay.tail(1000))
            finally:
                relay.stop()

    def answers(self, client: Host, address: str) -> bool:
        """
        Whether a STUN server answers from the address that is asked.
        """
        with (
            inside(client),
            socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as asking,
        ):
            # A connected socket takes nothing from elsewhere.
            asking.connect((address, 3478))
            asking.settimeout(0.5)
            try:
                asking.send(encode(Message(BINDING, Class.REQUEST, os.urandom(12))))
                return decode(asking.recv(2048)).klass is Class.SUCCESS
            except OSError:
                return False
