# -*- test-case-name: vnet.test.test_node -*-
"""
The node: one computer in the overlay.  It joins session, view, peers, puncher and data plane.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field
from twisted.logger import Logger

from vnet import __version__
from vnet.client.chronicle import Chronicle
from vnet.client.dataplane.clamp import Clamp
from vnet.client.dataplane.forwarder import Forwarder
from vnet.client.dataplane.handover import Handover
from vnet.client.dataplane.paths import Paths
from vnet.client.firewall.firewall import Firewall
from vnet.client.lanfront import LanFront
from vnet.client.logins import Logins
from vnet.client.losses import Losses, countersOf
from vnet.client.memberships import Memberships
from vnet.client.names.nameservice import NameService
from vnet.client.nat import NatDiscovery
from vnet.client.natfront import NatFront
from vnet.client.nodeparts import NodeParts
from vnet.client.nonip.allowed import Allowed
from vnet.client.peercontext import Attempt, PeerContext
from vnet.client.peers import Peers
from vnet.client.relayuse import RelayUse
from vnet.client.roaming import Roaming
from vnet.client.session import Session
from vnet.client.sharedlans import SharedLans
from vnet.client.sync import NetworkView
from vnet.client.synchroniser import Synchroniser
from vnet.client.traffic import TrafficWatch
from vnet.client.tunnels import TunnelTable
from vnet.client.welcome import Welcome, checkPool
from vnet.errors import DecodeError, StateError, VnetError
from vnet.protocols import control
from vnet.protocols.codec.url import MediatorUrl
from vnet.protocols.controlclient import Credentials
from vnet.protocols.machine import wireguardevents as events
from vnet.protocols.machine.candidates import checkable
from vnet.protocols.punch import Puncher
from vnet.values import Address

__all__ = ["Node"]


@define(eq=False, repr=False)
class Node:
    """
    One node.

    @ivar whenChanged: called, without arguments, when something changed that a user may see; C{chronicle} tells what.
    """

    parts: NodeParts
    whenChanged: Callable[[], None] = field(default=lambda: None)
    _log: Logger = field(factory=Logger)
    view: NetworkView = field(factory=NetworkView, init=False)
    welcome: Welcome | None = field(default=None, init=False)
    logins: Logins = field(init=False)
    synchroniser: Synchroniser = field(init=False)
    puncher: Puncher = field(init=False)
    nat: NatDiscovery = field(init=False)
    forwarder: Forwarder = field(init=False)
    clamp: Clamp = field(init=False)
    tunnels: TunnelTable = field(init=False)
    memberships: Memberships = field(init=False)
    peers: Peers = field(init=False)
    chronicle: Chronicle = field(init=False)
    relayUse: RelayUse = field(init=False)
    front: NatFront = field(init=False)
    lan: LanFront = field(init=False)
    names: NameService = field(init=False)
    firewall: Firewall = field(init=False)
    allowed: Allowed = field(init=False)
    lans: SharedLans = field(init=False)
    losses: Losses = field(init=False)
    _paths: Paths = field(init=False)
    _handover: Handover = field(init=False)
    _traffic: TrafficWatch = field(init=False)
    _roaming: Roaming = field(init=False)

    def __attrs_post_init__(self) -> None:
        parts = self.parts
        self._paths = Paths(parts.port)
        self._handover = Handover(self._paths, parts.clock)
        self.logins = Logins(parts.state, self._makeSession)
        self.front = NatFront(parts, self._paths, self.logins, self._outside, self._mapped, self._changed)
        self.puncher, self.nat = self.front.puncher, self.front.nat
        self.relayUse = RelayUse(
            parts, self._paths, self.logins, self.puncher, self.nat, lambda: self.welcome, self._changed
        )
        self.clamp = Clamp(parts.device.mtu, parts.clock)
        self.forwarder = Forwarder(
            parts.device,
            self._handover,
            parts.wireguard,
            parts.clock,
            stunReceived=self.puncher.datagramReceived,
            wireguardEvent=self._tunnelEvent,
            wanted=lambda key: self.peers.wanted(key),
            grouped=lambda frame: self.names.groupFrame(frame),
            clamp=self.clamp,
            etherTypes=lambda key: self.allowed.typesOf(key),
            groupRate=parts.groupRate,
        )
        self.tunnels = TunnelTable(parts.clock, parts.wireguard, self.forwarder, self.clamp)
        self.synchroniser = Synchroniser(parts.clock, self.view, self.logins.ask, self._inStep)
        self.memberships = Memberships(
            parts.state,
            self.view,
            self.logins,
            parts.deriveMaster,
            lambda: self.welcome.realm if self.welcome else b"",
        )
        context = PeerContext(
            clock=parts.clock,
            ownKey=parts.identity.publicKey,
            tunnels=self.tunnels,
            connect=self._connect,
            askRendezvous=self._askRendezvous,
            sendSignal=self._sendSignal,
            reachable=lambda: self.logins.online,
            changed=self._peerChanged,
            handover=self._handover.move,
            double=self._handover.double,
            doubtRelay=self.relayUse.doubt,
            describeVia=self.relayUse.describe,
            ownNat=self.front.ownNat,
            relayProblem=lambda: self.relayUse.problem,
            suspected=lambda: self._roaming.suspected(),
        )
        self.peers = Peers(context, self.tunnels, parts.state, self._presharedKeys)
        self.lan = LanFront(
            parts,
            self.view,
            self.memberships,
            self.peers,
            self.logins,
            self.synchroniser,
            self.tunnels,
            self.forwarder,
            self.relayUse,
            lambda: self.welcome,
            self._changed,
        )
        self.names, self.firewall, self.allowed = self.lan.names, self.lan.firewall, self.lan.allowed
        self.lans = self.lan.lans
        self.chronicle = Chronicle(
            parts.clock,
            parts.wallClock,
            parts.identity.publicKey,
            self.view,
            self.memberships,
            self.peers,
            self.logins,
            lambda: parts.state.remembered.mediator,
            self.lans.all,
        )
        self._traffic = TrafficWatch(parts.clock, self.peers.opened, self.tunnels.carriedTotal, parts.carried)
        self._roaming = Roaming(
            parts.clock,
            parts.port,
            self.puncher,
            self.nat,
            self.peers,
            self.front.lifetimes,
            self.logins,
            lambda: self.relayUse.relays,
        )
        self.losses = Losses(parts.clock, self._counters)

    def _counters(self) -> list[tuple[str, Counter[str]]]:
        parts = self.parts
        return [
            ("interface", countersOf(parts.device)),
            ("udp", countersOf(parts.port) + self._paths.counters + countersOf(self.front.sockets)),
            ("tunnel", parts.wireguard.counters),
            ("relay", self.relayUse.dropped()),
            ("forward", self.forwarder.counters),
        ]

    # The life of the node.

    def start(self) -> None:
        """
        Begin: device and port are open.  Log in if the user wanted that when the node last ran.
        """
        self.forwarder.start()
        # What a path loses while a NAT changes its mapping is sent again when it works again.
        self._handover.keep(True)
        self.linksChanged()
        self._traffic.start()
        self.losses.start()
        self.logins.resume()

    def linksChanged(self) -> None:
        """
        An address of this computer has come or gone.
        """
        self._roaming.linksChanged()
        self.lans.linksChanged()
        self.front.linksChanged()

    async def stop(self) -> None:
        """
        Log out, so that peers know at once, and close everything.
        """
        unmapped = self.front.unmap()
        await self.logins.close()
        self.lan.stop()
        if unmapped is not None:
            await unmapped
        self.peers.close()
        self.chronicle.stop()
        self.synchroniser.stop()
        self._traffic.stop()
        self.losses.stop()
        self.relayUse.clear()
        self.front.close()
        self.forwarder.stop()
        await self.lans.close()
        self.parts.device.close()
        await self.firewall.close()
        self._handover.close()

    def _makeSession(self, url: MediatorUrl) -> Session:
        parts = self.parts
        return Session(parts.clock, parts.endpointFor(url), self._credentials, self, parts.identify)

    def _credentials(self) -> Credentials:
        identity = self.parts.identity
        return Credentials(
            identity.publicKey, identity.sign, self.parts.state.remembered.nick, f"vnet {__version__}"
        )

    # What the session says.

    def sessionOnline(self, session: Session, welcome: Welcome) -> None:
        """
        This node is logged in; if by a new session, that takes the place of the old one.

        @raise vnet.errors.ConfigurationError: the overlay's addresses collide with this computer's, or the state cannot be
            written: the old session stays.
        """
        before = self.welcome
        checkPool(welcome, self.parts.acceptedPools)
        self.forwarder.configure(welcome.address, welcome.pool, welcome.address6, welcome.pool6)
        try:
            self.logins.adopt(session)
        except StateError:
            if before is not None:
                self.forwarder.configure(before.address, before.pool, before.address6, before.pool6)
            raise
        if before is not None and before.realm != welcome.realm:
            self._forgetAll()
        self.welcome = welcome
        self.lan.configured(welcome)
        self.front.setServers(welcome.stun)
        self.relayUse.setTickets(welcome.relays)
        self.synchroniser.run()
        self.peers.resumed()
        self._changed()

    def sessionLost(self, reason: str) -> None:
        """
        The mediator is lost: all tunnels stay, and are checked.
        """
        self._log.info("{reason}", reason=reason)
        self.peers.checkAll()
        self.relayUse.check()
        self._changed()

    def sessionReplaced(self, session: Session) -> None:
        """
        Another computer has this node's key, or this node itself has logged in to the same mediator by another URL.
        """
        if self.logins.replaced(session):
            self._log.warn("{error}", error=session.error)
            self.forget()

    def forget(self) -> None:
        """
        This node is logged out: it has no peers.
        """
        self._forgetAll()
        self.lan.changed()
        self.relayUse.clear()
        self.chronicle.noteAll()
        self._changed()

    def _forgetAll(self) -> None:
        self.peers.clear()
        self.view.clear()
        self.synchroniser.whole = False

    def memberChanged(self, network: bytes, version: int, members: Sequence[dict[str, Any]]) -> None:
        """
        One network changed.
        """
        if not self.view.applyChange(network, version, members):
            self.synchroniser.request()
        elif self.welcome is not None:
            keys = {raw["key"] for raw in members} - {self.parts.identity.publicKey}
            for key in keys:
                self.peers.updateOne(key, self.view.peer(key, self.memberships.joined), self.welcome)
                self.firewall.changed((key,))
            self.allowed.changed()
            self.lans.changed()
            self.names.changed()
            self.chronicle.note(keys)
            self._changed()

    def networkGone(self, network: bytes) -> None:
        """
        This node is out of a network.
        """
        if network in self.view.networks or network.hex() in self.memberships.joined:
            self.memberships.forget(network)
            self.reconcile()

    def rendezvous(self, peer: bytes, start: int, startAt: float, host: str) -> None:
        """
        Connect to a peer.
        """
        self.peers.rendezvous(peer, start, startAt, host)

    def signal(self, peer: bytes, sealed: bytes) -> None:
        """
        A signal came.
        """
        try:
            plaintext = self.parts.sealer.open(peer, sealed)
        except DecodeError:
            self._log.debug("a signal that its sender did not seal was dropped")
            return
        self.peers.signal(peer, plaintext)

    def _inStep(self) -> None:
        try:
            self.memberships.adoptEntered()
        except VnetError as error:
            # The peers of the other networks do not wait for the disk.
            self._log.error("a network that this node joined is not remembered: {error}", error=error)
        if not self.synchroniser.stale:
            self.memberships.forgetGone()
        self.reconcile()
        self.peers.reconnected()

    def reconcile(self) -> None:
        """
        Let the peers follow the view.
        """
        if self.welcome is not None:
            members = self.view.peers(self.parts.identity.publicKey, self.memberships.joined)
            self.peers.reconcile(members, self.welcome)
            self.names.changed()
        self.lan.changed()
        self.chronicle.noteAll()
        self._changed()

    # What peers need.

    def _askRendezvous(self, key: bytes) -> None:
        self.logins.tell(control.Connect, peer=key)

    def _sendSignal(self, key: bytes, plaintext: bytes) -> None:
        self.logins.tell(control.ForwardSignal, peer=key, sealed=self.parts.sealer.seal(key, plaintext))

    def _presharedKeys(self, key: bytes) -> tuple[bytes, ...]:
        return self.memberships.presharedKeys(self.parts.identity.publicKey, key)

    def _connect(self, key: bytes, **options: Any) -> Attempt:
        return self.puncher.connect(key, **options)

    def _outside(self, address: Address) -> bool:
        """
        Whether checks may go to an address that a peer names: not into the overlay itself.
        """
        inside = self.welcome is not None and self.welcome.holds(address.host)
        return checkable(address) and not inside and not self.lans.holds(address.host)

    def _mapped(self) -> None:
        self._roaming.mapped()
        self.peers.candidatesChanged()

    def _tunnelEvent(self, event: object) -> None:
        key = getattr(event, "publicKey", b"")
        peer = self.peers.byTunnelKey(key)
        if peer is None:
            return
        if isinstance(event, events.SessionEstablished):
            peer.sessionEstablished()
        elif isinstance(event, events.HandshakeFailed):
            peer.handshakeFailed()
        elif isinstance(event, events.EndpointMoved):
            peer.endpointMoved(event.address)

    def _peerChanged(self, key: bytes) -> None:
        peer = self.peers.get(key)
        if peer is not None and peer.path is not None and self.lans.holds(peer.path.address.host):
            # It is as old as the route to the LAN, and would go into itself.
            self.lans.linksChanged()
        self.chronicle.note((key,))
        self._changed()

    def _changed(self) -> None:
        self.chronicle.note()
        self.whenChanged()
