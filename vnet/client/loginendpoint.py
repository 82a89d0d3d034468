# -*- test-case-name: vnet.test.test_client_session -*-
"""
A connection to the mediator that counts only with the login.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

from vnet.protocols.controlclient import ControlClient, ControlClientFactory

__all__ = ["LoginEndpoint"]


@implementer(IStreamClientEndpoint)
@frozen(repr=False)
class LoginEndpoint:
    """
    An endpoint that is connected when the node is logged in.

    C{ClientService} must not hear of a connection that ends before: it has no place for that between connecting and connected.
    """

    _endpoint: IStreamClientEndpoint
    _clients: ControlClientFactory
    _begun: Callable[[], None]
    _logIn: Callable[[ControlClient], Coroutine[Any, Any, None]]
    _failed: Callable[[Failure], None]
    _connected: Callable[[IProtocol], None]

    def __repr__(self) -> str:
        return "the mediator"

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        return Deferred.fromCoroutine(self._connect(factory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        client: Any = None
        self._begun()
        try:
            client = await self._endpoint.connect(self._clients)
            await self._logIn(client)
        except Exception:
            self._failed(Failure())
            if client is not None and client.transport is not None:
                client.transport.abortConnection()
            raise
        connection = factory.buildProtocol(client.transport.getPeer())
        if connection is None:
            raise ConnectionClosed("not wanted any more")
        connection.makeConnection(client.transport)
        self._connected(connection)
        return connection
