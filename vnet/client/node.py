# -*- test-case-name: vnet.test.test_node -*-
"""
The node: one computer in the overlay.  It joins session, view, peers, puncher and data plane.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from vnet import __version__
from vnet.client.dataplane.forwarder import Forwarder
from vnet.client.identity import Identity
from vnet.client.memberships import Memberships
from vnet.client.nat import NatDiscovery
from vnet.client.peer import Peer
from vnet.client.peercontext import Attempt, PeerContext
from vnet.client.peers import Peers
from vnet.client.report import describeNat, describeNetworks
from vnet.client.session import Session
from vnet.client.state import StateFile
from vnet.client.sync import NetworkView, synchronise
from vnet.client.tunnels import TunnelTable
from vnet.client.welcome import Welcome
from vnet.errors import DecodeError, Refused, StateError, Unreachable, VnetError
from vnet.interfaces import IDatagramPort, IDevice, INode
from vnet.protocols import control
from vnet.protocols.codec.names import validateNick
from vnet.protocols.codec.url import MediatorUrl, parseInvite, parseMediatorUrl
from vnet.protocols.controlclient import Credentials
from vnet.protocols.machine import wireguardevents as events
from vnet.protocols.machine.candidates import checkable
from vnet.protocols.machine.sealer import Sealer
from vnet.protocols.machine.wireguard import WireGuard
from vnet.protocols.punch import Puncher
from vnet.protocols.tls import identify
from vnet.values import Address

__all__ = ["Node", "NodeParts"]

_TRAFFIC_INTERVAL = 2.0
_RESYNC = 3.0
_LOGOUT_TIMEOUT = 2.0

T = TypeVar("T")


@define(eq=False, repr=False)
class NodeParts:
    """
    What a node is made of.

    @ivar clock: the reactor's clock, CLOCK_BOOTTIME.
    @ivar endpointFor: makes the endpoint, with TLS, of a mediator.
    @ivar deriveMaster: Argon2id off the reactor thread.
    """

    clock: IReactorTime
    identity: Identity
    state: StateFile
    device: IDevice
    port: IDatagramPort
    wireguard: WireGuard
    random: Callable[[int], bytes]
    sealer: Sealer
    endpointFor: Callable[[MediatorUrl], IStreamClientEndpoint]
    deriveMaster: Callable[[str, bytes, str], Awaitable[bytes]]
    identify: Callable[[Any], tuple[bytes, bytes]] = identify


def _deferred(method: Callable[..., Coroutine[Any, Any, T]]) -> Callable[..., Deferred[T]]:
    """
    Let a coroutine method give a L{Deferred}.
    """

    def call(self: Any, *arguments: Any) -> Deferred[T]:
        return Deferred.fromCoroutine(method(self, *arguments))

    return call


@implementer(INode)
@define(eq=False, repr=False)
class Node:
    """
    One node.

    @ivar whenChanged: called, without arguments, when something changed that a user may see.
    """

    parts: NodeParts
    whenChanged: Callable[[], None] = field(default=lambda: None)
    _log: Logger = field(factory=Logger)
    session: Session | None = field(default=None, init=False)
    view: NetworkView = field(factory=NetworkView, init=False)
    welcome: Welcome | None = field(default=None, init=False)
    _synchronising: bool = field(default=False, init=False)
    _awaiting: list[Deferred[None]] = field(factory=list, init=False)
    _stale: bool = field(default=False, init=False)
    _error: str = field(default="", init=False)
    _attempt: tuple[Session, MediatorUrl] | None = field(default=None, init=False)
    puncher: Puncher = field(init=False)
    nat: NatDiscovery = field(init=False)
    forwarder: Forwarder = field(init=False)
    tunnels: TunnelTable = field(init=False)
    memberships: Memberships = field(init=False)
    peers: Peers = field(init=False)
    _resync: IDelayedCall | None = field(default=None, init=False)
    _traffic: LoopingCall = field(init=False)
    _carried: dict[bytes, tuple[int, int]] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        parts = self.parts
        self.puncher = Puncher(
            parts.clock, parts.port.send, parts.random, onMapped=self._mapped, accepts=self._outside
        )
        self.nat = NatDiscovery(parts.clock, self.puncher)
        self.forwarder = Forwarder(
            parts.device,
            parts.port,
            parts.wireguard,
            parts.clock,
            stunReceived=self.puncher.datagramReceived,
            wireguardEvent=self._tunnelEvent,
            wanted=self._wanted,
        )
        self.tunnels = TunnelTable(parts.clock, parts.wireguard, self.forwarder)
        self.memberships = Memberships(parts.state, self.view, self, parts.deriveMaster)
        context = PeerContext(
            clock=parts.clock,
            ownKey=parts.identity.publicKey,
            tunnels=self.tunnels,
            connect=self._connect,
            askRendezvous=self._askRendezvous,
            sendSignal=self._sendSignal,
            reachable=lambda: self.online,
            changed=self._changed,
        )
        self.peers = Peers(context, self.tunnels, parts.state, self._presharedKeys)
        self._traffic = LoopingCall(self._noteTraffic)
        self._traffic.clock = parts.clock

    # The life of the node.

    def start(self) -> None:
        """
        Begin: device and port are open.  Log in if the user wanted that when the node last ran.
        """
        self.forwarder.start()
        self.linksChanged()
        self._traffic.start(_TRAFFIC_INTERVAL, now=False)
        remembered = self.parts.state.remembered
        if remembered.online and remembered.mediator:
            self._openSession(parseMediatorUrl(remembered.mediator))

    def linksChanged(self) -> None:
        """
        An address of this computer has come or gone.
        """
        self.nat.setLocal(self.parts.port.localAddresses(), self.parts.port.port)
        self.peers.checkAll()
        if self.session is not None:
            self.session.linksChanged()

    async def stop(self) -> None:
        """
        Log out, so that peers know at once, and close everything.
        """
        await self._closeSession()
        self.peers.clear()
        self._cancelResync()
        if self._traffic.running:
            self._traffic.stop()
        self.puncher.close()
        self.forwarder.stop()
        self.parts.device.close()
        self.parts.port.close()

    @property
    def online(self) -> bool:
        """Whether the mediator is connected."""
        return self.session is not None and self.session.online

    def _newSession(self, url: MediatorUrl) -> Session:
        parts = self.parts
        return Session(parts.clock, parts.endpointFor(url), self._credentials, self, parts.identify)

    def _openSession(self, url: MediatorUrl) -> None:
        self._error = ""
        self.session = self._newSession(url)
        self.session.start()

    async def _closeSession(self) -> None:
        if self._attempt is not None:
            self._attempt[0].stop()
        session, self.session = self.session, None
        if session is not None:
            await self._endSession(session)

    async def _endSession(self, session: Session) -> None:
        if session.online:
            leaving = Deferred.fromCoroutine(session.call(control.Logout))
            leaving.addTimeout(_LOGOUT_TIMEOUT, self.parts.clock)
            await leaving.addErrback(lambda _: None)
        session.stop()

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
        self.forwarder.configure(welcome.address, welcome.pool, welcome.address6, welcome.pool6)
        if session is not self.session:
            try:
                self._adopt(session)
            except StateError:
                if before is not None:
                    self.forwarder.configure(before.address, before.pool, before.address6, before.pool6)
                raise
        if before is not None and before.realm != welcome.realm:
            self.peers.clear()
            self.view.clear()
        self.welcome, self._error = welcome, ""
        self.nat.setServers(welcome.stun)
        self._synchronise()
        self._changed()

    def _adopt(self, session: Session) -> None:
        if self._attempt is None or session is not self._attempt[0]:
            raise Unreachable("the login was given up")
        self.parts.state.update(mediator=str(self._attempt[1]), online=True)
        old, self.session = self.session, session
        if old is not None:
            Deferred.fromCoroutine(self._endSession(old))

    def sessionLost(self, reason: str) -> None:
        """
        The mediator is lost: all tunnels stay, and are checked.
        """
        self._log.info("{reason}", reason=reason)
        self.peers.checkAll()
        self._changed()

    def sessionReplaced(self, session: Session) -> None:
        """
        Another computer has this node's key, or this node itself has logged in to the same mediator by another URL.
        """
        if session is not self.session or self._attempt is not None:
            return
        self._error = session.error
        self._log.warn("{error}", error=self._error)
        self.session = None
        self.peers.clear()
        self.view.clear()
        self._changed()

    def memberChanged(self, network: bytes, version: int, members: Sequence[dict[str, Any]]) -> None:
        """
        One network changed.
        """
        if not self.view.applyChange(network, version, members):
            self._synchronise()
        elif self.welcome is not None:
            for key in {raw["key"] for raw in members} - {self.parts.identity.publicKey}:
                self.peers.updateOne(key, self.view.peer(key, self.memberships.joined), self.welcome)
            self._changed()

    def networkGone(self, network: bytes) -> None:
        """
        This node is out of a network.
        """
        try:
            self.memberships.forget(network)
        except StateError as error:
            self._log.error("a network that this node is out of is not forgotten: {error}", error=error)
        self._reconcile()

    def rendezvous(self, peer: bytes, start: int, startAt: float) -> None:
        """
        Connect to a peer.
        """
        self.peers.rendezvous(peer, start, startAt)

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

    def _synchronise(self) -> Deferred[None]:
        """
        Ask for what changed; once more if something changes meanwhile.

        @return: fires when this node is in step, or the mediator cannot be reached.
        """
        done: Deferred[None] = Deferred()
        self._awaiting.append(done)
        if not self._synchronising:
            self._synchronising = True
            Deferred.fromCoroutine(self._keepInStep()).addErrback(
                lambda failure: self._log.failure("while synchronising", failure)
            )
        else:
            self._stale = True
        return done

    async def _keepInStep(self) -> None:
        self._stale = True
        try:
            while self._stale:
                self._stale = False
                await synchronise(self.view, self.ask)
                self._reconcile(reconnected=True)
        except Unreachable as error:
            # The next login synchronises.
            self._log.info("not in step with the mediator: {error}", error=error)
        except VnetError as error:
            self._log.warn("not in step with the mediator: {error}", error=error)
            self._cancelResync()
            self._resync = self.parts.clock.callLater(_RESYNC, self._synchronise)
        finally:
            self._synchronising = False
            awaiting, self._awaiting = self._awaiting, []
            for each in awaiting:
                each.callback(None)

    def _cancelResync(self) -> None:
        if self._resync is not None and self._resync.active():
            self._resync.cancel()

    def _reconcile(self, reconnected: bool = False) -> None:
        if self.welcome is not None:
            members = self.view.peers(self.parts.identity.publicKey, self.memberships.joined)
            self.peers.reconcile(members, self.welcome)
            if reconnected:
                self.peers.reconnected()
        self._changed()

    # What peers need.

    async def ask(self, command: Any, **arguments: Any) -> dict[str, Any]:
        """
        Ask the mediator.

        @raise Refused: it refuses.
        @raise Unreachable: it is not there.
        """
        if self.session is None:
            raise Unreachable(self._error or "this node is not logged in: 'vnet login URL' first")
        return await self.session.call(command, **arguments)

    def _tell(self, command: Any, **arguments: Any) -> None:
        """
        Tell the mediator; if that fails, somebody's timer tries again.
        """
        told = Deferred.fromCoroutine(self.ask(command, **arguments))
        told.addErrback(lambda failure: failure.trap(VnetError))

    def _askRendezvous(self, key: bytes) -> None:
        self._tell(control.Connect, peer=key)

    def _sendSignal(self, key: bytes, plaintext: bytes) -> None:
        self._tell(control.ForwardSignal, peer=key, sealed=self.parts.sealer.seal(key, plaintext))

    def _presharedKeys(self, key: bytes) -> tuple[bytes, ...]:
        return self.memberships.presharedKeys(self.parts.identity.publicKey, key)

    def _connect(self, key: bytes, **options: Any) -> Attempt:
        return self.puncher.connect(key, **options)

    def _outside(self, address: Address) -> bool:
        """
        Whether checks may go to an address that a peer names: not into the overlay itself.
        """
        return checkable(address) and (self.welcome is None or not self.welcome.holds(address.host))

    def _mapped(self) -> None:
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

    def _wanted(self, key: bytes) -> None:
        peer = self.peers.byTunnelKey(key)
        if peer is not None:
            peer.wanted()

    def _noteTraffic(self) -> None:
        """
        Tell the peers whose tunnel carried something: their paths are checked more often, and at once where nothing
        comes back.
        """
        carried: dict[bytes, tuple[int, int]] = {}
        for peer in self.peers.all():
            if peer.active:
                status = self.tunnels.status(peer.tunnelKey)
                before = self._carried.get(peer.key, (0, 0))
                carried[peer.key] = now = (status.rxBytes, status.txBytes)
                if now != before:
                    peer.noteTraffic()
                if now[1] > before[1] and now[0] == before[0]:
                    peer.check()
        self._carried = carried

    def _changed(self) -> None:
        self.whenChanged()

    # What users ask.

    @_deferred
    async def login(self, url: str) -> dict[str, Any]:
        """See L{INode}."""
        await self._login(_parsed(parseMediatorUrl, url))
        return self._status()

    async def _login(self, url: MediatorUrl) -> None:
        if self.online and self.parts.state.remembered.mediator == str(url):
            return
        if self._attempt is None:
            await self._tryLogin(url)
        elif self._attempt[1] == url:
            await self._attempt[0].outcome()
        else:
            raise Refused("another login is under way: wait until it has ended")

    async def _tryLogin(self, url: MediatorUrl) -> None:
        """
        Log in; the session that there is goes on until this has succeeded.
        """
        session = self._newSession(url)
        self._attempt = session, url
        try:
            session.start()
            await session.outcome()
        except VnetError as error:
            session.stop()
            if self.session is not None and (self.session.stopped or self._sameRealm(session)):
                # The attempt got as far as replacing it, whether it has been told so or not: the mediator is the same.
                self.session.stop()
                self._openSession(parseMediatorUrl(self.parts.state.remembered.mediator))
            raise _named(error, url) from error
        finally:
            self._attempt = None

    def _sameRealm(self, session: Session) -> bool:
        there, here = session.welcome, self.welcome
        return there is not None and here is not None and there.realm == here.realm

    @_deferred
    async def logout(self) -> dict[str, Any]:
        """See L{INode}."""
        self.parts.state.update(online=False)
        await self._closeSession()
        self.peers.clear()
        self.view.clear()
        self._changed()
        return self._status()

    @_deferred
    async def status(self) -> dict[str, Any]:
        """See L{INode}."""
        return self._status()

    def _status(self) -> dict[str, Any]:
        welcome, session = self.welcome, self.session
        return {
            "state": self._state(),
            "clientId": self.parts.identity.clientId,
            "nick": self.parts.state.remembered.nick,
            "address": welcome.address if welcome else None,
            "address6": welcome.address6 if welcome else None,
            "mediator": self.parts.state.remembered.mediator or None,
            "udpPort": self.parts.port.port,
            "nat": describeNat(self.nat.report()),
            "error": (session.error if session is not None else self._error) or None,
        }

    def _state(self) -> str:
        if self.online:
            return "online"
        return "offline" if self.session is None and self._attempt is None else "connecting"

    @_deferred
    async def create(self, name: str, password: str | None) -> dict[str, Any]:
        """See L{INode}."""
        await self.memberships.create(name, password, self._realm())
        return await self._entered(name)

    @_deferred
    async def join(self, name: str, password: str | None) -> dict[str, Any]:
        """See L{INode}."""
        await self.memberships.join(name, password, self._realm())
        return await self._entered(name)

    @_deferred
    async def joinInvite(self, link: str) -> dict[str, Any]:
        """See L{INode}."""
        invite = _parsed(parseInvite, link)
        await self._login(invite.mediator)
        await self.memberships.joinWithSecret(invite)
        return await self._entered(invite.network)

    def _realm(self) -> bytes:
        if self.welcome is None or self.session is None:
            raise Unreachable(self._error or "this node is not logged in: 'vnet login URL' first")
        return self.welcome.realm

    async def _entered(self, name: str) -> dict[str, Any]:
        await self._synchronise()
        return {"network": name}

    @_deferred
    async def leave(self, name: str) -> dict[str, Any]:
        """See L{INode}."""
        await self.memberships.leave(name)
        self._reconcile()
        return {"network": name}

    @_deferred
    async def invite(self, name: str) -> dict[str, Any]:
        """See L{INode}."""
        return {"link": self.memberships.invite(name)}

    @_deferred
    async def networks(self) -> dict[str, Any]:
        """See L{INode}."""
        return {"networks": describeNetworks(self.view, self.memberships.joined, self.peers, self.online)}

    @_deferred
    async def peer(self, nameOrAddress: str) -> dict[str, Any]:
        """See L{INode}."""
        return self._find(nameOrAddress).describeFully()

    @_deferred
    async def ping(self, nameOrAddress: str) -> dict[str, Any]:
        """See L{INode}."""
        peer = self._find(nameOrAddress)
        if self.welcome is None or peer.path is None:
            peer.wanted()
            raise Refused(f"no path to {nameOrAddress}: {peer.why()}")
        seconds = await self.forwarder.echo(peer.tunnelKey, self.welcome.address, peer.member.address)
        return {"latencyMs": round(seconds * 1000, 3)}

    def _find(self, nameOrAddress: str) -> Peer:
        found = self.peers.find(nameOrAddress)
        if not found:
            raise Refused(f"no peer is named {nameOrAddress!r} or has that address: see 'vnet list'")
        if len(found) > 1:
            raise Refused(f"{len(found)} peers are named {nameOrAddress!r}: use the address of one")
        return found[0]

    @_deferred
    async def netcheck(self) -> dict[str, Any]:
        """See L{INode}."""
        return describeNat(self.nat.report())

    @_deferred
    async def setNick(self, nick: str) -> dict[str, Any]:
        """See L{INode}."""
        nick = _parsed(validateNick, nick)
        self.parts.state.ensureRoom()
        if self.session is not None:
            await self.ask(control.SetNick, nick=nick)
        self.parts.state.update(nick=nick)
        return self._status()

    @_deferred
    async def goOnline(self, name: str) -> dict[str, Any]:
        """See L{INode}."""
        await self.memberships.setOnline(name, True)
        await self._synchronise()
        return {"network": name}

    @_deferred
    async def goOffline(self, name: str) -> dict[str, Any]:
        """See L{INode}."""
        await self.memberships.setOnline(name, False)
        self._reconcile()
        return {"network": name}


def _parsed(parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except DecodeError as error:
        raise Refused(str(error)) from error


def _named(error: VnetError, url: MediatorUrl) -> VnetError:
    """
    Say which mediator it is that cannot be reached.
    """
    if isinstance(error, Unreachable):
        return Unreachable(f"the mediator {Address(url.host, url.port)} cannot be reached: {error}")
    return error
