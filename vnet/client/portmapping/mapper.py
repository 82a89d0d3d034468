# -*- test-case-name: vnet.test.test_portmapper -*-
"""
Keeps a mapping of the node's UDP port at the router of this computer::

    asking  ---a way works---------------------------------------------->  mapped
    asking  ---none works--->  waiting, 1 to 10 minutes or until a hint --->  asking
    mapped  ---each minute, at half of the lifetime, after a hint------->  mapped, or asking
    any     ---the network has changed: another router or address------->  asking

A hint is what makes it likely that the router has restarted: it has announced something, or a route has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from vnet.client.portmapping.asking import Asker, Channel
from vnet.client.portmapping.natpmp import NatPmp
from vnet.client.portmapping.pcp import Pcp
from vnet.client.portmapping.race import Race
from vnet.client.portmapping.routerhttp import RouterHttp
from vnet.client.portmapping.upnp import Upnp
from vnet.client.portmapping.way import LIFETIME, Grant, NoMapping, Silent, Way
from vnet.protocols.machine.candidates import isPublic
from vnet.values import Address, PortMapping

__all__ = ["CHECK_EVERY", "Closeable", "PortMapper", "RouterNetwork", "Uplink"]

CHECK_EVERY = 60.0
"""Seconds after which the router is asked whether it has kept the mapping."""

_FIRST_PAUSE, _LONGEST_PAUSE = 60.0, 600.0
_IMPATIENCE = 4.0
_HINT_DELAY, _HINT_EVERY, _HINT_EVERY_IN_VAIN = 0.5, 5.0, 30.0
_REMOVAL = 1.0


@frozen
class Uplink:
    """
    @ivar router: the IPv4 address of the default gateway.
    @ivar local: this computer's address towards it.
    """

    router: str
    local: str


class Closeable(Protocol):
    """
    What is held open.
    """

    def close(self) -> None:
        """
        Close it.
        """


class RouterNetwork(Protocol):
    """
    The sockets towards the router.  C{open...} may raise L{OSError}.
    """

    def uplink(self) -> Uplink | None:
        """
        The router now.
        """

    def openControl(self, uplink: Uplink, received: Callable[[bytes], None]) -> Channel:
        """
        A channel to UDP port 5351.
        """

    def openSearch(self, uplink: Uplink, received: Callable[[bytes], None]) -> Channel:
        """
        A channel to where SSDP is spoken.
        """

    def openAnnouncements(self, uplink: Uplink, heard: Callable[[], None]) -> Closeable:
        """
        Be told of whatever the router announces.
        """

    def endpoint(self, uplink: Uplink, port: int) -> IStreamClientEndpoint:
        """
        A TCP port of the router.
        """


@define(eq=False, repr=False)
class _Session:
    """
    All that is done at one router for one port, until L{close}.

    @ivar _publish: told of each change.
    @ivar _wish: the external port that is asked for.
    """

    _clock: IReactorTime
    _network: RouterNetwork
    uplink: Uplink
    port: int
    _nonce: bytes
    _random: Callable[[int], bytes]
    _lifetime: int
    _publish: Callable[[Way | None, Grant | None, str], None]
    _wish: int = field(init=False)
    _race: Race | None = field(default=None, init=False)
    _winner: tuple[Way, Grant] | None = field(default=None, init=False)
    _announcements: Closeable | None = field(default=None, init=False)
    _sleeping: tuple[Deferred[None], IDelayedCall] | None = field(default=None, init=False)
    _hintedAt: float = field(default=float("-inf"), init=False)
    _askedAt: float = field(default=0.0, init=False)
    _again: bool = field(default=False, init=False)
    _impatient: IDelayedCall = field(init=False)
    _closed: bool = field(default=False, init=False)
    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self._wish = self.port

    def start(self) -> None:
        """
        Begin.
        """
        try:
            self._announcements = self._network.openAnnouncements(self.uplink, self.hint)
        except OSError as error:
            self._log.debug("the router's announcements are not heard: {error}", error=error)
        running = Deferred.fromCoroutine(self._run())
        running.addErrback(lambda failure: self._log.failure("while a port mapping was kept", failure))

    def hint(self) -> None:
        """
        Look after the mapping soon.
        """
        now = self._clock.seconds()
        if self._sleeping is not None:
            every = _HINT_EVERY if self._winner is not None else _HINT_EVERY_IN_VAIN
            soon, call = max(now + _HINT_DELAY, self._hintedAt + every), self._sleeping[1]
            if soon < call.getTime():
                self._hintedAt = soon
                call.reset(soon - now)
        elif self._race is not None and now >= max(self._askedAt + _IMPATIENCE, self._hintedAt + _HINT_EVERY):
            self._hintedAt, self._again = now, True
            self._race.end()

    async def close(self, remove: bool) -> None:
        """
        End.

        @param remove: the mapping at the router, too.
        """
        self._closed = True
        winner, self._winner = self._winner, None
        self._wake()
        if self._race is not None:
            self._race.end()
        if self._announcements is not None:
            self._announcements.close()
        if winner is not None:
            way, grant = winner
            if remove:
                removed = Deferred.fromCoroutine(way.remove(grant)).addTimeout(_REMOVAL, self._clock)
                await removed.addErrback(self._notRemoved)
            way.close()

    def _notRemoved(self, failure: Failure) -> None:
        if failure.check(NoMapping, TimeoutError) is None:
            self._log.failure("while a port mapping was removed", failure)
        self._log.info("the router was not heard to remove the port mapping")

    async def _run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._closed:
            try:
                way, grant = await self._search()
            except NoMapping as error:
                await self._failed(str(error), pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                pause = _FIRST_PAUSE
                await self._keep(way, grant)

    async def _failed(self, reason: str, pause: float) -> None:
        again, self._again = self._again, False
        if not self._closed:
            self._publish(None, None, reason)
            await self._sleep(_HINT_DELAY if again else pause)

    async def _search(self) -> tuple[Way, Grant]:
        self._askedAt = self._clock.seconds()
        race = self._race = Race(self._clock, self._ways(), self.uplink.router, self._wish)
        self._impatient = self._clock.callLater(_IMPATIENCE, self._tellReason, race)
        try:
            return await race.run()
        finally:
            self._race = None
            self._impatient.cancel()

    def _tellReason(self, race: Race) -> None:
        self._impatient = self._clock.callLater(_IMPATIENCE, self._tellReason, race)
        self._publish(None, None, race.reason)

    def _ways(self) -> list[Way]:
        clock, network, uplink = self._clock, self._network, self.uplink
        pcp, natPmp = (Asker(clock, lambda got: network.openControl(uplink, got)) for _ in range(2))
        search = Asker(clock, lambda got: network.openSearch(uplink, got))
        http = RouterHttp(clock, lambda port: network.endpoint(uplink, port))
        local, port, lifetime = uplink.local, self.port, self._lifetime
        return [
            Pcp(clock, pcp, local, port, self._nonce, lifetime),
            NatPmp(clock, natPmp, port, lifetime),
            Upnp(clock, search, http, uplink.router, local, port, self._random, lifetime),
        ]

    async def _keep(self, way: Way, grant: Grant) -> None:
        """
        Returns when the mapping is lost, or the session closed.
        """
        while not self._closed:
            self._wish = grant.external.port
            self._winner = (way, grant)
            self._publish(way, grant, "")
            now = self._clock.seconds()
            await self._sleep(max(0.0, min(grant.renewAt - now, CHECK_EVERY)))
            if self._isOver():
                return
            try:
                grant = await way.keep(grant, self._clock.seconds() >= grant.renewAt)
            except NoMapping as error:
                self._lost(way, error)
                return

    def _lost(self, way: Way, error: NoMapping) -> None:
        if self._closed:
            return
        self._winner = None
        way.close()
        if not isinstance(error, Silent):
            self._wish = self.port
            self._publish(None, None, f"the router {self.uplink.router} has ended the mapping: {error}")

    def _isOver(self) -> bool:
        return self._closed

    async def _sleep(self, delay: float) -> None:
        woken: Deferred[None] = Deferred()
        self._sleeping = (woken, self._clock.callLater(delay, self._wake))
        await woken

    def _wake(self) -> None:
        sleeping, self._sleeping = self._sleeping, None
        if sleeping is not None:
            woken, call = sleeping
            if call.active():
                call.cancel()
            woken.callback(None)


@define(eq=False, repr=False)
class PortMapper:
    """
    The port mapping of one node.

    @ivar nonce: makes the 12 bytes of PCP for a router and a port; the same ones when this program starts again, known
        to nobody else.
    @ivar random: returns so many unpredictable bytes.
    @ivar changed: called when L{status} has changed.
    @ivar lifetime: seconds that the router is asked for.
    @ivar status: what there is now.
    """

    _clock: IReactorTime
    _network: RouterNetwork
    _nonce: Callable[[str, int], bytes]
    _random: Callable[[int], bytes]
    _changed: Callable[[], None] = field(default=lambda: None)
    _lifetime: int = LIFETIME
    status: PortMapping = field(default=PortMapping(reason="the router was not asked yet"), init=False)
    _session: _Session | None = field(default=None, init=False)
    _log = Logger()

    @property
    def addresses(self) -> tuple[Address, ...]:
        """
        Where the router takes datagrams from the Internet for the node: for the candidates.
        """
        external = self.status.external
        return () if external is None or self.status.behindCarrier else (external,)

    def update(self, port: int) -> None:
        """
        Ask for a mapping; again when the network has changed.

        @param port: the node's UDP port.
        """
        uplink, session = self._network.uplink(), self._session
        if session is not None and (session.uplink, session.port) == (uplink, port):
            session.hint()
            return
        self._drop(remove=session is not None and session.uplink == uplink)
        if uplink is None:
            self._set(PortMapping(reason="there is no default route, and so no router to ask"))
        elif isPublic(uplink.local):
            self._set(PortMapping(reason="this computer has a public address"))
        else:
            self._set(PortMapping(reason=f"the router {uplink.router} was asked just now"))
            nonce = self._nonce(uplink.router, port)
            self._session = _Session(
                self._clock, self._network, uplink, port, nonce, self._random, self._lifetime, self._publish
            )
            self._session.start()

    async def close(self) -> None:
        """
        Remove the mapping, for which the router gets one second.
        """
        session, self._session = self._session, None
        if session is not None:
            await session.close(remove=True)

    def _drop(self, remove: bool) -> None:
        session, self._session = self._session, None
        if session is not None:
            Deferred.fromCoroutine(session.close(remove))

    def _publish(self, way: Way | None, grant: Grant | None, reason: str) -> None:
        if way is None or grant is None:
            self._set(PortMapping(reason=reason))
        else:
            carrier = not isPublic(grant.external.host)
            self._set(PortMapping(way.name, grant.external, grant.lifetime, "", carrier))

    def _set(self, status: PortMapping) -> None:
        before, self.status = self.status, status
        if status != before:
            if status.external is not None and status.external != before.external:
                self._log.info(
                    "the router forwards {address} here ({protocol})",
                    address=str(status.external),
                    protocol=status.protocol,
                )
            elif before.external is not None and status.external is None:
                self._log.info("no port is forwarded here any more: {reason}", reason=status.reason)
            self._changed()
