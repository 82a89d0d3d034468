# -*- test-case-name: vnet.test.test_firewall_forwarded -*-
"""
The part of the firewall's table that has this computer forward between the overlay and LANs::

    set shared_4, shared_6  what members may reach
    set used_4, used_6      what hosts of those LANs may reach
    set flows_4, flows_6    how many connections each member has there
    chain lan               accepts the one and the other, and answers; drops what is forwarded because of this alone
    chain postrouting       masquerades what goes out
    chain begun             drops what hosts of those LANs begin with others in the overlay, where this computer is their router

What the kernel forwards because of this program alone would be more than that: for other packets from the same interfaces it has
to look as if it did not forward.  And nobody fills the kernel's table of connections: each member has a part of it, and so have
the LANs of others together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network

from attrs import frozen

__all__ = ["FLOWS", "Forwarded", "forwardRules", "inputRules"]

FLOWS = 4096
"""Connections of one member to the LANs that are shared."""

_FAMILIES = ((4, "ip", "ipv4_addr"), (6, "ip6", "ipv6_addr"))


@frozen
class Forwarded:
    """
    What is forwarded.

    @ivar overlay: the blocks of the members' addresses.
    @ivar shared: prefixes that members may send to, behind the interfaces C{lans}: names of letters, digits, C{.}, C{_}, C{@} and
        C{-}.
    @ivar used: prefixes that hosts in those may send to.
    @ivar guarded: the interfaces for which this computer forwards because of this alone.
    """

    overlay: tuple[str, ...]
    shared: tuple[str, ...]
    lans: tuple[str, ...]
    used: tuple[str, ...] = ()
    guarded: tuple[str, ...] = ()


def forwardRules(interface: str, forwarded: Forwarded) -> Iterator[str]:
    """
    @return: the sets and chains, as lines of C{nft}; the hook has to jump to C{lan} before anything else.
    """
    for version, family, kind in _FAMILIES:
        yield _set(f"shared_{version}", kind, _of(version, forwarded.shared))
        yield _set(f"used_{version}", kind, _of(version, forwarded.used))
        yield f"set flows_{version} {{ type {kind}; flags dynamic; size 65535; }}"
        yield f"chain members_{version} {{"
        yield f"ct state new {family} saddr @used_{version} ct count over {FLOWS} counter drop"
        rest = f"add @flows_{version} {{ {family} saddr ct count over {FLOWS} }} counter drop"
        yield f"ct state new {family} saddr != @used_{version} {rest}"
        yield "accept"
        yield "}"
    virtual, lans = f'"{interface}"', _names(forwarded.lans)
    yield "chain lan {"
    # Members reach each other directly, or not at all.
    yield f"iifname {virtual} oifname {virtual} drop"
    for way in ("iifname", "oifname"):
        yield f"{way} {virtual} tcp flags syn tcp option maxseg size set rt mtu"
    for version, family, _ in _FAMILIES:
        yield f"iifname {virtual} oifname {lans} {family} daddr @shared_{version} jump members_{version}"
        # Where such a LAN is away, or a part of the prefix is elsewhere, the default route is no way there.
        yield f"iifname {virtual} {family} daddr @shared_{version} counter drop"
        yield (
            f"iifname {lans} oifname {virtual} "
            f"{family} saddr @shared_{version} {family} daddr @used_{version} accept"
        )
    for way in ("iifname", "oifname"):
        yield f"{way} {virtual} ct direction reply ct state established accept"
        yield f"{way} {virtual} ct state related accept"
    for name in sorted(forwarded.guarded):
        # What goes out where it came in can go there without this computer; so does what a bridge carries.
        other = "" if name == interface else f' oifname != "{name}"'
        yield f'iifname "{name}"{other} counter drop'
    yield "}"
    yield "chain postrouting { type nat hook postrouting priority srcnat; policy accept;"
    for version, family, _ in _FAMILIES:
        for block in _of(version, forwarded.overlay):
            yield f"oifname {lans} {family} saddr {block} {family} daddr @shared_{version} masquerade"
        to = f"{family} daddr @shared_{version} masquerade"
        yield f"oifname {lans} {family} saddr @used_{version} {to}"
        to = f"{family} daddr @used_{version} masquerade"
        yield f"oifname {virtual} {family} saddr @shared_{version} {to}"
    yield "}"
    # Those who use these LANs take what comes from there, and mean answers.
    yield "chain begun { type filter hook postrouting priority srcnat + 20; policy accept;"
    for version, family, _ in _FAMILIES:
        yield f"oifname {virtual} {family} saddr @shared_{version} ct direction original counter drop"
    yield "}"


def inputRules(interface: str) -> Iterator[str]:
    """
    @return: rules for what comes in to this computer itself, before others: what members send to everybody on a LAN stays outside.
    """
    yield f'iifname "{interface}" ip daddr @shared_4 fib daddr type broadcast counter drop'


def _set(name: str, kind: str, prefixes: Iterable[IPv4Network | IPv6Network]) -> str:
    listed = ", ".join(map(str, prefixes))
    elements = f" elements = {{ {listed} }}" if listed else ""
    return f"set {name} {{ type {kind}; flags interval; auto-merge;{elements} }}"


def _of(version: int, prefixes: Iterable[str]) -> list[IPv4Network | IPv6Network]:
    """
    Only what is a prefix gets into a script.
    """
    return [each for each in map(ip_network, prefixes) if each.version == version]


def _names(names: Iterable[str]) -> str:
    return "{ " + ", ".join(f'"{name}"' for name in names) + " }"
