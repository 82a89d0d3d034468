# -*- test-case-name: vnet.test.test_lansharing -*-
"""
What a person is told of LANs that are shared, from the JSON that the client answers with.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from vnet.client.wording import shown

__all__ = ["briefLans", "lanNews", "lanWords", "sharedLines"]

_NAME, _NICK = 64, 32

_WORDS = {
    "shared": "shared",
    "used": "used",
    "accepted": "can be used",
    "offered": "not accepted yet",
    "blocked": "not possible now",
    "absent": "not there now",
    "ignored": "ignored",
    "none": "not shared any more",
}


def lanWords(lan: Mapping[str, Any]) -> str:
    """
    The state of a LAN, and why.
    """
    words, why = _WORDS.get(str(lan.get("state")), shown(lan.get("state"))), lan.get("why")
    return f"{words}: {shown(why)}" if why and lan.get("state") != "offered" else words


def briefLans(lans: object) -> str:
    """
    The LANs of a member, for one row of a list; empty: it offers none.
    """
    return ", ".join(
        f"LAN {shown(each.get('prefix'))} {_WORDS.get(str(each.get('state')), '')}".rstrip()
        for each in _objects(lans)
    )


def sharedLines(answer: Mapping[str, Any]) -> list[tuple[str, str]]:
    """
    Names and values of a table.

    @param answer: to C{share-lan}.
    """
    lines = []
    for each in _objects(answer.get("lans")):
        who = "this computer" if each.get("own") is True else _member(each)
        lines.append(
            (
                shown(each.get("prefix")),
                f"{who} in {shown(each.get('network'), _NAME)}; {lanWords(each)}{_next(each)}",
            )
        )
    return lines


def lanNews(answer: Mapping[str, Any]) -> str:
    """
    What came of a verb, in one line.
    """
    return f"{shown(answer.get('prefix'))} in {shown(answer.get('network'), _NAME)}: {lanWords(answer)}{_next(answer)}"


def _next(lan: Mapping[str, Any]) -> str:
    """
    The command that may follow.
    """
    state, isOwn = lan.get("state"), lan.get("own") is True
    if state == "accepted" and not isOwn:
        return f": {_command('use-lan', lan)}"
    if state == "offered":
        return f"; the owner of the network can: {_command('accept-lan', lan)}"
    return ""


def _command(verb: str, lan: Mapping[str, Any]) -> str:
    network = shlex.quote(shown(lan.get("network"), _NAME))
    return f"vnet {verb} {shown(lan.get('address') or lan.get('clientId'))} {shown(lan.get('prefix'))} --network {network}"


def _member(lan: Mapping[str, Any]) -> str:
    # Of one that has gone this is all by which it can be named.
    return shown(lan.get("nick"), _NICK) if lan.get("nick") else shown(lan.get("clientId"))


def _objects(value: object) -> Iterable[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
