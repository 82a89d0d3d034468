# -*- test-case-name: vnet.test.test_routerhttp -*-
"""
HTTP to the router: one request for each connection, with a deadline and a bound for all that comes back.  Redirections
are not followed, and no proxy is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h11
from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from vnet.client.portmapping.way import NoMapping, Silent
from vnet.errors import DecodeError
from vnet.protocols.codec.igd import Fault, Service, decodeReply, encodeCall
from vnet.protocols.codec.plainxml import MAXIMUM
from vnet.protocols.codec.ssdp import Place

__all__ = ["PATIENCE", "RouterHttp"]

PATIENCE = 5.0
"""Seconds for one request, from the connection to the last byte."""

_HEAD = 16384
_OK, _FAILED = 200, 500
Headers = list[tuple[str, str]]
Answer = tuple[int, bytes]


class _Exchange(Protocol):
    """
    One request and its response.

    @ivar done: fires with status and body; fails when there is no whole response, or too much of one.
    """

    transport: Any

    def __init__(self, method: str, place: Place, headers: Headers, body: bytes) -> None:
        self.done: Deferred[Answer] = Deferred()
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD)
        head = h11.Request(method=method, target=place.target, headers=headers)
        events = (head, h11.Data(data=body), h11.EndOfMessage())
        self._request = b"".join(self._http.send(event) or b"" for event in events)
        self._left = MAXIMUM + _HEAD
        self._status = 0
        self._body: list[bytes] = []

    def connectionMade(self) -> None:
        """See L{Protocol}."""
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        """See L{Protocol}."""
        self._left -= len(data)
        if self._left < 0:
            self._end(Silent("it says too much over HTTP"))
        else:
            self._advance(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See L{Protocol}: in HTTP/1.0 that may be the end of the body."""
        self._advance(b"")
        self._end(Silent("it closed the connection"))

    def _advance(self, data: bytes) -> None:
        if self.done.called:
            return
        try:
            self._http.receive_data(data)
            while not self.done.called and self._take(self._http.next_event()):
                pass
        except h11.RemoteProtocolError:
            self._end(Silent("it does not speak HTTP"))

    def _take(self, event: Any) -> bool:
        """
        @return: whether there may be another one.
        """
        if isinstance(event, h11.Response):
            self._status = event.status_code
        elif isinstance(event, h11.Data):
            self._body.append(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            self._end((self._status, b"".join(self._body)))
        return isinstance(event, h11.InformationalResponse | h11.Response | h11.Data)

    def _end(self, result: Answer | Silent) -> None:
        if self.done.called:
            return
        if isinstance(result, Silent):
            self.done.errback(result)
        else:
            self.done.callback(result)


@define(eq=False, repr=False)
class RouterHttp:
    """
    What speaks HTTP with one router.

    @ivar _endpoint: makes the endpoint of a TCP port of the router.
    """

    _clock: IReactorTime
    _endpoint: Callable[[int], IStreamClientEndpoint]
    _waiting: set[Deferred[Any]] = field(factory=set, init=False)
    _closed: bool = field(default=False, init=False)

    async def fetch(self, place: Place) -> bytes:
        """
        Get a document.

        @raise NoMapping: there is none.
        """
        status, body = await self._request("GET", place, [], b"")
        if status != _OK:
            raise NoMapping(f"it answers {status} over HTTP")
        return body

    async def call(self, service: Service, action: str, **arguments: object) -> dict[str, str] | Fault:
        """
        Call an action of a service.

        @raise NoMapping: there is no answer that can be read.
        """
        body = encodeCall(service, action, arguments)
        headers = [
            ("Content-Type", 'text/xml; charset="utf-8"'),
            ("Content-Length", str(len(body))),
            ("SOAPAction", f'"{service.type}#{action}"'),
        ]
        status, answer = await self._request("POST", service.control, headers, body)
        if status not in (_OK, _FAILED):
            raise NoMapping(f"it answers {status} over HTTP")
        try:
            return decodeReply(answer, action)
        except DecodeError as error:
            raise NoMapping("its answer cannot be read") from error

    def close(self) -> None:
        """
        Close all connections; nothing is answered any more.
        """
        self._closed = True
        for each in list(self._waiting):
            each.cancel()

    def _request(self, method: str, place: Place, headers: Headers, body: bytes) -> Deferred[Answer]:
        if self._closed:
            return fail(Silent("it was not asked"))
        first = [("Host", f"{place.host}:{place.port}"), ("User-Agent", "vnet"), ("Connection", "close")]
        exchange = _Exchange(method, place, [*first, *headers], body)
        answered = Deferred.fromCoroutine(_run(self._endpoint(place.port), exchange))
        answered.addTimeout(PATIENCE, self._clock)
        self._waiting.add(answered)
        answered.addBoth(self._over, answered)
        return answered

    def _over(self, result: Any, answered: Deferred[Any]) -> Any:
        self._waiting.discard(answered)
        # Whatever happened to a connection is the same to who asked.
        return Failure(Silent("it does not answer over HTTP")) if isinstance(result, Failure) else result


async def _run(endpoint: IStreamClientEndpoint, exchange: _Exchange) -> Answer:
    factory: Any = Factory.forProtocol(lambda: exchange)
    factory.noisy = False
    await endpoint.connect(factory)
    try:
        return await exchange.done
    finally:
        exchange.transport.abortConnection()
