# -*- test-case-name: vnet.test.test_nonip -*-
"""
What a person is told of protocols beside IP, from the JSON that the client answers with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vnet.client.wording import shown

__all__ = ["lanLines"]

_NAME = 64
_TYPES = 1000


def lanLines(answer: Mapping[str, Any]) -> list[tuple[str, str]]:
    """
    The networks, and what passes: names and values of a table.

    @param answer: to C{lan}.
    """
    networks = answer.get("networks")
    found = [each for each in networks if isinstance(each, Mapping)] if isinstance(networks, list) else []
    carries = answer.get("carriesFrames") is not False
    return [(shown(each.get("name"), _NAME), _passes(each, carries)) for each in found]


def _passes(network: Mapping[str, Any], carries: bool) -> str:
    if not carries:
        return "IP only: the interface carries nothing else (--device=tap does)"
    if network.get("nonIp") is not True:
        return "IP only"
    types = shown(network.get("etherTypes"), _TYPES)
    if types == "none":
        return "IP only: the list of other protocols is empty"
    return f"IP and {types.replace(',', ', ')}{' (the default)' if network.get('etherTypesDefault') is True else ''}"
