# -*- test-case-name: vnet.test.test_sharedport -*-
"""
One port for control and TURN, both over TLS: where a firewall lets out TCP to port 443 only, a mediator with a relay serves
both there.

Which one a connection is shows in its first bytes: a message of STUN has its magic cookie at bytes 4 to 8, a box of AMP has
letters there.
"""

from __future__ import annotations

from typing import Any

from attrs import define
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from vnet.protocols.codec.stunattributes import MAGIC_COOKIE
from vnet.protocols.controlserver import ControlServer, ControlServerFactory
from vnet.protocols.turn import TurnServer

__all__ = ["SharedPort"]

_COOKIE = MAGIC_COOKIE.to_bytes(4, "big")
_ENOUGH = 8


@implementer(IHandshakeListener)
class _Undecided(Protocol):
    """
    One connection.  It counts as one of control, with the deadlines and the limits of those, until it shows that it is not.
    """

    def __init__(self, control: ControlServer, turn: TurnServer, port: int) -> None:
        self._control = control
        self._turn = turn
        self._port = port
        self._inner: Any = control
        self._begun = b""
        self._decided = False

    def connectionMade(self) -> None:
        """
        See L{Protocol.connectionMade}.
        """
        self._control.makeConnection(self.transport)

    def handshakeCompleted(self) -> None:
        """
        See L{IHandshakeListener}.
        """
        self._control.handshakeCompleted()

    def dataReceived(self, data: bytes) -> None:
        """
        See L{Protocol.dataReceived}.
        """
        if self._decided:
            self._inner.dataReceived(data)
            return
        self._begun += data
        seen = self._begun[4:_ENOUGH]
        if seen == _COOKIE:
            self._becomeTurn()
        elif _COOKIE.startswith(seen):
            return
        self._decided = True
        begun, self._begun = self._begun, b""
        if self._inner is not None:
            self._inner.dataReceived(begun)

    def _becomeTurn(self) -> None:
        host = self._control.host
        self._inner = None
        self._control.connectionLost(Failure(ConnectionDone()))
        transport: Any = self.transport
        if not self._turn.crowd.admits(host):
            transport.abortConnection()
            return
        self._inner = self._turn.makeStream("tls", host, self._port)
        self._inner.makeConnection(transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See L{Protocol.connectionLost}.
        """
        if self._inner is not None:
            self._inner.connectionLost(reason)


@define(eq=False)
class SharedPort(Factory):
    """
    Stands inside of TLS.
    """

    _control: ControlServerFactory
    _turn: TurnServer
    noisy = False

    def buildProtocol(self, addr: Any) -> _Undecided:
        """
        See L{Factory.buildProtocol}.
        """
        return _Undecided(self._control.buildProtocol(addr), self._turn, addr.port)
