"""
What stands in the lab: hosts, and homes with their routers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network

import attrs

from vnet.errors import ConfigurationError
from vnet.test.netlab._nat import NAT_KINDS, POOL, NatRules, NatSite, ruleset
from vnet.test.netlab._space import Link, Space
from vnet.test.netlab._system import batch, configure, execute, requireTools

__all__ = ["GATEWAY6", "HOST", "ROUTER", "Connected", "Home", "Host", "Router", "Uplink"]

GATEWAY6 = "fe80::1"

# The lifetimes of mappings: before the first answer, and after.
KERNEL_TIMEOUTS = (30, 120)

HOST = {
    "ipv6/conf/*/accept_dad": 0,
    "ipv6/conf/*/accept_ra": 0,
    "ipv6/conf/*/accept_redirects": 0,
    "ipv6/conf/*/keep_addr_on_down": 1,
    "ipv4/conf/*/accept_redirects": 0,
    "ipv4/conf/*/rp_filter": 0,
}
ROUTER = {
    **HOST,
    "ipv4/ip_forward": 1,
    "ipv4/conf/*/send_redirects": 0,
    "ipv6/conf/all/forwarding": 1,
    # Else the rules for routed packets apply to what the bridge carries between two hosts of a LAN.
    "bridge/bridge-nf-call-*": 0,
}


@attrs.define(eq=False)
class Uplink:
    """
    How a space is connected: its addresses and gateways on one link.

    @ivar prefix: of the IPv4 address.
    @ivar routes: the C{ip} lines that the other end needs for these addresses.
    """

    link: Link
    address: str
    prefix: int
    gateway: str
    address6: str | None = None
    prefix6: int = 64
    extra: list[str] = attrs.field(factory=list)
    routes: Callable[[Uplink], list[str]] = lambda uplink: []

    def commands(self) -> list[str]:
        """
        The C{ip} lines that bring the near end up, also a second time.
        """
        device = self.link.device
        lines = [
            f"link set {device} up",
            f"addr replace {self.address}/{self.prefix} dev {device}",
            f"route replace default via {self.gateway} dev {device} onlink",
        ]
        lines += [f"addr replace {each}/{self.prefix} dev {device}" for each in self.extra]
        if self.address6 is not None:
            lines.append(f"addr replace {self.address6}/{self.prefix6} dev {device} nodad")
            lines.append(f"route replace ::/0 via {GATEWAY6} dev {device}")
        return lines

    def up(self) -> None:
        """
        Bring both ends up.
        """
        batch(self.commands(), self.link.namespace)
        if lines := self.routes(self):
            batch(lines, self.link.upNamespace)

    def down(self) -> None:
        """
        Take the near end down, as when a cable is pulled: addresses and routes go.
        """
        batch([f"link set {self.link.device} down"], self.link.namespace)

    def renumber(self, address: str) -> None:
        """
        Take another IPv4 address, or IPv6 where it has a colon, in place of the one there is.
        """
        device = self.link.device
        if ":" in address:
            batch([f"addr del {self.address6}/{self.prefix6} dev {device}"], self.link.namespace)
            self.address6 = address
        else:
            batch([f"addr del {self.address}/{self.prefix} dev {device}"], self.link.namespace)
            self.address = address
        self.up()


@attrs.define(eq=False)
class Connected(Space):
    """
    A space with an uplink that can be disturbed.
    """

    uplink: Uplink

    @property
    def link(self) -> Link:
        """
        The link of the uplink.
        """
        return self.uplink.link

    @property
    def address(self) -> str:
        """
        The IPv4 address on the uplink.
        """
        return self.uplink.address

    @property
    def address6(self) -> str | None:
        """
        The IPv6 address on the uplink, if it has one.
        """
        return self.uplink.address6

    def linkDown(self) -> None:
        """
        Disconnect it.
        """
        self.uplink.down()

    def linkUp(self) -> None:
        """
        Connect it again, with the same addresses.
        """
        self.uplink.up()

    def setLoss(self, percent: float) -> None:
        """
        Lose this share of the packets of each direction.
        """
        self.link.setLoss(percent)

    def blockUdp(self) -> None:
        """
        Let no UDP through, until L{unblockUdp}.
        """
        self.link.setRules("udp", ["meta l4proto udp drop"], ["meta l4proto udp drop"])

    def unblockUdp(self) -> None:
        """
        The opposite of L{blockUdp}.
        """
        self.link.setRules("udp", [], [])

    def dropPeer(self, address: str) -> None:
        """
        Lose all packets to and from an address, until L{restorePeer}.
        """
        family = "ip6" if ":" in address else "ip"
        self.link.setRules(
            f"peer {address}", [f"{family} daddr {address} drop"], [f"{family} saddr {address} drop"]
        )

    def restorePeer(self, address: str) -> None:
        """
        The opposite of L{dropPeer}.
        """
        self.link.setRules(f"peer {address}", [], [])

    def changeAddress(self, address: str) -> None:
        """
        Take another address in place of the IPv4 or IPv6 one, as the literal says.
        """
        self.uplink.renumber(address)


@attrs.define(eq=False)
class Host(Connected):
    """
    A computer, with C{eth0}.
    """

    _newAddress: Callable[[], str] | None = None

    def addAddress(self) -> str:
        """
        Give a public host one more IPv4 address, for a STUN server of RFC 5780, say.
        """
        if self._newAddress is None:
            raise ConfigurationError("only a public host can have more addresses")
        self.uplink.extra.append(self._newAddress())
        self.uplink.up()
        return self.uplink.extra[-1]


@attrs.define(eq=False)
class Router(Connected):
    """
    A home's router, with C{wan} and C{lan0}.
    """


@attrs.define(eq=False)
class Home:
    """
    A router and the hosts behind it.

    @ivar host: the first of C{hosts}.
    @ivar carrier: the NAT between the router and the Internet, if there is one.
    """

    name: str
    router: Router
    nat: str
    network: IPv4Network
    network6: IPv6Network | None
    ipv6: str | None
    _attach: Callable[[Home, str], Host]
    _newAddress: Callable[[], str]
    carrier: Home | None = None
    hosts: list[Host] = attrs.field(factory=list)
    _taken: int = 0
    _lifetime: int | None = None

    @property
    def host(self) -> Host:
        """
        The first host inside.
        """
        return self.hosts[0]

    @property
    def publicAddress(self) -> str:
        """
        The IPv4 address that the Internet sees.
        """
        if self.nat == "public":
            return self.host.address
        return self.carrier.publicAddress if self.carrier else self.router.address

    @property
    def gateway(self) -> str:
        """
        The router's address on the inside.
        """
        return str(self.network[1])

    @property
    def _firstNumber(self) -> int:
        return 2 if self.nat == "public" else 10

    def takeNumber(self) -> int:
        """
        The place in the network of whoever comes next.
        """
        self._taken += 1
        return self._taken + self._firstNumber - 1

    def addHost(self, name: str) -> Host:
        """
        One more host on the same LAN.
        """
        host = self._attach(self, name)
        self.hosts.append(host)
        return host

    def setNat(self, kind: str) -> None:
        """
        Behave differently from now on; what is mapped stays so until L{flushConntrack}.
        """
        if kind not in NAT_KINDS:
            raise ConfigurationError(f"no such NAT: {kind}; there are {', '.join(NAT_KINDS)}")
        if (kind == "public") != (self.nat == "public"):
            raise ConfigurationError("a home is public, or it is not, from its beginning")
        if kind == "pooling":
            self._takeAddresses()
        self.nat = kind
        rules = self._apply()
        if rules.lifetime != self._lifetime:
            self._lifetime = rules.lifetime
            self.setUdpTimeout(*((rules.lifetime,) if rules.lifetime else KERNEL_TIMEOUTS))

    def _takeAddresses(self) -> None:
        if self.carrier:
            raise ConfigurationError("behind a carrier's NAT there are no public addresses to pool")
        extra = self.router.uplink.extra
        extra += [self._newAddress() for _ in range(POOL - 1 - len(extra))]
        self.router.uplink.up()

    def _apply(self) -> NatRules:
        uplink = self.router.uplink
        host = str(self.network[self._firstNumber])
        site = NatSite(uplink.address, str(self.network), host, self.ipv6, tuple(uplink.extra))
        rules = NAT_KINDS[self.nat](site)
        configure(self.router.namespace, rules=ruleset(rules, self.ipv6))
        return rules

    def udpSessions(self) -> dict[str, int]:
        """
        How many entries of UDP the router has, by the address inside (or of the router itself) that began them.
        """
        requireTools("conntrack")
        argv = ["ip", "netns", "exec", self.router.namespace, "conntrack", "-L", "-p", "udp"]
        return Counter(re.findall(r"^udp .*? src=(\S+) ", execute(argv), re.M))

    def forgetPeer(self, address: str) -> None:
        """
        Forget all that there was with one address outside; other mappings live on.
        """
        requireTools("conntrack")
        for side in ("--orig-dst", "--orig-src"):
            self.router.run(["conntrack", "-D", "-p", "udp", side, address], check=False)
        self._flushMap("peers")
        if self.carrier:
            self.carrier.forgetPeer(address)

    def _flushMap(self, name: str) -> None:
        listed = execute(["ip", "netns", "exec", self.router.namespace, "nft", "list", "table", "ip", "nat"])
        if f"map {name} " in listed:
            configure(self.router.namespace, rules=f"flush map ip nat {name}")

    def flushConntrack(self) -> None:
        """
        Forget all mappings and connections, as a router does that restarts.
        """
        requireTools("conntrack")
        for name in ("endpoints", "peers"):
            self._flushMap(name)
        self.router.run(["conntrack", "-F"])

    def setUdpTimeout(self, seconds: int, stream: int | None = None) -> None:
        """
        How long a mapping lives without traffic: C{seconds} before the first answer, C{stream} (the same by
        default) after it.
        """
        values = {
            "netfilter/nf_conntrack_udp_timeout": seconds,
            "netfilter/nf_conntrack_udp_timeout_stream": seconds if stream is None else stream,
        }
        configure(self.router.namespace, values)

    def changeAddress(self, address: str) -> None:
        """
        Get another address from the provider: all mappings are lost.
        """
        self.router.changeAddress(address)
        if ":" not in address:
            self._apply()
            self.flushConntrack()

    def setLoss(self, percent: float) -> None:
        """
        Lose this share of the packets between the router and its provider, in each direction.
        """
        self.router.setLoss(percent)
