# -*- test-case-name: vnet.test.test_neighbours -*-
"""
Who is on the LAN: neither ARP nor neighbour discovery crosses the tunnel, each node answers them locally from
the table of its members.
"""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address, IPv6Address

import attrs

from vnet.errors import DecodeError
from vnet.protocols.codec.arp import REPLY, REQUEST, ArpPacket, decodeArp, encodeArp
from vnet.protocols.codec.ethernet import ARP, HEADER, IPV6, memberMac
from vnet.protocols.codec.ndp import (
    UNSPECIFIED,
    NeighbourAdvertisement,
    decodeSolicitation,
    encodeAdvertisement,
    isNeighbourDiscovery,
)

__all__ = ["Member", "Neighbours"]

_NO_ADDRESS = bytes(4)


@attrs.frozen
class Member:
    """
    A member as the data plane sees it.

    @ivar publicKey: its tunnel key, 32 bytes of X25519.
    @ivar address: its overlay IPv4 address, packed.
    @ivar address6: its overlay IPv6 address, packed.
    @ivar mac: stands for it on our interface.
    """

    publicKey: bytes
    address: bytes
    address6: bytes
    mac: bytes


@attrs.define(eq=False, repr=False)
class Neighbours:
    """
    The table of members, and the answers to the operating system's questions about them.

    Our own addresses are never in it: a member that has one of them (which cannot be) is not answered for.

    @ivar counters: of the frames that were answered, and of those that were dropped, by reason.
    @ivar own: our own addresses, packed; C{own4} is that of IPv4.
    """

    counters: Counter[str] = attrs.field(factory=Counter)
    own: frozenset[bytes] = attrs.field(default=frozenset(), init=False)
    own4: bytes = attrs.field(default=_NO_ADDRESS, init=False)
    _members: dict[bytes, Member] = attrs.field(factory=dict, init=False)
    _byAddress: dict[bytes, Member] = attrs.field(factory=dict, init=False)

    def setOwn(self, address: str, address6: str) -> None:
        """
        Our own overlay addresses: nothing answers for them, nor the operating system's probes for duplicates.
        """
        self.own4 = IPv4Address(address).packed
        self.own = frozenset((self.own4, IPv6Address(address6).packed))

    def add(self, publicKey: bytes, address: str, address6: str) -> None:
        """
        Make a member known, or change its addresses.  An address that another member had is this one's now.

        @raise ValueError: an address is none.
        """
        packed, packed6 = IPv4Address(address).packed, IPv6Address(address6).packed
        member = Member(publicKey, packed, packed6, memberMac(packed))
        self.remove(publicKey)
        self._members[publicKey] = self._byAddress[packed] = self._byAddress[packed6] = member

    def remove(self, publicKey: bytes) -> None:
        """
        Forget a member, if it is known.
        """
        member = self._members.pop(publicKey, None)
        if member is not None:
            for address in (member.address, member.address6):
                if self._byAddress.get(address) is member:
                    del self._byAddress[address]

    def get(self, publicKey: bytes) -> Member | None:
        """
        The member with a tunnel key.
        """
        return self._members.get(publicKey)

    def at(self, address: bytes) -> Member | None:
        """
        The member that has a packed address.
        """
        return None if address in self.own else self._byAddress.get(address)

    def answer(self, frame: bytes) -> bytes | None:
        """
        Answer a frame that asks for a member's MAC address.

        @param frame: ARP, or one that L{isAsked}, of at least 14 bytes.
        @return: the frame with the answer; L{None} for what gets none, which is counted.
        """
        try:
            return self._answerArp(frame) if frame[12:14] == ARP else self._answerSolicitation(frame)
        except DecodeError:
            self.counters["malformed"] += 1
            return None

    def isAsked(self, frame: bytes) -> bool:
        """
        Whether a frame with an IPv6 packet is neighbour discovery, or cannot be read.
        """
        try:
            return isNeighbourDiscovery(frame[HEADER:])
        except DecodeError:
            return True

    def _answerArp(self, frame: bytes) -> bytes | None:
        question = decodeArp(frame[HEADER:])
        member = self.at(question.targetAddress)
        sender = question.senderAddress
        # A probe comes from no address, an announcement asks for its own: both are about ourselves.
        if member is None or question.operation != REQUEST or sender in (_NO_ADDRESS, member.address):
            self.counters["unansweredArp"] += 1
            return None
        self.counters["arp"] += 1
        answer = ArpPacket(REPLY, member.mac, member.address, question.senderMac, sender)
        return b"".join((frame[6:12], member.mac, ARP, encodeArp(answer)))

    def _answerSolicitation(self, frame: bytes) -> bytes | None:
        question = decodeSolicitation(frame[HEADER:])
        member = self.at(question.target)
        if member is None or question.source == UNSPECIFIED:
            self.counters["unansweredSolicitations"] += 1
            return None
        self.counters["solicitations"] += 1
        answer = NeighbourAdvertisement(member.address6, question.source, member.address6, member.mac)
        return b"".join((frame[6:12], member.mac, IPV6, encodeAdvertisement(answer)))
