# -*- test-case-name: vnet.test.test_firewall_wording -*-
"""
What a person is told of the firewall, from the JSON that the client answers with.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from vnet.client.wording import shown

__all__ = ["firewallLines", "firewallSummary", "openHint", "policyWords"]

_NAME = 64
_MOST = 8


def policyWords(policy: object) -> str:
    """
    A policy.
    """
    if policy == "open":
        return "open: all of this computer can be reached"
    if policy == "ping-only":
        return "pings only"
    return f"pings and {shown(policy)}"


def openHint(answer: Mapping[str, Any]) -> str:
    """
    What who has just entered a network should know: a line, or nothing.

    @param answer: to C{create} or C{join}.
    """
    if answer.get("firewall") != "open":
        return ""
    name = shlex.quote(shown(answer.get("network"), _NAME))
    return f"\nits members reach all of this computer; to let in pings only: vnet firewall {name} ping-only"


def firewallSummary(status: Mapping[str, Any]) -> list[tuple[str, str]]:
    """
    A line of the status; none where there are no networks.
    """
    networks = status.get("firewall")
    found = [each for each in networks if isinstance(each, Mapping)] if isinstance(networks, list) else []
    if not found:
        return []
    opened = [shown(each.get("network"), _NAME) for each in found if each.get("policy") == "open"]
    if not opened:
        return [("firewall", "no network is open: see 'vnet firewall'")]
    more = f" and {len(opened) - _MOST} more" if len(opened) > _MOST else ""
    text = f"open to {', '.join(opened[:_MOST])}{more}; to limit that: vnet firewall NETWORK ping-only"
    return [("firewall", text)]


def firewallLines(answer: Mapping[str, Any]) -> list[tuple[str, str]]:
    """
    The networks with their policies, and what was dropped: names and values of a table.

    @param answer: to C{firewall}.
    """
    networks = answer.get("networks")
    found = [each for each in networks if isinstance(each, Mapping)] if isinstance(networks, list) else []
    lines = [
        (shown(each.get("name"), _NAME), policyWords(each.get("policy")) + _dropped(each.get("dropped")))
        for each in found
    ]
    others = _dropped(answer.get("droppedOthers"))
    return [*lines, *([("no network", others.removeprefix("; "))] if others else [])]


def _dropped(count: object) -> str:
    if not isinstance(count, int) or isinstance(count, bool) or not count:
        return ""
    return f"; {count:,} {'packet' if count == 1 else 'packets'} dropped"
