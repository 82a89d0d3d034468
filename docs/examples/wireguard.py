"""
Two WireGuard machines: keys and time go in, datagrams come out.

    python docs/examples/wireguard.py
"""

import os
import time

from vnet.protocols.machine.wireguard import PacketsReceived, WireGuard
from vnet.values import Address

ALICE, BOB = Address("192.0.2.1", 51820), Address("198.51.100.1", 51820)


def packet(source: bytes, destination: bytes, data: bytes) -> bytes:
    """
    An IPv4 packet, as far as a tunnel looks at it.
    """
    return (
        b"\x45\0"
        + (20 + len(data)).to_bytes(2, "big")
        + bytes(4)
        + b"\x40\x11\0\0"
        + source
        + destination
        + data
    )


def main() -> None:
    alice, bob = (WireGuard(os.urandom(32), random=os.urandom, wallClock=time.time_ns) for _ in range(2))
    secret = os.urandom(32)
    alice.addPeer(bob.publicKey, allowedIps=["100.64.0.3/32"], presharedKeys=[secret], endpoint=BOB)
    bob.addPeer(alice.publicKey, allowedIps=["100.64.0.2/32"], presharedKeys=[secret])
    # There is no session yet: the packet waits, and a handshake begins.
    alice.send(bob.publicKey, [packet(bytes([100, 64, 0, 2]), bytes([100, 64, 0, 3]), b"hello")], now=1.0)
    for now in (1.0, 1.1, 1.2, 1.3):
        for data, _ in alice.datagramsToSend(now):
            bob.receive(data, ALICE, now)
        for data, _ in bob.datagramsToSend(now):
            alice.receive(data, BOB, now)
    while (event := bob.nextEvent()) is not None:
        if isinstance(event, PacketsReceived):
            print(
                f"bob received {event.packets[0][20:].decode()!r} from {bob.peerStatus(event.publicKey).endpoint}"
            )


if __name__ == "__main__":
    main()
