# -*- test-case-name: vnet.test.priv.test_udp -*-
"""
The node's one UDP port: a socket for IPv4 and IPv6, read and written in trains.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from ipaddress import ip_address
from typing import Any

import attrs
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from vnet.client.dataplane.lanes import Lanes, sharedReader
from vnet.client.dataplane.udpsocket import boundSocket, cutsTrains, overflown, twin
from vnet.client.links import reachable
from vnet.directreads import IDirectReader
from vnet.errors import ConfigurationError
from vnet.interfaceaddresses import interfaceAddresses
from vnet.interfaces import IDatagramPort
from vnet.linkwatcher import DEBOUNCE
from vnet.protocols.trainreader import SLOTS
from vnet.values import Address, Buffer, Train

__all__ = ["UdpPort"]

# Reads of one socket before others have their turn.
_READS = 2
_MAX_CACHED = 4096
_MAPPED = "::ffff:"
# Less than a LinkWatcher waits: who is told of a change must not be given what was true before it.
_ADDRESSES_FOR = DEBOUNCE / 2

# linux/in.h, linux/in6.h: Python has no names for them.
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _IPV6_DONTFRAG, _PMTUDISC_PROBE = 10, 23, 62, 3
# linux/udp.h
_SOL_UDP, _UDP_SEGMENT = 17, 103
_segment = struct.Struct("H").pack
#: Why the kernel does not cut a train: no such option, no checksums by the interface, a datagram that has to be fragmented.
_UNCUT = frozenset({errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.EOPNOTSUPP, errno.ENOPROTOOPT})
#: The last of them; older kernels say EINVAL.
_TOO_LONG = frozenset({errno.EMSGSIZE, errno.EINVAL})

#: What keeps a datagram whole, by whether it is IPv6; the path's MTU that the system knows, from whomever, does not count.
_WHOLE = (
    (((socket.IPPROTO_IP, _IP_MTU_DISCOVER), _PMTUDISC_PROBE),),
    (
        ((socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER), _PMTUDISC_PROBE),
        ((socket.IPPROTO_IPV6, _IPV6_DONTFRAG), 1),
    ),
)

_SocketAddress = tuple[str, int] | tuple[str, int, int, int]


@implementer(IDatagramPort, IReadDescriptor, IDirectReader)
@attrs.define(eq=False)
class UdpPort:
    """
    A UDP port on all addresses of this computer.

    @ivar port: the bound port; 0 before L{open}.
    @ivar counters: how many datagrams were not sent, by the error's name.
    @ivar isFull: see L{IDirectReader}.
    @ivar _wanted: the port to bind; 0 for any.
    @ivar _excludedInterfaces: names of interfaces whose addresses no peer reaches: the overlay's own.
    @ivar _excludedPrefixes: networks of which the same is true, CIDR.
    """

    _log = Logger()

    _reactor: Any
    _wanted: int = 0
    _excludedInterfaces: Collection[str] = ()
    _excludedPrefixes: Collection[str] = ()
    port: int = attrs.field(default=0, init=False)
    counters: Counter[str] = attrs.field(factory=Counter, init=False)
    _socket: socket.socket | None = attrs.field(default=None, init=False)
    _received: Callable[[Sequence[Train]], None] | None = attrs.field(default=None, init=False)
    _isJoining: bool = attrs.field(default=True, init=False)
    _destinations: dict[Address, _SocketAddress | None] = attrs.field(factory=dict, init=False)
    _addresses: tuple[float, Sequence[str]] | None = attrs.field(default=None, init=False)
    isFull: bool = attrs.field(default=False, init=False)
    _most: int = attrs.field(default=SLOTS, init=False)
    _overflown: int = attrs.field(default=0, init=False)
    _lanes: Lanes = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._lanes = Lanes(self._reactor, self._openLane, self._arrived)

    def open(self) -> None:
        """
        See L{IDatagramPort.open}.
        """
        if not 0 <= self._wanted <= 65535:
            raise ConfigurationError(f"{self._wanted} is no UDP port: choose one of 1 to 65535 with --port")
        try:
            self._socket = boundSocket(socket.AF_INET6, "::", self._wanted)
        except OSError as error:
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise self._refused(error) from error
            try:
                self._socket = boundSocket(socket.AF_INET, "0.0.0.0", self._wanted)
            except OSError as error4:
                raise self._refused(error4) from error4
        self.port = self._socket.getsockname()[1]
        self._isJoining = cutsTrains()

    def _refused(self, error: OSError) -> ConfigurationError:
        if error.errno == errno.EADDRINUSE:
            why = "in use by another program: choose another with --port"
        elif error.errno in (errno.EACCES, errno.EPERM):
            why = "not permitted: choose one above 1023 with --port"
        else:
            why = f"not available: {error.strerror}"
        return ConfigurationError(f"UDP port {self._wanted} is {why}")

    def start(self, received: Callable[[Sequence[Train]], None]) -> None:
        """
        See L{IDatagramPort.start}.
        """
        self._received = received
        self._reactor.addReader(self)

    def send(self, datagrams: Sequence[tuple[bytes, Address]]) -> None:
        """
        See L{IDatagramPort.send}.
        """
        if self._socket is None:
            self.counters["closed"] += len(datagrams)
            return
        sendto, destinations = self._socket.sendto, self._destinations
        for data, addr in datagrams:
            try:
                destination = destinations[addr]
            except KeyError:
                destination = self._resolve(addr)
            if destination is None:
                self.counters["noAddress"] += 1
                continue
            try:
                sendto(data, destination)
            except OSError as error:
                self.counters[errno.errorcode.get(error.errno or 0, "other")] += 1

    def sendTrains(self, trains: Sequence[Train]) -> None:
        """
        See L{IDatagramPort.sendTrains}.
        """
        for data, stride, addr, _, _ in trains:
            try:
                destination = self._destinations[addr]
            except KeyError:
                destination = self._resolve(addr)
            if self._socket is None or destination is None:
                self.counters["closed" if self._socket is None else "noAddress"] += -(-len(data) // stride)
                continue
            try:
                if len(data) <= stride:
                    self._socket.sendto(data, destination)
                elif self._isJoining:
                    self._socket.sendmsg(
                        (data,), ((_SOL_UDP, _UDP_SEGMENT, _segment(stride)),), 0, destination
                    )
                else:
                    self._sendEach(data, stride, addr)
            except OSError as error:
                self._failed(error, data, stride, addr)

    def _failed(self, error: OSError, data: Buffer, stride: int, addr: Address) -> None:
        """
        The kernel has not taken a train, or a datagram.
        """
        if len(data) <= stride or error.errno not in _UNCUT:
            self.counters[errno.errorcode.get(error.errno or 0, "other")] += -(-len(data) // stride)
            return
        if error.errno not in _TOO_LONG:
            self._isJoining = False
            self._log.warn("this system does not cut trains of datagrams (UDP_SEGMENT): each is sent alone")
        self._sendEach(data, stride, addr)

    def _sendEach(self, data: Buffer, stride: int, addr: Address) -> None:
        self.send([(bytes(data[place : place + stride]), addr) for place in range(0, len(data), stride)])

    def sendLimited(self, datagrams: Sequence[tuple[bytes, Address]], hopLimit: int) -> None:
        """
        See L{IDatagramPort.sendLimited}.
        """
        for data, addr in datagrams:
            destination = self._resolve(addr)
            if self._socket is None or destination is None:
                self.counters["closed" if self._socket is None else "noAddress"] += 1
                continue
            try:
                self._socket.sendmsg([data], [_limit(":" in addr.host, hopLimit)], 0, destination)
            except OSError as error:
                self.counters[errno.errorcode.get(error.errno or 0, "other")] += 1

    def sendWhole(self, data: bytes, addr: Address) -> bool:
        """
        See L{IDatagramPort.sendWhole}.
        """
        destination = self._resolve(addr)
        if self._socket is None or destination is None:
            self.counters["closed" if self._socket is None else "noAddress"] += 1
            return True
        before = [(each, self._socket.getsockopt(*each)) for each, _ in _WHOLE[":" in addr.host]]
        try:
            for option, value in _WHOLE[":" in addr.host]:
                self._socket.setsockopt(*option, value)
            self._socket.sendto(data, destination)
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                # An answer, not a loss.
                return False
            self.counters[errno.errorcode.get(error.errno or 0, "other")] += 1
        finally:
            for option, value in before:
                self._socket.setsockopt(*option, value)
        return True

    def localAddresses(self) -> Sequence[str]:
        """
        See L{IDatagramPort.localAddresses}.  The system is asked at most ten times a second.
        """
        now = self._reactor.seconds()
        if self._addresses is None or not 0 <= now - self._addresses[0] < _ADDRESSES_FOR:
            self._addresses = (now, self._findAddresses())
        return self._addresses[1]

    def close(self) -> None:
        """
        See L{IDatagramPort.close}.
        """
        closing, self._socket = self._socket, None
        self._lanes.close()
        if closing is not None:
            if self._received is not None:
                self._reactor.removeReader(self)
            self._overflown += overflown(closing)
            closing.close()
        self._received = None
        self.port = 0

    def dropped(self) -> Counter[str]:
        """
        How many datagrams were lost here, by reason: L{counters}, and C{receiveQueueFull}: trains count as one there.
        """
        full = self._overflown + self._lanes.overflown
        if self._socket is not None:
            full += overflown(self._socket)
        return self.counters + Counter(receiveQueueFull=full)

    def _openLane(self, source: Address, room: int) -> socket.socket | None:
        # What somebody sends whom we do not know gets no place of its own.
        destination = self._destinations.get(source)
        return None if self._socket is None or destination is None else twin(self._socket, destination, room)

    def _arrived(self, trains: Sequence[Train]) -> None:
        if self._received is not None:
            self._received(trains)

    def fileno(self) -> int:
        """
        See L{IReadDescriptor}.
        """
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:
        """
        See L{IReadDescriptor}.
        """
        return "udp"

    def doRead(self) -> None:
        """
        Read what there is, up to 64 datagrams and trains.
        """
        reader = sharedReader()
        for _ in range(_READS):
            if self._socket is None or self._received is None:
                return
            trains = reader.read(self._socket.fileno(), self._most)
            self.isFull = reader.isFull
            if not trains:
                return
            self._most = reader.most
            # Bytes, not datagrams, are what takes time.
            isDone = not reader.isFull or self._most < SLOTS
            if reader.isFull:
                self._lanes.crowded(trains)
            try:
                self._received(trains)
            except Exception:
                self._log.failure("while datagrams are received")
            if isDone:
                return

    def connectionLost(self, reason: Failure) -> None:
        """
        See L{IReadDescriptor}.
        """
        self.close()

    def _resolve(self, addr: Address) -> _SocketAddress | None:
        if len(self._destinations) >= _MAX_CACHED:
            self._destinations.clear()
        self._destinations[addr] = found = self._socketAddress(addr)
        return found

    def _socketAddress(self, addr: Address) -> _SocketAddress | None:
        # A name must never get to sendto, which would look it up.
        try:
            version = ip_address(addr.host).version
        except ValueError:
            return None
        if not 0 < addr.port <= 65535 or "%" in addr.host:
            return None
        if self._socket is not None and self._socket.family == socket.AF_INET:
            return (addr.host, addr.port) if version == 4 else None
        return (_MAPPED + addr.host if version == 4 else addr.host, addr.port, 0, 0)

    def _findAddresses(self) -> Sequence[str]:
        try:
            found = reachable(interfaceAddresses(), self._excludedInterfaces, self._excludedPrefixes)
        except OSError as error:
            self._log.warn("the addresses of this computer are not known: {error}", error=error)
            return ()
        if self._socket is not None and self._socket.family == socket.AF_INET:
            found = [host for host in found if ":" not in host]
        return tuple(found)


def _limit(isIpv6: bool, hopLimit: int) -> tuple[int, int, bytes]:
    """
    Control data for sendmsg; also of an IPv6 socket's IPv4 datagrams.
    """
    if isIpv6:
        return socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT, struct.pack("i", hopLimit)
    return socket.IPPROTO_IP, socket.IP_TTL, struct.pack("i", hopLimit)
