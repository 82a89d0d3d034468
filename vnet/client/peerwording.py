# -*- test-case-name: vnet.test.test_peerreport -*-
"""
What a person is told of the way to a peer, from the JSON of C{vnet peer}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vnet.client.wording import shown

__all__ = ["natWords", "wayLines"]

_MAPPINGS = {
    "endpoint-independent": "keeps one port for all destinations",
    "address-dependent": "gives each address another port",
    "address-and-port-dependent": "gives each destination another port",
}
_ALLOCATIONS = {
    "preserving": ", that of the computer",
    "sequential": ", one after the other",
    "random": ", at random",
    "block": ", at random out of few",
}
_FILTERS = {
    "endpoint-independent": "lets anybody in",
    "address-dependent": "lets in the addresses that something was sent to",
    "address-and-port-dependent": "lets in answers only",
}
_STRATEGIES = {
    "repair": "fresh sockets on both sides",
    "predict": "prediction of this computer's ports",
    "birthday": "many sockets here, for the peer to find one",
    "answer": "ports of the peer's NAT",
    "meet": "prediction of both sides' ports",
    "scatter": "ports of the peer's NAT",
}
_MOST = 6


def natWords(nat: object) -> str:
    """
    One side's NAT.

    @param nat: the JSON value, or anything else when nothing is known.
    """
    if not isinstance(nat, Mapping):
        return "not known"
    if nat.get("udp") is False:
        return "UDP is blocked"
    filtering = _FILTERS.get(str(nat.get("filtering")))
    if nat.get("natted") is False:
        return "none" if nat.get("filtering") in (None, "endpoint-independent") else f"none; {filtering}"
    mapping = _MAPPINGS.get(str(nat.get("mapping")))
    if mapping is not None:
        mapping += _ALLOCATIONS.get(str(nat.get("allocation")), "")
    parts = [mapping, filtering, "the provider's" if nat.get("shared") is True else None]
    return "; ".join(part for part in parts if part) or "not known"


def wayLines(peer: Mapping[str, Any]) -> list[tuple[str, str]]:
    """
    Both NATs, what was tried and heard where the path is not direct, why, and what would help: names and values of a table.

    @param peer: the JSON of C{vnet peer}.
    """
    nat, lines = peer.get("nat"), []
    if isinstance(nat, Mapping):
        lines += [("NAT here", natWords(nat.get("own"))), ("NAT there", natWords(nat.get("peer")))]
    if peer.get("why") and isinstance(peer.get("tried"), Mapping):
        lines += [("tried", _tried(peer["tried"])), ("heard", _listed(peer.get("heard")) or "nothing")]
    if isinstance(peer.get("answersPing"), bool):
        lines.append(("pings", "are answered" if peer["answersPing"] else "are not answered"))
    if peer.get("why"):
        lines.append(("why", shown(peer["why"])))
    helps = peer.get("help")
    texts = [shown(each) for each in helps[:_MOST]] if isinstance(helps, list) else []
    return [*lines, *(("" if index else "help", text) for index, text in enumerate(texts))]


def _tried(tried: Mapping[str, Any]) -> str:
    parts = [_checks(tried.get("addresses")), _relays(tried.get("relays"))]
    strategy = _STRATEGIES.get(str(tried.get("strategy")))
    if strategy and _number(tried.get("rounds")):
        figures = [
            f"{number:,} {one if number == 1 else more}"
            for key, one, more in (
                ("rounds", "try", "tries"),
                ("probes", "guessed port", "guessed ports"),
                ("sockets", "socket", "sockets"),
            )
            if (number := _number(tried.get(key)))
        ]
        parts.append(f"{strategy} ({', '.join(figures)})")
    return "; ".join(part for part in parts if part) or "nothing"


def _checks(addresses: object) -> str:
    if not isinstance(addresses, list) or not addresses:
        return ""
    return f"{len(addresses)} {'address' if len(addresses) == 1 else 'addresses'}: {_listed(addresses)}"


def _relays(relays: object) -> str:
    text = _listed(relays)
    return f"through the relay {text}" if text else ""


def _listed(values: object) -> str:
    if not isinstance(values, list) or not values:
        return ""
    more = f" and {len(values) - _MOST} more" if len(values) > _MOST else ""
    return ", ".join(shown(each, 80) for each in values[:_MOST]) + more


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
