# -*- test-case-name: vnet.test.test_reach -*-
"""
How a node reaches relays: names become addresses, and connections go the way that the dialer knows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver, IStreamClientEndpoint
from zope.interface import implementer

from vnet.protocols.tls import relayClientOptions

if TYPE_CHECKING:
    from vnet.protocols.codec.turnuri import RelayUri

__all__ = ["RelayReach", "reachRelays", "resolveHost"]

_LOOKUP = 5.0
_MAXIMUM_ADDRESSES = 16


@frozen
class RelayReach:
    """
    How relays are reached.

    @ivar resolve: the IP addresses of a name, or of an IP literal.
    @ivar connect: the endpoint of a relay over TCP or TLS.
    @ivar isProxied: whether a proxy makes that connection, so that it leads to the proxy.
    @ivar wallClock: seconds since 1970.
    """

    resolve: Callable[[str], Deferred[Sequence[str]]]
    connect: Callable[[RelayUri], IStreamClientEndpoint]
    isProxied: Callable[[RelayUri], bool]
    wallClock: Callable[[], float]


class Dials(Protocol):
    """
    What makes endpoints: L{vnet.client.dialer.Dialer}.
    """

    def endpoint(self, host: str, port: int) -> IStreamClientEndpoint: ...
    def usesProxy(self, host: str, port: int) -> bool: ...


@implementer(IResolutionReceiver)
@define(eq=False, repr=False)
class _Receiver:
    """
    Collects the addresses of a name, IPv4 first: where there is a choice, that is what relays share.
    """

    found: Deferred[Sequence[str]]
    _host: str
    _addresses: list[str] = field(factory=list, init=False)

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """See L{IResolutionReceiver}."""

    def addressResolved(self, address: IAddress) -> None:
        """See L{IResolutionReceiver}."""
        host = getattr(address, "host", None)
        if host is not None and len(self._addresses) < _MAXIMUM_ADDRESSES:
            self._addresses.append(str(ip_address(host.partition("%")[0])))

    def resolutionComplete(self) -> None:
        """See L{IResolutionReceiver}."""
        if self.found.called:
            return
        if self._addresses:
            self.found.callback(sorted(dict.fromkeys(self._addresses), key=lambda host: ":" in host))
        else:
            self.found.errback(DNSLookupError(f"no address for {self._host}"))


def resolveHost(reactor: Any, host: str) -> Deferred[Sequence[str]]:
    """
    The addresses of a name.

    @param host: a DNS name or an IP literal.
    @return: IP literals, IPv4 first; fails with C{DNSLookupError} or C{TimeoutError}.
    """
    try:
        return succeed([str(ip_address(host))])
    except ValueError:
        receiver = _Receiver(Deferred(), host)
        reactor.nameResolver.resolveHostName(receiver, host)
        return receiver.found.addTimeout(_LOOKUP, reactor)


def reachRelays(reactor: Any, dialer: Dials) -> RelayReach:
    """
    How relays are reached from here.
    """

    def connect(uri: RelayUri) -> IStreamClientEndpoint:
        endpoint = dialer.endpoint(uri.host, uri.port)
        if uri.transport != "tls":
            return endpoint
        secure: IStreamClientEndpoint = wrapClientTLS(relayClientOptions(uri.pin, uri.host), endpoint)
        return secure

    return RelayReach(
        lambda host: resolveHost(reactor, host),
        connect,
        lambda uri: dialer.usesProxy(uri.host, uri.port),
        time.time,
    )
