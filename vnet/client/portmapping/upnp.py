# -*- test-case-name: vnet.test.test_upnp -*-
"""
A mapping by UPnP: a search by SSDP, the description of the router, and calls of its service.

Who answers the search is asked for its description, and then for its address outside; 4 such places of one router are
tried.  A port that another computer has is not touched: version 1 lets routers overwrite, so who has it is asked first.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from vnet.client.portmapping.asking import Asker
from vnet.client.portmapping.routerhttp import RouterHttp
from vnet.client.portmapping.way import LIFETIME, Grant, NoMapping, Silent, believe, believeHost
from vnet.errors import DecodeError
from vnet.protocols.codec.igd import (
    CONFLICT,
    NO_SUCH_ENTRY,
    ONLY_PERMANENT,
    SAME_PORTS,
    Fault,
    Service,
    parseDescription,
)
from vnet.protocols.codec.ssdp import TARGETS, Place, decodeAnswer, encodeSearch
from vnet.protocols.machine.routerquery import SENDS
from vnet.values import Address

__all__ = ["Upnp"]

_PLACES = 4
_PORTS = 4
_SENDS_FOR_ANOTHER = 2
# The port is taken, in this way or another, or the router does not say why it failed.
_ANOTHER_PORT = (CONFLICT, 729, 501)
_UNKNOWN_ACTION = (401, 602)
_DESCRIPTION = "vnet"


@define(eq=False, repr=False)
class Upnp:
    """
    See L{vnet.client.portmapping.way.Way}.

    @ivar _asker: over SSDP.
    @ivar _router: the router's address.
    @ivar _local: this computer's address towards it.
    @ivar _port: the node's UDP port.
    @ivar _random: returns so many random bytes.
    """

    _clock: IReactorTime
    _asker: Asker
    _http: RouterHttp
    _router: str
    _local: str
    _port: int
    _random: Callable[[int], bytes]
    _lifetime: int = LIFETIME
    _service: Service | None = field(default=None, init=False)
    _host: str = field(default="", init=False)
    name = "upnp"

    async def find(self) -> None:
        """See L{vnet.client.portmapping.way.Way}."""
        tried: list[Place] = []
        failure = NoMapping("")

        def read(data: bytes) -> Place | None:
            place = decodeAnswer(data, self._router)
            return None if place in tried else place

        searches = [encodeSearch(target) for target in TARGETS]
        while len(tried) < _PLACES:
            try:
                sends = _SENDS_FOR_ANOTHER if tried else SENDS
                tried.append(await self._asker.ask(searches, read, sends))
            except Silent as silent:
                raise failure if tried else silent from None
            try:
                await self._choose(tried[-1])
            except NoMapping as error:
                failure = error
            else:
                return
        raise failure

    async def obtain(self, port: int) -> Grant:
        """See L{vnet.client.portmapping.way.Way}."""
        fault = Fault(CONFLICT)
        for _ in range(_PORTS):
            port = port or 1024 + int.from_bytes(self._random(2), "big") % (65536 - 1024)
            added = await self._addNew(port)
            if isinstance(added, Grant):
                return added
            fault = added
            if fault.code == SAME_PORTS and port != self._port:
                port = self._port
            elif fault.code in _ANOTHER_PORT:
                port = 0
            else:
                break
        raise NoMapping(fault.reason)

    async def keep(self, grant: Grant, due: bool) -> Grant:
        """See L{vnet.client.portmapping.way.Way}."""
        self._host = await self._externalHost(self._chosen)
        held = await self._holder(grant.external.port)
        if held is False:
            raise NoMapping("it has given the port to another computer")
        if not due and held is not None:
            return Grant(grant.external._replace(host=self._host), grant.lifetime, grant.madeAt)
        added = await self._add(grant.external.port, "AddPortMapping")
        if isinstance(added, Fault):
            raise NoMapping(added.reason)
        return added

    async def remove(self, grant: Grant) -> None:
        """See L{vnet.client.portmapping.way.Way}."""
        await self._http.call(self._chosen, "DeletePortMapping", **_entry(grant.external.port))

    def close(self) -> None:
        """See L{vnet.client.portmapping.way.Way}."""
        self._asker.close()
        self._http.close()

    @property
    def _chosen(self) -> Service:
        if self._service is None:
            raise Silent("it was not asked")
        return self._service

    async def _choose(self, place: Place) -> None:
        try:
            services = parseDescription(await self._http.fetch(place), place)
        except DecodeError as error:
            raise NoMapping("its description cannot be read") from error
        failure = NoMapping("its description has no service that maps ports")
        for service in services:
            try:
                self._host = await self._externalHost(service)
            except NoMapping as error:
                failure = error
            else:
                self._service = service
                return
        raise failure

    async def _externalHost(self, service: Service) -> str:
        answer = await self._http.call(service, "GetExternalIPAddress")
        if isinstance(answer, Fault):
            raise NoMapping(answer.reason)
        try:
            return believeHost(answer.get("NewExternalIPAddress", "") or "0.0.0.0")
        except AddressValueError as error:
            raise NoMapping("it does not tell its address on the Internet") from error

    async def _holder(self, port: int) -> bool | None:
        """
        @return: whether it is this node that has an external port, as far as the router tells; L{None} when nobody has it.
        """
        answer = await self._http.call(self._chosen, "GetSpecificPortMappingEntry", **_entry(port))
        if isinstance(answer, Fault):
            return None if answer.code == NO_SUCH_ENTRY else True
        try:
            client = str(IPv4Address(answer.get("NewInternalClient", "")))
        except AddressValueError:
            return True
        return client == self._local and answer.get("NewInternalPort", "") == str(self._port)

    async def _addNew(self, port: int) -> Grant | Fault:
        if self._chosen.choosesPorts:
            added = await self._add(port, "AddAnyPortMapping")
            if isinstance(added, Grant) or added.code not in _UNKNOWN_ACTION:
                return added
        if await self._isTaken(port):
            return Fault(CONFLICT)
        return await self._add(port, "AddPortMapping")

    async def _isTaken(self, port: int) -> bool:
        answer = await self._http.call(self._chosen, "GetSpecificPortMappingEntry", **_entry(port))
        return not isinstance(answer, Fault) and answer.get("NewInternalClient") != self._local

    async def _add(self, port: int, action: str) -> Grant | Fault:
        fault = Fault(ONLY_PERMANENT)
        for lifetime in (self._lifetime, 0):
            answer = await self._http.call(
                self._chosen,
                action,
                **_entry(port),
                NewInternalPort=self._port,
                NewInternalClient=self._local,
                NewEnabled=1,
                NewPortMappingDescription=_DESCRIPTION,
                NewLeaseDuration=lifetime,
            )
            if not isinstance(answer, Fault):
                return self._granted(answer.get("NewReservedPort", str(port)), lifetime)
            fault = answer
            if fault.code != ONLY_PERMANENT:
                break
        return fault

    def _granted(self, port: str, lifetime: int) -> Grant:
        number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 0
        now = self._clock.seconds()
        checked = believe(self._host, number, lifetime or 1, now)
        return Grant(Address(self._host, checked.external.port), lifetime, now)


def _entry(port: int) -> dict[str, object]:
    """
    What names a mapping: datagrams from everywhere to an external port.
    """
    return {"NewRemoteHost": "", "NewExternalPort": port, "NewProtocol": "UDP"}
