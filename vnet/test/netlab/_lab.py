"""
The lab itself: an Internet, and what is attached to it.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeVar

import attrs

from vnet.errors import ConfigurationError
from vnet.test.netlab._interrupt import deferred, guard
from vnet.test.netlab._nat import NAT_KINDS
from vnet.test.netlab._process import Processes
from vnet.test.netlab._sites import GATEWAY6, HOST, ROUTER, Connected, Home, Host, Router, Uplink
from vnet.test.netlab._space import Link, Space
from vnet.test.netlab._system import batch, configure, namespaces, removeNamespaces, sweep, unavailable

__all__ = ["Lab"]

WAN = IPv4Network("198.51.100.0/24")
WAN6 = IPv6Network("2001:db8:ff::/64")
ROUTED = IPv4Network("203.0.113.0/24")
# The Internet has more routers than the one that stands for it: what has few hops left ends there.  A packet leaves
# its sender with at least HOPS + 1, one more for each NAT on its way, to arrive.
HOPS = 5
MORE_HOPS = f"""
    table inet hops {{
        chain forward {{ type filter hook forward priority filter; policy accept;
            ip ttl < {HOPS} drop
            ip6 hoplimit < {HOPS} drop
        }}
    }}"""
NAME = re.compile(r"[a-z][a-z0-9-]{0,10}")

Site = TypeVar("Site", bound=Connected)
IPv6 = Literal[False, "firewalled", "open"]


def _connectWan(behind: tuple[str, ...], installed: list[str], uplink: Uplink) -> list[str]:
    """
    The lines for the Internet's end of a link; routes to addresses that were given up go.

    @param behind: the networks behind the near end.
    @param installed: the routes there are, updated here.
    """
    device = uplink.link.upDevice
    routes = [f"{each}/32 dev {device}" for each in (uplink.address, *uplink.extra)]
    if uplink.address6 is not None:
        routes.append(f"{uplink.address6}/128 dev {device}")
    for network in behind:
        gateway = uplink.address6 if ":" in network else uplink.address
        routes.append(f"{network} via {gateway} dev {device}")
    lines = [f"link set {device} up", f"addr replace {GATEWAY6}/64 dev {device} nodad"]
    lines += [f"route del {route}" for route in reversed(installed) if route not in routes]
    lines += [f"route replace {route}" for route in routes]
    installed[:] = routes
    return lines


@attrs.define(eq=False)
class Lab:
    """
    An Internet made of namespaces: a context manager.  Names are up to 11 of a-z, 0-9 and C{-}.

    Addresses: public hosts and routers in 198.51.100.0/24 and 2001:db8:ff::/64, homes in 192.168.x.0/24 and
    2001:db8:x::/64, public homes in 203.0.113.0/24, carriers in 10.64.x.0/24.

    @ivar directory: for files of this lab's programs; gone when it closes.
    @ivar internet: the space of the router that connects all of it.
    @ivar name: up to 11 of a-z and 0-9, one lab of a name per process.
    """

    name: str
    _pid: int = attrs.field(factory=os.getpid, init=False)
    _processes: Processes = attrs.field(factory=Processes, init=False)
    _cleanup: ExitStack = attrs.field(factory=ExitStack, init=False)
    _wan: Iterator[int] = attrs.field(factory=lambda: iter(range(10, 250)), init=False)
    _homes: Iterator[int] = attrs.field(factory=lambda: iter(range(1, 250)), init=False)
    _names: set[str] = attrs.field(factory=set, init=False)
    _open: bool = attrs.field(default=False, init=False)
    directory: Path = attrs.field(init=False)
    internet: Space = attrs.field(init=False)

    sweep = staticmethod(sweep)

    @property
    def prefix(self) -> str:
        """
        What the names of all its namespaces begin with.
        """
        return f"vnl-{self._pid}-{self.name}-"

    def __enter__(self) -> Self:
        if reason := unavailable():
            raise ConfigurationError(reason)
        if not NAME.fullmatch(self.name) or "-" in self.name:
            raise ConfigurationError(f"not a name for a lab: {self.name!r}")
        if any(name.startswith(self.prefix) for name in namespaces()):
            raise ConfigurationError(f"this process has a lab {self.name!r} already")
        self._cleanup.enter_context(guard())
        atexit.register(self.close)
        self._open = True
        try:
            sweep()
            with deferred():
                self.directory = Path(tempfile.mkdtemp(prefix=self.prefix))
            self.internet = self._space("internet")
            batch([f"netns add {self.internet.namespace}"])
            gateway = [f"addr add {WAN[1]}/32 dev lo", f"addr add {WAN6[1]}/128 dev lo"]
            configure(self.internet.namespace, ROUTER, ["link set lo up", *gateway], MORE_HOPS)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """
        End all processes and remove all namespaces.  Also a second time, and at the end of the program.
        """
        if not self._open or self._pid != os.getpid():
            return
        with deferred():
            self._open = False
            atexit.unregister(self.close)
            try:
                self._processes.stopAll()
            finally:
                removeNamespaces(self.prefix)
                if (directory := getattr(self, "directory", None)) is not None:
                    shutil.rmtree(directory, ignore_errors=True)
                self._cleanup.close()

    def addHost(self, name: str, ipv6: bool = True) -> Host:
        """
        A computer with public addresses and no filter.
        """
        space = self._space(name)
        uplink = self._wanUplink(space, "eth0", ipv6)
        return self._build(Host(name, space.namespace, self._processes, uplink, self._wanAddress), HOST)

    def addHome(
        self, name: str, nat: str = "port-restricted", ipv6: IPv6 = False, behind: Home | None = None
    ) -> Home:
        """
        A router and one host, called C{name}; the router is C{name-gw}.

        @param nat: one of L{NAT_KINDS}; C{"double"} is behind a carrier's NAT of its own.
        @param ipv6: whether there is IPv6, and whether the router lets connections in.
        @param behind: another home, whose router is the carrier's NAT of this one.
        """
        if nat not in NAT_KINDS:
            raise ConfigurationError(f"no such NAT: {nat}; there are {', '.join(NAT_KINDS)}")
        carrier = behind
        if nat == "double" and carrier is None:
            carrier = self.addCarrier(f"{name}-cgn")
        if carrier and ipv6:
            raise ConfigurationError("no IPv6 behind a carrier's NAT")
        number = next(self._homes)
        network = IPv4Network(f"192.168.{number}.0/24")
        if nat == "public":
            network = list(ROUTED.subnets(new_prefix=29))[number % 32]
        return self._addHome(name, f"{name}-gw", nat, network, number, ipv6, carrier)

    def addCarrier(self, name: str, nat: str = "port-restricted") -> Home:
        """
        A carrier's NAT for several homes (their C{behind}); it has no hosts of its own.
        """
        number = next(self._homes)
        return self._addHome(None, name, nat, IPv4Network(f"10.64.{number}.0/24"), number, False, None)

    def setLoss(self, target: Home | Host | Router, percent: float) -> None:
        """
        Lose this share of the packets of each direction of a home's or host's uplink.
        """
        target.setLoss(percent)

    def _addHome(
        self,
        hostName: str | None,
        routerName: str,
        nat: str,
        network: IPv4Network,
        number: int,
        ipv6: IPv6,
        carrier: Home | None,
    ) -> Home:
        network6 = IPv6Network(f"2001:db8:{number:x}::/64") if ipv6 else None
        space = self._space(routerName)
        if carrier:
            uplink = self._lanUplink(carrier, space, "wan")
        else:
            routed = [str(network)] if nat == "public" else []
            routed += [str(network6)] if network6 else []
            uplink = self._wanUplink(space, "wan", bool(ipv6), tuple(routed))
        router = Router(routerName, space.namespace, self._processes, uplink)
        home = Home(
            hostName or routerName,
            router,
            nat,
            network,
            network6,
            ipv6 or None,
            self._addInside,
            self._wanAddress,
            carrier,
        )
        lines = ["link add lan0 type bridge", "link set lan0 up"]
        lines.append(f"addr add {network[1]}/{network.prefixlen} dev lan0")
        lines.append(f"addr add {GATEWAY6}/64 dev lan0 nodad")
        if network6:
            lines.append(f"addr add {network6[1]}/64 dev lan0 nodad")
        self._build(router, ROUTER, lines)
        home.setNat(nat)
        if hostName is not None:
            home.addHost(hostName)
        return home

    def _addInside(self, home: Home, name: str) -> Host:
        space = self._space(name)
        uplink = self._lanUplink(home, space, "eth0")
        return self._build(Host(name, space.namespace, self._processes, uplink), HOST)

    def _space(self, name: str) -> Space:
        if not self._open:
            raise ConfigurationError("the lab is not open")
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,14}", name):
            raise ConfigurationError(f"not a name for a host or home: {name!r}")
        if name in self._names:
            raise ConfigurationError(f"there is a {name!r} in this lab already")
        self._names.add(name)
        return Space(name, self.prefix + name, self._processes)

    def _wanAddress(self) -> str:
        return str(WAN[next(self._wan)])

    def _wanUplink(self, space: Space, device: str, ipv6: bool, behind: tuple[str, ...] = ()) -> Uplink:
        number = next(self._wan)
        link = Link(space.namespace, device, self.internet.namespace, space.name)
        address6 = str(WAN6[number]) if ipv6 else None
        routes = partial(_connectWan, behind, [])
        return Uplink(link, str(WAN[number]), 32, str(WAN[1]), address6, 128, [], routes)

    def _lanUplink(self, home: Home, space: Space, device: str) -> Uplink:
        number = home.takeNumber()
        link = Link(space.namespace, device, home.router.namespace, space.name)
        address6 = str(home.network6[number]) if home.network6 else None
        return Uplink(
            link,
            str(home.network[number]),
            home.network.prefixlen,
            home.gateway,
            address6,
            routes=_connectLan,
        )

    def _build(self, space: Site, sysctls: dict[str, int], lines: list[str] | None = None) -> Site:
        link = space.link
        batch([f"netns add {space.namespace}", link.creation()])
        configure(space.namespace, sysctls, ["link set lo up", *(lines or [])])
        space.uplink.up()
        return space


def _connectLan(uplink: Uplink) -> list[str]:
    return [f"link set {uplink.link.upDevice} master lan0 up"]
