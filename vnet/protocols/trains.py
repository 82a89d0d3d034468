# -*- test-case-name: vnet.test.priv.test_trains -*-
"""
A UDP socket that is read and written in trains: many datagrams of one size, to or from one address, with one call.

The kernel cuts a train that is sent (UDP_SEGMENT, udp(7)) and joins what arrives (UDP_GRO); a train's datagrams are all as long as
its C{segment}, but the last one may be shorter.  Where the kernel knows neither, each train is one datagram.

What ICMP says of datagrams that were sent can be read, too (IP_RECVERR, ip(7)).

L{vnet.protocols.trainpoller} watches them.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from ipaddress import ip_address

from attrs import define, field, frozen

from vnet.values import Address, Buffer

__all__ = ["BUFFER", "LONGEST", "MOST", "Refusal", "SocketAddress", "TrainSocket", "cut"]

LONGEST = 65_000
"""Bytes of a train that is sent: what fits in one IP packet with all headers."""

MOST = 64
"""Datagrams of a train (UDP_MAX_SEGMENTS)."""

BUFFER = 65_535
"""Bytes that a buffer for L{TrainSocket.receive} has to have."""

SocketAddress = tuple[str, int] | tuple[str, int, int, int]

# linux/udp.h, linux/in.h, linux/in6.h: Python has no names for them.
_SOL_UDP, _UDP_SEGMENT, _UDP_GRO = 17, 103, 104
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _IPV6_DONTFRAG = 10, 23, 62
# IPv4 is fragmented on the way, and nobody can make our packets smaller by false messages; IPv6 only here, so we must listen.
_PMTUDISC_DONT, _PMTUDISC_PROBE, _PMTUDISC_OMIT = 0, 3, 5
_IP_RECVERR, _IPV6_RECVERR, _ORIGIN_ICMP, _ORIGIN_ICMP6 = 11, 25, 2, 3
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_SEGMENT = struct.Struct("H")
_GRO = struct.Struct("i")
_CONTROL = socket.CMSG_SPACE(_GRO.size)
#: struct sock_extended_err, behind which stands who has sent the message (linux/errqueue.h).
_EXTENDED_ERROR = struct.Struct("IBBBxII")
_ERROR_CONTROL = socket.CMSG_SPACE(_EXTENDED_ERROR.size + 28) + _CONTROL
# As it is, it is of an enum, whose "&" costs more than all the rest of a datagram.
_TRUNCATED = int(socket.MSG_TRUNC)
_MAPPED = "::ffff:"
_REFUSALS = frozenset({(socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR)})
#: The kernel does not cut for this way (EIO, EINVAL: no checksum offload, EMSGSIZE: a segment above the MTU).
_UNCUT = frozenset({errno.EINVAL, errno.EIO, errno.EMSGSIZE, errno.EOPNOTSUPP, errno.ENOPROTOOPT})
#: What a call gets because ICMP has said it of an earlier datagram, whatever its own would have met.
_OF_ANOTHER = frozenset(
    {
        *(errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENONET),
        *(errno.EACCES, errno.EPROTO, errno.EMSGSIZE, errno.ENOPROTOOPT, errno.EOPNOTSUPP),
    }
)

Control = Sequence[tuple[int, int, bytes]]


@frozen
class Refusal:
    """
    What ICMP said of a datagram that was sent.

    @ivar to: where that was sent.
    @ivar type: of ICMP, or of ICMPv6 if C{to} is an address of IPv6; C{code} too.
    @ivar mtu: what would have fitted, where that is the reason.
    """

    to: SocketAddress
    type: int
    code: int
    mtu: int


def cut(data: memoryview, segment: int) -> Iterator[memoryview]:
    """
    The datagrams of a train.
    """
    for start in range(0, len(data), segment):
        yield data[start : start + segment]


@define(eq=False, repr=False)
class TrainSocket:
    """
    The socket.

    @ivar counters: datagrams that were not sent, by the error's name.
    """

    _socket: socket.socket
    _segments: bool = True
    _refusals: bool = False
    counters: Counter[str] = field(factory=Counter, init=False)

    @classmethod
    def bind(
        cls,
        host: str,
        port: int,
        *,
        buffer: int = 1 << 20,
        segments: bool = True,
        dual: bool = False,
        refusals: bool = False,
    ) -> TrainSocket:
        """
        Take a UDP port.

        @param host: an IP literal of this host; C{0.0.0.0} and C{::} are all of a family.
        @param buffer: bytes that the kernel may keep, in each direction.
        @param segments: whether to use UDP_SEGMENT and UDP_GRO.
        @param dual: with C{::}, take IPv4 too.
        @param refusals: keep what ICMP says for L{refusal}, which has to be called whenever the poller says so.
        @raise OSError: it cannot be taken.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        opened = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            if family == socket.AF_INET6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
                opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT)
            if family == socket.AF_INET or dual:
                opened.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_OMIT)
            if refusals and family == socket.AF_INET6:
                opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
            elif refusals:
                opened.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
            _enlarge(opened, buffer)
            if segments:
                with contextlib.suppress(OSError):
                    opened.setsockopt(_SOL_UDP, _UDP_GRO, 1)
            opened.bind((host, port))
        except OSError:
            opened.close()
            raise
        return cls(opened, segments, refusals)

    @property
    def address(self) -> Address:
        """
        What it is bound to.
        """
        return Address(*self._socket.getsockname()[:2])

    def fileno(self) -> int:
        """
        The file descriptor; -1 once it is closed.
        """
        return self._socket.fileno()

    def close(self) -> None:
        """
        Give the port back.  May be called twice.
        """
        self._socket.close()

    def receive(self, buffer: bytearray | memoryview) -> tuple[int, int, SocketAddress] | None:
        """
        Read a train.

        @param buffer: L{BUFFER} bytes, which it is put in.
        @return: how long it is, how long its datagrams are, and where it came from; L{None}: there is nothing, or not yet.
        """
        while True:
            try:
                size, control, flags, source = self._socket.recvmsg_into((buffer,), _CONTROL)
            except BlockingIOError:
                return None
            except OSError as error:
                # One that an earlier datagram met on its way is cleared by this, but others stay: the poller calls again.
                if self._socket.fileno() >= 0:
                    self.counters[errno.errorcode.get(error.errno or 0, "other")] += 1
                return None
            if flags & _TRUNCATED:
                self.counters["truncated"] += 1
                continue
            if control and control[0][1] == _UDP_GRO:
                return size, _GRO.unpack(control[0][2][:4])[0], source
            return size, size, source

    def send(self, parts: Sequence[Buffer], segment: int, count: int, to: SocketAddress) -> bool:
        """
        Send a train.

        @param parts: what it is made of, one after the other.
        @param segment: bytes of each of its datagrams, above 0 if there are several; the last one may be shorter.
        @param count: how many there are, at most L{MOST}, of L{LONGEST} bytes in all.
        @return: whether the kernel has taken it.
        """
        if count > 1 and not self._segments:
            return self._sendEach(memoryview(b"".join(parts)), segment, to)
        control = ((_SOL_UDP, _UDP_SEGMENT, _SEGMENT.pack(segment)),) if count > 1 else ()
        try:
            if count > 1:
                self._socket.sendmsg(parts, control, 0, to)
            else:
                self._socket.sendto(parts[0] if len(parts) == 1 else b"".join(parts), to)
            return True
        except OSError as error:
            failure = error.errno or 0
        if self._refusals and failure in _OF_ANOTHER:
            failure = self._sendAgain(parts, control, to)
            if not failure:
                return True
        if count == 1 or failure not in _UNCUT:
            self.counters[errno.errorcode.get(failure, "other")] += count
            return False
        return self._sendEach(memoryview(b"".join(parts)), segment, to)

    def _sendAgain(self, parts: Sequence[Buffer], control: Control, to: SocketAddress) -> int:
        """
        @return: the error, or 0.
        """
        try:
            self._socket.sendmsg(parts, control, 0, to)
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    def _sendEach(self, data: memoryview, segment: int, to: SocketAddress) -> bool:
        done = True
        for each in cut(data, segment):
            done &= self.send((each,), len(each), 1, to)
        return done

    def sendWhole(self, data: bytes, to: SocketAddress) -> bool:
        """
        Send a datagram that may not be fragmented: one that is too long is not sent.
        """
        if self._socket.family == socket.AF_INET6:
            level, option, on, off = socket.IPPROTO_IPV6, _IPV6_DONTFRAG, 1, 0
        else:
            level, option, on, off = socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE, _PMTUDISC_OMIT
        self._socket.setsockopt(level, option, on)
        try:
            return self.send((data,), len(data), 1, to)
        finally:
            self._socket.setsockopt(level, option, off)

    def refusal(self) -> Refusal | None:
        """
        Read what ICMP said.

        @return: L{None}: there is no more.
        """
        while True:
            try:
                _, control, _, to = self._socket.recvmsg(0, _ERROR_CONTROL, socket.MSG_ERRQUEUE)
            except OSError:
                return None
            for level, kind, data in control:
                if (level, kind) not in _REFUSALS:
                    continue
                number, origin, icmp, code, info, _ = _EXTENDED_ERROR.unpack_from(data)
                if origin in (_ORIGIN_ICMP, _ORIGIN_ICMP6):
                    return Refusal(to, icmp, code, info if number == errno.EMSGSIZE else 0)

    def socketAddress(self, address: Address) -> SocketAddress:
        """
        An address as this socket takes it.
        """
        if self._socket.family == socket.AF_INET:
            return address.host, address.port
        host = address.host if ":" in address.host else _MAPPED + address.host
        return host, address.port, 0, 0

    @staticmethod
    def canonical(source: SocketAddress) -> Address:
        """
        A source as we write addresses.
        """
        host = source[0].partition("%")[0]
        if ":" not in host:
            return Address(host, source[1])
        # Only an address that is mapped has dots and these words before it.
        return Address(host.removeprefix(_MAPPED) if "." in host else str(ip_address(host)), source[1])


def _enlarge(opened: socket.socket, size: int) -> None:
    """
    Make the buffers large: beyond the system's limit where that is permitted.
    """
    for forced, plain in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            opened.setsockopt(socket.SOL_SOCKET, forced, size)
        except OSError:
            with contextlib.suppress(OSError):
                opened.setsockopt(socket.SOL_SOCKET, plain, size)
