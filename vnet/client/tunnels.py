# -*- test-case-name: vnet.test.test_client_tunnels -*-
"""
The tunnels of a node: its WireGuard machine and the forwarder's member table, kept in step.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from vnet.client.dataplane.clamp import Clamp
from vnet.client.dataplane.forwarder import Forwarder
from vnet.protocols.machine.wireguard import PeerStatus, WireGuard
from vnet.values import Address

__all__ = ["TunnelTable"]


@define
class _Entry:
    address: str
    address6: str
    presharedKeys: tuple[bytes, ...]


@define(eq=False, repr=False)
class TunnelTable:
    """
    Adds, changes and removes tunnels.
    """

    _clock: IReactorTime
    _wireguard: WireGuard
    _forwarder: Forwarder
    _clamp: Clamp
    _entries: dict[bytes, _Entry] = field(factory=dict, init=False)

    def add(self, tunnelKey: bytes, address: str, address6: str, presharedKeys: Iterable[bytes]) -> None:
        """
        Let a peer have these two addresses, and no other, inside the overlay.
        """
        self._entries[tunnelKey] = entry = _Entry(address, address6, tuple(presharedKeys))
        self._addPeer(tunnelKey, entry)
        self._forwarder.addMember(tunnelKey, address, address6)

    def _addPeer(self, tunnelKey: bytes, entry: _Entry) -> None:
        self._wireguard.addPeer(
            tunnelKey,
            allowedIps=(f"{entry.address}/32", f"{entry.address6}/128"),
            presharedKeys=entry.presharedKeys,
            # The path decides, which knows the peer's consent: a member could name anybody as the source of its packets.
            roaming=False,
        )

    def setPresharedKeys(self, tunnelKey: bytes, presharedKeys: Iterable[bytes]) -> None:
        """
        Change the preshared keys; the next handshake uses them.
        """
        entry, keys = self._entries.get(tunnelKey), tuple(presharedKeys)
        if entry is not None and entry.presharedKeys != keys:
            entry.presharedKeys = keys
            self._wireguard.setPresharedKeys(tunnelKey, keys)

    def remove(self, tunnelKey: bytes) -> None:
        """
        End a tunnel and wipe its keys.
        """
        if self._entries.pop(tunnelKey, None) is not None:
            self._forwarder.removeMember(tunnelKey)
            self._wireguard.removePeer(tunnelKey)
            self._clamp.forget(tunnelKey)

    def reset(self, tunnelKey: bytes) -> None:
        """
        Wipe a tunnel's session; the peer remains known.
        """
        entry = self._entries.get(tunnelKey)
        if entry is not None:
            self._wireguard.removePeer(tunnelKey)
            self._addPeer(tunnelKey, entry)
            self._forwarder.setLive(tunnelKey, False)

    def setEndpoint(self, tunnelKey: bytes, address: Address | None, initiate: bool = False) -> None:
        """
        Where the tunnel's datagrams go from now on.

        @param initiate: begin a handshake there, whatever session there is.
        """
        if tunnelKey in self._entries:
            self._wireguard.setEndpoint(tunnelKey, address)
            self._forwarder.setLive(tunnelKey, address is not None)
            if initiate:
                # Before anything is flushed: of two initiations at once the answer to the first would be lost.
                self._wireguard.initiate(tunnelKey, self._clock.seconds())
            self._forwarder.flush()

    def setTakesPartial(self, tunnelKey: bytes, takes: bool) -> None:
        """
        Whether the peer takes packets with unfinished checksums.
        """
        if tunnelKey in self._entries:
            self._forwarder.setTakesPartial(tunnelKey, takes)

    def status(self, tunnelKey: bytes) -> PeerStatus:
        """
        @return: what the machine knows of the tunnel.
        """
        if tunnelKey not in self._entries:
            return PeerStatus(lastHandshake=None, rxBytes=0, txBytes=0, endpoint=None, established=False)
        return self._wireguard.peerStatus(tunnelKey)

    def setSize(self, tunnelKey: bytes, size: int | None) -> None:
        """
        The peer's path carries datagrams of so many bytes whole; L{None}: there is no path.
        """
        if size is None:
            self._clamp.forget(tunnelKey)
        elif tunnelKey in self._entries:
            self._clamp.setSize(tunnelKey, size)

    def mtu(self, tunnelKey: bytes) -> int:
        """
        Bytes of a packet that may be sent to the peer.
        """
        return self._clamp.mtuOf(tunnelKey)
