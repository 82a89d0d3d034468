"""
Programs that say whether what goes through a tunnel comes back as it was: one that answers, and one that asks::

    python -m vnet.test.priv.echoing serve INTERFACE
    python -m vnet.test.priv.echoing ask ADDRESS...
    python -m vnet.test.priv.echoing move BYTES ADDRESS...

C{serve} prints C{ready}.  The others print one line, C{ok} or what is wrong, and end with 0 or 1.

C{ask} sends datagrams of many sizes, in fragments, in trains, without a checksum and with a wrong one.  C{move} sends random bytes
by TCP to each address at once, gets them back, and compares digests.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import sys
import threading
import time
from ipaddress import ip_address

from vnet.test.segmentreference import UDP, Packet, finished

PORT = 7777
_UDP_SEGMENT, _SO_NO_CHECK = 103, 11
_SIZES = (0, 1, 100, 1400, 5000, 20_000)
_TRAINS = ((1, 2), (1, 5), (100, 6400), (1000, 20_500), (1200, 24_000))
_ZERO, _WRONG, _ASKED = b"without checksum", b"with a wrong checksum", b"what have you seen?"
_TIMEOUT = 10.0
_CHUNK = 1 << 20


def serve(interface: str) -> None:
    """
    Answer, for ever.
    """
    seen: dict[str, list[int]] = {"zero": [], "wrong": []}
    listener = socket.create_server(("::", PORT), family=socket.AF_INET6, dualstack_ipv6=True)
    datagrams = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
    datagrams.bind(("::", PORT))
    watching = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
    watching.bind((interface, 0x0800))
    for work in (lambda: _watch(watching, seen), lambda: _answer(datagrams, seen)):
        threading.Thread(target=work, daemon=True).start()
    print("ready", flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_return, args=(connection,), daemon=True).start()


def _return(connection: socket.socket) -> None:
    with connection:
        while data := connection.recv(_CHUNK):
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)


def _watch(watching: socket.socket, seen: dict[str, list[int]]) -> None:
    while True:
        packet = watching.recv(65_536)
        for word, payload in (("zero", _ZERO), ("wrong", _WRONG)):
            if packet[28:] == payload:
                seen[word].append(packet[26] << 8 | packet[27])


def _answer(datagrams: socket.socket, seen: dict[str, list[int]]) -> None:
    got = 0
    while True:
        data, source = datagrams.recvfrom(65_536)
        got += data == _WRONG
        answer = json.dumps({**seen, "got": got}).encode() if data == _ASKED else data
        datagrams.sendto(answer, source)


def ask(addresses: list[str]) -> str:
    """
    Ask, and say what is wrong.
    """
    for address in addresses:
        version = 6 if ":" in address else 4
        with socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET, socket.SOCK_DGRAM) as opened:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
            opened.settimeout(_TIMEOUT)
            opened.connect((address, PORT))
            wrong = _askSizes(opened) or _askTrains(opened)
            if not wrong and version == 4:
                wrong = _askChecksums(opened, address)
        if wrong:
            return f"{address}: {wrong}"
    return ""


def _askSizes(opened: socket.socket) -> str:
    for size in _SIZES:
        data = os.urandom(size)
        opened.send(data)
        if opened.recv(65_536) != data:
            return f"a datagram of {size} bytes has changed"
    return ""


def _askTrains(opened: socket.socket) -> str:
    for segment, size in _TRAINS:
        data = os.urandom(size)
        wanted = [data[place : place + segment] for place in range(0, size, segment)]
        opened.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, segment)
        opened.send(data)
        opened.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, 0)
        found = [opened.recv(65_536) for _ in wanted]
        # What is read from one queue may overtake what is read from another.
        if sorted(found) != sorted(wanted):
            return f"a train of {len(wanted)} datagrams of {segment} bytes has changed"
    return ""


def _askChecksums(opened: socket.socket, address: str) -> str:
    source, port = opened.getsockname()
    opened.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, 1)
    opened.send(_ZERO)
    opened.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, 0)
    if opened.recv(65_536) != _ZERO:
        return "a datagram without checksum has changed"
    packet = Packet(
        4, UDP, _WRONG, ip_address(source).packed, ip_address(address).packed, (port, PORT), fragmentation=0
    )
    right = finished(bytes(packet), 20, 26)
    (checksum,) = struct.unpack_from("!H", right, 26)
    wrong = checksum ^ 0x0101
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.sendto(right[:26] + struct.pack("!H", wrong) + right[28:], (address, 0))
    time.sleep(0.1)
    opened.send(_ASKED)
    seen = json.loads(opened.recv(65_536))
    wanted = {"zero": [0], "wrong": [wrong], "got": 0}
    # Of the watched packets some may be of an earlier time.
    found = {"zero": seen["zero"][-1:], "wrong": seen["wrong"][-1:], "got": seen["got"]}
    return "" if found == wanted else f"checksums: {found}, not {wanted}"


def move(size: int, addresses: list[str]) -> str:
    """
    Move bytes there and back, by one connection to each address, and say what is wrong.
    """
    wrong: list[str] = []
    threads = [threading.Thread(target=_moveOne, args=(size, address, wrong)) for address in addresses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return "; ".join(wrong)


def _moveOne(size: int, address: str, wrong: list[str]) -> None:
    sent, received = hashlib.sha256(), hashlib.sha256()
    try:
        with socket.create_connection((address, PORT), timeout=60) as connection:

            def send() -> None:
                left = size
                while left:
                    data = os.urandom(min(left, _CHUNK))
                    sent.update(data)
                    connection.sendall(data)
                    left -= len(data)
                connection.shutdown(socket.SHUT_WR)

            sending = threading.Thread(target=send)
            sending.start()
            count = 0
            while data := connection.recv(_CHUNK):
                received.update(data)
                count += len(data)
            sending.join()
    except OSError as error:
        wrong.append(f"{address}: {error}")
        return
    if count != size or sent.digest() != received.digest():
        wrong.append(f"{address}: {count} of {size} bytes came back, or others")


def main(argv: list[str]) -> int:
    """
    @return: the exit code.
    """
    if argv[0] == "serve":
        serve(argv[1])
    wrong = ask(argv[1:]) if argv[0] == "ask" else move(int(argv[1]), argv[2:])
    print(wrong or "ok", flush=True)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
