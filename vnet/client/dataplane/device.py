# -*- test-case-name: vnet.test.priv.test_device -*-
"""
The overlay's interface on Linux: a TAP, or a TUN, of several queues (Documentation/networking/tuntap.rst).

The kernel chooses the queue of a packet by its flow, so that a flow that fills its queue does not hold up the others.  What we
write goes by a queue of its own that is detached: so the kernel does not tie the flow to it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import attrs
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from vnet.client.dataplane.linkcounters import LinkCounters, linkCounters
from vnet.client.dataplane.tunqueue import FrameBuffer, TunQueue
from vnet.client.links import overlappingRoute
from vnet.errors import ConfigurationError
from vnet.interfaces import IDevice
from vnet.protocols.codec import virtio
from vnet.protocols.codec.ethernet import HEADER, memberMac
from vnet.rtnetlink import RouteSocket
from vnet.values import Buffer, Offload, Superframe

__all__ = ["EVERYTHING", "TapDevice"]

EVERYTHING = Offload(checksum=True, tcp=True, udp=True)

_TUN = "/dev/net/tun"
# linux/if_tun.h
_TUNSETIFF, _TUNSETOFFLOAD, _TUNSETQUEUE = 0x400454CA, 0x400454D0, 0x400454D9
_IFF_TUN, _IFF_TAP, _IFF_NO_PI, _IFF_TUN_EXCL = 0x0001, 0x0002, 0x1000, 0x8000
_IFF_VNET_HDR, _IFF_MULTI_QUEUE, _IFF_DETACH_QUEUE = 0x4000, 0x0100, 0x0400
_F_CSUM, _F_TSO, _F_USO = 0x01, 0x02 | 0x04 | 0x08, 0x20 | 0x40
_QUEUES = 64
#: Frames of each: 40 ms of a program that sends 100,000 small packets a second.
_QUEUE_LENGTH = 4000
#: A segment train of this size is still one train when it is sealed.
_LARGEST_TRAIN = 61_440
_NAME_SIZE = 16
_IFA_F_NODAD = 0x02
_LINK_SCOPE = 253

_MISSING = {
    "checksum": "checksums of TCP and UDP",
    "tcp": "segment trains of TCP (TSO)",
    "udp": "segment trains of UDP (USO)",
}

_PRIVILEGE = "creating the network interface needs root or CAP_NET_ADMIN: run vnet-client with sudo"

_SYSCTLS = {
    "ipv4/conf/{}/rp_filter": "1",
    "ipv4/conf/{}/accept_redirects": "0",
    "ipv4/conf/{}/send_redirects": "0",
    "ipv6/conf/{}/accept_ra": "0",
    "ipv6/conf/{}/accept_redirects": "0",
    "ipv6/conf/{}/autoconf": "0",
    # 1 is "none": no link-local address.
    "ipv6/conf/{}/addr_gen_mode": "1",
}


@implementer(IDevice)
@attrs.define(eq=False)
class TapDevice:
    """
    An interface that exists as long as this object holds it open.

    @ivar counters: how many frames were not taken, by the error's name.
    @ivar _wanted: what to leave to the kernel, as far as it knows how.
    @ivar isTun: whether it carries IP packets only (TUN); their Ethernet headers are made up here, then.
    """

    _log = Logger()

    _reactor: Any
    name: str = "vnet0"
    mtu: int = 1400
    mac: bytes = attrs.field(factory=lambda: memberMac(os.urandom(4)), init=False)
    isTun: bool = False
    _wanted: Offload = EVERYTHING
    offload: Offload = attrs.field(factory=Offload, init=False)
    counters: Counter[str] = attrs.field(factory=Counter, init=False)
    _hasHeader: bool = attrs.field(default=False, init=False)
    _queues: list[TunQueue] = attrs.field(factory=list, init=False)
    _fd: int = attrs.field(default=-1, init=False)
    _isStarted: bool = attrs.field(default=False, init=False)

    def open(self) -> None:
        """
        See L{IDevice.open}.
        """
        name = self.name.encode(errors="replace")
        if not 0 < len(name) < _NAME_SIZE or name in (b".", b"..") or not self.name.isprintable():
            raise ConfigurationError(f"{self.name!r} is no name for an interface: 1 to 15 characters")
        if any(character in self.name for character in "/:% "):
            raise ConfigurationError(f"{self.name!r} is no name for an interface: it has one of '/:% '")
        descriptors: list[int] = []
        try:
            self._attach(name, descriptors)
        except OSError as error:
            for descriptor in descriptors:
                os.close(descriptor)
            raise self._refused(error) from error
        self._fd = descriptors.pop()
        frames = FrameBuffer(self.isTun, self._hasHeader)
        self._queues = [TunQueue(descriptor, self.name, frames, self._lost) for descriptor in descriptors]

    def _attach(self, name: bytes, descriptors: list[int]) -> None:
        """
        Create the interface.

        @param descriptors: gets its queues; the last one is to be written to.
        """
        kind = (_IFF_TUN if self.isTun else _IFF_TAP) | _IFF_NO_PI
        wanted = self._wanted != Offload()
        # With TUN_EXCL an interface that exists is refused, whatever it is.
        ways = [kind | _IFF_MULTI_QUEUE | _IFF_VNET_HDR] if wanted else []
        ways += [kind | _IFF_MULTI_QUEUE, kind]
        descriptors.append(_openTun())
        for flags in ways:
            try:
                fcntl.ioctl(descriptors[0], _TUNSETIFF, struct.pack("16sH22x", name, flags | _IFF_TUN_EXCL))
                break
            except OSError as error:
                if error.errno != errno.EINVAL or flags == kind:
                    raise
        self._hasHeader = bool(flags & _IFF_VNET_HDR)
        self.offload = self._offloads(descriptors[0]) if self._hasHeader else Offload()
        for word, what in _MISSING.items():
            if getattr(self._wanted, word) and not getattr(self.offload, word):
                self._log.warn("this system has no offload of {what}: they are done here", what=what)
        if not flags & _IFF_MULTI_QUEUE:
            self._log.warn("this system has one queue for {name}: flows wait for each other", name=self.name)
            descriptors.append(os.dup(descriptors[0]))
            return
        while len(descriptors) <= _QUEUES:
            descriptors.append(_openTun())
            fcntl.ioctl(descriptors[-1], _TUNSETIFF, struct.pack("16sH22x", name, flags))
        fcntl.ioctl(descriptors[-1], _TUNSETQUEUE, struct.pack("16sH22x", b"", _IFF_DETACH_QUEUE))

    def _offloads(self, descriptor: int) -> Offload:
        """
        Have the kernel leave to us as much as it can.
        """
        tcp, udp = self._wanted.tcp and self._wanted.checksum, self._wanted.udp and self._wanted.checksum
        for found in (
            Offload(self._wanted.checksum, tcp, udp),
            Offload(self._wanted.checksum, tcp, False),
            Offload(self._wanted.checksum, False, False),
        ):
            flags = found.checksum * _F_CSUM | found.tcp * _F_TSO | found.udp * _F_USO
            with suppress(OSError):
                fcntl.ioctl(descriptor, _TUNSETOFFLOAD, flags)
                return found
        return Offload()

    def _refused(self, error: OSError) -> ConfigurationError:
        if error.errno in (errno.EPERM, errno.EACCES):
            return ConfigurationError(_PRIVILEGE)
        if error.errno in (errno.EBUSY, errno.EEXIST):
            return ConfigurationError(
                f"the network interface {self.name} exists already: choose another name with --interface"
            )
        return ConfigurationError(f"cannot create the network interface {self.name}: {error.strerror}")

    def configure(self, address: str, pool: str, address6: str, pool6: str) -> None:
        """
        See L{IDevice.configure}.  Addresses of an earlier call that are not among these are removed.
        """
        for block in (pool, pool6):
            self._refuseOverlap(block)
        mac = memberMac(ip_address(address).packed)
        try:
            index = socket.if_nametoindex(self.name)
            self._setSysctls()
            with RouteSocket() as route:
                self._configure(route, index, mac, {address: pool, address6: pool6})
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EACCES):
                raise ConfigurationError(_PRIVILEGE) from error
            why = error.strerror
            raise ConfigurationError(f"cannot configure the network interface {self.name}: {why}") from error
        self.mac = mac

    def start(self, received: Callable[[Sequence[bytes | Superframe]], None]) -> None:
        """
        See L{IDevice.start}.
        """
        self._isStarted = True
        for queue in self._queues:
            queue.start(received)
            self._reactor.addReader(queue)

    def write(self, frames: Sequence[Sequence[Buffer]]) -> None:
        """
        See L{IDevice.write}.
        """
        fd, write = self._fd, os.writev
        if fd < 0:
            self.counters["closed"] += len(frames)
            return
        bare = self.isTun or not self._hasHeader
        for parts in frames:
            try:
                write(fd, self._bare(parts) if bare else parts)
            except OSError as error:
                self.counters[errno.errorcode.get(error.errno or 0, "other")] += 1

    def traffic(self) -> LinkCounters:
        """
        What the kernel has counted of this interface.
        """
        return linkCounters(self.name) if self._fd >= 0 else LinkCounters()

    def dropped(self) -> Counter[str]:
        """
        How many frames were lost here, by reason: L{counters}; C{sendQueueFull}: the operating system has sent more than was read;
        C{receiveDropped}: it did not take what was written.
        """
        traffic = self.traffic()
        kernels = Counter(sendQueueFull=traffic.sendDropped, receiveDropped=traffic.receiveDropped)
        return self.counters + kernels

    def _bare(self, parts: Sequence[Buffer]) -> Sequence[Buffer]:
        """
        A frame without the headers that this interface does not know.
        """
        first, rest = bytes(parts[0]), parts[1:]
        header = first[: virtio.SIZE]
        if not self.isTun:
            return (first[virtio.SIZE :], *rest)
        if len(first) < virtio.SIZE + HEADER and rest:
            first, rest = first + bytes(rest[0]), rest[1:]
        if not self._hasHeader:
            return (first[virtio.SIZE + HEADER :], *rest)
        if header != virtio.FINISHED:
            flags, kind, size, segment, start, offset = virtio.unpackHeader(header)
            header = virtio.packHeader(
                flags, kind, max(size - HEADER, 0), segment, max(start - HEADER, 0), offset
            )
        return (header + first[virtio.SIZE + HEADER :], *rest)

    def close(self) -> None:
        """
        See L{IDevice.close}.
        """
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        queues, self._queues = self._queues, []
        for queue in queues:
            if self._isStarted:
                self._reactor.removeReader(queue)
            queue.close()
        os.close(fd)
        self._isStarted = False

    def _lost(self, reason: Failure) -> None:
        """
        The interface is gone: somebody has deleted it.
        """
        if self._fd >= 0:
            self._log.error("the network interface {name} was removed: restart vnet-client", name=self.name)
        self.close()

    def _refuseOverlap(self, block: str) -> None:
        try:
            found = overlappingRoute(block, excluding=(self.name,))
        except OSError as error:
            raise ConfigurationError(f"cannot read the routes of this computer: {error.strerror}") from error
        if found is not None:
            raise ConfigurationError(
                f"the overlay's block {block} overlaps {found.prefix} on {found.interface}: remove that route, "
                "or use a mediator with another block"
            )

    def _setSysctls(self) -> None:
        for path, value in _SYSCTLS.items():
            with suppress(OSError):
                Path("/proc/sys/net", path.format(self.name)).write_text(value)

    def _configure(self, route: RouteSocket, index: int, mac: bytes, addresses: dict[str, str]) -> None:
        route.setLink(index, mac=b"" if self.isTun else mac, mtu=self.mtu, queueLength=_QUEUE_LENGTH)
        if self.offload.tcp or self.offload.udp:
            with suppress(OSError):
                route.setLink(index, gsoMaxSize=_LARGEST_TRAIN)
        route.setLink(index, up=True)
        self._setAddresses(route, index, addresses)

    def _setAddresses(self, route: RouteSocket, index: int, wanted: dict[str, str]) -> None:
        present = set()
        for found in route.addresses():
            if found.index != index:
                continue
            pool = wanted.get(found.address)
            if pool is not None and ip_network(pool).prefixlen == found.prefixLength:
                present.add(found.address)
            elif found.scope != _LINK_SCOPE:
                route.deleteAddress(index, found.address, found.prefixLength)
        for address, pool in wanted.items():
            if address not in present:
                self._addAddress(route, index, address, pool)

    def _addAddress(self, route: RouteSocket, index: int, address: str, pool: str) -> None:
        network = ip_network(pool)
        if network.version == 4:
            broadcast = str(network.broadcast_address)
            route.addAddress(index, address, network.prefixlen, broadcast=broadcast)
            return
        try:
            route.addAddress(index, address, network.prefixlen, flags=_IFA_F_NODAD)
        except OSError as error:
            # A computer on which IPv6 is off does without.
            if error.errno not in (errno.EACCES, errno.EOPNOTSUPP, errno.EAFNOSUPPORT):
                raise
            self._log.warn("{name} has no IPv6 address: IPv6 is off on this computer", name=self.name)


def _openTun() -> int:
    try:
        return os.open(_TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES):
            raise ConfigurationError(_PRIVILEGE) from error
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
            raise ConfigurationError(
                f"{_TUN} is missing: load the kernel module tun (modprobe tun)"
            ) from error
        raise ConfigurationError(f"cannot open {_TUN}: {error.strerror}") from error
