# -*- test-case-name: vnet.test.test_firewall_passage -*-
"""
Whether the tables of others let a packet through that this computer forwards (libnftables-json(5)).

Not all that rules ask for can be told of a packet beforehand: a port, a mark, a limit, what C{iptables} calls a match.  Where that
decides, the answer is that it passes if a rule is about our interface or prefix, and else what the rest of the chain says.  So a
barrier that is told of is one, for most packets at least; one that is made of such rules alone is not seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

from attrs import define, frozen

from vnet.client.firewall.barrier import Barrier
from vnet.protocols.codec.prefix import Prefix

__all__ = ["OtherTable", "Passage", "barrierTo", "forwardingTables", "readTable"]

MOST_STEPS = 20_000
"""Rules that are looked at for one answer: rules of others may jump to and fro."""

_DEPTH = 16
_VERSIONS = {"ip": (4,), "ip6": (6,), "inet": (4, 6)}
_ACCEPT, _DROP = "accept", "drop"
_VERDICTS = ("accept", "drop", "reject", "return", "jump", "goto", "continue", "queue")
# Which ask for something that nobody can tell beforehand.
_DOUBTFUL = ("limit", "quota", "ct count", "xt")

Rule = Sequence[Mapping[str, Any]]


@frozen
class OtherTable:
    """
    A table.

    @ivar bases: its chains at the hook C{forward} that filter, with their policies.
    @ivar chains: the rules of all its chains.
    """

    family: str
    name: str
    bases: Mapping[str, str]
    chains: Mapping[str, Sequence[Rule]]


@frozen
class Passage:
    """
    A packet that is forwarded, as rules see it.

    @ivar interface: the virtual interface; C{incoming}, C{outgoing}: the two that it passes, of which that is one.
    @ivar source: it is sent from an address in this, to one in C{destination}; C{prefix}: that which is the LAN.
    @ivar state: of its connection: C{new}, or C{established}, where it is an answer.
    """

    interface: str
    incoming: str
    outgoing: str
    source: Prefix
    destination: Prefix
    state: str

    @property
    def version(self) -> int:
        """
        Of IP.
        """
        return self.destination.version


def _objects(listing: bytes, kind: str) -> Iterator[Mapping[str, Any]]:
    try:
        for each in json.loads(listing)["nftables"]:
            if kind in each:
                yield each[kind]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("this is no listing of nft") from error


def forwardingTables(listing: bytes, own: str) -> list[tuple[str, str]]:
    """
    @param listing: of C{nft -j list chains}.
    @param own: the name of our table.
    @return: family and name of the tables of others that filter what is forwarded, each once.
    @raise ValueError: it is something else.
    """
    found = [
        (str(chain.get("family")), str(chain.get("table")))
        for chain in _objects(listing, "chain")
        if _isBase(chain)
    ]
    return [each for each in dict.fromkeys(found) if each[0] in _VERSIONS and each != ("inet", own)]


def _isBase(chain: Mapping[str, Any]) -> bool:
    return (chain.get("hook"), chain.get("type")) == ("forward", "filter")


def readTable(listing: bytes, family: str, name: str) -> OtherTable:
    """
    @param listing: of C{nft -j list table}.
    @raise ValueError: it is something else.
    """
    bases: dict[str, str] = {}
    chains: dict[str, list[Rule]] = {}
    for chain in _objects(listing, "chain"):
        chains[str(chain.get("name"))] = []
        if _isBase(chain):
            bases[str(chain.get("name"))] = str(chain.get("policy", _ACCEPT))
    for rule in _objects(listing, "rule"):
        statements = rule.get("expr")
        if isinstance(statements, list):
            read = [each for each in statements if isinstance(each, Mapping)]
            chains.setdefault(str(rule.get("chain")), []).append(read)
    return OtherTable(family, name, bases, chains)


def barrierTo(tables: Iterable[OtherTable], passages: Sequence[Passage]) -> Barrier | None:
    """
    @return: the first that drops one of these packets; L{None}: all pass, as far as can be told.
    """
    budget = _Budget(MOST_STEPS)
    for table in tables:
        for passage in passages:
            if passage.version in _VERSIONS[table.family]:
                for chain in table.bases:
                    found = _Walk(table, passage, budget).through(chain)
                    if found is not None:
                        return found
    return None


@define
class _Budget:
    """
    What may still be looked at.
    """

    left: int

    def spend(self) -> bool:
        self.left -= 1
        return self.left >= 0


@frozen
class _Bearing:
    """
    How a rule is about a packet.

    @ivar isCertain: whether it is; else it may be.
    @ivar isNamed: whether it says so itself: it is about our interface, or our prefix.
    """

    isCertain: bool = True
    isNamed: bool = False

    def met(self, outcome: bool | None, isNamed: bool = False) -> _Bearing:
        return _Bearing(self.isCertain and outcome is True, self.isNamed or isNamed)


class _Walk:
    """
    One packet in one table.
    """

    def __init__(self, table: OtherTable, passage: Passage, budget: _Budget) -> None:
        self._table, self._passage, self._budget = table, passage, budget

    def through(self, base: str) -> Barrier | None:
        verdict = self._chain(base, _Bearing(), 0)
        isPolicy = verdict is None
        if (self._table.bases[base] if isPolicy else verdict) != _DROP:
            return None
        return Barrier(self._table.family, self._table.name, base, tuple(self._table.chains), isPolicy)

    def _chain(self, name: str, bearing: _Bearing, depth: int) -> str | None:
        """
        @return: the verdict; L{None}: whoever has jumped there goes on.
        """
        if depth > _DEPTH:
            return _ACCEPT
        for rule in self._table.chains.get(name, ()):
            if not self._budget.spend():
                return _ACCEPT
            isLast, verdict = self._rule(rule, bearing, depth)
            if isLast or verdict is not None:
                return verdict
        return None

    def _rule(self, rule: Rule, bearing: _Bearing, depth: int) -> tuple[bool, str | None]:
        """
        @return: whether the chain ends here, and the verdict.
        """
        for statement in rule:
            for kind, value in statement.items():
                if kind == "match":
                    outcome, isNamed = _match(value, self._passage)
                    if outcome is False:
                        return False, None
                    bearing = bearing.met(outcome, isNamed)
                elif kind == "vmap":
                    return self._map(value, bearing, depth)
                elif kind in _VERDICTS:
                    return self._verdict(kind, value, bearing, depth)
                elif kind == "xt" and isinstance(value, Mapping) and value.get("type") == "target":
                    return False, _DROP if value.get("name") == "REJECT" and bearing.isCertain else None
                elif kind in _DOUBTFUL and not _isComment(value):
                    bearing = bearing.met(None)
        return False, None

    def _map(self, value: Any, bearing: _Bearing, depth: int) -> tuple[bool, str | None]:
        """
        A verdict for each of several values.
        """
        data = value.get("data") if isinstance(value, Mapping) else None
        pairs = data.get("set", ()) if isinstance(data, Mapping) else ()
        for pair in pairs if isinstance(pairs, list) else ():
            if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], Mapping):
                wanted = {"op": "==", "left": value.get("key"), "right": pair[0]}
                rule = [{"match": wanted}, pair[1]]
                isLast, verdict = self._rule(rule, bearing, depth)
                if isLast or verdict is not None:
                    return isLast, verdict
        return False, None

    def _verdict(self, kind: str, value: Any, bearing: _Bearing, depth: int) -> tuple[bool, str | None]:
        """
        What may be an answer passes by whatever accepts answers; what begins only by what is sure, or is about us.
        """
        isTaken = bearing.isCertain or bearing.isNamed
        if kind in ("accept", "queue"):
            taken = isTaken or self._passage.state == "established"
            return taken, _ACCEPT if taken else None
        if kind in ("drop", "reject"):
            return bearing.isCertain, _DROP if bearing.isCertain else None
        if kind == "return":
            return isTaken, None
        if kind == "continue" or not isinstance(value, Mapping):
            return False, None
        verdict = self._chain(str(value.get("target")), bearing, depth + 1)
        return kind == "goto" and bearing.isCertain, verdict


def _isComment(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get("name") == "comment"


# What a rule asks for: whether it is so of the packet, None where that cannot be told; and whether it is about us.
_Answer = tuple[bool | None, bool]
_UNKNOWN: _Answer = (None, False)


def _match(value: Any, passage: Passage) -> _Answer:
    if not isinstance(value, Mapping) or value.get("op") not in ("==", "!=", "in"):
        return _UNKNOWN
    left = value.get("left")
    if _protocolOf(left) not in (None, passage.version):
        return False, False
    answers = [_equals(left, each, passage) for each in _alternatives(value.get("right"))]
    outcomes = [outcome for outcome, _ in answers]
    isSo = True if True in outcomes else None if None in outcomes or not outcomes else False
    if value["op"] == "!=":
        return None if isSo is None else not isSo, False
    return isSo, any(isNamed for outcome, isNamed in answers if outcome is not False)


def _alternatives(right: Any) -> list[Any]:
    if isinstance(right, Mapping) and "set" in right:
        right = right["set"]
    return right if isinstance(right, list) else [right]


def _field(left: Any, kind: str, name: str) -> str:
    found = left.get(kind) if isinstance(left, Mapping) else None
    return str(found.get(name)) if isinstance(found, Mapping) else ""


def _protocolOf(left: Any) -> int | None:
    """
    @return: the version of IP that a packet needs to have such a field.
    """
    return {"ip": 4, "ip6": 6}.get(_field(left, "payload", "protocol"))


def _equals(left: Any, right: Any, passage: Passage) -> _Answer:
    meta, tracked = _field(left, "meta", "key"), _field(left, "ct", "key")
    if meta in ("iifname", "iif", "oifname", "oif"):
        name = passage.incoming if meta.startswith("i") else passage.outgoing
        return _isInterface(name, right), name == passage.interface and right != "*"
    if meta in ("nfproto", "protocol"):
        return right in (("ipv4", "ip") if passage.version == 4 else ("ipv6", "ip6")), False
    if tracked == "state":
        return right == passage.state, False
    if tracked == "direction":
        return right == ("original" if passage.state == "new" else "reply"), False
    if tracked == "status" and right == "dnat":
        return False, False
    address = _field(left, "payload", "field")
    if _protocolOf(left) and address in ("saddr", "daddr"):
        return _isAddress(passage.source if address == "saddr" else passage.destination, right)
    return _UNKNOWN


def _isInterface(name: str, right: Any) -> bool | None:
    if not isinstance(right, str) or right.startswith("@"):
        return None
    return name.startswith(right[:-1]) if right.endswith("*") else name == right


def _isAddress(prefix: Prefix, right: Any) -> _Answer:
    bounds = _bounds(right)
    if bounds is None or bounds[2] != prefix.version:
        return _UNKNOWN
    low, high, _ = bounds
    first, last = int(prefix.network_address), int(prefix.broadcast_address)
    if high < first or last < low:
        return False, False
    return (low <= first and last <= high) or None, first <= low and high <= last


def _bounds(right: Any) -> tuple[int, int, int] | None:
    """
    @return: the lowest and the highest address, as numbers, and the version.
    """
    try:
        if isinstance(right, Mapping) and "prefix" in right:
            network = ip_network(f"{right['prefix']['addr']}/{right['prefix']['len']}", strict=False)
            return int(network.network_address), int(network.broadcast_address), network.version
        if isinstance(right, Mapping) and "range" in right:
            low, high = (ip_address(each) for each in right["range"])
            return int(low), int(high), low.version
        address = ip_address(right if isinstance(right, str) else "")
    except (ValueError, KeyError, TypeError):
        return None
    return int(address), int(address), address.version
