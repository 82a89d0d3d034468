# -*- test-case-name: vnet.test.test_client_tunnels -*-
"""
The tunnels of a node: its WireGuard machine and the forwarder's member table, kept in step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from vnet.client.dataplane.clamp import Clamp
from vnet.client.dataplane.forwarder import Forwarder
from vnet.protocols.machine.wireguard import PeerStatus, WireGuard
from vnet.values import Address

__all__ = ["Secrets", "TunnelTable"]

Secrets = Callable[[], tuple[bytes, ...]]
"""Gives the preshared keys of one peer."""


@define
class _Entry:
    """
    One member.

    @ivar presharedKeys: those of the tunnel while there is one.
    """

    address: str
    address6: str
    secrets: Secrets
    presharedKeys: tuple[bytes, ...] = ()


@define(eq=False, repr=False)
class TunnelTable:
    """
    Adds, changes and removes members, and the tunnels to some of them.

    @ivar opened: the keys of those to whom there is a tunnel: only they cost more than their addresses.
    """

    _clock: IReactorTime
    _wireguard: WireGuard
    _forwarder: Forwarder
    _clamp: Clamp
    _entries: dict[bytes, _Entry] = field(factory=dict, init=False)
    opened: dict[bytes, None] = field(factory=dict, init=False)
    _prefixes: dict[bytes, tuple[str, ...]] = field(factory=dict, init=False)

    def add(self, tunnelKey: bytes, address: str, address6: str, secrets: Secrets) -> None:
        """
        Let a peer have these two addresses, and no other, inside the overlay.

        @param secrets: gives the preshared keys whenever they are needed.
        """
        self._forwarder.addMember(tunnelKey, address, address6)
        self._entries[tunnelKey] = _Entry(address, address6, secrets)

    def open(self, tunnelKey: bytes) -> None:
        """
        Let there be a tunnel, which keeps packets until it has an endpoint.

        @raise ValueError: there can be none to this peer.
        """
        entry = self._entries.get(tunnelKey)
        if entry is None or tunnelKey in self.opened:
            return
        entry.presharedKeys = entry.secrets()
        self._wireguard.addPeer(
            tunnelKey,
            allowedIps=self._allowed(tunnelKey, entry),
            presharedKeys=entry.presharedKeys,
            # The path decides, which knows the peer's consent: a member could name anybody as the source of its packets.
            roaming=False,
        )
        self.opened[tunnelKey] = None

    def _allowed(self, tunnelKey: bytes, entry: _Entry) -> tuple[str, ...]:
        return (f"{entry.address}/32", f"{entry.address6}/128", *self._prefixes.get(tunnelKey, ()))

    def setPrefixes(self, tunnelKey: bytes, prefixes: Sequence[str]) -> None:
        """
        Let a peer have these prefixes besides, and no others; also while it is not known.
        """
        if prefixes:
            self._prefixes[tunnelKey] = tuple(prefixes)
        else:
            self._prefixes.pop(tunnelKey, None)
        self._forwarder.useLans(tunnelKey, prefixes)
        if tunnelKey in self.opened:
            self._wireguard.setAllowedIps(tunnelKey, self._allowed(tunnelKey, self._entries[tunnelKey]))

    def refresh(self, tunnelKey: bytes) -> None:
        """
        The preshared keys may have changed; the next handshake uses those of now.
        """
        if tunnelKey in self.opened:
            entry = self._entries[tunnelKey]
            keys = entry.secrets()
            if entry.presharedKeys != keys:
                entry.presharedKeys = keys
                self._wireguard.setPresharedKeys(tunnelKey, keys)

    def remove(self, tunnelKey: bytes) -> None:
        """
        Forget a peer, and end the tunnel.
        """
        self.shut(tunnelKey)
        if self._entries.pop(tunnelKey, None) is not None:
            self._forwarder.removeMember(tunnelKey)

    def shut(self, tunnelKey: bytes) -> None:
        """
        End a tunnel and wipe its keys; the peer remains known.
        """
        if tunnelKey in self.opened:
            del self.opened[tunnelKey]
            self._entries[tunnelKey].presharedKeys = ()
            self._wireguard.removePeer(tunnelKey)
            self._clamp.forget(tunnelKey)
            self._forwarder.setLive(tunnelKey, False)

    def setEndpoint(self, tunnelKey: bytes, address: Address | None, initiate: bool = False) -> None:
        """
        Where the tunnel's datagrams go from now on.

        @param initiate: begin a handshake there, whatever session there is.
        """
        if tunnelKey in self.opened:
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
        if tunnelKey not in self.opened:
            return PeerStatus(lastHandshake=None, rxBytes=0, txBytes=0, endpoint=None, established=False)
        return self._wireguard.peerStatus(tunnelKey)

    def setSize(self, tunnelKey: bytes, size: int | None, isSettled: bool = False) -> None:
        """
        The peer's path carries datagrams of so many bytes whole; L{None}: there is no path.

        @param isSettled: whether nothing larger is being looked for.
        """
        if size is None:
            self._clamp.forget(tunnelKey)
        elif tunnelKey in self.opened:
            self._clamp.setSize(tunnelKey, size, isSettled)

    def mtu(self, tunnelKey: bytes) -> int:
        """
        Bytes of a packet that may be sent to the peer.
        """
        return self._clamp.mtuOf(tunnelKey)

    def carried(self, tunnelKey: bytes) -> tuple[int, int]:
        """
        @return: the bytes that a tunnel has received and sent.
        """
        return self._wireguard.carried(tunnelKey) if tunnelKey in self._entries else (0, 0)

    def carriedTotal(self) -> int:
        """
        @return: the bytes that all of them have received and sent.
        """
        return self._wireguard.carriedTotal()
