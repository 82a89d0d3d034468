# -*- test-case-name: vnet.test.test_names_wording -*-
"""
How names are spoken of to people.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vnet.client.wording import shown

__all__ = ["namesSummary"]

_WAYS = {"resolved": "by systemd-resolved", "mdns": "as NICK.local by multicast DNS", "off": "off"}


def namesSummary(status: Mapping[str, Any]) -> list[tuple[str, str]]:
    """
    @param status: the JSON of C{vnet status}.
    @return: the line on names, if there is anything to say.
    """
    names = status.get("names")
    if not isinstance(names, dict):
        return []
    way = _WAYS.get(str(names.get("by")), shown(names.get("by")))
    own = f"{shown(names['name'], 80)}, " if names.get("name") else ""
    why = f" ({shown(names['why'], 200)})" if names.get("why") else ""
    return [("names", f"{own}{way}{why}")]
