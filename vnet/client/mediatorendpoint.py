# -*- test-case-name: vnet.test.test_mediatorendpoint -*-
"""
The way to a mediator: TLS to the port of its URL and, where firewalls or proxies are in the way of that, to port 443::

    0 s   the port of the URL
    2 s   if that is not secure yet, or as soon as it fails: port 443 of the same host

The first that completes TLS, with the key or the name of the URL, wins.  Where the URL has no pin, any web server of that
name would win on port 443, so the port of the URL gets 6 s then.

Firewalls often drop what they do not let through, so a second port after one that failed may cost time for nothing: it has
5 s, and none when the port that led to the mediator the last time fails for the first time.  The mediator restarts then, most
likely.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from attrs import define, evolve, field
from twisted.internet.defer import CancelledError, Deferred, FailureGroup, race, succeed
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from vnet.client.dialer import Dialer
from vnet.client.securedlink import SecuredLink
from vnet.errors import VnetError
from vnet.protocols.codec.url import MediatorUrl
from vnet.protocols.controlclient import MediatorSilent
from vnet.protocols.proxied import FarEnd, ProxyUnusable
from vnet.protocols.tls import clientOptions, describeFailure

__all__ = ["FALLBACK_PORT", "MediatorEndpoint", "Mediators", "NotReached"]

FALLBACK_PORT = 443
"""The port that firewalls and proxies let through where they let anything through."""

_HEAD_START = 2.0
_HEAD_START_UNPINNED = 6.0
_HANDSHAKE = 10.0
_SECOND_CHANCE = 5.0
_LOOKUP = 1.0
# Another port of the same host would fail for the same reason.
_HOPELESS = (DNSLookupError, ProxyUnusable)


class NotReached(ConnectError):
    """
    Neither port of a mediator leads to it.  The text is about that of its URL.
    """

    def __init__(self, text: str) -> None:
        super().__init__(None, text)

    def __str__(self) -> str:
        return str(self.args[0])


@define
class _Experience:
    """
    What is known of the ports of a mediator.

    @ivar first: the port that is tried first.
    @ivar proven: whether that port led to the mediator the last time.
    """

    url: MediatorUrl
    first: int
    proven: bool = False

    def won(self, port: int) -> None:
        """
        A port led to what has the mediator's key or name.
        """
        if self.url.pin is not None:
            self.first = port
        self.proven = port == self.first


@implementer(IStreamClientEndpoint)
@define(eq=False, repr=False)
class MediatorEndpoint:
    """
    The endpoint of one mediator, which is connected when TLS is complete.

    @ivar _dial: makes the endpoint, with TLS, of a port of it.
    @ivar _locate: gives its IP address, or an empty text; only where its connections go through a proxy.
    """

    _clock: IReactorTime
    _experience: _Experience
    _dial: Callable[[int], IStreamClientEndpoint]
    _locate: Callable[[], Deferred[str]] | None

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        See L{IStreamClientEndpoint}.  The peer of the connection is a L{FarEnd} where it goes through a proxy; its host is an
        IP address if that is known.
        """
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        located = self._locate() if self._locate is not None else succeed("")
        link = await self._secure()
        try:
            host = await located
            peer = link.getPeer()
            if host and isinstance(peer, FarEnd):
                peer = evolve(peer, host=host)
            return link.handOver(factory, peer)
        except Exception:
            link.transport.abortConnection()
            raise

    async def _secure(self) -> SecuredLink:
        url, first = self._experience.url, self._experience.first
        if url.port == FALLBACK_PORT:
            return await self._attempt(url.port)
        ports = (first, url.port if first == FALLBACK_PORT else FALLBACK_PORT)
        failures: Deferred[list[Failure]] = Deferred()
        begun = Deferred.fromCoroutine(self._attempt(first)).addErrback(_tell, failures)
        try:
            winner, link = await race([begun, Deferred.fromCoroutine(self._follow(ports[1], failures))])
        except FailureGroup as group:
            self._experience.proven = False
            _raiseOwn(*(group.failures if first == url.port else reversed(group.failures)))
        self._experience.won(ports[winner])
        return link

    async def _follow(self, port: int, failures: Deferred[list[Failure]]) -> SecuredLink:
        """
        Try a port when the other one had its head start, or has failed.
        """
        headStart = _HEAD_START_UNPINNED if self._experience.url.pin is None else _HEAD_START
        failures.addTimeout(headStart, self._clock, lambda result, timeout: [])
        failed = await failures
        if not failed:
            return await self._attempt(port)
        if self._experience.proven or failed[0].check(*_HOPELESS):
            failed[0].raiseException()
        attempt = Deferred.fromCoroutine(self._attempt(port))
        return await attempt.addTimeout(_SECOND_CHANCE, self._clock, _silent)

    async def _attempt(self, port: int) -> SecuredLink:
        factory: Any = Factory.forProtocol(SecuredLink)
        factory.noisy = False
        link: Any = await self._dial(port).connect(factory)
        try:
            await link.secured.addTimeout(_HANDSHAKE, self._clock, _silent)
        except Exception:
            link.transport.abortConnection()
            raise
        return link  # type: ignore[no-any-return]


def _tell(failure: Failure, failures: Deferred[list[Failure]]) -> Failure:
    if not failures.called:
        failures.callback([failure])
    return failure


def _silent(result: object, timeout: float) -> Failure:
    return Failure(MediatorSilent(f"no answer for {timeout:.0f} seconds"))


def _raiseOwn(own: Failure, other: Failure) -> NoReturn:
    """
    Both ports have failed, or one has for both.

    @param own: of the one in the URL.
    """
    if own.value is other.value or own.check(VnetError):
        own.raiseException()
    raise NotReached(f"{describeFailure(own)}; port {FALLBACK_PORT} was tried too")


def wrapTLS(endpoint: IStreamClientEndpoint, url: MediatorUrl, clock: IReactorTime) -> IStreamClientEndpoint:
    """
    Put TLS on an endpoint, which recognises a mediator by its URL.
    """
    secure: IStreamClientEndpoint = wrapClientTLS(clientOptions(url.pin, url.host), endpoint, clock)
    return secure


@define(eq=False, repr=False)
class Mediators:
    """
    Makes the endpoints of mediators, and remembers of the one that was used last which port led to it.

    @ivar _resolve: gives the IP addresses of a name.
    @ivar _wrap: puts TLS on an endpoint.
    """

    _clock: IReactorTime
    _dialer: Dialer
    _resolve: Callable[[str], Deferred[Sequence[str]]]
    _wrap: Callable[[IStreamClientEndpoint, MediatorUrl, IReactorTime], IStreamClientEndpoint] = wrapTLS
    _experience: _Experience | None = field(default=None, init=False)

    def endpointFor(self, url: MediatorUrl) -> IStreamClientEndpoint:
        """
        The endpoint of a mediator.
        """
        if self._experience is None or self._experience.url != url:
            self._experience = _Experience(url, url.port)

        def dial(port: int) -> IStreamClientEndpoint:
            return self._wrap(self._dialer.endpoint(url.host, port), url, self._clock)

        proxied = self._dialer.usesProxy(url.host, url.port)
        locate = (lambda: self._locate(url.host)) if proxied else None
        return MediatorEndpoint(self._clock, self._experience, dial, locate)

    def _locate(self, host: str) -> Deferred[str]:
        """
        Where a mediator is that a proxy connects to.  Where names do not resolve, that must not take long.
        """
        found = self._resolve(host).addTimeout(_LOOKUP, self._clock)
        return found.addCallbacks(
            lambda hosts: hosts[0] if hosts else "",
            lambda failure: failure if failure.check(CancelledError) else "",
        )
