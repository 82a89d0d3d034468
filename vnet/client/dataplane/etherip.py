# -*- test-case-name: vnet.test.test_etherip -*-
"""
Frames that are neither IP nor ARP, such as IPX: in the tunnel each is the payload of an IP packet (RFC 3378) from our address to
the member's.

Which protocols pass, both sides say, for each network.  A frame has the MAC address of who sends it, and is for a member's or for a
group.  One that the path does not carry whole is sent nevertheless: the IP outside fragments it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from attrs import define

from vnet.client.dataplane.groups import Groups
from vnet.client.dataplane.neighbours import Member, Neighbours
from vnet.errors import DecodeError
from vnet.interfaces import IDevice
from vnet.protocols.codec.etherip import decodeEtherIp, encodeEtherIp
from vnet.protocols.codec.ethernet import HEADER
from vnet.protocols.codec.llc import protocolOf

__all__ = ["EtherIp"]

_LARGEST = 1500
#: To the nearest bridge only: spanning tree, pause frames (IEEE 802.1Q table 8-1).
_BRIDGES = b"\x01\x80\xc2\x00\x00"


@define(eq=False, repr=False)
class EtherIp:
    """
    Puts frames into packets, and takes them out.

    @ivar counters: C{etherSent}, C{etherReceived}: frames that passed; C{etherType}: of a protocol that is in no list of ours
        that holds there; C{etherForeign}: from or to another MAC address than those that there are; C{etherSize}: longer than an
        Ethernet has, or than the interface takes; C{malformed}.
    @ivar _send: sends packets to a member, and asks for a path where there is none.
    @ivar _typesOf: gives the protocols that pass to and from a member, see L{vnet.protocols.codec.llc}.
    """

    _device: IDevice
    _neighbours: Neighbours
    _groups: Groups
    _send: Callable[[bytes, Sequence[bytes]], None]
    counters: Counter[str]
    _typesOf: Callable[[bytes], frozenset[int]]

    def send(self, frame: bytes) -> None:
        """
        The operating system sends this frame, of at least 14 bytes.
        """
        try:
            protocol = protocolOf(frame)
        except DecodeError:
            self.counters["malformed"] += 1
            return
        for member in self._receivers(frame, protocol):
            self.counters["etherSent"] += 1
            packet = encodeEtherIp(self._neighbours.own4, member.address, frame)
            try:
                self._send(member.publicKey, (packet,))
            except KeyError:
                self.counters["noTunnel"] += 1

    def _receivers(self, frame: bytes, protocol: int) -> Sequence[Member]:
        isGroup = frame[0] & 1
        member = None if isGroup else self._neighbours.at(frame[2:6])
        asked = self._groups.live() if isGroup else [] if member is None else [member]
        found = [each for each in asked if protocol in self._typesOf(each.publicKey)]
        if asked and not found:
            reason = "etherType"
        elif not isGroup and (member is None or member.mac != frame[:6]):
            reason = "etherForeign"
        else:
            reason = self._problem(frame, self._device.mac)
        if reason:
            self.counters[reason] += 1
            return ()
        return found if not isGroup or (found and self._groups.maySend()) else ()

    def receive(self, member: Member, packet: bytes) -> bytes | None:
        """
        A member has sent a packet of protocol 97 to our IPv4 address.

        @return: the frame for the operating system; L{None}: it stays outside.
        """
        try:
            frame = decodeEtherIp(packet)
            protocol = protocolOf(frame)
        except DecodeError:
            self.counters["malformed"] += 1
            return None
        isGroup, reason = frame[0] & 1, self._problem(frame, member.mac)
        if protocol not in self._typesOf(member.publicKey):
            reason = "etherType"
        elif not reason and not isGroup and frame[:6] != self._device.mac:
            reason = "etherForeign"
        if reason:
            self.counters[reason] += 1
            return None
        if isGroup and not self._groups.mayReceive(member, 1):
            return None
        self.counters["etherReceived"] += 1
        return frame

    def _problem(self, frame: bytes, source: bytes) -> str:
        """
        @param source: the MAC address that the frame has to be from.
        @return: the reason why it does not pass.
        """
        if frame[6:12] != source or frame.startswith(_BRIDGES):
            return "etherForeign"
        return "etherSize" if len(frame) - HEADER > min(self._device.mtu, _LARGEST) else ""
