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
from vnet.client.dataplane.etherip import EtherIp
from vnet.client.dataplane.groups import Groups
from vnet.client.dataplane.lans import Lans
from vnet.client.dataplane.neighbours import Member, Neighbours
from vnet.errors import DecodeError
from vnet.interfaces import IDevice
from vnet.protocols.codec import virtio
from vnet.protocols.codec.etherip import ETHERIP
from vnet.protocols.codec.ethernet import IPV4, IPV6
from vnet.protocols.codec.finishedruns import joinFinished
from vnet.protocols.codec.ip import ICMP, ICMP6, TCP, UDP
from vnet.protocols.codec.linkscope import DHCP4, DHCP6, concernsLink
from vnet.protocols.codec.runs import Run, join, partialHeader
from vnet.protocols.codec.segmentation import finishPacket
from vnet.protocols.codec.slots import SlotRun
from vnet.values import Buffer

__all__ = ["Delivery"]

Frame = Sequence[Buffer]

#: Frames for which it is worth to look whether they can be joined.
_WORTH = 3

_OTHER = -1
#: Types of ICMP that are no concern of a link.
_ECHO4, _ECHO6 = frozenset((b"\0", b"\x08")), frozenset((b"\x80", b"\x81"))


@define(eq=False, repr=False)
class Delivery:
    """
    Gives packets to the operating system.

    @ivar counters: what was dropped, by reason.
    """

    _device: IDevice
    _neighbours: Neighbours
    _echoes: Echoes
    _groups: Groups
    _etherIp: EtherIp
    _lans: Lans
    counters: Counter[str]

    def deliver(self, member: Member, runs: Sequence[Run]) -> None:
        """
        A member has sent these.
        """
        head = self._device.mac + member.mac
        ethernet4, ethernet6 = head + IPV4, head + IPV6
        own = self._neighbours.own
        frames: list[Frame] = []
        passesOn = False
        for run in runs:
            first = run[0]
            if self._echoes and self._echoes.takes(member.publicKey, first):
                continue
            version = first[0] >> 4
            # A packet to any other address would have this computer route for its peers: it does so to LANs that it shares.
            if (destination := first[16:20] if version == 4 else first[24:40]) not in own:
                if self._lans and self._lans.mayReach(member.publicKey, destination):
                    if self._mayEnter(first, len(run)):
                        passesOn = True
                        self._frame(run, ethernet4 if version == 4 else ethernet6, frames)
                    continue
                group = self._groups.receive(member, run)
                if group is not None:
                    self._frame(run, group, frames)
            elif version == 4:
                kind = first[9] if first[0] == 0x45 else _OTHER
                if (
                    kind == TCP
                    or (kind == UDP and first[22:24] not in DHCP4)
                    or (kind == ICMP and first[20:21] in _ECHO4)
                ):
                    self._frame(run, ethernet4, frames)
                elif kind == ETHERIP:
                    inner = [self._etherIp.receive(member, packet) for packet in run]
                    frames += [(virtio.FINISHED + frame,) for frame in inner if frame is not None]
                elif self._mayEnter(first, len(run)):
                    self._frame(run, ethernet4, frames)
            elif (
                (kind := first[6]) == TCP
                or (kind == UDP and first[42:44] not in DHCP6)
                or (kind == ICMP6 and first[40:41] in _ECHO6)
                or self._mayEnter(first, len(run))
            ):
                self._frame(run, ethernet6, frames)
        # In what it passes on the operating system checks nothing, and of a train it makes all checksums right.
        if len(frames) >= _WORTH and not passesOn and self._device.offload.tcp:
            frames = joinFinished(frames)
        if frames:
            self._device.write(frames)

    def _frame(self, run: Run, ethernet: bytes, frames: list[Frame]) -> None:
        first, offload = run[0], self._device.offload
        if type(run) is SlotRun and (offload.tcp if run.header > run.transport + 8 else offload.udp):
            # Only what is unfinished is in such a run.
            frames.append(join(run, ethernet))
            return
        header = partialHeader(first)
        if len(run) == 1 and (offload.checksum or header == virtio.FINISHED):
            frames.append((header + ethernet, first))
        elif header == virtio.FINISHED:
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

    def _mayEnter(self, packet: bytes, count: int) -> bool:
        """
        Peers do not say who our neighbours and routers are, nor which address we have; what cannot be read stays outside, too.
        """
        try:
            reason = concernsLink(packet)
        except DecodeError:
            reason = "malformed"
        if reason:
            self.counters[reason] += count
        return not reason
