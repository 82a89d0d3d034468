# -*- test-case-name: vnet.test.priv.test_udp -*-
"""
Sockets of a UDP port: how they are made, and what their queues have lost.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from functools import cache
from typing import Any

from twisted.logger import Logger

__all__ = ["BUFFER", "boundSocket", "cutsTrains", "overflown", "twin"]

BUFFER = 7 << 20

# linux/in.h, linux/in6.h, asm-generic/socket.h: Python has no names for them.
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT, _PMTUDISC_OMIT = 10, 23, 0, 5
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE, _SO_MEMINFO = 32, 33, 55
# linux/udp.h
_SOL_UDP, _UDP_SEGMENT, _UDP_GRO = 17, 103, 104
_log = Logger()

#: linux/sock_diag.h: the last of SO_MEMINFO's numbers.
_DROPS = struct.Struct("=32xI")


def boundSocket(family: int, host: str, port: int) -> socket.socket:
    """
    Make a socket.

    @raise OSError: the system does not.
    """
    opened = _unbound(family)
    try:
        opened.bind((host, port))
    except OSError:
        opened.close()
        raise
    return opened


def _unbound(family: int) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT)
        # Also of an IPv6 socket's IPv4 datagrams: they are fragmented on the way, and whoever says that they are too long is not
        # believed.
        opened.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_OMIT)
        _enlarge(opened)
        if _joinsTrains():
            opened.setsockopt(_SOL_UDP, _UDP_GRO, 1)
    except OSError:
        opened.close()
        raise
    return opened


@cache
def cutsTrains() -> bool:
    """
    Whether this system cuts trains that are sent.  If not, the log has one line of it.
    """
    return _knows(_UDP_SEGMENT, "cut trains of datagrams (UDP_SEGMENT): each is sent alone")


@cache
def _joinsTrains() -> bool:
    return _knows(_UDP_GRO, "join datagrams to trains (UDP_GRO): each comes alone")


def _knows(option: int, what: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.getsockopt(_SOL_UDP, option)
        except OSError:
            _log.warn("this system does not {what}", what=what)
            return False
    return True


def _enlarge(opened: socket.socket) -> None:
    """
    Make the buffers large: beyond the system's limit where that is permitted.
    """
    _setRoom(opened, _SO_RCVBUFFORCE, socket.SO_RCVBUF, BUFFER)
    _setRoom(opened, _SO_SNDBUFFORCE, socket.SO_SNDBUF, BUFFER)


def _setRoom(opened: socket.socket, forced: int, plain: int, room: int) -> None:
    try:
        opened.setsockopt(socket.SOL_SOCKET, forced, room)
    except OSError:
        with suppress(OSError):
            opened.setsockopt(socket.SOL_SOCKET, plain, room)


def twin(of: socket.socket, source: Any, room: int = BUFFER) -> socket.socket:
    """
    Make a socket on the same port that gets what comes from one source, so that it has a queue of its own.

    Between the two calls that this takes the new socket may get what comes from others, too.

    @param source: as in C{connect}.
    @param room: bytes of its queue, of the memory that datagrams take.
    @raise OSError: the system does not.
    """
    opened = _unbound(of.family)
    both = (of, opened)
    try:
        for each in both:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        _setRoom(opened, _SO_RCVBUFFORCE, socket.SO_RCVBUF, room)
        opened.bind(of.getsockname())
        opened.connect(source)
    except OSError:
        opened.close()
        raise
    finally:
        # No other program gets onto the port.
        for each in both:
            if each.fileno() >= 0:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
    return opened


def overflown(opened: socket.socket) -> int:
    """
    How many datagrams, or trains of them, the system has dropped because nobody read them in time.
    """
    with suppress(OSError, struct.error):
        (drops,) = _DROPS.unpack_from(opened.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36))
        return int(drops)
    return 0
