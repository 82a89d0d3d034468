"""
What the parts cost that the data plane is made of: the cipher, and the calls of the kernel, in microseconds for a packet and for a
segment train.

    python bench/primitives.py [--seconds N] [--json [FILE]] [--document FILE]

It runs in a network namespace that has no name, and ends with it.  Needs root.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import select
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import attrs
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from document import fill
from machine import machineFacts
from rich.console import Console
from rich.table import Table

from vnet.errors import VnetError
from vnet.protocols.codec import virtio

__all__ = ["Cost", "main"]

#: Of an inner packet, and of the datagrams and segments of a train.
LARGE, SMALL, SEGMENT, SEGMENTS = 1400, 100, 1440, 42
_TUN = "/dev/net/tun"
_TUNSETIFF, _TUNSETOFFLOAD = 0x400454CA, 0x400454D0
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
_OFFLOADS = 0x01 | 0x02 | 0x04 | 0x20 | 0x40
_SOL_UDP, _UDP_SEGMENT, _UDP_GRO = 17, 103, 104
_ADDRESS, _PEER = "100.64.0.1", "100.64.0.2"
_MAC, _PEER_MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
_UDP_GSO = 5
_ROUND, _ROUNDS = 64, 3


@attrs.frozen
class Cost:
    """
    What one thing costs.

    @ivar micros: for one call.
    @ivar packets: how many packets one call is for.
    """

    name: str
    micros: float
    packets: int = 1

    @property
    def perPacket(self) -> float:
        """
        Microseconds for each packet.
        """
        return self.micros / self.packets


def timed(name: str, work: Callable[[], object], seconds: float, packets: int = 1) -> Cost:
    """
    Measure something: the best of three rounds, since what disturbs only adds.
    """
    best, clock = float("inf"), time.perf_counter
    for _ in range(_ROUNDS):
        count, start = 0, clock()
        while (took := clock() - start) < seconds / _ROUNDS:
            for _ in range(_ROUND):
                work()
            count += _ROUND
        best = min(best, took / count)
    return Cost(name, best * 1e6, packets)


def ciphers(seconds: float) -> Iterator[Cost]:
    """
    ChaCha20-Poly1305, and what Python needs to prepare it.
    """
    aead, nonce = ChaCha20Poly1305(os.urandom(32)), bytes(12)
    for size in (LARGE, SMALL):
        packet, sealed = bytes(size), aead.encrypt(nonce, bytes(size), None)
        yield timed(f"seal {size} bytes", partial(aead.encrypt, nonce, packet, None), seconds)
        yield timed(f"open {size} bytes", partial(aead.decrypt, nonce, sealed, None), seconds)
        # Not all versions of the library can do this.
        into = memoryview(bytearray(size + 16))
        if (seal := getattr(aead, "encrypt_into", None)) is not None:
            work = partial(seal, nonce, packet, None, into)
            yield timed(f"seal {size} bytes into a buffer", work, seconds)
        if (unseal := getattr(aead, "decrypt_into", None)) is not None:
            work = partial(unseal, nonce, sealed, None, into[:size])
            yield timed(f"open {size} bytes into a buffer", work, seconds)


def python(seconds: float) -> Iterator[Cost]:
    """
    Python's own part.
    """
    packNonce, packHeader = struct.Struct("<IQ").pack, struct.Struct("<IIQ").pack_into
    memory = memoryview(bytearray(SEGMENT * SEGMENTS))
    pieces = [bytes(SEGMENT)] * SEGMENTS
    yield timed("pack a nonce", lambda: packNonce(0, 12345), seconds)
    yield timed("write a header into a buffer", lambda: packHeader(memory, 0, 4, 1, 12345), seconds)
    yield timed("cut a packet out of a buffer", lambda: memory[SEGMENT : 2 * SEGMENT], seconds)
    yield timed("join a train", lambda: b"".join(pieces), seconds, SEGMENTS)
    yield timed("read the clock", time.monotonic, seconds)
    yield timed("call a function", lambda: None, seconds)


def sockets(seconds: float) -> Iterator[Cost]:
    """
    UDP over the loopback of the namespace: sending includes what the kernel does to deliver.
    """
    near, far = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    for each in (near, far):
        each.bind(("127.0.0.1", 0))
        each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        each.setblocking(False)
    far.setsockopt(_SOL_UDP, _UDP_GRO, 1)
    where, control = far.getsockname(), [(_SOL_UDP, _UDP_SEGMENT, struct.pack("=H", SEGMENT))]
    buffer, train = bytearray(1 << 16), bytes(SEGMENT * SEGMENTS)

    receive = partial(far.recvmsg_into, [buffer], 64)
    for name, data, more, packets in (
        (f"sendmsg of {SMALL} bytes", bytes(SMALL), [], 1),
        (f"sendmsg of {SEGMENT} bytes", bytes(SEGMENT), [], 1),
        (f"sendmsg of a train (UDP_SEGMENT, {SEGMENTS} x {SEGMENT})", train, control, SEGMENTS),
    ):
        send = partial(near.sendmsg, [data], more, 0, where)
        sent, received = halves(send, receive, seconds)
        yield Cost(name, sent, packets)
        name = name.replace("sendmsg", "recvmsg_into").replace("UDP_SEGMENT", "UDP_GRO")
        yield Cost(name, received, packets)
    near.close()
    far.close()


def halves(first: Callable[[], object], second: Callable[[], object], seconds: float) -> tuple[float, float]:
    """
    Two calls in turns, of which the second needs the first.

    @return: microseconds of each, the median.
    """
    clock = time.perf_counter
    times: tuple[list[float], list[float]] = ([], [])
    end = clock() + seconds
    while (start := clock()) < end:
        first()
        middle = clock()
        second()
        times[1].append(clock() - middle)
        times[0].append(middle - start)
    one, two = (statistics.median(each) * 1e6 for each in times)
    return one, two


def _openTap() -> int:
    tap = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", b"tap0", _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR))
    fcntl.ioctl(tap, _TUNSETOFFLOAD, _OFFLOADS)
    for words in (
        f"link set tap0 address {_MAC.hex(':')} mtu 1500 up",
        f"addr add {_ADDRESS}/24 dev tap0",
        f"neigh replace {_PEER} lladdr {_PEER_MAC.hex(':')} dev tap0",
    ):
        subprocess.run(["ip", *words.split()], check=True)
    return tap


def _frame(size: int) -> bytes:
    """
    A UDP datagram to our address, in Ethernet.
    """
    udp = struct.pack("!HHHH", 4000, 4001, 8 + size, 0) + bytes(size)
    ip = bytearray(struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0,
                               socket.inet_aton(_PEER), socket.inet_aton(_ADDRESS)))  # fmt: skip
    total = sum(struct.unpack("!10H", ip))
    total = (total & 0xFFFF) + (total >> 16)
    ip[10:12] = ((total + (total >> 16)) & 0xFFFF ^ 0xFFFF).to_bytes(2, "big")
    return _MAC + _PEER_MAC + b"\x08\x00" + bytes(ip) + udp


def taps(seconds: float) -> Iterator[Cost]:
    """
    A TAP with virtio headers.  Its other side is the kernel's: what it writes, a UDP socket gets; a socket's trains it reads.
    """
    tap = _openTap()
    receiver, sender = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    receiver.bind((_ADDRESS, 4001))
    receiver.setsockopt(_SOL_UDP, _UDP_GRO, 1)
    receiver.setblocking(False)
    buffer, head = bytearray(1 << 17), virtio.FINISHED
    segment = [(_SOL_UDP, _UDP_SEGMENT, struct.pack("=H", SEGMENT))]
    size = 14 + 20 + 8
    train = virtio.packHeader(virtio.NEEDS_CSUM, _UDP_GSO, size, SEGMENT, 34, 6)

    def drain(read: Callable[[], object]) -> None:
        with suppress(BlockingIOError):
            while True:
                read()

    read = partial(os.readv, tap, [buffer])
    drain(read)
    take = partial(drain, partial(receiver.recv_into, buffer))
    kinds: tuple[tuple[str, int, bytes, list[Any], int], ...] = (
        (f"{SMALL} bytes", SMALL, head, [], 1),
        (f"{LARGE} bytes", LARGE, head, [], 1),
        (f"a train ({SEGMENTS} x {SEGMENT})", SEGMENT * SEGMENTS, train, segment, SEGMENTS),
    )
    for name, payload, header, _, packets in kinds:
        write = partial(os.writev, tap, [header, _frame(payload)])
        yield Cost(f"writev to the TAP of {name}", halves(write, take, seconds)[0], packets)
    for name, payload, _, control, packets in kinds:
        send = partial(sender.sendmsg, [bytes(payload)], control, 0, (_PEER, 4001))
        yield Cost(f"readv from the TAP of {name}", halves(send, read, seconds)[1], packets)
    for each in (receiver, sender):
        each.close()
    os.close(tap)


def turns(seconds: float) -> Iterator[Cost]:
    """
    One turn of an event loop.
    """
    reading, writing = os.pipe()
    os.write(writing, b"x")
    loop = select.epoll()
    loop.register(reading, select.EPOLLIN)
    yield timed("epoll_wait with something to read", lambda: loop.poll(0, 16), seconds)
    loop.close()
    os.close(reading)
    os.close(writing)


HEAD = ("", "us per call", "us per packet")


def cells(cost: Cost) -> list[str]:
    """
    The line of a table.
    """
    return [cost.name, f"{cost.micros:.2f}", f"{cost.perPacket:.2f}"]


def markdown(facts: dict[str, Any], costs: Sequence[Cost]) -> str:
    """
    The table for documents.
    """
    lines = [list(HEAD), ["---"] * len(HEAD), *map(cells, costs)]
    text = "".join("| " + " | ".join(each) + " |\n" for each in lines)
    return text + f"\n{facts['processor']}, Linux {facts['kernel']}, Python {facts['python']}.\n"


def measure(seconds: float) -> list[Cost]:
    """
    All of it, inside of the namespace.
    """
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    parts = (ciphers, python, sockets, taps, turns)
    return [cost for part in parts for cost in part(seconds)]


def main(argv: Sequence[str] | None = None) -> int:
    """
    Measure in a namespace, and show.

    @return: the exit code.
    """
    parser = argparse.ArgumentParser(description="Measure what the data plane is made of.")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each part (default 0.5)")
    parser.add_argument("--json", nargs="?", const="-", metavar="FILE", help="print JSON, or write it too")
    parser.add_argument("--document", type=Path, help="a file to write the table into, docs/performance.md")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args(argv)
    if chosen.inside:
        print(json.dumps([attrs.asdict(cost) for cost in measure(chosen.seconds)]))
        return 0
    program = ["unshare", "--net", sys.executable, str(Path(__file__).resolve()), "--inside"]
    done = subprocess.run([*program, f"--seconds={chosen.seconds}"], capture_output=True, text=True)
    if done.returncode:
        print(f"vnet: this cannot be measured here: {done.stderr.strip()[-600:]}", file=sys.stderr)
        return 1
    costs, facts = [Cost(**each) for each in json.loads(done.stdout)], machineFacts()
    if chosen.json == "-":
        print(json.dumps({"machine": facts, "costs": json.loads(done.stdout)}, indent=2))
        return 0
    if chosen.json:
        Path(chosen.json).write_text(json.dumps({"machine": facts, "costs": json.loads(done.stdout)}) + "\n")
    try:
        if chosen.document:
            fill(chosen.document, "primitives", markdown(facts, costs))
    except VnetError as error:
        print(f"vnet: {error}", file=sys.stderr)
        return 1
    table = Table(*HEAD, box=None, pad_edge=False)
    for cost in costs:
        table.add_row(*cells(cost))
    Console(highlight=False).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
