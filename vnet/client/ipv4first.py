# -*- test-case-name: vnet.test.test_dialer -*-
"""
Connect over IPv4 where a host has both: the mediator then sees the address of the NAT in front of this node, which is where
peers may guess its ports; and a relay is reached the way that it relays.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from attrs import define, field, frozen
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
)
from zope.interface import implementer

__all__ = ["preferIPv4"]


@implementer(IResolutionReceiver)
@define(eq=False, repr=False)
class _Sorted:
    """
    Hands the addresses on when all are known, those of IPv4 first.
    """

    _receiver: Any
    _addresses: list[Any] = field(factory=list, init=False)

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """See L{IResolutionReceiver}."""
        self._receiver.resolutionBegan(resolutionInProgress)

    def addressResolved(self, address: IAddress) -> None:
        """See L{IResolutionReceiver}."""
        self._addresses.append(address)

    def resolutionComplete(self) -> None:
        """See L{IResolutionReceiver}."""
        for address in sorted(self._addresses, key=lambda each: ":" in getattr(each, "host", "")):
            self._receiver.addressResolved(address)
        self._receiver.resolutionComplete()


@implementer(IHostResolution)
@frozen
class _Literal:
    """
    The resolution of an IP literal, which takes no thread.
    """

    name: str

    def cancel(self) -> None:
        """See L{IHostResolution}."""


def _addressOf(host: str, port: int) -> IPv4Address | IPv6Address | None:
    try:
        version = ip_address(host).version
    except ValueError:
        return None
    if version == 4:
        return IPv4Address("TCP", host, port)
    # With a zone it takes the system to say which interface that is.
    return None if "%" in host else IPv6Address("TCP", host, port)


@implementer(IHostnameResolver)
@define(eq=False, repr=False)
class _Resolver:
    """
    A resolver whose answers are sorted.
    """

    _resolver: Any

    def resolveHostName(
        self, resolutionReceiver: Any, hostName: str, portNumber: int = 0, *arguments: Any, **more: Any
    ) -> IHostResolution:
        """See L{IHostnameResolver}."""
        literal = _addressOf(hostName, portNumber)
        if literal is not None:
            resolution = _Literal(hostName)
            resolutionReceiver.resolutionBegan(resolution)
            resolutionReceiver.addressResolved(literal)
            resolutionReceiver.resolutionComplete()
            return resolution
        found: IHostResolution = self._resolver.resolveHostName(
            _Sorted(resolutionReceiver), hostName, portNumber, *arguments, **more
        )
        return found


@implementer(IReactorPluggableNameResolver)
class _Reactor:
    """
    A reactor with another resolver.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    @property
    def nameResolver(self) -> IHostnameResolver:
        """See L{IReactorPluggableNameResolver}."""
        resolver: IHostnameResolver = _Resolver(self._reactor.nameResolver)
        return resolver

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        """See L{IReactorPluggableNameResolver}."""
        former: IHostnameResolver = self._reactor.installNameResolver(resolver)
        return former

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)


def preferIPv4(reactor: Any) -> Any:
    """
    @return: the reactor, for endpoints that are to try IPv4 first.
    """
    return _Reactor(reactor)
