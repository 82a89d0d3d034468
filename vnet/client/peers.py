# -*- test-case-name: vnet.test.test_client_peers -*-
"""
All peers of a node: the table that follows its view of the networks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Protocol

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from vnet.client.identity import tunnelKey
from vnet.client.peer import Peer
from vnet.client.peercontext import PeerContext
from vnet.client.sync import Member
from vnet.client.tunnels import Secrets
from vnet.client.warmth import IDLE, Warmth
from vnet.client.welcome import Welcome, memberAddressesIn
from vnet.errors import DecodeError, StateError
from vnet.protocols.machine.ratelimit import KeyedLimit

__all__ = ["MemberTable", "Peers"]

_MAXIMUM_OPEN = 1024
_RECENT = 10.0
_LOOK = 15.0
_MAXIMUM_EARLY = 64
_EARLY_SIGNALS = 8
_EARLY_LIFETIME = 10.0
_SAVE_DELAY = 5.0
_SAVE_AGAIN = 60.0


class MemberTable(Protocol):
    """
    Where tunnels and addresses of peers are put.
    """

    @property
    def opened(self) -> Collection[bytes]: ...
    def add(self, tunnelKey: bytes, address: str, address6: str, secrets: Secrets) -> None: ...
    def refresh(self, tunnelKey: bytes) -> None: ...
    def remove(self, tunnelKey: bytes) -> None: ...


class Pins(Protocol):
    """
    The keys of the peers met so far.
    """

    def pinned(self, realm: bytes, address: str) -> bytes | None: ...
    def pin(self, realm: bytes, keys: dict[str, bytes]) -> None: ...
    def save(self) -> None: ...


@define
class _Early:
    """
    What came for a peer before this node knew of it.
    """

    expires: float
    rendezvous: tuple[int, float, str] | None = None
    signals: list[bytes] = field(factory=list)


@define(eq=False, repr=False)
class Peers:
    """
    The peers, by their Ed25519 key, by the key of their tunnel and by name or address.
    """

    _context: PeerContext
    _table: MemberTable
    _pins: Pins
    _presharedKeys: Callable[[bytes], tuple[bytes, ...]]
    _log: Logger = field(factory=Logger)
    _ownTunnelKey: bytes = field(init=False)
    _peers: dict[bytes, Peer] = field(factory=dict, init=False)
    _byTunnelKey: dict[bytes, Peer] = field(factory=dict, init=False)
    _owners: dict[str, bytes] = field(factory=dict, init=False)
    _warmth: Warmth = field(init=False)
    _looking: IDelayedCall | None = field(default=None, init=False)
    _early: dict[bytes, _Early] = field(factory=dict, init=False)
    _saving: IDelayedCall | None = field(default=None, init=False)
    _complaints: KeyedLimit = field(factory=lambda: KeyedLimit(0.1, 10), init=False)

    @_warmth.default
    def _makeWarmth(self) -> Warmth:
        return Warmth(self._context.ownKey)

    @_ownTunnelKey.default
    def _toOwnTunnelKey(self) -> bytes:
        return tunnelKey(self._context.ownKey)

    @property
    def ownKey(self) -> bytes:
        """This node's own Ed25519 key."""
        return self._context.ownKey

    def get(self, key: bytes) -> Peer | None:
        """
        @return: the peer with this Ed25519 key.
        """
        return self._peers.get(key)

    def byTunnelKey(self, key: bytes) -> Peer | None:
        """
        @return: the peer with this WireGuard key.
        """
        return self._byTunnelKey.get(key)

    def find(self, nameOrAddress: str) -> list[Peer]:
        """
        @return: the peers with this address, client id, or nickname.
        """
        found = [
            peer
            for peer in self._peers.values()
            if nameOrAddress.lower() in (peer.member.address, peer.member.address6, peer.key.hex())
        ]
        return found or [peer for peer in self._peers.values() if peer.member.nick == nameOrAddress]

    def addressesOf(self, key: bytes) -> tuple[str, ...]:
        """
        @return: the addresses of the peer with this Ed25519 key, IPv4 first; empty: there is none, or it is refused.
        """
        peer = self._peers.get(key)
        return () if peer is None else peer.addresses

    def keyAt(self, address: str) -> bytes | None:
        """
        @return: the Ed25519 key of the peer with this address.
        """
        return self._owners.get(address)

    def reconcile(self, members: dict[bytes, Member], welcome: Welcome) -> None:
        """
        Follow the view: new peers, those that changed, those that are gone.
        """
        for key in [key for key in self._peers if key not in members]:
            self._remove(key)
        added = [self._add(member, welcome) for key, member in members.items() if key not in self._peers]
        fresh = [peer for peer in added if peer is not None]
        for key, member in members.items():
            peer = self._peers.get(key)
            if peer is not None:
                self._update(peer, member)
        self._pin(welcome, [peer for peer in fresh if not peer.refused])
        self._settle(fresh)
        for peer in fresh:
            self._begin(peer)

    def updateOne(self, key: bytes, member: Member | None, welcome: Welcome) -> None:
        """
        Follow the view where one member changed; L{None}: it is no peer any more.
        """
        peer = self._peers.get(key)
        if member is None:
            self._remove(key)
            self._settle()
        elif peer is not None:
            self._update(peer, member)
            self._settle()
        else:
            added = self._add(member, welcome)
            if added is not None:
                self._pin(welcome, [] if added.refused else [added])
                self._settle((added,))
                self._begin(added)

    def _settle(self, fresh: Iterable[Peer] = ()) -> None:
        """
        To those to whom a path is to be kept ready from now on, find one.

        @param fresh: peers that L{_begin} follows for.
        """
        begun = set(fresh)
        for peer in self._warmth.settle(self._context.clock.seconds()):
            if peer not in begun:
                peer.begin()

    def _add(self, member: Member, welcome: Welcome) -> Peer | None:
        try:
            address, address6 = memberAddressesIn(welcome, member.key, member.address, member.address6)
            key = tunnelKey(member.key)
        except DecodeError as error:
            self._complain(f"the mediator named a member that cannot be one: {error}")
            return None
        refused = self._conflict(member, key, (address, address6), welcome)
        if not refused:
            try:
                self._table.add(key, address, address6, partial(self._presharedKeys, member.key))
            except ValueError as error:
                refused = f"no tunnel to it is possible: {error}"
        peer = Peer(self._context, member, key, refused, warm=False)
        self._peers[member.key] = peer
        if refused:
            self._complain(f"{member.nick} is refused: {refused}")
        else:
            peer.addresses = (address, address6)
            self._owners[address] = self._owners[address6] = member.key
            self._byTunnelKey[key] = peer
            self._warmth.follow(peer)
        return peer

    def _complain(self, about: str) -> None:
        if self._complaints.allow("", self._context.clock.seconds()):
            self._log.warn("{about}", about=about)

    def _update(self, peer: Peer, member: Member) -> None:
        if not peer.refused:
            self._table.refresh(peer.tunnelKey)
        peer.update(member)
        self._warmth.follow(peer)

    def _conflict(
        self, member: Member, tunnelKey: bytes, addresses: tuple[str, str], welcome: Welcome
    ) -> str:
        if tunnelKey in self._byTunnelKey or tunnelKey == self._ownTunnelKey:
            # Two Ed25519 keys, of opposite sign, have one X25519 key.
            return "the mediator gives one tunnel key to two members"
        for each in addresses:
            pinned = self._pins.pinned(welcome.realm, each)
            if pinned is not None and pinned != member.key:
                return (
                    f"the mediator gives {each} to another key than when this node first met it: "
                    "either the peer lost its key, or someone poses as it"
                )
            if each in self._owners:
                return f"the mediator gives {each} to two members"
        return ""

    def _pin(self, welcome: Welcome, peers: Iterable[Peer]) -> None:
        pins: dict[str, bytes] = {}
        for peer in peers:
            for address in peer.addresses:
                if self._pins.pinned(welcome.realm, address) is None:
                    pins[address] = peer.key
        if pins:
            self._pins.pin(welcome.realm, pins)
            if self._saving is None:
                # Not for each: in a large network, members come one by one, and all that is kept is written at once.
                self._saving = self._context.clock.callLater(_SAVE_DELAY, self._save)

    def _save(self) -> None:
        self._saving = None
        try:
            self._pins.save()
        except StateError as error:
            self._log.error("the keys of peers are not on disk: {error}", error=error)
            self._saving = self._context.clock.callLater(_SAVE_AGAIN, self._save)

    def close(self) -> None:
        """
        Forget all, for good.
        """
        self.clear()
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
        if self._saving is not None:
            self._saving.cancel()
            self._save()
        if self._saving is not None:
            self._saving.cancel()

    def _remove(self, key: bytes) -> None:
        peer = self._peers.pop(key, None)
        if peer is not None:
            self._warmth.forget(peer)
            peer.close()
            if not peer.refused:
                self._byTunnelKey.pop(peer.tunnelKey, None)
                for address in peer.addresses:
                    self._owners.pop(address, None)
                self._table.remove(peer.tunnelKey)

    def rendezvous(self, key: bytes, start: int, startAt: float, host: str = "") -> None:
        """
        The mediator calls a rendezvous, perhaps with a peer of which this node hears only next.

        @param host: where the mediator sees the peer.
        """
        peer = self._peers.get(key)
        if peer is not None:
            self._meet(peer, start, startAt, host)
        else:
            self._earlyFor(key).rendezvous = (start, startAt, host)

    def _meet(self, peer: Peer, start: int, startAt: float, host: str) -> None:
        if self._hasRoom(peer):
            peer.rendezvous(start, startAt, host)

    def wanted(self, tunnelKey: bytes) -> None:
        """
        The operating system has traffic for the peer with this WireGuard key, and there is no path, or no tunnel.
        """
        peer = self._byTunnelKey.get(tunnelKey)
        if peer is not None and self._hasRoom(peer):
            peer.wanted()

    def _hasRoom(self, peer: Peer) -> bool:
        """
        Whether there may be a tunnel to one more peer.  Perhaps another one is given up for it.
        """
        if self._looking is None:
            self._looking = self._context.clock.callLater(_LOOK, self._look)
        if peer.warm or peer.tunnelKey in self._table.opened or len(self._table.opened) < _MAXIMUM_OPEN:
            return True
        now = self._context.clock.seconds()
        unused = [each for each in self.opened() if not each.warm and now - each.usedAt >= _RECENT]
        if unused:
            min(unused, key=lambda each: each.usedAt).rest()
        return bool(unused)

    def opened(self) -> list[Peer]:
        """
        @return: the peers to whom there is a tunnel.
        """
        return [self._byTunnelKey[each] for each in self._table.opened if each in self._byTunnelKey]

    def _look(self) -> None:
        """
        Give up paths that are not kept ready and that nobody uses.
        """
        self._looking, now = None, self._context.clock.seconds()
        mayReturn = self._context.reachable()
        for peer in self.opened():
            if now - peer.usedAt < _LOOK:
                self._warmth.used(peer, now)
            elif mayReturn and not peer.warm and peer.isIdle(now - IDLE):
                peer.rest()
        if self._table.opened:
            self._looking = self._context.clock.callLater(_LOOK, self._look)

    def signal(self, key: bytes, plaintext: bytes) -> None:
        """
        An authentic signal came.
        """
        peer = self._peers.get(key)
        if peer is None:
            early = self._earlyFor(key)
            if len(early.signals) < _EARLY_SIGNALS:
                early.signals.append(plaintext)
            return
        try:
            peer.signal(plaintext)
        except DecodeError as error:
            self._log.debug("a signal was dropped: {error}", error=error)

    def _earlyFor(self, key: bytes) -> _Early:
        now = self._context.clock.seconds()
        for stale in [each for each, early in self._early.items() if early.expires < now]:
            del self._early[stale]
        while len(self._early) >= _MAXIMUM_EARLY:
            del self._early[next(iter(self._early))]
        return self._early.setdefault(key, _Early(now + _EARLY_LIFETIME))

    def _begin(self, peer: Peer) -> None:
        early = self._early.pop(peer.key, None)
        if (
            early is None
            or early.rendezvous is None
            or peer.refused
            or early.expires < self._context.clock.seconds()
        ):
            peer.begin()
            return
        self._meet(peer, *early.rendezvous)
        for plaintext in early.signals:
            self.signal(peer.key, plaintext)

    def candidatesChanged(self) -> None:
        """
        Tell all peers with whom a search is under way.
        """
        for peer in self._peers.values():
            peer.sendSignal()

    def moved(self) -> None:
        """
        The network of this computer has changed.
        """
        for peer in self._peers.values():
            peer.moved()

    def checkAll(self) -> None:
        """
        The mediator is lost: keep all tunnels, and see which of them are alive.
        """
        for peer in self._peers.values():
            peer.check()

    def resumed(self) -> None:
        """
        The mediator is connected again, and nobody knows yet what has happened meanwhile: what cannot wait is asked at once.
        """
        for peer in self._peers.values():
            if peer.path is not None:
                peer.reconnected()

    def reconnected(self) -> None:
        """
        The mediator is back.
        """
        for peer in self._peers.values():
            peer.reconnected()

    def all(self) -> Iterable[Peer]:
        """
        @return: each peer.
        """
        return tuple(self._peers.values())

    def clear(self) -> None:
        """
        Forget all: this node logs out.
        """
        for key in list(self._peers):
            self._remove(key)
        self._early.clear()
