"""
The NATs of homes, as nft rules.  Each behaviour is one entry of L{NAT_KINDS}.

The words are those of RFC 4787: mapping and filtering, endpoint-independent (EI), address-dependent
(AD), address-and-port-dependent (APD).
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

__all__ = ["NAT_KINDS", "POOL", "NatRules", "NatSite", "ruleset"]

WAN = "wan"
LAN = "lan0"

SEQUENCE = 2000
FIRST = 40000

POOL = 3
SHORT_LIFETIME = 15
FEW_SESSIONS = 256


@attrs.frozen
class NatSite:
    """
    Where a NAT is.

    @ivar address: the router's IPv4 address on its C{wan} interface.
    @ivar network: the IPv4 network on its C{lan0} interface, in prefix notation.
    @ivar host: the IPv4 address of the first host inside.
    @ivar ipv6: L{None} without IPv6, C{"firewalled"} or C{"open"}.
    @ivar more: further addresses of the router on its C{wan} interface.
    """

    address: str
    network: str
    host: str
    ipv6: str | None = None
    more: tuple[str, ...] = ()


@attrs.frozen
class NatRules:
    """
    What one kind adds to the frame of L{ruleset}; each is a list of nft rules in text.

    @ivar sets: maps that C{learn} fills with every packet that leaves and C{prerouting} reads.
    @ivar input: what becomes of datagrams from outside that no mapping takes.
    @ivar forward: rules ahead of those that let connections from inside out.
    @ivar lifetime: seconds that a mapping of UDP lives without traffic; the kernel's values if L{None}.
    """

    prerouting: str = ""
    postrouting: str = "oifname wan masquerade"
    sets: str = ""
    learn: str = ""
    input: str = "drop"
    forward: str = ""
    lifetime: int | None = None


LEARNT = "flags dynamic,timeout; timeout 120s; size 65536;"
ENDPOINTS = f"map endpoints {{ type inet_service : ipv4_addr; {LEARNT} }}"
LEARN_ENDPOINTS = "oifname wan udp sport 1-65535 update @endpoints { udp sport : ip saddr }"
PEERS = f"map peers {{ type ipv4_addr . inet_service : ipv4_addr; {LEARNT} }}"
LEARN_PEERS = "oifname wan udp sport 1-65535 update @peers { ip daddr . udp sport : ip saddr }"


def public(site: NatSite) -> NatRules:
    """
    No translation and no filter: the network behind it is routed.
    """
    return NatRules(postrouting="", input="accept", forward="accept")


def portRestricted(site: NatSite) -> NatRules:
    """
    EI mapping that preserves ports, APD filtering: most homes.
    """
    return NatRules()


def earlyPacket(site: NatSite) -> NatRules:
    """
    As port-restricted, but the router itself takes what no mapping wants; that makes its own entry, and the
    answering mapping moves to another port.
    """
    return NatRules(input="accept")


def addressRestricted(site: NatSite) -> NatRules:
    """
    EI mapping, AD filtering.
    """
    return NatRules(
        sets=PEERS,
        learn=LEARN_PEERS,
        prerouting="iifname wan dnat to ip saddr . udp dport map @peers",
    )


def fullCone(site: NatSite) -> NatRules:
    """
    EI mapping, EI filtering.  Inside hosts that use the same port are not kept apart.
    """
    return NatRules(
        sets=ENDPOINTS,
        learn=LEARN_ENDPOINTS,
        prerouting="iifname wan dnat to udp dport map @endpoints",
    )


def hairpin(site: NatSite) -> NatRules:
    """
    As full-cone, and inside hosts reach each other at their public endpoints (RFC 4787 REQ-9a).
    """
    return NatRules(
        sets=ENDPOINTS,
        learn=LEARN_ENDPOINTS,
        prerouting=f"ip daddr {site.address} dnat to udp dport map @endpoints",
        postrouting=f"""
            ip saddr {site.network} oifname lan0 ct status dnat snat to {site.address}
            oifname wan masquerade""",
    )


def symmetricRandom(site: NatSite) -> NatRules:
    """
    APD mapping to random ports, APD filtering.
    """
    return NatRules(postrouting="oifname wan masquerade fully-random")


def _udpTo(chosen: str) -> NatRules:
    """
    UDP leaves from what an expression of nft says.
    """
    return NatRules(
        postrouting=f"""
            oifname wan meta l4proto udp {chosen}
            oifname wan masquerade"""
    )


def _portMap(step: int = 1) -> str:
    # By a map: what numgen and jhash give is in the byte order of this computer.
    return ", ".join(f"{index} : {FIRST + step * index}" for index in range(SEQUENCE))


def symmetricSequential(site: NatSite) -> NatRules:
    """
    APD mapping to the next port each time, over all destinations; APD filtering.
    """
    return _udpTo(f"snat to {site.address}:numgen inc mod {SEQUENCE} map {{ {_portMap()} }}")


def symmetricSequential2(site: NatSite) -> NatRules:
    """
    As symmetric-sequential, in steps of 2.
    """
    return _udpTo(f"snat to {site.address}:numgen inc mod {SEQUENCE} map {{ {_portMap(2)} }}")


def addressDependent(site: NatSite) -> NatRules:
    """
    AD mapping: each address outside sees another port, the same at all of its own ports; APD filtering.
    """
    key = "ip daddr . udp sport"
    return _udpTo(f"snat to {site.address}:jhash {key} mod {SEQUENCE} seed 0x7 map {{ {_portMap()} }}")


def pooling(site: NatSite) -> NatRules:
    """
    APD mapping to random ports of one public address after the other, unpaired (RFC 4787 section 4.1); APD
    filtering.
    """
    addresses = (site.address, *site.more)
    chosen = ", ".join(f"{index} : {address}" for index, address in enumerate(addresses))
    return _udpTo(f"snat to numgen inc mod {len(addresses)} map {{ {chosen} }} fully-random")


def symmetricBlock(site: NatSite) -> NatRules:
    """
    APD mapping to random ports of one block of 512, as carriers give to a subscriber; APD filtering.
    """
    return _udpTo("masquerade to :50000-50511 fully-random")


def eimBlock(site: NatSite) -> NatRules:
    """
    EI mapping that preserves no ports: all are of one block of 512; APD filtering.
    """
    return _udpTo("masquerade to :50000-50511")


def oneToOne(site: NatSite) -> NatRules:
    """
    The first host inside has the public address for itself, with all ports and no filter.
    """
    return NatRules(prerouting=f"iifname wan ip daddr {site.address} dnat to {site.host}")


def shortLived(site: NatSite) -> NatRules:
    """
    As port-restricted, with mappings that end after 15 s without traffic.
    """
    return NatRules(lifetime=SHORT_LIFETIME)


def fewSessions(site: NatSite) -> NatRules:
    """
    As port-restricted, with at most 256 sessions of UDP: pairs of a socket inside and an endpoint outside.
    """
    return NatRules(forward=f"iifname lan0 meta l4proto udp ct state new ct count over {FEW_SESSIONS} drop")


def udpBlocked(site: NatSite) -> NatRules:
    """
    As port-restricted, but no UDP passes.
    """
    return NatRules(forward="meta l4proto udp drop")


def tcp443Only(site: NatSite) -> NatRules:
    """
    Only TCP to port 443 leaves.
    """
    return NatRules(forward="iifname lan0 tcp dport != 443 drop\niifname lan0 meta l4proto != tcp drop")


def proxyOnly(site: NatSite) -> NatRules:
    """
    Only TCP to the usual ports of proxies leaves: 1080 to 1089 for SOCKS, 3128 to 3139 for HTTP.
    """
    ports = "{ 1080-1089, 3128-3139 }"
    return NatRules(forward=f"iifname lan0 tcp dport != {ports} drop\niifname lan0 meta l4proto != tcp drop")


# "double" is port-restricted behind a carrier's NAT of the same kind, which the lab adds.
NAT_KINDS: dict[str, Callable[[NatSite], NatRules]] = {
    "public": public,
    "port-restricted": portRestricted,
    "early-packet": earlyPacket,
    "address-restricted": addressRestricted,
    "full-cone": fullCone,
    "hairpin": hairpin,
    "one-to-one": oneToOne,
    "eim-block": eimBlock,
    "short-lived": shortLived,
    "few-sessions": fewSessions,
    "address-dependent": addressDependent,
    "symmetric-random": symmetricRandom,
    "symmetric-sequential": symmetricSequential,
    "symmetric-sequential2": symmetricSequential2,
    "symmetric-block": symmetricBlock,
    "pooling": pooling,
    "udp-blocked": udpBlocked,
    "tcp443-only": tcp443Only,
    "proxy-only": proxyOnly,
    "double": portRestricted,
}


def ruleset(rules: NatRules, ipv6: str | None) -> str:
    """
    All rules of a router, as one transaction that replaces what was there.

    @param ipv6: as of L{NatSite}.
    """
    inward6 = "accept" if ipv6 == "open" else "drop"
    return f"""
        add table ip nat
        delete table ip nat
        table ip nat {{
            {rules.sets}
            chain learn {{ type filter hook postrouting priority srcnat - 10; policy accept;
                {rules.learn}
            }}
            chain prerouting {{ type nat hook prerouting priority dstnat; policy accept;
                {rules.prerouting}
            }}
            chain postrouting {{ type nat hook postrouting priority srcnat; policy accept;
                {rules.postrouting}
            }}
        }}
        add table inet filter
        delete table inet filter
        table inet filter {{
            chain input {{ type filter hook input priority filter; policy accept;
                iifname != wan accept
                ct state established,related accept
                meta l4proto ipv6-icmp accept
                {rules.input}
            }}
            chain forward {{ type filter hook forward priority filter; policy accept;
                {rules.forward}
                iifname lan0 accept
                ct state established,related accept
                ct status dnat accept
                meta nfproto ipv6 {inward6}
                drop
            }}
        }}"""
