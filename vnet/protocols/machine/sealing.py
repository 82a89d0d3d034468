# -*- test-case-name: vnet.test.test_opening -*-
"""
The sending half of the data path: inner packets to transport messages.
"""

from __future__ import annotations

from collections.abc import Sequence

from vnet.protocols.machine.keypair import Keypair
from vnet.values import Address

__all__ = ["sealPackets"]

_PADDING = [bytes(size) for size in range(16)]
_NONCE_HEAD = bytes(4)


def sealPackets(
    keypair: Keypair,
    packets: Sequence[bytes],
    endpoint: Address,
    mtu: int,
    datagrams: list[tuple[bytes, Address]],
) -> int:
    """
    Pad and seal each packet and append it to C{datagrams}.

    @param packets: no more than the keypair can send; an empty one makes a keepalive.
    @return: the bytes of the new datagrams.
    """
    counter = keypair.sent
    # Taken before the first is used: whatever happens below, no counter is used twice.
    keypair.sent = counter + len(packets)
    seal = keypair.seal
    prefix = keypair.prefix
    append = datagrams.append
    total = 0
    for packet in packets:
        number = counter.to_bytes(8, "little")
        counter += 1
        size = len(packet)
        padding = -size & 15
        if padding:
            room = mtu - size
            if room > 0:
                packet += _PADDING[padding if padding < room else room]
        datagram = prefix + number + seal(_NONCE_HEAD + number, packet, None)
        total += len(datagram)
        append((datagram, endpoint))
    return total
