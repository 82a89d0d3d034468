# -*- test-case-name: vnet.test.priv.test_device -*-
"""
The overlay's interface on Linux: a TAP (Documentation/networking/tuntap.rst), read in batches.
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
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from vnet.client.links import overlappingRoute
from vnet.errors import ConfigurationError
from vnet.interfaceaddresses import withNetlink
from vnet.interfaces import IDevice
from vnet.protocols.codec.ethernet import memberMac

__all__ = ["TapDevice"]

BATCH = 64
_TUN = "/dev/net/tun"
# linux/if_tun.h
_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI, _IFF_TUN_EXCL = 0x0002, 0x1000, 0x8000
_NAME_SIZE = 16
_SLACK = 64
_IFA_F_NODAD = 0x02
_LINK_SCOPE = 253

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


@implementer(IDevice, IReadDescriptor)
@attrs.define(eq=False)
class TapDevice:
    """
    A TAP interface that exists as long as this object holds it open.

    @ivar counters: how many frames were not taken, by the error's name.
    """

    _log = Logger()

    _reactor: Any
    name: str = "vnet0"
    mtu: int = 1400
    mac: bytes = attrs.field(factory=lambda: memberMac(os.urandom(4)), init=False)
    counters: Counter[str] = attrs.field(factory=Counter, init=False)
    _fd: int = attrs.field(default=-1, init=False)
    _received: Callable[[Sequence[bytes]], None] | None = attrs.field(default=None, init=False)

    def open(self) -> None:
        """
        See L{IDevice.open}.
        """
        name = self.name.encode(errors="replace")
        if not 0 < len(name) < _NAME_SIZE or name in (b".", b"..") or not self.name.isprintable():
            raise ConfigurationError(f"{self.name!r} is no name for an interface: 1 to 15 characters")
        if any(character in self.name for character in "/:% "):
            raise ConfigurationError(f"{self.name!r} is no name for an interface: it has one of '/:% '")
        fd = _openTun()
        try:
            # With TUN_EXCL an interface that exists is refused, whatever it is.
            flags = _IFF_TAP | _IFF_NO_PI | _IFF_TUN_EXCL
            fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name, flags))
        except OSError as error:
            os.close(fd)
            raise self._refused(error) from error
        self._fd = fd

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
            withNetlink(lambda route: self._configure(route, index, mac, {address: pool, address6: pool6}))
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EACCES):
                raise ConfigurationError(_PRIVILEGE) from error
            why = error.strerror
            raise ConfigurationError(f"cannot configure the network interface {self.name}: {why}") from error
        self.mac = mac

    def start(self, received: Callable[[Sequence[bytes]], None]) -> None:
        """
        See L{IDevice.start}.
        """
        self._received = received
        self._reactor.addReader(self)

    def write(self, frames: Sequence[bytes]) -> None:
        """
        See L{IDevice.write}.
        """
        fd, write = self._fd, os.write
        if fd < 0:
            self.counters["closed"] += len(frames)
            return
        for frame in frames:
            try:
                write(fd, frame)
            except OSError as error:
                self.counters[errno.errorcode.get(error.errno or 0, "other")] += 1

    def close(self) -> None:
        """
        See L{IDevice.close}.
        """
        fd, self._fd = self._fd, -1
        if fd >= 0:
            if self._received is not None:
                self._reactor.removeReader(self)
            os.close(fd)
        self._received = None

    def fileno(self) -> int:
        """
        See L{IReadDescriptor}.
        """
        return self._fd

    def logPrefix(self) -> str:
        """
        See L{IReadDescriptor}.
        """
        return self.name

    def doRead(self) -> Failure | None:
        """
        Read what there is, up to 64 frames.

        @return: why there is nothing more to read, ever.
        """
        fd, size, read = self._fd, self.mtu + _SLACK, os.read
        batch: list[bytes] = []
        lost = None
        try:
            for _ in range(BATCH):
                batch.append(read(fd, size))
        except BlockingIOError:
            pass
        except OSError as error:
            lost = Failure(error)
        if batch and self._received is not None:
            with self._log.failuresHandled("while frames are received"):
                self._received(batch)
        return lost

    def connectionLost(self, reason: Failure) -> None:
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

    def _configure(self, route: IPRoute, index: int, mac: bytes, addresses: dict[str, str]) -> None:
        route.link("set", index=index, address=mac.hex(":"), mtu=self.mtu, state="up")
        self._setAddresses(route, index, addresses)

    def _setAddresses(self, route: IPRoute, index: int, wanted: dict[str, str]) -> None:
        present = set()
        for message in list(route.get_addr(index=index)):
            values = {name: value for name, value, *_ in message["attrs"]}
            found = str(ip_address(values.get("IFA_LOCAL") or values["IFA_ADDRESS"]))
            pool = wanted.get(found)
            if pool is not None and ip_network(pool).prefixlen == message["prefixlen"]:
                present.add(found)
            elif message["scope"] != _LINK_SCOPE:
                route.addr("delete", index=index, address=found, prefixlen=message["prefixlen"])
        for address, pool in wanted.items():
            if address not in present:
                self._addAddress(route, index, address, pool)

    def _addAddress(self, route: IPRoute, index: int, address: str, pool: str) -> None:
        network = ip_network(pool)
        values: dict[str, Any] = {"index": index, "address": address, "prefixlen": network.prefixlen}
        if network.version == 4:
            route.addr("add", broadcast=str(network.broadcast_address), **values)
            return
        try:
            route.addr("add", flags=_IFA_F_NODAD, **values)
        except NetlinkError as error:
            # A computer on which IPv6 is off does without.
            if error.code not in (errno.EACCES, errno.EOPNOTSUPP, errno.EAFNOSUPPORT):
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
