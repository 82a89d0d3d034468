"""
What all the sessions of one node share.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from vnet.protocols.machine.indices import IndexTable
from vnet.protocols.machine.keypair import Keypair
from vnet.protocols.machine.noise import StaticKey
from vnet.protocols.machine.timestamps import TimestampMemory, Timestamps
from vnet.protocols.machine.wireguardevents import WireGuardEvent
from vnet.values import Address, Pieces

if TYPE_CHECKING:
    from vnet.protocols.machine.session import Session

__all__ = ["BACKLOG", "OUTPUT", "Device"]

#: How many datagrams and how many events wait at most for whoever drives the machine.
BACKLOG = 65536

#: Bytes of the buffer that trains are sealed into: more than a segment train of the operating system becomes.
OUTPUT = 160_000


@attrs.define
class Device:
    """
    @ivar static: the identity of this node.
    @ivar random: a source of secret bytes, each time a new object.
    @ivar timestamps: for initiations.
    @ivar mtu: the longest inner packet that is still padded.
    @ivar indices: a keypair, or the session whose handshake is under way, by index.
    @ivar pastTimestamps: of peers that were removed.
    @ivar datagrams: what is to be sent.
    @ivar output: what trains are sealed into.
    @ivar events: what is to be told.
    @ivar counters: how much has been dropped, by reason.
    """

    static: StaticKey
    random: Callable[[int], bytes]
    timestamps: Timestamps
    mtu: int
    indices: IndexTable[Keypair | Session]
    pastTimestamps: TimestampMemory = attrs.Factory(TimestampMemory)
    datagrams: list[tuple[bytes, Address]] = attrs.Factory(list)
    output: Pieces = attrs.Factory(lambda: Pieces(OUTPUT))
    events: deque[WireGuardEvent] = attrs.Factory(deque)
    counters: Counter[str] = attrs.Factory(Counter)

    def tell(self, event: WireGuardEvent) -> None:
        """
        Add an event, unless nobody takes them.
        """
        if len(self.events) < BACKLOG:
            self.events.append(event)
        else:
            self.counters["backlog"] += 1
