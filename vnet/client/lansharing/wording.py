# -*- test-case-name: vnet.test.test_lansharing -*-
"""
What a person is told of LANs that are shared, from the JSON that the client answers with.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from vnet.client.wording import shown

__all__ = ["briefLans", "hinderedLines", "lanNews", "lanWords", "sharedLines"]

_NAME, _NICK, _COMMAND = 64, 32, 300

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
    state, why = lan.get("state"), lan.get("why")
    words = _WORDS.get(str(state), shown(state))
    if not why or state == "offered":
        return words
    return f"{words}, but {shown(why)}" if state == "shared" else f"{words}: {shown(why)}"


def briefLans(lans: object) -> str:
    """
    The LANs of a member, for one row of a list; empty: it offers none.
    """
    return ", ".join(
        f"LAN {shown(each.get('prefix'))} {_WORDS.get(str(each.get('state')), '')}{_dropped(each)}".rstrip()
        for each in _objects(lans)
    )


def _dropped(lan: Mapping[str, Any]) -> str:
    return ", but dropped" if lan.get("state") == "shared" and lan.get("why") else ""


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
        lines += [("", command) for command in _help(each)]
    return lines


def hinderedLines(status: Mapping[str, Any]) -> list[tuple[str, str]]:
    """
    The LANs that do not work, for the status.
    """
    lines = []
    for each in _objects(status.get("lanProblems")):
        where = f"{shown(each.get('prefix'))} in {shown(each.get('network'), _NAME)}"
        lines.append(("LAN", f"{where}: {lanWords(each)}{_next(each)}"))
        lines += [("", command) for command in _help(each)]
    return lines


def lanNews(answer: Mapping[str, Any]) -> str:
    """
    What came of a verb: a line, and one for each command that helps.
    """
    news = f"{shown(answer.get('prefix'))} in {shown(answer.get('network'), _NAME)}: {lanWords(answer)}{_next(answer)}"
    return "\n    ".join([news, *_help(answer)])


def _next(lan: Mapping[str, Any]) -> str:
    """
    The command that may follow.
    """
    state, isOwn = lan.get("state"), lan.get("own") is True
    if state == "accepted" and not isOwn:
        return f": {_command('use-lan', lan)}"
    if state == "offered":
        return f"; the owner of the network can: {_command('accept-lan', lan)}"
    return "; to let it through:" if _help(lan) else ""


def _help(lan: Mapping[str, Any]) -> list[str]:
    commands = lan.get("help")
    return [shown(each, _COMMAND) for each in commands] if isinstance(commands, list) else []


def _command(verb: str, lan: Mapping[str, Any]) -> str:
    network = shlex.quote(shown(lan.get("network"), _NAME))
    return f"vnet {verb} {shown(lan.get('address') or lan.get('clientId'))} {shown(lan.get('prefix'))} --network {network}"


def _member(lan: Mapping[str, Any]) -> str:
    # Of one that has gone this is all by which it can be named.
    return shown(lan.get("nick"), _NICK) if lan.get("nick") else shown(lan.get("clientId"))


def _objects(value: object) -> Iterable[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
