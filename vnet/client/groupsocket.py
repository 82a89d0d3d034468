# -*- test-case-name: vnet.test.priv.test_snooping -*-
"""
A membership of our own on the interface.

It has the operating system report something, which shows that its reports come out: without one it is not known whether programs
have joined no groups, or a filter of packets holds the reports back, and the members send everything.
"""

from __future__ import annotations

import socket
import struct

from attrs import define, field
from twisted.logger import Logger

__all__ = ["GroupSocket"]

#: For experiments on one link (RFC 4727): nobody sends to them, and no member is told of them.
_GROUPS = ("224.0.0.254", "ff02::114")


@define(eq=False, repr=False)
class GroupSocket:
    """
    Sockets that are in a group, and get nothing.

    @ivar _interface: its name.
    """

    _log = Logger()

    _interface: str
    _sockets: dict[str, socket.socket] = field(factory=dict, init=False)

    def join(self) -> None:
        """
        The interface is up.
        """
        for group in _GROUPS:
            if group not in self._sockets:
                try:
                    self._sockets[group] = _joined(self._interface, group)
                except OSError as error:
                    self._log.debug("{group} is not joined: {error}", group=group, error=error)

    def close(self) -> None:
        """
        Leave them.
        """
        sockets, self._sockets = self._sockets, {}
        for made in sockets.values():
            made.close()


def _joined(interface: str, group: str) -> socket.socket:
    index = socket.if_nametoindex(interface)
    family = socket.AF_INET6 if ":" in group else socket.AF_INET
    packed = socket.inet_pton(family, group)
    made = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, packed + struct.pack("@I", index))
        else:
            request = packed + struct.pack("@4si", bytes(4), index)
            made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
    except OSError:
        made.close()
        raise
    return made
