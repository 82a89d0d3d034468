"""
Datagrams at a steady rate, and how many arrive.  iperf3 does too much for each to send as many as a link
carries, and its control connection would stand in the same queues.

    python datagrams.py receive PORT SIZE
    python datagrams.py send HOST PORT SIZE RATE SECONDS
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import time
from contextlib import suppress

__all__ = ["receive", "send"]

#: How often the sender wakes up, seconds.
TICK = 0.0005
#: After so much silence the receiver takes it that all has come.
SILENCE = 0.4
BUFFER = 32 << 20
_SO_RCVBUFFORCE, _SO_SNDBUFFORCE = 33, 32
_END = b"end"


def receive(port: int, size: int) -> None:
    """
    Count what comes, and print the number and the seconds from the first to the last.
    """
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER)
    opened.bind(("0.0.0.0", port))
    print("ready", flush=True)
    buffer, into = bytearray(2 * size), opened.recv_into
    # The kernel's own timeout costs no second call for each datagram.
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 2, 0))
    count, first, clock = 0, 0.0, time.perf_counter
    last = first
    with suppress(BlockingIOError):
        into(buffer)
        count, first = 1, clock()
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, int(SILENCE * 1e6)))
        while into(buffer) == size:
            count += 1
            last = clock()
    print(json.dumps({"count": count, "seconds": max(0.0, last - first)}))


def send(host: str, port: int, size: int, rate: float, seconds: float) -> None:
    """
    Send, and print the number and the seconds that it took.
    """
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, BUFFER)
    opened.connect((host, port))
    payload, put, clock = bytes(size), opened.send, time.perf_counter
    start, count, now = clock(), 0, 0.0
    while now < seconds:
        # After a pause of the machine no more than four ticks are made up for at once.
        for _ in range(min(int(now * rate) - count + 1, int(rate * TICK * 4) + 1)):
            put(payload)
            count += 1
        time.sleep(TICK)
        now = clock() - start
    # One may be lost; the receiver ends with the first, so there is nobody for the second.
    with suppress(ConnectionRefusedError):
        for _ in range(20):
            time.sleep(0.001)
            put(_END)
    print(json.dumps({"count": count, "seconds": now}))


if __name__ == "__main__":
    if sys.argv[1] == "receive":
        receive(int(sys.argv[2]), int(sys.argv[3]))
    else:
        send(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]), float(sys.argv[6]))
