# -*- test-case-name: vnet.test.test_mediator -*-
"""
The mediator: what answers the commands of nodes.

Each command is checked against limits, then stored, then made known to who has to know.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from typing import Any

from attrs import define, evolve, field, frozen
from sqlalchemy.engine import Connection
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from vnet.errors import ConfigurationError
from vnet.protocols import control
from vnet.protocols.codec.prefix import Prefix
from vnet.protocols.controlserver import ControlServer
from vnet.protocols.machine.candidates import checkable
from vnet.server import accounts, lans, networks
from vnet.server.addresses import Pool, network6Of
from vnet.server.checks import checkedName, checkedNick, checkedPrefix, checkedProof
from vnet.server.portprobe import probePort
from vnet.server.presence import Presence
from vnet.server.quotas import Quotas
from vnet.server.rendezvous import Rendezvous
from vnet.server.steps import Steps
from vnet.server.store.worker import Store
from vnet.server.tickets import Tickets
from vnet.values import Address

__all__ = ["Mediator", "Offer"]

_NETWORK = 16
_TOKEN = 12
_REFUSAL_TIME = 0.1
_EXPIRY_COST, _EXPIRY_PAUSE = 1000, 1.0


@frozen
class Offer:
    """
    What the operator's options give to each node.

    @ivar stun: STUN servers as C{"IP:PORT"}; C{":PORT"} is the mediator's own host.
    @ivar tickets: what makes credentials for the relays, one for each secret that relays share.
    """

    pool: Pool
    stun: tuple[str, ...] = ()
    tickets: tuple[Tickets, ...] = ()


@define(eq=False)
class Mediator:
    """
    Implements L{vnet.protocols.controlserver.ControlBackend}.

    @ivar sessions: the one session of each node that is logged in.
    @ivar quotas: how often a node may do what.
    @ivar _random: gives random bytes.
    @ivar _probe: sends a datagram with a token to an address.
    """

    _log = Logger()

    _clock: IReactorTime
    _store: Store
    _offer: Offer
    _random: Callable[[int], bytes] = secrets.token_bytes
    _draw: Callable[[int], int] = secrets.randbelow
    _probe: Callable[[Address, bytes], None] = probePort
    presence: Presence = field(factory=Presence, init=False)
    sessions: dict[bytes, ControlServer] = field(factory=dict, init=False)
    _accounts: dict[bytes, accounts.Account] = field(factory=dict, init=False)
    _stopping: bool = field(default=False, init=False)
    _realm: accounts.Realm = field(init=False)
    _steps: Steps = field(init=False)
    _rendezvous: Rendezvous = field(factory=Rendezvous, init=False)
    _guesses: networks.Guesses = field(init=False)
    quotas: Quotas = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._steps = Steps(self._clock, self.presence, self.sessions, self._random(8))
        self._guesses = networks.Guesses(self._clock.seconds)
        self.quotas = Quotas(self._clock.seconds)

    def load(self, connection: Connection) -> None:
        """
        Read the database.  Before this nothing can be answered.

        @raise ConfigurationError: the pool does not hold the addresses that were given before.
        """
        self._realm = accounts.readRealm(connection)
        known = accounts.allAccounts(connection)
        outside = [each.address for each in known if not self._offer.pool.holds(each.address)]
        if outside:
            raise ConfigurationError(
                f"the pool {self._offer.pool.network} does not hold {outside[0]}, which a node has for ever: "
                "a pool may grow, but not move"
            )
        self._accounts = {account.key: account for account in known}
        self.presence.load(known, networks.allNetworks(connection), self._clock.seconds())

    def stop(self) -> None:
        """
        The mediator goes down: connections that end from now on are nobody's loss.
        """
        self._stopping = True

    def expire(self) -> None:
        """
        Call this now and then: who has been lost for a week is offline.
        """
        cost = 0
        for changes in self.presence.expire(self._clock.seconds()):
            self._steps.tell(changes)
            cost += 1 + sum(len(change.listeners) for change in changes)
            if cost >= _EXPIRY_COST and not self._stopping:
                # After a restart thousands may have been lost at the same time, each of them news for thousands.
                self._clock.callLater(_EXPIRY_PAUSE, self.expire)
                return

    # Sessions.

    async def login(self, session: ControlServer, key: bytes, nick: str, software: str) -> dict[str, Any]:
        """
        Let a node in whose key is proved.
        """
        try:
            nick = checkedNick(nick)
        except control.Denied as error:
            raise control.LoginFailed(str(error)) from None
        self.quotas.login(key)
        if key not in self._accounts:
            self.quotas.register(session.host)
        account = await self._admit(key, nick)
        if session.closing:
            raise control.LoginFailed("the connection was closed")
        old = self.sessions.get(key)
        self.sessions[key] = session
        self._steps.forget(key)
        session.admit()
        if old is not None:
            self._forget(key)
            old.push(control.Replaced, byYou=False)
            old.finish()
            # After the answer to the login, which is written when this has returned.
            self._clock.callLater(0, session.push, control.Replaced, byYou=True)
        self._steps.tell(self.presence.login(account))
        return {
            "realm": self._realm.realm,
            "epoch": self._steps.epoch,
            "now": self._now(),
            "address": account.address,
            "address6": account.address6,
            "pool": str(self._offer.pool.network),
            "pool6": str(network6Of(self._realm.prefix6)),
            "stun": list(self._offer.stun),
            "relays": self._credentials(key),
        }

    def _credentials(self, key: bytes) -> list[dict[str, str]]:
        return [each for tickets in self._offer.tickets for each in tickets.issue(key)]

    async def relays(self, session: ControlServer) -> dict[str, Any]:
        """
        Fresh credentials for the relays.
        """
        self.quotas.relays(session.key)
        return {"relays": self._credentials(session.key)}

    async def _admit(self, key: bytes, nick: str) -> accounts.Account:
        known = self._accounts.get(key)
        if known is not None and known.present and known.nick == nick:
            return known
        try:
            account = await self._store.run(
                accounts.admit, key, nick, self._offer.pool, self._realm.prefix6, self._draw
            )
        except (control.Storage, control.Busy):
            # Who is known is let in though nothing can be stored now: its address is stored, and that
            # matters.
            if known is None:
                raise
            return known
        self._accounts[key] = account
        return account

    def ended(self, session: ControlServer) -> None:
        """
        A node's connection broke.
        """
        if self.sessions.get(session.key) is session and not self._stopping:
            del self.sessions[session.key]
            self._steps.forget(session.key)
            self._steps.tell(self.presence.lose(session.key, self._clock.seconds()))

    def _forget(self, key: bytes) -> None:
        for network in self.presence.nodes[key].networks.values():
            network.listeners.discard(key)

    async def logout(self, session: ControlServer) -> dict[str, Any]:
        """
        A node goes offline.
        """
        key = session.key
        if self.sessions.get(key) is session:
            del self.sessions[key]
            self._steps.forget(key)
            self._steps.tell(self.presence.logout(key))
            # Before it is stored: a login that comes meanwhile has to store the opposite after it.
            self._accounts[key] = evolve(self._accounts[key], present=False)
            with contextlib.suppress(control.Storage, control.Busy):
                # If not, the node counts as lost after a restart, which is the most that is wrong then.
                await self._store.run(accounts.setPresent, key, False)
        self._clock.callLater(0, session.finish)
        return {}

    async def ping(self, session: ControlServer) -> dict[str, Any]:
        """
        The time.
        """
        return {"now": self._now()}

    # Networks.

    async def createNetwork(self, session: ControlServer, name: str, proof: bytes) -> dict[str, Any]:
        """
        Found a network.
        """
        self.quotas.change(session.key)
        name, identifier = checkedName(name), self._random(_NETWORK)
        await self._store.run(
            networks.create, identifier, self._random(16), name, checkedProof(proof), session.key
        )
        self.presence.create(identifier, name, session.key, bool(proof))
        return {"network": identifier}

    async def joinNetwork(self, session: ControlServer, name: str, proof: bytes) -> dict[str, Any]:
        """
        Become a member.
        """
        self.quotas.change(session.key)
        name, proof, began = checkedName(name), checkedProof(proof), self._clock.seconds()
        try:
            identifier = await self._store.run(networks.join, name, proof, session.key, self._guesses)
        except control.Denied:
            # To look for what is not there takes less time than to find it: nobody is to see how much.
            elapsed = self._clock.seconds() - began
            await deferLater(self._clock, _REFUSAL_TIME - elapsed % _REFUSAL_TIME)
            raise
        self._steps.tell(self.presence.join(identifier, session.key))
        return {"network": identifier}

    async def leaveNetwork(self, session: ControlServer, network: bytes) -> dict[str, Any]:
        """
        Cease to be a member.
        """
        self.quotas.change(session.key)
        left = await self._store.run(networks.leave, network, session.key)
        self._steps.tell(self.presence.leave(network, session.key, left.owner))
        return {}

    async def setNick(self, session: ControlServer, nick: str) -> dict[str, Any]:
        """
        Change the nickname.
        """
        self.quotas.change(session.key)
        nick, key = checkedNick(nick), session.key
        await self._store.run(accounts.setNick, key, nick)
        self._accounts[key] = evolve(self._accounts[key], nick=nick)
        self._steps.tell(self.presence.setNick(key, nick))
        return {}

    async def setPresence(self, session: ControlServer, network: bytes, online: bool) -> dict[str, Any]:
        """
        Be online or offline in one network.
        """
        self.quotas.change(session.key)
        await self._store.run(networks.setOnline, network, session.key, online)
        self._steps.tell(self.presence.setOnline(network, session.key, online))
        return {}

    # The LANs that members share.

    async def offerLan(
        self, session: ControlServer, network: bytes, prefix: str, offered: bool
    ) -> dict[str, Any]:
        """
        Offer a prefix, or no more.
        """
        self.quotas.change(session.key)
        checked = checkedPrefix(prefix, self._blocks if offered else ())
        work = lans.offer if offered else lans.withdraw
        accepted = await self._store.run(work, network, session.key, checked)
        self._steps.tell(self.presence.setLan(network, session.key, str(checked), accepted))
        return {}

    async def acceptLan(
        self, session: ControlServer, network: bytes, member: bytes, prefix: str, accepted: bool
    ) -> dict[str, Any]:
        """
        Accept what a member offers, or no more.
        """
        self.quotas.change(session.key)
        checked = checkedPrefix(prefix, self._blocks if accepted else ())
        await self._store.run(lans.accept, network, session.key, member, checked, accepted)
        self._steps.tell(self.presence.setLan(network, member, str(checked), accepted))
        return {}

    @property
    def _blocks(self) -> tuple[Prefix, ...]:
        return self._offer.pool.network, network6Of(self._realm.prefix6)

    # Synchronisation.

    async def synchronise(
        self, session: ControlServer, epoch: bytes, held: list[dict[str, Any]], cursor: bytes
    ) -> dict[str, Any]:
        """
        Give one page of what changed.
        """
        if not cursor:
            self.quotas.synchronise(session.key)
        return self._steps.page(session, epoch, held, cursor)

    def drained(self, session: ControlServer) -> None:
        """
        A node has answered most of what it was told.
        """
        self._steps.drained(session)

    # Coordination.

    async def connect(self, session: ControlServer, peer: bytes) -> dict[str, Any]:
        """
        Give two peers a common start.
        """
        self.quotas.connect(session.key)
        other = self._peer(session, peer)
        now = self._clock.seconds()
        start = self._rendezvous.ask(session.key, peer, now)
        if start is not None:
            when = {"start": int(start * 1e6), "now": int(now * 1e6)}
            session.push(control.Rendezvous, peer=peer, host=other.host, **when)
            other.push(control.Rendezvous, peer=session.key, host=session.host, **when)
        return {}

    async def forwardSignal(self, session: ControlServer, peer: bytes, sealed: bytes) -> dict[str, Any]:
        """
        Hand a sealed signal on.
        """
        if len(sealed) > control.MAXIMUM_SIGNAL:
            raise control.Denied(f"a signal has at most {control.MAXIMUM_SIGNAL} bytes")
        other = self._peer(session, peer)
        self.quotas.signal(session.key, peer)
        other.push(control.Signal, peer=session.key, sealed=sealed)
        return {}

    async def testPort(self, session: ControlServer, port: int, token: bytes) -> dict[str, Any]:
        """
        Send a datagram to the node that asks, and to nobody else.
        """
        address = Address(session.host, port)
        # Whoever seems to come from this host itself comes through a proxy, and does not own its ports.
        if len(token) != _TOKEN or not checkable(address):
            raise control.Denied("this port is not tested")
        self.quotas.testPort(session.key)
        try:
            self._probe(address, token)
        except OSError as error:
            raise control.Busy(f"the datagram could not be sent: {error.strerror}") from error
        return {"host": session.host}

    def _peer(self, session: ControlServer, peer: bytes) -> ControlServer:
        if self.sessions.get(session.key) is not session or not self.presence.peers(session.key, peer):
            raise control.NotPeers("the two nodes share no network in which both are online")
        other = self.sessions.get(peer)
        if other is None or other.closing:
            raise control.PeerAbsent("the peer is not connected to the mediator now")
        if other.crowded:
            # It would be dropped in the end: nobody may do that to another.
            raise control.Busy("the peer is slow to read: try again in some seconds")
        return other

    def _now(self) -> int:
        return int(self._clock.seconds() * 1e6)
