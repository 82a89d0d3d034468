# -*- test-case-name: vnet.test.test_client_roaming -*-
"""
What a node does when it may have moved.

That the network has changed, the system tells: see L{vnet.linkwatcher}.  That a NAT has changed its mappings or its
address, nobody tells: the paths fall silent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from vnet.client.lifetimes import LifetimeWatch
from vnet.client.logins import Logins
from vnet.client.nat import NatDiscovery
from vnet.client.peers import Peers
from vnet.interfaces import IDatagramPort
from vnet.protocols.punch import Puncher

if TYPE_CHECKING:
    from vnet.client.relays import Relays

__all__ = ["Roaming"]

_PAUSE = 1.0


@define(eq=False, repr=False)
class Roaming:
    """
    Makes the parts of a node look where they are.
    """

    _clock: IReactorTime
    _port: IDatagramPort
    _puncher: Puncher
    _nat: NatDiscovery
    _peers: Peers
    _lifetimes: LifetimeWatch
    _logins: Logins
    _relays: Callable[[], Relays | None]
    _lookedAt: float = field(default=float("-inf"), init=False)
    _public: frozenset[str] = field(default=frozenset(), init=False)

    def linksChanged(self) -> None:
        """
        An address, a link or a route of this computer has come or gone: ask all that this node knows by its address.
        """
        relays = self._relays()
        self._lookedAt = self._clock.seconds()
        hosts = self._port.localAddresses()
        self._nat.setLocal(hosts, self._port.port)
        self._lifetimes.setLocal(hosts)
        self._peers.moved()
        if relays is not None:
            relays.linksChanged()
        if self._logins.session is not None:
            self._logins.session.linksChanged()

    def mapped(self) -> None:
        """
        The STUN servers see other addresses of this node.  Where the host is another one, a connection that a NAT has taken
        part in is lost, too.
        """
        public = frozenset(each.host for each in self._puncher.reflexive if ":" not in each.host)
        if public:
            session = self._logins.session
            if self._public and public.isdisjoint(self._public) and session is not None:
                session.renew(self._lookedAt)
            self._public = public

    def suspected(self) -> None:
        """
        A path has fallen silent: is it the peer, or this node?  At most once a second.
        """
        now = self._clock.seconds()
        if now - self._lookedAt < _PAUSE or not self._port.port:
            return
        self._lookedAt = now
        relays = self._relays()
        self._puncher.setLocal(self._port.localAddresses(), self._port.port)
        if relays is not None:
            relays.check()
        if self._logins.session is not None:
            self._logins.session.check()
