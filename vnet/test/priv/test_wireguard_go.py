"""
The WireGuard machine against wireguard-go.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import threading
from collections.abc import Callable
from typing import ClassVar

import pytest
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.handshake import Initiation, encodeHandshake
from vnet.protocols.machine.cookie import CookieHolder
from vnet.protocols.machine.wireguard import EndpointMoved
from vnet.test.priv.wgpeer import OURS, PORT, THEIRS, Lab, Peer, command, now, udpSocket
from vnet.values import Address

pytestmark = pytest.mark.commands("wireguard-go", "wg")

_NO_MAC = bytes(16)


def plausibleInitiations(publicKey: bytes, count: int) -> list[bytes]:
    """
    Initiations that nobody made, but with a right mac1: each costs its receiver a Diffie-Hellman.
    """
    holder = CookieHolder(publicKey)
    return [
        holder.addMacs(
            encodeHandshake(Initiation(number, os.urandom(32), os.urandom(48), os.urandom(28))), 0.0
        )
        for number in range(count)
    ]


def pour(sock: socket.socket, burst: list[bytes], target: tuple[str, int]) -> None:
    """
    Send as fast as can be; what the kernel has no room for is lost.
    """
    for data in burst:
        with contextlib.suppress(BlockingIOError):
            sock.sendto(data, target)


def drain(sock: socket.socket) -> list[bytes]:
    """
    Take what has come to a socket.
    """
    received = []
    while True:
        try:
            received.append(sock.recv(65536))
        except BlockingIOError:
            return received


def variantsOf(lab: Lab) -> list[tuple[Peer, bool]]:
    """
    A peer for each outer and inner version, with and without preshared key, and whether we begin.
    """
    return [
        (lab.addPeer(version, inner, presharedKey, weInitiate=weInitiate), weInitiate)
        for version in (4, 6)
        for inner in (4, 6)
        for presharedKey in (None, os.urandom(32))
        for weInitiate in (True, False)
    ]


class Rekeying(threading.Thread):
    """
    All variants for 127 seconds, while the other tests run.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.lab = Lab()
        self.variants = variantsOf(self.lab)
        self.stop = threading.Event()
        self.pings = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._ping()
        except BaseException as error:
            self.error = error

    def _ping(self) -> None:
        began = now()
        kernelPings = [self.lab.pingFromThere(peer) for peer, weInitiate in self.variants if not weInitiate]
        while now() - began < 127 and not self.stop.is_set():
            self.pings += 1
            for peer, weInitiate in self.variants:
                if weInitiate or self.pings > 1:
                    peer.ping(self.pings)
            self.lab.run(0.5)
        self.lab.run(0.5)
        for ping in kernelPings:
            ping.wait()


class WireGuardGoTests(SynchronousTestCase):
    """
    Each test has its own namespaces and its own wireguard-go.  What takes two minutes runs beside all.
    """

    rekeying: ClassVar[Rekeying]

    @classmethod
    def setUpClass(cls) -> None:
        cls.rekeying = Rekeying()
        cls.rekeying.start()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.rekeying.stop.set()
        cls.rekeying.join()
        cls.rekeying.lab.close()

    def setUp(self) -> None:
        self.lab = Lab()
        self.addCleanup(self.lab.close)

    def waitFor(self, seconds: float, condition: Callable[[], object], why: str = "too late") -> None:
        """
        Let our machines work until something has happened.
        """
        self.assertTrue(self.lab.run(seconds, lambda: bool(condition())), why)

    def pingFromThere(self, peer: Peer, count: int = 1, interval: float = 0.2) -> None:
        """
        Have wireguard-go's side send echo requests, until the end of the test at most.
        """
        ping = self.lab.pingFromThere(peer, count, interval)
        self.addCleanup(ping.wait)
        self.addCleanup(ping.kill)

    def flood(self, namespace: str, host: str) -> socket.socket:
        """
        A socket to send from, that is closed at the end.
        """
        sock = udpSocket(namespace, host)
        self.addCleanup(sock.close)
        return sock

    def test_handshakeAndData(self) -> None:
        """
        Over IPv4 and IPv6, with and without preshared key, whoever begins: one handshake, and packets of both
        inner versions in both directions.
        """
        variants = variantsOf(self.lab)
        pings = []
        for peer, weInitiate in variants:
            if weInitiate:
                peer.ping(1)
            else:
                pings.append(self.lab.pingFromThere(peer))
        self.waitFor(5, lambda: all(peer.replies if ours else peer.requests for peer, ours in variants))
        for peer, weInitiate in variants:
            if weInitiate:
                pings.append(self.lab.pingFromThere(peer))
            else:
                peer.ping(1)
        self.waitFor(5, lambda: all(ping.poll() is not None for ping in pings))
        self.assertEqual([ping.returncode for ping in pings], [0] * len(pings))
        for peer, weInitiate in variants:
            self.assertEqual(peer.replies, {1})
            self.assertEqual(len(peer.went(1)), int(weInitiate))
            self.assertEqual(len(peer.came(1)), int(not weInitiate))
            self.assertEqual(peer.established(), 1)
            self.assertEqual(dict(peer.machine.counters), {})

    def test_wrongPresharedKey(self) -> None:
        """
        With a preshared key that is not the peer's there is no session, in neither role.
        """
        for weInitiate in (True, False):
            self.wrongPresharedKey(weInitiate)

    def wrongPresharedKey(self, weInitiate: bool) -> None:
        peer = self.lab.addPeer(4, 4, os.urandom(32), weInitiate=weInitiate)
        peer.machine.setPresharedKeys(self.lab.publicKey, [os.urandom(32)])
        if weInitiate:
            peer.ping(1)
        else:
            self.pingFromThere(peer)
        self.waitFor(5, lambda: peer.came(2) or peer.went(2))
        self.lab.run(0.3)
        self.assertEqual(peer.established(), 0)
        self.assertEqual((peer.replies, peer.requests), (set(), 0))

    def test_severalPresharedKeys(self) -> None:
        """
        Among several preshared keys we find wireguard-go's: as the initiator at once, as the responder when it
        tries again.
        """
        for weInitiate, seconds in ((True, 1.0), (False, 8.0)):
            self.severalPresharedKeys(weInitiate, seconds)

    def severalPresharedKeys(self, weInitiate: bool, seconds: float) -> None:
        key = os.urandom(32)
        peer = self.lab.addPeer(4, 4, key, weInitiate=weInitiate)
        peer.machine.setPresharedKeys(self.lab.publicKey, [os.urandom(32), key])
        if weInitiate:
            peer.ping(1)
        else:
            self.pingFromThere(peer, 8, 1)
        self.waitFor(seconds, lambda: peer.established() == 1)
        if not weInitiate:
            peer.ping(1)
        self.waitFor(1, lambda: peer.replies)

    def test_cookieFromThem(self) -> None:
        """
        wireguard-go under load gives us a cookie, and accepts what we then send with it while still under load.
        """
        for version in (4, 6):
            self.cookieFromThem(version)

    def cookieFromThem(self, version: int) -> None:
        sock = self.flood(self.lab.ours, OURS[version])
        burst = plausibleInitiations(self.lab.publicKey, 4000)
        for _ in range(5):
            peer = self.lab.addPeer(version)
            began = self.load(sock, burst, version)
            peer.machine.initiate(self.lab.publicKey, now())
            self.lab.run(0.4, lambda: bool(peer.came(3)))  # noqa: B023
            before = len(peer.came(3)), peer.established()
            peer.machine.initiate(self.lab.publicKey, now())
            self.lab.run(0.4, lambda: bool(peer.established()))  # noqa: B023
            # It feels the load for a second; on a busy computer that may be over before.
            if now() - began < 0.9:
                break
        self.assertEqual((before, peer.established()), ((1, 0), 1))
        self.assertEqual([data[-16:] == _NO_MAC for data in peer.went(1)], [True, False])
        self.assertEqual(dict(peer.machine.counters), {})
        peer.ping(1)
        self.waitFor(2, lambda: peer.replies)

    def load(self, sock: socket.socket, burst: list[bytes], version: int) -> float:
        """
        Have wireguard-go under load.

        @return: when it was.
        """
        for _ in range(20):
            pour(sock, burst, (THEIRS[version], PORT))
            self.lab.run(0.1)
            if any(len(data) == 64 for data in drain(sock)):
                return now()
        self.fail("wireguard-go was never under load")

    def test_cookieFromUs(self) -> None:
        """
        Under a flood of initiations we give wireguard-go a cookie, and accept what it then sends with it.
        """
        peers = [self.lab.addPeer(version, weInitiate=False) for version in (4, 6)]
        floods = [
            (
                self.flood(self.lab.theirs, THEIRS[peer.version]),
                peer,
                plausibleInitiations(peer.machine.publicKey, 100),
            )
            for peer in peers
        ]

        def flood() -> None:
            for sock, peer, burst in floods:
                pour(sock, burst, peer.address[:2])

        flood()
        self.lab.run(0.2)
        for peer in peers:
            self.pingFromThere(peer, 10, 1)
        end = now() + 9
        while now() < end and not all(peer.established() for peer in peers):
            self.lab.run(0.5)
            flood()
        for peer in peers:
            self.assertEqual(peer.established(), 1)
            theirs = [data for data in peer.came(1) if data[-16:] != _NO_MAC]
            self.assertTrue(theirs, "no initiation with a mac2")
            self.assertGreater(peer.machine.counters["cookieSent"], 50)
            self.assertGreater(peer.requests, 0)

    def test_weRoam(self) -> None:
        """
        When our port changes, wireguard-go follows with our next packet, without a handshake.
        """
        for version in (4, 6):
            self.weRoam(version)

    def weRoam(self, version: int) -> None:
        peer = self.lab.addPeer(version)
        peer.ping(1)
        self.waitFor(2, lambda: peer.replies)
        before = peer.address
        peer.move()
        self.assertNotEqual(peer.address, before)
        peer.ping(2)
        self.waitFor(2, lambda: 2 in peer.replies)
        self.assertEqual(self.lab.show("endpoints", peer), str(peer.address))
        self.assertEqual(peer.established(), 1)

    def test_theyRoam(self) -> None:
        """
        When wireguard-go's address changes, we follow with its next packet and tell it, without a handshake.
        """
        for version, moved, bits in ((4, "198.18.77.99", "24"), (6, "fd77::99", "64")):
            self.theyRoam(version, moved, bits)

    def theyRoam(self, version: int, moved: str, bits: str) -> None:
        self.lab.wg("listen-port", str(PORT))
        peer = self.lab.addPeer(version)
        peer.ping(1)
        self.waitFor(2, lambda: peer.replies)
        port = PORT + version
        at = ("-n", self.lab.theirs, "addr")
        command("ip", *at, "del", f"{THEIRS[version]}/{bits}", "dev", "veth0")
        command("ip", *at, "add", f"{moved}/{bits}", "dev", "veth0", *(["nodad"] if version == 6 else []))
        # It would send from the old address until a handshake fails; this makes it look for one anew.
        self.lab.wg("listen-port", str(port))
        ping = self.lab.pingFromThere(peer, 3)
        self.waitFor(4, lambda: ping.poll() is not None)
        self.assertEqual(ping.returncode, 0)
        expected = EndpointMoved(self.lab.publicKey, Address(moved, port))
        self.assertIn(expected, peer.events)
        peer.ping(2)
        self.waitFor(2, lambda: 2 in peer.replies)
        self.assertEqual(peer.seen[-1][2], Address(moved, port))
        self.assertEqual(peer.established(), 1)

    def test_silence(self) -> None:
        """
        Garbage, damaged and replayed messages of a session with wireguard-go get no answer, do nothing to the
        session, and do not move the endpoint.
        """
        peer = self.lab.addPeer(4, weInitiate=False)
        ping = self.lab.pingFromThere(peer, 3)
        self.waitFor(5, lambda: ping.poll() is not None)
        true = [data for inbound, data, _ in peer.seen if inbound]
        self.assertEqual({data[0] for data in true}, {1, 4})
        source = random.Random(7)
        bad = list(true)
        for data in true:
            for _ in range(40):
                place = source.randrange(len(data))
                bad.append(data[:place] + bytes([data[place] ^ source.randrange(1, 256)]) + data[place + 1 :])
                bad.append(data[: source.randrange(len(data))])
                bad.append(data + source.randbytes(source.randrange(1, 40)))
        bad += [source.randbytes(source.randrange(200)) for _ in range(200)]
        bad += [struct.pack("<I", source.randrange(1, 5)) + source.randbytes(144) for _ in range(100)]
        sock = self.flood(self.lab.theirs, THEIRS[4])
        sent, moment = len(peer.seen), now()
        for place in range(0, len(bad), 50):
            for data in bad[place : place + 50]:
                sock.sendto(data, peer.address[:2])
            self.lab.run(0.02)
        self.lab.run(0.3)
        arrived = [entry for entry in peer.seen[sent:] if entry[0]]
        self.assertGreaterEqual(len(arrived), len(bad) - 20)
        self.assertEqual(drain(sock), [])
        self.assertEqual(
            [e for e in peer.seen[sent:] if not e[0] and e[2] == Address(*sock.getsockname()[:2])], []
        )
        self.assertEqual(peer.established(), 1)
        self.assertEqual(peer.machine.peerStatus(self.lab.publicKey).endpoint, Address(THEIRS[4], PORT))
        self.assertLess(now() - moment, 9)
        peer.ping(5)
        self.waitFor(2, lambda: 5 in peer.replies)

    @pytest.mark.timeout(200)
    def test_zRekey(self) -> None:
        """
        After 120 seconds whoever began begins anew, and no echo request is lost over it, in each variant.
        """
        rekeying = self.rekeying
        rekeying.join()
        self.assertIsNone(rekeying.error)
        for peer, weInitiate in rekeying.variants:
            first = 1 if weInitiate else 2
            self.assertEqual(peer.replies, set(range(first, rekeying.pings + 1)))
            self.assertEqual(len(peer.went(1)), 2 if weInitiate else 0)
            self.assertEqual(len(peer.came(1)), 0 if weInitiate else 2)
            self.assertEqual(peer.established(), 2)
            self.assertEqual(dict(peer.machine.counters), {})
