# -*- test-case-name: vnet.test.test_node -*-
"""
What users ask of a node: L{vnet.interfaces.INode}.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from attrs import define
from twisted.internet.defer import Deferred
from zope.interface import implementer

from vnet.client.listing import Selection
from vnet.client.node import Node
from vnet.client.peer import Peer
from vnet.client.peerreport import describeFully, why
from vnet.client.pingtest import answersPing
from vnet.client.report import describeNat, describeNetworks, describeRelays
from vnet.client.welcome import Welcome
from vnet.errors import DecodeError, Refused, Unreachable
from vnet.interfaces import INode
from vnet.protocols import control
from vnet.protocols.codec.names import validateNick
from vnet.protocols.codec.url import parseInvite, parseMediatorUrl

__all__ = ["Verbs"]

T = TypeVar("T")

# How long a discovery of the NAT that is under way is waited for, seconds.
_PATIENCE = 3.0
# How long the datagram is waited for that tests the port.
_TEST = 1.0

_CUT = "The link holds no secret: put it in quotes, the shell cuts it at '&'"


def _deferred(method: Callable[..., Coroutine[Any, Any, T]]) -> Callable[..., Deferred[T]]:
    """
    Let a coroutine method give a L{Deferred}.
    """

    def call(self: Any, *arguments: Any) -> Deferred[T]:
        return Deferred.fromCoroutine(method(self, *arguments))

    return call


@implementer(INode)
@define(eq=False, repr=False)
class Verbs:
    """
    The verbs of one node.
    """

    _node: Node

    @_deferred
    async def login(self, url: str) -> dict[str, Any]:
        """See L{INode}."""
        await self._node.logins.login(_parsed(parseMediatorUrl, url))
        return self._status()

    @_deferred
    async def logout(self) -> dict[str, Any]:
        """See L{INode}."""
        self._node.parts.state.update(online=False)
        closing = Deferred.fromCoroutine(self._node.logins.close())
        # Not after the mediator's answer: a new login may be under way by then.
        self._node.forget()
        await closing
        return self._status()

    @_deferred
    async def status(self) -> dict[str, Any]:
        """See L{INode}."""
        return self._status()

    def _status(self) -> dict[str, Any]:
        node, welcome = self._node, self._node.welcome
        return {
            "state": node.logins.state,
            "clientId": node.parts.identity.clientId,
            "nick": node.parts.state.remembered.nick,
            "address": welcome.address if welcome else None,
            "address6": welcome.address6 if welcome else None,
            "mediator": node.parts.state.remembered.mediator or None,
            "udpPort": node.parts.port.port,
            "nat": self._nat(),
            "relays": describeRelays(node.relayUse.relays),
            "relayError": node.relayUse.problem or None,
            "names": node.names.status(),
            "error": node.logins.error or None,
            "firewall": node.lan.firewallVerb.policies(),
            "lanProblems": node.lans.hindered(),
            "dropped": node.losses.dropped(),
            "droppedLately": node.losses.lately(),
        }

    @_deferred
    async def create(self, name: str, password: str | None) -> dict[str, Any]:
        """See L{INode}."""
        await self._node.memberships.create(name, password, self._realm())
        return await self._entered(name)

    @_deferred
    async def join(self, name: str, password: str | None) -> dict[str, Any]:
        """See L{INode}."""
        await self._node.memberships.join(name, password, self._realm())
        return await self._entered(name)

    @_deferred
    async def joinInvite(self, link: str) -> dict[str, Any]:
        """See L{INode}."""
        invite = _parsed(parseInvite, link)
        await self._node.logins.login(invite.mediator)
        try:
            await self._node.memberships.joinWithSecret(invite)
        except Refused as error:
            if invite.secret:
                raise
            # What a shell leaves of a link without quotes.
            raise Refused(f"{error}. {_CUT}") from error
        return await self._entered(invite.network)

    def _realm(self) -> bytes:
        if self._node.welcome is None or self._node.logins.session is None:
            raise self._loggedOut()
        return self._node.welcome.realm

    def _loggedOut(self) -> Unreachable:
        return Unreachable(self._node.logins.error or "this node is not logged in: 'vnet login URL' first")

    async def _entered(self, name: str) -> dict[str, Any]:
        await self._node.synchroniser.run()
        return {"network": name, "firewall": self._node.lan.firewallVerb.policyOf(name)}

    @_deferred
    async def leave(self, name: str) -> dict[str, Any]:
        """See L{INode}."""
        await self._node.memberships.leave(name)
        self._node.reconcile()
        return {"network": name}

    @_deferred
    async def invite(self, name: str) -> dict[str, Any]:
        """See L{INode}."""
        return {"link": self._node.memberships.invite(name)}

    @_deferred
    async def networks(
        self,
        network: str | None = None,
        search: str | None = None,
        state: str | None = None,
        page: int | None = None,
        perPage: int | None = None,
    ) -> dict[str, Any]:
        """See L{INode}."""
        selection = Selection(network, search, state, page, perPage)
        selection.check()
        node = self._node
        described = describeNetworks(
            node.view,
            node.memberships.joined,
            node.peers,
            node.logins.online,
            selection,
            node.names.nameIn,
            node.lans.ofNetwork,
        )
        if network is not None and not described:
            raise Refused(f"this node is in no network named {network!r}: see 'vnet list'")
        return {"networks": described}

    def watch(self, tell: Callable[[dict[str, Any]], None]) -> Callable[[], None]:
        """See L{INode}."""
        return self._node.chronicle.watch(tell)

    @_deferred
    async def peer(self, nameOrAddress: str) -> dict[str, Any]:
        """See L{INode}."""
        found, welcome = self._find(nameOrAddress), self._node.welcome
        answers = None
        if welcome is not None:
            answers = await answersPing(found, partial(self._echo, found, welcome), self._node.parts.clock)
        described = describeFully(found, answers, "" if welcome is None else welcome.pool)
        described["lans"] = self._node.lans.ofMember(found.key)
        return self._node.lan.firewallVerb.withPolicy(found.key, described)

    @_deferred
    async def ping(self, nameOrAddress: str) -> dict[str, Any]:
        """See L{INode}."""
        peer = self._find(nameOrAddress)
        if peer.path is None:
            self._node.peers.wanted(peer.tunnelKey)
        if self._node.welcome is None or (peer.path is None and (peer.warm or not peer.isWaiting)):
            raise Refused(f"no path to {nameOrAddress}: {why(peer)}")
        return {"latencyMs": round(await self._echo(peer, self._node.welcome) * 1000, 3)}

    def _echo(self, peer: Peer, welcome: Welcome) -> Deferred[float]:
        return self._node.forwarder.echo(peer.tunnelKey, welcome.address, peer.member.address)

    def _find(self, nameOrAddress: str) -> Peer:
        found = self._node.peers.find(nameOrAddress)
        if not found and self._node.logins.session is None:
            raise self._loggedOut()
        if not found:
            raise Refused(f"no peer is named {nameOrAddress!r} or has that address: see 'vnet list'")
        if len(found) > 1:
            raise Refused(f"{len(found)} peers are named {nameOrAddress!r}: use the address of one")
        return found[0]

    @_deferred
    async def netcheck(self) -> dict[str, Any]:
        """See L{INode}."""
        await self._node.nat.whenSettled(_PATIENCE)
        if self._node.front.portTest is not None:
            await self._node.front.portTest.again(_TEST)
        return self._nat()

    def _nat(self) -> dict[str, Any]:
        node = self._node
        return describeNat(node.nat.report(), node.front.portMapping, node.front.forwardedPort)

    @_deferred
    async def setNick(self, nick: str) -> dict[str, Any]:
        """See L{INode}."""
        nick = _parsed(validateNick, nick)
        self._node.parts.state.ensureRoom()
        if self._node.logins.session is not None:
            await self._node.logins.ask(control.SetNick, nick=nick)
        self._node.parts.state.update(nick=nick)
        self._node.names.changed()
        return self._status()

    @_deferred
    async def goOnline(self, name: str) -> dict[str, Any]:
        """See L{INode}."""
        await self._node.memberships.setOnline(name, True)
        await self._node.synchroniser.run()
        return {"network": name}

    @_deferred
    async def goOffline(self, name: str) -> dict[str, Any]:
        """See L{INode}."""
        await self._node.memberships.setOnline(name, False)
        self._node.reconcile()
        return {"network": name}

    @_deferred
    async def firewall(self, name: str | None, policy: str | None) -> dict[str, Any]:
        """See L{INode}."""
        if policy is None:
            return await self._node.lan.firewallVerb.show(name)
        if name is None:
            raise Refused("a policy of the firewall is that of a network: name one")
        return await self._node.lan.firewallVerb.set(name, policy)

    @_deferred
    async def shareLan(self, prefix: str | None, network: str | None, stop: bool) -> dict[str, Any]:
        """See L{INode}."""
        if prefix is None and not stop:
            return await self._node.lans.load().verbs.show(network)
        if prefix is None:
            raise Refused("name the prefix that is not to be shared any more")
        return await self._node.lans.load().verbs.share(prefix, network, stop)

    @_deferred
    async def acceptLan(self, member: str, prefix: str, network: str | None, stop: bool) -> dict[str, Any]:
        """See L{INode}."""
        return await self._node.lans.load().verbs.accept(member, prefix, network, stop)

    @_deferred
    async def useLan(self, member: str, prefix: str, network: str | None, stop: bool) -> dict[str, Any]:
        """See L{INode}."""
        return await self._node.lans.load().verbs.use(member, prefix, network, stop)

    @_deferred
    async def lan(self, name: str | None, nonIp: str | None, etherTypes: str | None) -> dict[str, Any]:
        """See L{INode}."""
        if nonIp is None and etherTypes is None:
            return self._node.lan.lanVerb.show(name)
        if name is None:
            raise Refused("which protocols pass is chosen for a network: name one")
        return self._node.lan.lanVerb.set(name, nonIp, etherTypes)


def _parsed(parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except DecodeError as error:
        raise Refused(str(error)) from error
