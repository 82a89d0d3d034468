# -*- test-case-name: vnet.test.test_stun_server -*-
"""
STUN over UDP: a server that tells clients their address, and a client that keeps asking.

Both can be used alone::

    reactor.listenUDP(3478, StunServer(reactor))
    reactor.listenUDP(0, StunClient(Bindings(servers, random=os.urandom), reactor, print))

With two addresses the server does all of RFC 5780, so that clients learn what their NAT does::

    server = StunServer(reactor)
    server.origins.pairHosts("192.0.2.1", "192.0.2.2")
    server.origins.pairPorts(3478, 3479)
    for host in ("192.0.2.1", "192.0.2.2"):
        for port in (3478, 3479):
            reactor.listenUDP(port, server.sibling(), host)
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Any

from attrs import define
from twisted.internet.error import InvalidAddressError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import DatagramProtocol

from vnet.driver import Driver
from vnet.errors import DecodeError
from vnet.protocols.codec.stun import Message, decode, encode
from vnet.protocols.codec.stunattributes import FINGERPRINT
from vnet.protocols.machine.binding import BindingEvent, Bindings
from vnet.protocols.machine.bindingresponse import bindingResponse, isBindingRequest
from vnet.protocols.machine.ratelimit import KeyedQuota, sourceKey
from vnet.protocols.machine.stunorigins import Origins
from vnet.values import Address

__all__ = ["StunClient", "StunCounters", "StunServer", "canonicalAddress"]


def canonicalAddress(host: str, port: int) -> Address:
    """
    The address of a datagram's source as we write addresses: without a zone, and IPv4 as IPv4.
    """
    if ":" in host:
        full = IPv6Address(host.partition("%")[0])
        host = str(full.ipv4_mapped or full)
    return Address(host, port)


@define
class StunCounters:
    """
    What a server has done.

    @ivar answered: requests that got an answer, an error too.
    @ivar ignored: datagrams that were no request.
    @ivar limited: requests above the rate of their source.
    @ivar unsendable: answers that the system did not take.
    """

    answered: int = 0
    ignored: int = 0
    limited: int = 0
    unsendable: int = 0


class StunServer(DatagramProtocol):
    """
    A STUN server for the Binding method, over IPv4 and IPv6, on one socket; others of the same server are its L{sibling}s.

    It answers a source (an IPv4 address, an IPv6 /64) at most C{rate} times a second on all its sockets together.  Everything
    else gets silence, and is counted.

    @ivar counters: what it has done; its siblings have the same.
    @ivar origins: where it is, itself and its siblings: with two addresses and two ports, which are to be named here, it
        answers from where it is asked to.
    """

    noisy = False

    def __init__(self, clock: IReactorTime, rate: int = 100, sources: int = 65536) -> None:
        """
        @param clock: a clock that does not go back.
        @param rate: answers a second for one source.
        @param sources: how many sources are remembered.
        """
        self._clock = clock
        self._quota = KeyedQuota(rate, 1.0, sources)
        self.counters = StunCounters()
        self.origins: Origins[StunServer] = Origins()

    def sibling(self) -> StunServer:
        """
        The same server, for another socket.
        """
        sibling = StunServer(self._clock)
        sibling._quota = self._quota
        sibling.counters = self.counters
        sibling.origins = self.origins
        return sibling

    def startProtocol(self) -> None:
        """
        See L{DatagramProtocol.startProtocol}.
        """
        if self.transport is not None:
            bound: Any = self.transport.getHost()
            self.origins.add(canonicalAddress(bound.host, bound.port), self)

    def stopProtocol(self) -> None:
        """
        See L{DatagramProtocol.stopProtocol}.
        """
        self.origins.remove(self)

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """
        See L{DatagramProtocol.datagramReceived}.
        """
        source = canonicalAddress(addr[0], addr[1])
        try:
            request = decode(datagram)
        except DecodeError:
            self.counters.ignored += 1
            return
        if not isBindingRequest(request):
            self.counters.ignored += 1
        elif not self._quota.allow(sourceKey(source.host), self._clock.seconds()):
            self.counters.limited += 1
        else:
            self._answer(request, source, addr)

    def _answer(self, request: Message, source: Address, addr: tuple[str, int]) -> None:
        response = bindingResponse(request, source, self.origins, self.origins.addressOf(self))
        sender = self if response.origin is None else self.origins[response.origin]
        sender._send(encode(response.message, fingerprint=FINGERPRINT in request), addr)

    def _send(self, answer: bytes, addr: tuple[str, int]) -> None:
        if self.transport is None:
            return
        try:
            self.transport.write(answer, addr)
        except OSError:
            # A source port of 0, or a firewall of ours: nothing that a stranger may fill a log with.
            self.counters.unsendable += 1
        else:
            self.counters.answered += 1


class StunClient(DatagramProtocol):
    """
    Runs L{Bindings} on a UDP port of its own.

    @ivar driver: after a call of C{bindings.refresh} or C{bindings.setServers}, call its C{wake}.
    """

    noisy = False

    def __init__(
        self, bindings: Bindings, clock: IReactorTime, onEvent: Callable[[BindingEvent], None]
    ) -> None:
        self.driver: Driver[BindingEvent] = Driver(bindings, clock, self._send, onEvent)

    def startProtocol(self) -> None:
        self.driver.wake()

    def stopProtocol(self) -> None:
        self.driver.stop()

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        self.driver.datagramReceived(datagram, canonicalAddress(addr[0], addr[1]))

    def _send(self, datagrams: list[tuple[bytes, Address]]) -> None:
        for data, addr in datagrams:
            try:
                if self.transport is not None:
                    self.transport.write(data, (addr.host, addr.port))
            except (OSError, InvalidAddressError):
                # No route, or a server of the family that this port is not: the request is sent
                # again, and in the end the server is silent.
                continue
