# -*- test-case-name: vnet.test.test_stun_server -*-
"""
STUN over UDP: a server that tells clients their address, and a client that keeps asking.

Both can be used alone::

    reactor.listenUDP(3478, StunServer(reactor))
    reactor.listenUDP(0, StunClient(Bindings(servers, random=os.urandom), reactor, print))
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address

from attrs import define
from twisted.internet.error import InvalidAddressError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import DatagramProtocol

from vnet.driver import Driver
from vnet.errors import DecodeError
from vnet.protocols.codec.stun import decode, encode
from vnet.protocols.codec.stunattributes import FINGERPRINT
from vnet.protocols.machine.binding import BindingEvent, Bindings
from vnet.protocols.machine.bindingresponse import bindingResponse
from vnet.protocols.machine.ratelimit import KeyedQuota, sourceKey
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
    A STUN server for the Binding method, over IPv4 and IPv6.

    It answers a source (an IPv4 address, an IPv6 /64) at most C{rate} times a second.  Everything
    else gets silence, and is counted.

    @ivar counters: what it has done.
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

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        answer = self._answer(datagram, canonicalAddress(addr[0], addr[1]))
        if answer is None or self.transport is None:
            return
        try:
            self.transport.write(answer, addr)
        except OSError:
            # A source port of 0, or a firewall of ours: nothing that a stranger may fill a log with.
            self.counters.unsendable += 1
        else:
            self.counters.answered += 1

    def _answer(self, datagram: bytes, source: Address) -> bytes | None:
        try:
            request = decode(datagram)
        except DecodeError:
            self.counters.ignored += 1
            return None
        response = bindingResponse(request, source)
        if response is None:
            self.counters.ignored += 1
            return None
        if not self._quota.allow(sourceKey(source.host), self._clock.seconds()):
            self.counters.limited += 1
            return None
        return encode(response, fingerprint=FINGERPRINT in request)


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
