# -*- test-case-name: vnet.test.test_client_peer -*-
"""
What a peer has around it: what it asks of the puncher, the tunnels and the node.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from vnet.client.obstacles import OwnNat
from vnet.protocols.codec import signal as signals
from vnet.protocols.machine.pair import Path
from vnet.protocols.machine.wireguard import PeerStatus
from vnet.protocols.traversal import Story
from vnet.values import Address

__all__ = ["Attempt", "PeerContext", "Tunnels"]


class Attempt(Protocol):
    """
    One search of the puncher for a path to one peer, and the path that it found: L{vnet.protocols.punch.Attempt}.
    """

    @property
    def selected(self) -> Path | None: ...
    @property
    def size(self) -> int: ...
    @property
    def sizeIsSettled(self) -> bool: ...
    @property
    def tried(self) -> tuple[Address, ...]: ...
    @property
    def heard(self) -> tuple[Address, ...]: ...
    @property
    def theirRelays(self) -> tuple[Address, ...]: ...
    @property
    def isBusy(self) -> bool: ...
    @property
    def story(self) -> Story: ...
    def signal(self, start: int, final: bool = False) -> signals.Signal: ...
    def remoteSignal(self, signal: signals.Signal) -> None: ...
    def search(self) -> None: ...
    def check(self) -> None: ...
    def doubt(self) -> bool: ...
    def isReady(self, addr: Address) -> bool: ...
    def noteTraffic(self) -> None: ...
    def addressHeard(self, addr: Address) -> None: ...
    def close(self) -> None: ...


class Tunnels(Protocol):
    """
    What a peer needs of the WireGuard machine and its forwarder.
    """

    def setEndpoint(self, tunnelKey: bytes, address: Address | None, initiate: bool = False) -> None: ...
    def setTakesPartial(self, tunnelKey: bytes, takes: bool) -> None: ...
    def open(self, tunnelKey: bytes) -> None: ...
    def shut(self, tunnelKey: bytes) -> None: ...
    def status(self, tunnelKey: bytes) -> PeerStatus: ...
    def carried(self, tunnelKey: bytes) -> tuple[int, int]: ...
    def setSize(self, tunnelKey: bytes, size: int | None, isSettled: bool = False) -> None: ...
    def mtu(self, tunnelKey: bytes) -> int: ...


@frozen(repr=False)
class PeerContext:
    """
    What all peers of a node share.

    @ivar ownKey: this node's Ed25519 key.
    @ivar connect: begin an attempt: C{connect(key, controlling=, startAt=, onEvent=, observed=, onSignal=, onSize=)}, see
        L{vnet.protocols.punch.Puncher.connect}.
    @ivar askRendezvous: ask the mediator for a start time with a peer.
    @ivar sendSignal: seal and send the plaintext of a signal to a peer.
    @ivar reachable: whether the mediator is connected.
    @ivar changed: something that a user sees of a peer changed.
    @ivar handover: a tunnel's path has changed: C{handover(old, new, since)}, see
        L{vnet.client.dataplane.handover.Handover.move}.
    @ivar double: send what goes to one address to another one too: C{double(address, other)}, see
        L{vnet.client.dataplane.handover.Handover.double}.
    @ivar doubtRelay: there is doubt whether an allocation of this name works.
    @ivar describeVia: what users are told of an allocation of this name: the relay, and over what it is reached.
    @ivar ownNat: what is known of the way out of this node.
    @ivar relayProblem: why no relay can be used; empty when one can.
    @ivar suspected: a path has fallen silent: this node itself may have moved.
    """

    clock: IReactorTime
    ownKey: bytes
    tunnels: Tunnels
    connect: Callable[..., Attempt]
    askRendezvous: Callable[[bytes], None]
    sendSignal: Callable[[bytes, bytes], None]
    reachable: Callable[[], bool]
    changed: Callable[[bytes], None]
    handover: Callable[[Address, Address, float | None], None]
    double: Callable[[Address, Address], None]
    doubtRelay: Callable[[str], None]
    describeVia: Callable[[str], tuple[str, str] | None]
    ownNat: Callable[[], OwnNat]
    relayProblem: Callable[[], str]
    suspected: Callable[[], None] = lambda: None
