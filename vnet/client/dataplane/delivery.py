# -*- test-case-name: vnet.test.test_forwarder -*-
"""
Packets of peers to frames for the operating system: all checks, once for each run, and then each run as one frame where the
operating system takes segment trains.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from attrs import define

from vnet.client.dataplane.echo import Echoes
from vnet.client.dataplane.neighbours import Member, Neighbours
from vnet.errors import DecodeError
from vnet.interfaces import IDevice
from vnet.protocols.codec import virtio
from vnet.protocols.codec.ethernet import IPV4, IPV6
from vnet.protocols.codec.ip import TCP, UDP
from vnet.protocols.codec.ndp import isNeighbourDiscovery
from vnet.protocols.codec.runs import Run, join, partialHeader
from vnet.protocols.codec.segmentation import finishPacket
from vnet.values import Buffer

__all__ = ["Delivery"]

Frame = Sequence[Buffer]


@define(eq=False, repr=False)
class Delivery:
    """
    Gives packets to the operating system.

    @ivar counters: what was dropped, by reason.
    """

    _device: IDevice
    _neighbours: Neighbours
    _echoes: Echoes
    counters: Counter[str]

    def deliver(self, member: Member, runs: Sequence[Run]) -> None:
        """
        A member has sent these.
        """
        head = self._device.mac + member.mac
        ethernet4, ethernet6 = head + IPV4, head + IPV6
        own = self._neighbours.own
        frames: list[Frame] = []
        for run in runs:
            first = run[0]
            if self._echoes and self._echoes.takes(member.publicKey, first):
                continue
            version = first[0] >> 4
            # A packet to any other address would have this computer route for its peers.
            if (first[16:20] if version == 4 else first[24:40]) not in own:
                self.counters["notForUs"] += len(run)
            elif version == 4:
                self._frame(run, ethernet4, frames)
            elif first[6] in (TCP, UDP) or not self._isDiscovery(first):
                self._frame(run, ethernet6, frames)
        if frames:
            self._device.write(frames)

    def _frame(self, run: Run, ethernet: bytes, frames: list[Frame]) -> None:
        first, offload = run[0], self._device.offload
        header = partialHeader(first)
        if header == virtio.FINISHED:
            front = header + ethernet
            frames += [(front, packet) for packet in run]
        elif len(run) > 1 and (offload.udp if header[8] == virtio.UDP_OFFSET else offload.tcp):
            frames.append(join(run, ethernet))
        elif offload.checksum:
            # Where the checksum is, is the same in all of a run.
            front = header + ethernet
            frames += [(front, packet) for packet in run]
        else:
            front = virtio.FINISHED + ethernet
            frames += [(front, finishPacket(packet)) for packet in run]

    def _isDiscovery(self, packet: bytes) -> bool:
        """
        Neighbour discovery, and what cannot be read, stays outside: peers do not say who our neighbours are.
        """
        try:
            found = isNeighbourDiscovery(packet)
        except DecodeError:
            found = True
        self.counters["discovery"] += found
        return found
