# -*- test-case-name: vnet.test.test_natkinds -*-
"""
The kinds of access to the Internet that the world has, by short names, for L{vnet.test.natsim}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from vnet.test.natsim.firewall import Firewall
from vnet.test.natsim.host import NatHost
from vnet.test.natsim.nat import Nat
from vnet.test.natsim.ports import Block, RandomPorts, Sequential
from vnet.test.natsim.realm import Internet, Realm

__all__ = ["KINDS", "Kind", "Site", "build"]

AD, APD, EI = "address-dependent", "address-and-port-dependent", "endpoint-independent"


@attrs.define(eq=False)
class Site:
    """
    A place where computers are.

    @ivar kind: the name of its kind.
    @ivar public: the addresses by which the Internet knows it, IPv4 first; the first is what a mediator sees.
    @ivar lan: where its computers are.
    @ivar prefix: how their IPv4 addresses begin; empty: they have none.
    @ivar prefix6: the same for IPv6.
    @ivar nats: the NATs in front of it, the nearest first.
    @ivar tcp: C{"any"}, or C{"443"}: the only port that TCP may go to.
    """

    kind: str
    public: tuple[str, ...]
    lan: Realm
    prefix: str = ""
    prefix6: str = ""
    nats: tuple[Nat, ...] = ()
    tcp: str = "any"
    _count: int = attrs.field(default=0, init=False)

    def computer(self) -> NatHost:
        """
        Another computer.
        """
        self._count += 1
        addresses = [f"{prefix}{self._count + 1}" for prefix in (self.prefix, self.prefix6) if prefix]
        return NatHost(dict.fromkeys(addresses, self.lan))

    @property
    def outside(self) -> tuple[str, ...]:
        """All addresses from which the Internet may hear its computers."""
        sixes = (f"{self.prefix6}{index:x}" for index in range(2, 10) if self.prefix6)
        return tuple(dict.fromkeys([*self.public, *sixes]))

    @property
    def peaks(self) -> list[int]:
        """For each NAT, the most mappings that one computer behind it had at once."""
        return [nat.peak for nat in self.nats]


@attrs.frozen
class Kind:
    """
    One kind.

    @ivar name: its short name.
    @ivar title: what it is, for people.
    @ivar make: builds a site of it: gets the Internet and a number from 1 to 200, no number twice.
    """

    name: str
    title: str
    make: Callable[[Internet, int], Site]


KINDS: dict[str, Kind] = {}


def build(kind: str, internet: Internet, number: int) -> Site:
    """
    Make a site of a kind.

    @param number: 1 to 200, another for each site.
    """
    site = KINDS[kind].make(internet, number)
    site.kind = kind
    return site


def _kind(name: str, title: str, make: Callable[[Internet, int], Site]) -> None:
    KINDS[name] = Kind(name, title, make)


def _public(number: int, index: int = 1) -> str:
    return f"81.{number}.0.{index}"


def _home(**knobs: Any) -> Callable[[Internet, int], Site]:
    """One NAT.  Without other knobs: what Linux does."""
    given = {"unreplied": 30.0, "refreshedInbound": True, **knobs}

    def make(internet: Internet, number: int) -> Site:
        made = {key: value() if callable(value) else value for key, value in given.items()}
        pool = made.pop("pool", 0)
        addresses = tuple(_public(number, index) for index in range(1, 2 + pool))
        lan = internet.lan(name=f"LAN {number}")
        nat = Nat(lan, internet, addresses[0], pool=addresses[1:], **made)
        return Site("", addresses, lan, f"192.168.{number}.", nats=(nat,))

    return make


def _open(internet: Internet, number: int) -> Site:
    return Site("", (_public(number, 2),), internet, f"81.{number}.0.")


def _carrier(**knobs: Any) -> Callable[[Internet, int], Nat]:
    def make(internet: Internet, number: int) -> Nat:
        made = {key: value() if callable(value) else value for key, value in knobs.items()}
        realm = internet.lan(delay=0.004, name=f"carrier {number}", hops=2)
        return Nat(realm, internet, _public(number), **made)

    return make


def _double(shared: str = "", **knobs: Any) -> Callable[[Internet, int], Site]:
    """A home behind a carrier's NAT, perhaps one that it shares with others."""
    carrierOf, homeOf = _carrier(**knobs), {"unreplied": 30.0, "refreshedInbound": True}

    def make(internet: Internet, number: int) -> Site:
        if shared and shared not in internet.shared:
            internet.shared[shared] = carrierOf(internet, number)
        carrier: Nat = internet.shared[shared] if shared else carrierOf(internet, number)
        lan = internet.lan(name=f"LAN {number}")
        home = Nat(lan, carrier.inside, f"100.64.{number}.1", **homeOf)  # type: ignore[arg-type]
        return Site("", carrier.hosts, lan, f"192.168.{number}.", nats=(home, carrier))

    return make


def _subscriber(**knobs: Any) -> Callable[[Internet, int], Site]:
    """A computer that is itself in the carrier's network."""
    carrierOf = _carrier(**knobs)

    def make(internet: Internet, number: int) -> Site:
        carrier = carrierOf(internet, number)
        return Site("", carrier.hosts, carrier.inside, f"100.64.{number}.", nats=(carrier,))

    return make


def _tcpOnly(tcp: str) -> Callable[[Internet, int], Site]:
    def make(internet: Internet, number: int) -> Site:
        site = _home(passesUdp=False)(internet, number)
        site.tcp = tcp
        return site

    return make


def _dual(both: bool) -> Callable[[Internet, int], Site]:
    def make(internet: Internet, number: int) -> Site:
        site = _home()(internet, number)
        site.prefix6 = f"2a02:{number:x}::"
        hosts = tuple(f"{site.prefix6}{index:x}" for index in range(2, 10))
        Firewall(site.lan, internet, hosts)
        if not both:
            site.prefix, site.nats, site.public = "", (), hosts
        return site

    return make


def _sameHome(hairpin: bool, isolated: bool) -> Callable[[Internet, int], Site]:
    """Computers behind one NAT, in the same network or in networks that do not see each other."""

    def make(internet: Internet, number: int) -> Site:
        name = f"home {hairpin} {isolated}"
        if name not in internet.shared:
            internet.shared[name] = _home(hairpin=hairpin)(internet, number)
        first: Site = internet.shared[name]
        prefix, lan = f"192.168.{number}.", first.lan
        if isolated:
            lan = internet.lan(name=f"LAN {number}")
            lan.gateway = first.lan.gateway
            for index in range(2, 10):
                first.lan.members[f"{prefix}{index}"] = _into(lan)
        return Site("", first.public, lan, prefix, nats=first.nats)

    return make


def _into(lan: Realm) -> Callable[..., None]:
    def carry(data: bytes, source: Any, destination: Any) -> None:
        lan.send(data, source, destination)

    return carry


def _sequential(step: int, noise: float = 0.0) -> Callable[[], Sequential]:
    return lambda: Sequential(step, noise)


def _block(size: int) -> Callable[[], Block]:
    return lambda: Block(size)


_kind("P", "public address", _open)
_kind("Q", "1:1 NAT", _home(filtering=EI, lifetime=float("inf"), unreplied=None))
_kind("F", "endpoint-independent mapping and filtering", _home(filtering=EI))
_kind("A", "endpoint-independent mapping, address-dependent filtering", _home(filtering=AD))
_kind("R", "endpoint-independent mapping, address- and port-dependent filtering: most homes", _home())
_kind("Rb", "as R, but ports of a block", _home(allocation=_block(512)))
_kind("D", "R behind a carrier's NAT", _double())
_kind("DC", "two R behind the same carrier's NAT without hairpinning", _double(shared="carrier"))
_kind("DH", "two R behind the same carrier's NAT with hairpinning", _double(shared="hairpin", hairpin=True))
_kind("LAN", "two computers in one home", _sameHome(hairpin=False, isolated=False))
_kind("ISO", "two computers behind one NAT that do not see each other", _sameHome(False, True))
_kind("ISOH", "as ISO, with hairpinning", _sameHome(True, True))
_kind("E", "as R, and a packet that comes too early changes the mapping", _home(trap=True))
_kind("S1", "symmetric, sequential ports, quiet", _home(mapping=APD, allocation=_sequential(1)))
_kind(
    "S2",
    "symmetric, every second port, 20 others a second",
    _home(mapping=APD, allocation=_sequential(2, 20.0)),
)
_kind("S256", "symmetric, every 256th port", _home(mapping=APD, allocation=_sequential(256)))
_kind("Sd", "symmetric, sequential ports downwards", _home(mapping=APD, allocation=_sequential(-1)))
_kind("B", "symmetric, random within 512 ports", _home(mapping=APD, allocation=_block(512)))
_kind("B2", "symmetric, random within 2048 ports", _home(mapping=APD, allocation=_block(2048)))
_kind("X", "symmetric, random over all ports", _home(mapping=APD, allocation=RandomPorts))
_kind("M", "address-dependent mapping, random ports", _home(mapping=AD, allocation=RandomPorts))
_kind(
    "U",
    "as X, with three public addresses in turn",
    _home(mapping=APD, allocation=RandomPorts, pool=2, paired=False),
)
_kind("T", "UDP blocked", _tcpOnly("any"))
_kind("T443", "only TCP to port 443", _tcpOnly("443"))
_kind("V", "as R, mappings live for 15 seconds", _home(lifetime=15.0, unreplied=None, refreshedInbound=False))
_kind(
    "L", "a carrier's NAT, 256 mappings for each subscriber", _subscriber(allocation=_block(512), limit=256)
)
_kind(
    "LF", "as L, each remote address counts", _subscriber(allocation=_block(512), limit=256, counts="flows")
)
_kind("LX", "as L, symmetric", _subscriber(mapping=APD, allocation=_block(512), limit=256))
_kind("6", "R, and IPv6 behind a stateful firewall", _dual(both=True))
_kind("6only", "only IPv6, behind a stateful firewall", _dual(both=False))
