# -*- test-case-name: vnet.test.test_tunnel -*-
"""
What becomes of a connection through a proxy: its far end, or an error.
"""

from __future__ import annotations

from attrs import frozen
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IAddress
from zope.interface import implementer

from vnet.values import Address

__all__ = ["FarEnd", "ProxyError", "ProxyLoginRefused", "ProxyUnusable", "Reconnect"]


class ProxyError(ConnectError):
    """
    The proxy does not make this connection.  The text says why, in one line.
    """

    def __init__(self, text: str) -> None:
        super().__init__(None, text)

    def __str__(self) -> str:
        return str(self.args[0])


class ProxyUnusable(ProxyError):
    """
    The proxy makes no connection at all, wherever to.
    """


class ProxyLoginRefused(ProxyUnusable):
    """
    The proxy knows the name and the password, and refuses them.
    """


class Reconnect(ProxyError):
    """
    The negotiation goes on over another connection to the proxy, if it has not asked for that before.
    """


@implementer(IAddress)
@frozen
class FarEnd:
    """
    The peer of a connection through a proxy: what the proxy was asked for, which it need not have done.

    @ivar host: a name or an IP address.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return str(Address(self.host, self.port))
