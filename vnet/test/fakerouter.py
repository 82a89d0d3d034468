"""
A router in memory that maps ports, by each protocol or by some, well or badly.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address
from typing import Any

from attrs import define, field
from twisted.internet.address import IPv4Address as TcpAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from zope.interface import implementer

from vnet.client.portmapping.mapper import Uplink
from vnet.protocols.codec.plainxml import parseXml
from vnet.protocols.codec.ssdp import TARGETS
from vnet.test.pipes import Pipe

__all__ = ["LOCAL", "OUTSIDE", "ROUTER", "FakeRouter", "Held", "envelope", "fault", "response"]

ROUTER, LOCAL, OUTSIDE = "192.168.1.1", "192.168.1.2", "203.0.113.9"
_URN = "urn:schemas-upnp-org:service:"
_MAPPED = b"\0" * 10 + b"\xff\xff"


def response(body: bytes, status: int = 200) -> bytes:
    """
    An HTTP response.
    """
    return (
        b"HTTP/1.1 %d x\r\nContent-Length: %d\r\nContent-Type: text/xml\r\n\r\n" % (status, len(body)) + body
    )


def envelope(inside: str) -> bytes:
    """
    A SOAP envelope.
    """
    return f'<?xml version="1.0"?><s:Envelope xmlns:s="x"><s:Body>{inside}</s:Body></s:Envelope>'.encode()


def fault(code: int) -> bytes:
    """
    The response with a fault of UPnP.
    """
    inside = f"<s:Fault><detail><UPnPError><errorCode>{code}</errorCode></UPnPError></detail></s:Fault>"
    return response(envelope(inside), 500)


@define
class Held:
    """
    A mapping in the router's table.
    """

    client: str
    internalPort: int
    lifetime: int
    by: str
    nonce: bytes = b""


@define(eq=False)
class _Channel:
    """
    A socket towards the router.
    """

    router: FakeRouter
    kind: str
    received: Callable[[bytes], None]
    open: bool = True

    def send(self, data: bytes) -> None:
        self.router.sent.append((self.kind, data))
        self.router.clock.callLater(self.router.delay, self.say, *self.router.udp(self.kind, data))

    def say(self, *answers: bytes) -> None:
        for data in answers:
            if self.open:
                self.received(data)

    def close(self) -> None:
        self.open = False


class _HttpPipe(Pipe):
    """
    A connection to the router's HTTP server.
    """

    router: FakeRouter

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """See L{twisted.internet.interfaces.ITransport}."""
        self.write(b"".join(data))

    def write(self, data: bytes) -> None:
        """See L{twisted.internet.interfaces.ITransport}."""
        super().write(data)
        head, end, body = self.value().partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if end and len(body) >= (int(length[1]) if length else 0):
            self.clear()
            answer = self.router.http(head.decode(), body)
            if answer is not None:
                self.router.clock.callLater(self.router.delay, self._answer, answer)

    def _answer(self, answer: bytes) -> None:
        self.say(answer)
        self.close()


@implementer(IStreamClientEndpoint)
@define(eq=False)
class _Endpoint:
    router: FakeRouter

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """See L{IStreamClientEndpoint}."""
        peer = TcpAddress("TCP", ROUTER, 5000)
        protocol: Any = protocolFactory.buildProtocol(peer)
        pipe = _HttpPipe(peer)
        pipe.protocol, pipe.router = protocol, self.router
        self.router.pipes.append(pipe)
        protocol.makeConnection(pipe)
        return succeed(protocol)


@define(eq=False)
class FakeRouter:
    """
    See L{vnet.client.portmapping.mapper.RouterNetwork}.

    @ivar speaks: its protocols.
    @ivar outside: its address outside.
    @ivar igd: the version of its UPnP.
    @ivar faults: by action, the code with which it fails.
    @ivar results: by protocol, the result code with which it refuses a mapping.
    @ivar grants: the lifetime that it gives, where that is not the one that was asked for.
    @ivar tamper: changes what it sends over UDP, by protocol.
    @ivar answerHttp: takes the place of its HTTP server.
    @ivar held: its table, by external port.
    @ivar sent: what was sent to it over UDP.
    @ivar refuse: why no socket can be opened.
    @ivar calls: the actions of UPnP that were called.
    """

    clock: Clock
    speaks: set[str] = field(factory=lambda: {"pcp", "nat-pmp", "upnp"})
    outside: str = OUTSIDE
    igd: int = 1
    permanentOnly: bool = False
    delay: float = 0.01
    faults: dict[str, int] = field(factory=dict)
    results: dict[str, int] = field(factory=dict)
    grants: int | None = None
    location: str = f"http://{ROUTER}:5000/root.xml"
    tamper: Callable[[str, bytes], list[bytes]] = lambda kind, data: [data]
    answerHttp: Callable[[str, bytes], bytes | None] | None = None
    route: Uplink | None = field(factory=lambda: Uplink(ROUTER, LOCAL))
    held: dict[int, Held] = field(factory=dict)
    sent: list[tuple[str, bytes]] = field(factory=list)
    calls: list[str] = field(factory=list)
    pipes: list[_HttpPipe] = field(factory=list)
    channels: list[_Channel] = field(factory=list)
    startedAt: float = 0.0
    refuse: OSError | None = None

    # The network.

    def uplink(self) -> Uplink | None:
        return self.route

    def openControl(self, uplink: Uplink, received: Callable[[bytes], None]) -> _Channel:
        return self._channel("control", received)

    def openSearch(self, uplink: Uplink, received: Callable[[bytes], None]) -> _Channel:
        return self._channel("ssdp", received)

    def openAnnouncements(self, uplink: Uplink, heard: Callable[[], None]) -> _Channel:
        return self._channel("announcements", lambda data: heard())

    def endpoint(self, uplink: Uplink, port: int) -> IStreamClientEndpoint:
        return _Endpoint(self)

    def _channel(self, kind: str, received: Callable[[bytes], None]) -> _Channel:
        if self.refuse is not None:
            raise self.refuse
        self.channels.append(_Channel(self, kind, received))
        return self.channels[-1]

    @property
    def open(self) -> list[str]:
        """
        The sockets that are open.
        """
        kinds = [each.kind for each in self.channels if each.open]
        return sorted([*kinds, *("http" for pipe in self.pipes if pipe.open)])

    # The router.

    def restart(self) -> None:
        """
        Lose all mappings.
        """
        self.held.clear()
        self.startedAt = self.clock.seconds()

    def announce(self) -> None:
        """
        Say something to all.
        """
        for channel in self.channels:
            if channel.kind == "announcements":
                channel.say(b"")

    def udp(self, kind: str, data: bytes) -> list[bytes]:
        """
        Answer a datagram.
        """
        if kind == "ssdp":
            if "upnp" not in self.speaks:
                return []
            return self.tamper(kind, self._search(data))
        protocol = "pcp" if data[0] == 2 else "nat-pmp"
        if protocol not in self.speaks:
            return []
        answer = self._pcp(data) if protocol == "pcp" else self._natpmp(data)
        return self.tamper(protocol, answer)

    @property
    def _epoch(self) -> int:
        return int(self.clock.seconds() - self.startedAt)

    def _grant(self, port: int, held: Held) -> tuple[int, int]:
        """
        @return: external port and lifetime.
        """
        mine = [each for each, other in self.held.items() if self._same(other, held)]
        if held.lifetime == 0:
            for each in mine:
                del self.held[each]
            return 0, 0
        port = mine[0] if mine else port or 50000
        while port in self.held and not mine:
            port += 1
        self.held[port] = held
        return port, held.lifetime if self.grants is None else self.grants

    @staticmethod
    def _same(one: Held, other: Held) -> bool:
        return (one.client, one.internalPort) == (other.client, other.internalPort)

    def _natpmp(self, data: bytes) -> bytes:
        if data == b"\0\0":
            return struct.pack("!BBHI4s", 0, 128, 0, self._epoch, IPv4Address(self.outside).packed)
        internal, wish, lifetime = struct.unpack("!HHI", data[4:])
        if result := self.results.get("nat-pmp", 0):
            return struct.pack("!BBHIHHI", 0, 129, result, self._epoch, internal, 0, 0)
        port, given = self._grant(wish, Held(LOCAL, internal, lifetime, "nat-pmp"))
        return struct.pack("!BBHIHHI", 0, 129, 0, self._epoch, internal, port, given)

    def _pcp(self, data: bytes) -> bytes:
        lifetime, nonce = int.from_bytes(data[4:8], "big"), data[24:36]
        internal, wish = struct.unpack("!HH", data[40:44])
        result = self.results.get("pcp", 0)
        held = Held(LOCAL, internal, lifetime, "pcp", nonce)
        if any(self._same(each, held) and each.nonce not in (nonce, b"") for each in self.held.values()):
            result = 2
        port, given = (wish, 30) if result else self._grant(wish, held)
        header = struct.pack("!BBBBII12x", 2, 129, 0, result, given, self._epoch)
        return header + data[24:42] + struct.pack("!H", port) + _MAPPED + IPv4Address(self.outside).packed

    def _search(self, data: bytes) -> bytes:
        target = TARGETS[0] if TARGETS[0].encode() in data else TARGETS[1]
        return f"HTTP/1.1 200 OK\r\nST: {target}\r\nLOCATION: {self.location}\r\n\r\n".encode()

    def http(self, head: str, body: bytes) -> bytes | None:
        """
        Answer a request; L{None} for silence.
        """
        if self.answerHttp is not None:
            return self.answerHttp(head, body)
        if head.startswith("GET"):
            kind = f"{_URN}WANIPConnection:{self.igd}"
            service = f"<service><serviceType>{kind}</serviceType><controlURL>/ctl</controlURL></service>"
            return response(f"<root><device>{service}</device></root>".encode())
        call = next(parseXml(body).named("Body")).children[0]
        arguments = {each.name: each.text for each in call.children}
        self.calls.append(call.name)
        if call.name in self.faults:
            return fault(self.faults[call.name])
        results = self._call(call.name, arguments)
        if isinstance(results, int):
            return fault(results)
        inside = "".join(f"<{name}>{value}</{name}>" for name, value in results.items())
        return response(envelope(f"<u:{call.name}Response xmlns:u='x'>{inside}</u:{call.name}Response>"))

    def _call(self, action: str, arguments: dict[str, str]) -> dict[str, object] | int:
        if action == "GetExternalIPAddress":
            return {"NewExternalIPAddress": self.outside}
        port = int(arguments["NewExternalPort"])
        held = self.held.get(port)
        if action == "GetSpecificPortMappingEntry":
            if held is None:
                return 714
            return {"NewInternalPort": held.internalPort, "NewInternalClient": held.client}
        if action == "DeletePortMapping":
            return {} if self.held.pop(port, None) else 714
        if action not in ("AddPortMapping", "AddAnyPortMapping") or (self.igd == 1 and "Any" in action):
            return 401
        lifetime = int(arguments["NewLeaseDuration"])
        if self.permanentOnly and lifetime:
            return 725
        wanted = Held(arguments["NewInternalClient"], int(arguments["NewInternalPort"]), lifetime, "upnp")
        if held is not None and not self._same(held, wanted):
            if action == "AddPortMapping":
                return 718
            while port in self.held:
                port += 1
        self.held[port] = wanted
        return {"NewReservedPort": port} if action == "AddAnyPortMapping" else {}
