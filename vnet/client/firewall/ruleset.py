# -*- test-case-name: vnet.test.test_firewall_ruleset -*-
"""
The firewall as scripts of C{nft} (nftables): one table of our own, for packets that come in by the virtual interface::

    table inet vnet-vnet0
        set n0_4, n0_6          addresses of the members of network 0
        set n0_tcp, n0_udp      its ports
        counter n0, other       what was dropped of its members; of everybody else
        chain n0                accepts what its policy lets in
        chain virtual           answers; then the chain of each network that the sender is in; then refused
        chain refused           counts and drops
        chain input, forward    the hooks: what comes in by vnet0 goes to virtual

and what L{vnet.client.firewall.forwarded} adds.  Where there are no networks nothing is refused.

Networks are numbers there: no text of others gets into a script.  Each script is one transaction: it is carried out as a
whole, or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

from attrs import frozen

from vnet.client.firewall.policy import PROTOCOLS, Policy
from vnet.protocols.codec.ethernet import OWN_MAC

if TYPE_CHECKING:
    from vnet.client.firewall.forwarded import Forwarded

__all__ = ["OTHER", "Ruled", "change", "install", "readCounters", "remove", "tableName"]

OTHER = -1
"""Stands for the senders that are in no network."""

# Elements in one command: a line that a person can still read.
_CHUNK = 500
_HOOKS = ("input", "forward")

# The answers to what this computer began, and not what a peer began before the policy changed; what belongs to them (errors of
# ICMP, further connections that a helper of the kernel expects); the client's own answers to neighbour discovery, of which
# nothing ever comes from peers; other frames that the client makes for this computer.
_ALWAYS = (
    "ct direction reply ct state established accept",
    "ct status expected accept",
    "ct state related accept",
    "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept",
    f"ether saddr {OWN_MAC.hex(':')} accept",
)
_PINGS = ("icmp type echo-request accept", "icmpv6 type echo-request accept")


@frozen
class Ruled:
    """
    A network in the table.

    @ivar addresses: of its members, IPv4 and IPv6.
    """

    policy: Policy
    addresses: Collection[str] = ()


def tableName(interface: str) -> str:
    """
    @param interface: letters, digits, C{.}, C{_} and C{-}.
    @return: the name of the table for this interface.
    """
    return f"vnet-{interface}"


def remove(interface: str) -> str:
    """
    @return: the script that removes the table, if it is there.
    """
    table = tableName(interface)
    # "delete" alone fails where there is none.
    return f"add table inet {table}\ndelete table inet {table}\n"


def install(interface: str, networks: Sequence[Ruled], forwarded: Forwarded | None = None) -> str:
    """
    @param networks: numbered from 0; none: whoever is in the overlay may begin anything.
    @param forwarded: what is forwarded to and from LANs.
    @return: the script that puts the table in the place of an older one.
    """
    lines = [f"table inet {tableName(interface)} {{"]
    for number, network in enumerate(networks):
        lines += _network(number, network)
    if networks:
        lines += ["counter other { }", *_refused(len(networks)), *_virtual(len(networks))]
    first: Mapping[str, Iterable[str]] = {}
    if forwarded is not None:
        # In memory only where LANs are shared.
        from vnet.client.firewall.forwarded import forwardRules, inputRules

        lines += forwardRules(interface, forwarded)
        first = {"forward": ["jump lan"], "input": inputRules(interface)}
    for hook in _HOOKS:
        rules = [*first.get(hook, ()), *([f'iifname "{interface}" goto virtual'] if networks else [])]
        body = "".join(f"{rule}; " for rule in rules)
        lines.append(f"chain {hook} {{ type filter hook {hook} priority filter; policy accept; {body}}}")
    lines.append("}")
    elements = ((number, network.addresses) for number, network in enumerate(networks))
    return "\n".join([remove(interface) + lines[0], *lines[1:], *_elements("add", interface, elements), ""])


def _network(number: int, network: Ruled) -> Iterator[str]:
    name, policy = f"n{number}", network.policy
    yield f"set {name}_4 {{ type ipv4_addr; }}"
    yield f"set {name}_6 {{ type ipv6_addr; }}"
    yield f"counter {name} {{ }}"
    used = [protocol for protocol in PROTOCOLS if policy.ranges(protocol)]
    for protocol in used:
        ports = ", ".join(_range(*each) for each in policy.ranges(protocol))
        yield f"set {name}_{protocol} {{ type inet_service; flags interval; elements = {{ {ports} }} }}"
    yield f"chain {name} {{"
    if policy.isOpen:
        yield "accept"
    else:
        yield from _PINGS
        # The port that the peer sent to, wherever rules of others send it on to: a container, another port.
        yield from (
            f"meta l4proto {protocol} ct original proto-dst @{name}_{protocol} accept" for protocol in used
        )
    yield "}"


def _range(first: int, last: int) -> str:
    # nft takes no range of one.
    return str(first) if first == last else f"{first}-{last}"


def _refused(count: int) -> Iterator[str]:
    yield "chain refused {"
    for number in range(count):
        yield f"ip saddr @n{number}_4 counter name n{number}"
        yield f"ip6 saddr @n{number}_6 counter name n{number}"
    for family, version in (("ip", 4), ("ip6", 6)):
        yield from (f"{family} saddr @n{number}_{version} drop" for number in range(count))
    yield "counter name other drop"
    yield "}"


def _virtual(count: int) -> Iterator[str]:
    yield "chain virtual {"
    yield from _ALWAYS
    for number in range(count):
        yield f"ip saddr @n{number}_4 jump n{number}"
        yield f"ip6 saddr @n{number}_6 jump n{number}"
    yield "goto refused"
    yield "}"


def change(
    interface: str, added: Mapping[int, Collection[str]], removed: Mapping[int, Collection[str]]
) -> str:
    """
    @param added: addresses that members have from now on, by the number of their network.
    @param removed: addresses that they have no longer.
    @return: the script that changes the sets of the table that is there.
    """
    lines = [
        *_elements("delete", interface, removed.items()),
        *_elements("add", interface, added.items()),
    ]
    return "\n".join([*lines, ""])


def _elements(verb: str, interface: str, networks: Iterable[tuple[int, Collection[str]]]) -> Iterator[str]:
    table = tableName(interface)
    for number, addresses in networks:
        parsed = [_address(each) for each in addresses]
        for version in (4, 6):
            texts = sorted(str(each) for each in parsed if each.version == version)
            for start in range(0, len(texts), _CHUNK):
                listed = ", ".join(texts[start : start + _CHUNK])
                yield f"{verb} element inet {table} n{number}_{version} {{ {listed} }}"


def _address(text: str) -> IPv4Address | IPv6Address:
    """
    Only what is an address gets into a script.
    """
    if "%" in text:
        raise ValueError("an address with a zone, which may be any text")
    return ip_address(text)


def readCounters(output: bytes) -> dict[int, int]:
    """
    @param output: of C{nft -j list counters table inet NAME}.
    @return: how many packets were dropped, by the number of the network, or L{OTHER}.
    @raise ValueError: it is something else.
    """
    try:
        found = [each["counter"] for each in json.loads(output)["nftables"] if "counter" in each]
        packets = {str(each["name"]): int(each["packets"]) for each in found}
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("these are no counters of nft") from error
    return {
        OTHER if name == "other" else int(name.removeprefix("n")): number for name, number in packets.items()
    }
