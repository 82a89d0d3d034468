"""
wireguard-go in one network namespace, our machine on UDP sockets in another, a veth between them.

The inner traffic is echo requests: wireguard-go's side is its real TUN and the kernel behind it, ours is
built by hand.
"""

from __future__ import annotations

import base64
import ctypes
import os
import select
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

from vnet.protocols.machine.wireguard import PacketsReceived, SessionEstablished, WireGuard, WireGuardEvent
from vnet.values import Address

#: Our outer address and wireguard-go's, by version.
OURS = {4: "198.18.77.1", 6: "fd77::1"}
THEIRS = {4: "198.18.77.2", 6: "fd77::2"}

#: wireguard-go's inner addresses, by version.
INNER = {4: "100.64.0.1", 6: "fd64::1"}

PORT = 51820

_CLONE_NEWNET = 0x40000000


def now() -> float:
    """
    The clock of the machines.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def command(*words: str, text: str | None = None) -> str:
    """
    Run a command to its end.
    """
    done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=20)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def udpSocket(namespace: str, host: str, port: int = 0) -> socket.socket:
    """
    A UDP socket that lives in another network namespace.
    """
    made: list[socket.socket] = []
    libc = ctypes.CDLL(None, use_errno=True)

    def make() -> None:
        # A namespace belongs to a thread, and a socket stays in the one where it was made.
        with open(f"/run/netns/{namespace}") as handle:
            if libc.setns(handle.fileno(), _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        sock.bind((host, port))
        made.append(sock)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]


def checksum(data: bytes) -> int:
    """
    The Internet checksum (RFC 1071).
    """
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def echo(source: str, destination: str, number: int, *, reply: bool = False, payload: bytes = b"") -> bytes:
    """
    An echo request or reply, of ICMP or ICMPv6 as the addresses are.
    """
    start, end = ip_address(source).packed, ip_address(destination).packed
    kind = (129 if reply else 128) if len(start) == 16 else (0 if reply else 8)
    body = struct.pack(">BBHHH", kind, 0, 0, 0x7667, number) + payload
    pseudo = start + end + struct.pack(">II", len(body), 58) if len(start) == 16 else b""
    body = body[:2] + checksum(pseudo + body).to_bytes(2, "big") + body[4:]
    if len(start) == 16:
        return struct.pack(">IHBB", 6 << 28, len(body), 58, 64) + start + end + body
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, 1, 0) + start + end
    return header[:10] + checksum(header).to_bytes(2, "big") + header[12:] + body


class Peer:
    """
    Our side: one machine on one socket, that answers echo requests and notes the replies to its own.

    @ivar seen: what has come and gone: whether it came, the bytes, the other address.
    @ivar events: all events but packets.
    @ivar replies: the numbers of the echo replies that have come.
    @ivar requests: the number of echo requests that have come.
    """

    def __init__(
        self, lab: Lab, number: int, version: int, innerVersion: int, presharedKey: bytes | None
    ) -> None:
        self.lab = lab
        self.version = version
        self.inner = f"100.64.1.{number}" if innerVersion == 4 else f"fd64::1:{number}"
        self.theirInner = INNER[innerVersion]
        self.presharedKey = presharedKey
        self.machine = WireGuard(os.urandom(32), random=os.urandom, wallClock=time.time_ns)
        self.socket = udpSocket(lab.ours, OURS[version])
        self.seen: list[tuple[bool, bytes, Address]] = []
        self.events: list[WireGuardEvent] = []
        self.replies: set[int] = set()
        self.requests = 0
        self.deaf = False
        self.machine.addPeer(
            lab.publicKey,
            allowedIps=[f"{INNER[4]}/32", f"{INNER[6]}/128"],
            presharedKeys=[presharedKey] if presharedKey else [],
        )

    @property
    def address(self) -> Address:
        """
        Where we are.
        """
        return Address(*self.socket.getsockname()[:2])

    def knowEndpoint(self) -> None:
        """
        Tell our machine where wireguard-go is.
        """
        self.machine.setEndpoint(self.lab.publicKey, Address(THEIRS[self.version], PORT))

    def move(self) -> None:
        """
        Go to another port.
        """
        old, self.socket = self.socket, udpSocket(self.lab.ours, OURS[self.version])
        old.close()

    def ping(self, number: int) -> None:
        """
        Send an echo request through the tunnel.
        """
        packet = echo(self.inner, self.theirInner, number, payload=bytes(56))
        self.machine.send(self.lab.publicKey, [packet], now())
        self.flush()

    def established(self) -> int:
        """
        How many sessions there have been.
        """
        return sum(isinstance(event, SessionEstablished) for event in self.events)

    def came(self, kind: int) -> list[bytes]:
        """
        The datagrams of one type that have come.
        """
        return [data for inbound, data, _ in self.seen if inbound and data[0] == kind]

    def went(self, kind: int) -> list[bytes]:
        """
        The datagrams of one type that have gone.
        """
        return [data for inbound, data, _ in self.seen if not inbound and data[0] == kind]

    def read(self) -> None:
        """
        Take what has come.
        """
        while True:
            try:
                data, where = self.socket.recvfrom(65536)
            except BlockingIOError:
                break
            addr = Address(*where[:2])
            self.seen.append((True, data, addr))
            if not self.deaf:
                self.machine.receive(data, addr, now())
        self.flush()

    def flush(self) -> None:
        """
        Work on timers and events, and send.
        """
        moment = now()
        at = self.machine.deadline()
        if at is not None and at <= moment:
            self.machine.timerFired(moment)
        while (event := self.machine.nextEvent()) is not None:
            if isinstance(event, PacketsReceived):
                self.answer(event.packets)
            else:
                self.events.append(event)
        for data, addr in self.machine.datagramsToSend(moment):
            self.seen.append((False, data, addr))
            self.socket.sendto(data, addr[:2])

    def answer(self, packets: tuple[bytes, ...]) -> None:
        """
        Do with inner packets what a kernel does.
        """
        answers = []
        for packet in packets:
            start = 20 if packet[0] >> 4 == 4 else 40
            kind, number = packet[start], int.from_bytes(packet[start + 6 : start + 8], "big")
            if kind in (0, 129):
                self.replies.add(number)
            elif kind in (8, 128):
                self.requests += 1
                identity, payload = packet[start + 4 : start + 6], packet[start + 8 :]
                made = bytearray(echo(self.inner, self.theirInner, number, reply=True, payload=payload))
                if made[start + 4 : start + 6] != identity:
                    made = _withIdentity(made, start, identity)
                answers.append(bytes(made))
        if answers:
            self.machine.send(self.lab.publicKey, answers, now())


def _withIdentity(packet: bytearray, start: int, identity: bytes) -> bytearray:
    # The checksum follows the changed word (RFC 1624).
    before = int.from_bytes(packet[start + 4 : start + 6], "big")
    total = (0xFFFF ^ int.from_bytes(packet[start + 2 : start + 4], "big")) + (0xFFFF ^ before)
    total += int.from_bytes(identity, "big")
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    packet[start + 2 : start + 4] = (total ^ 0xFFFF).to_bytes(2, "big")
    packet[start + 4 : start + 6] = identity
    return packet


class Lab:
    """
    Both namespaces, wireguard-go, and our peers.
    """

    _count = 0

    def __init__(self) -> None:
        Lab._count += 1
        tag = f"{os.getpid()}x{Lab._count}"
        self.ours = f"wgo-ours-{tag}"
        self.theirs = f"wgo-theirs-{tag}"
        self.interface = f"wg{tag}"[:15]
        self.peers: list[Peer] = []
        self._go: subprocess.Popen[bytes] | None = None
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def _build(self) -> None:
        for name in (self.ours, self.theirs):
            command("ip", "netns", "add", name)
            command("ip", "-n", name, "link", "set", "lo", "up")
        link = ("link", "add", "veth0", "type", "veth", "peer", "name", "veth0", "netns", self.theirs)
        command("ip", "-n", self.ours, *link)
        for name, hosts in ((self.ours, OURS), (self.theirs, THEIRS)):
            command("ip", "-n", name, "addr", "add", f"{hosts[4]}/24", "dev", "veth0")
            command("ip", "-n", name, "addr", "add", f"{hosts[6]}/64", "dev", "veth0", "nodad")
            command("ip", "-n", name, "link", "set", "veth0", "up")
        words = ["ip", "netns", "exec", self.theirs, "wireguard-go", "-f", self.interface]
        self._go = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._until(lambda: Path(f"/var/run/wireguard/{self.interface}.sock").exists())
        private = command("wg", "genkey").strip()
        self.publicKey = _decode(command("wg", "pubkey", text=private))
        self.wg("private-key", "/dev/stdin", "listen-port", str(PORT), text=private)
        self.there("ip", "addr", "add", f"{INNER[4]}/32", "dev", self.interface)
        self.there("ip", "addr", "add", f"{INNER[6]}/128", "dev", self.interface, "nodad")
        self.there("ip", "link", "set", self.interface, "mtu", "1400", "up")

    def _until(self, condition: Callable[[], bool], seconds: float = 10.0) -> None:
        end = now() + seconds
        while not condition():
            if now() > end:
                raise RuntimeError("wireguard-go did not start")
            time.sleep(0.02)

    def there(self, *words: str, text: str | None = None) -> str:
        """
        Run a command beside wireguard-go.
        """
        return command("ip", "netns", "exec", self.theirs, *words, text=text)

    def wg(self, *words: str, text: str | None = None) -> str:
        """
        Configure wireguard-go.
        """
        return self.there("wg", "set", self.interface, *words, text=text)

    def show(self, what: str, peer: Peer) -> str:
        """
        What C{wg show} says of one peer.
        """
        lines = self.there("wg", "show", self.interface, what).splitlines()
        found = dict(line.split("\t", 1) for line in lines)
        return found[_encode(peer.machine.publicKey)]

    def addPeer(
        self,
        version: int,
        innerVersion: int = 4,
        presharedKey: bytes | None = None,
        *,
        weInitiate: bool = True,
    ) -> Peer:
        """
        Make a machine of ours and make the two known to each other; who initiates knows the other's endpoint.
        """
        peer = Peer(self, len(self.peers) + 1, version, innerVersion, presharedKey)
        self.peers.append(peer)
        bits = 32 if innerVersion == 4 else 128
        words = ["peer", _encode(peer.machine.publicKey), "allowed-ips", f"{peer.inner}/{bits}"]
        if presharedKey is not None:
            words += ["preshared-key", "/dev/stdin"]
        if weInitiate:
            peer.knowEndpoint()
        else:
            words += ["endpoint", str(peer.address)]
        self.wg(*words, text=_encode(presharedKey) if presharedKey is not None else None)
        self.there("ip", "route", "add", f"{peer.inner}/{bits}", "dev", self.interface)
        return peer

    def removePeer(self, peer: Peer) -> None:
        """
        Take one away again.
        """
        self.peers.remove(peer)
        self.wg("peer", _encode(peer.machine.publicKey), "remove")
        peer.socket.close()

    def pingFromThere(self, peer: Peer, count: int = 1, interval: float = 0.2) -> subprocess.Popen[bytes]:
        """
        Have the kernel behind wireguard-go send echo requests to our inner address.
        """
        words = [
            "ip",
            "netns",
            "exec",
            self.theirs,
            "ping",
            "-q",
            "-n",
            "-c",
            str(count),
            "-i",
            str(interval),
        ]
        words += ["-W", "1", peer.inner]
        return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """
        Let our machines work.

        @return: whether the condition has come true in time.
        """
        end = now() + seconds
        while not until():
            if now() > end:
                return False
            readable, _, _ = select.select([peer.socket for peer in self.peers], [], [], 0.02)
            for peer in self.peers:
                if peer.socket in readable:
                    peer.read()
                else:
                    peer.flush()
        return True

    def close(self) -> None:
        """
        Leave nothing behind.
        """
        for peer in self.peers:
            peer.socket.close()
        if self._go is not None:
            self._go.terminate()
            try:
                self._go.wait(5)
            except subprocess.TimeoutExpired:
                self._go.kill()
                self._go.wait()
        Path(f"/var/run/wireguard/{self.interface}.sock").unlink(missing_ok=True)
        for name in (self.ours, self.theirs):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, timeout=20)


def missing() -> str | None:
    """
    Why there can be no L{Lab}.
    """
    lacking = [name for name in ("wireguard-go", "wg", "ping") if shutil.which(name) is None]
    return f"needs {', '.join(lacking)}" if lacking else None


def _encode(key: bytes) -> str:
    return base64.b64encode(key).decode()


def _decode(key: str) -> bytes:
    return base64.b64decode(key)
