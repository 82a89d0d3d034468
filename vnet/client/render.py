# -*- test-case-name: vnet.test.test_render -*-
"""
What C{vnet} shows to a person: tables and blocks, made with rich, and safe whatever the names in them hold.

Each C{render} function gives the whole text, so that L{harmless} sees everything before a terminal does.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import frozen

from vnet.client.firewall.wording import firewallLines, firewallSummary, policyWords
from vnet.client.lansharing.wording import briefLans, hinderedLines, lanWords, sharedLines
from vnet.client.listing import Selection, moreLine
from vnet.client.lossreasons import droppedLines
from vnet.client.names.wording import namesSummary
from vnet.client.natwording import natLines, natSummary
from vnet.client.nonip.wording import lanLines
from vnet.client.peerwording import wayLines
from vnet.client.wording import (
    age,
    amount,
    latency,
    packetSize,
    relayName,
    relaySummary,
    shown,
    stateSentence,
    udpAddress,
)

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

__all__ = [
    "Style",
    "harmless",
    "renderFirewall",
    "renderLan",
    "renderNatReport",
    "renderNetworks",
    "renderPeer",
    "renderSharedLans",
    "renderStatus",
    "styleOf",
]

ALL = Selection()
_UNLIMITED = 4096
_NICK_WIDTH = 32
_NAME_WIDTH = 140
_MARKS = {"online": "*", "offline": " ", "lost": "?", "unreachable": "x"}
_PATHS = {"direct": "direct", "relayed": "relayed"}
_COLOURS = {"online": "green", "offline": "bright_black", "lost": "yellow", "unreachable": "red"}
_SELECT_GRAPHIC = r"\x1b\[[0-9;]*m"
_HARMFUL = re.compile(
    f"({_SELECT_GRAPHIC})"
    r"|[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)


@frozen
class Style:
    """
    How to show things.

    @ivar width: terminal cells in a line; L{None}: as many as it takes.
    @ivar colour: whether SGR sequences are wanted.
    """

    width: int | None = None
    colour: bool = False


def styleOf(terminal: bool, environ: Mapping[str, str], width: int) -> Style:
    """
    The style for a terminal, or for a file or pipe: lines are never cut there, and have no colours.
    """
    if not terminal:
        return Style()
    plain = bool(environ.get("NO_COLOR")) or environ.get("TERM", "dumb") == "dumb"
    return Style(max(width, 40), not plain)


def harmless(text: str, colour: bool = False) -> str:
    """
    The last gate before a terminal: of all control characters only the newline passes, and with C{colour} the
    sequences that select colours.
    """
    return _HARMFUL.sub(lambda found: found[1] if colour and found[1] else "\N{REPLACEMENT CHARACTER}", text)


def renderNetworks(
    answer: Mapping[str, Any], style: Style, ownId: str | None = None, selection: Selection = ALL
) -> str:
    """
    The networks and their members, as C{vnet list} shows them.

    @param answer: C{{"networks": [...]}}.
    @param ownId: the clientId of this node, which is called "you".
    @param selection: of which networks and members this is the list.
    """
    networks = _objects(answer.get("networks"))
    if not networks:
        return "No networks yet: 'vnet create NETWORK' founds one, 'vnet join LINK' joins one.\n"
    if selection.isFiltered or (selection.page or 1) > 1:
        networks = [network for network in networks if _objects(network.get("members"))]
    if not networks:
        return "No member is found.\n" if (selection.page or 1) == 1 else "There is no such page.\n"
    from rich.text import Text

    blocks: list[RenderableType] = []
    rows = [[_memberRow(member) for member in _objects(network.get("members"))] for network in networks]
    widths = [max((row[i].cell_len for part in rows for row in part), default=0) for i in range(7)]
    for network, part in zip(networks, rows, strict=True):
        blocks.append(_networkLine(network, ownId))
        blocks.extend(_line(row, widths) for row in part)
        more = moreLine(network, selection, shown)
        if more:
            blocks.append(Text(more, "bright_black"))
    return _print(blocks, style, whole=False)


def renderPeer(peer: Mapping[str, Any], style: Style) -> str:
    """
    All that is known of one peer.
    """
    path, relay = shown(peer.get("path")), relayName(peer.get("relay"), peer.get("transport"))
    details = [
        shown(peer.get("transport")).upper() if peer.get("transport") and not relay else None,
        udpAddress(peer.get("endpoint")),
    ]
    lines = [
        ("address", ", ".join(shown(peer[key]) for key in ("address", "address6") if peer.get(key)) or "-"),
        ("identity", shown(peer.get("clientId"))),
        ("state", shown(peer.get("state"))),
        ("path", ", ".join([path, *(detail for detail in details if detail)])),
        *([("relay", relay)] if relay else []),
        ("latency", latency(peer.get("latencyMs")) or "-"),
        ("MTU", packetSize(peer.get("mtu"))),
        ("handshake", age(peer.get("lastHandshake"))),
        ("received", amount(peer.get("rxBytes"))),
        ("sent", amount(peer.get("txBytes"))),
    ]
    if isinstance(peer.get("networks"), list):
        lines.append(("networks", ", ".join(shown(name, 64) for name in peer["networks"]) or "-"))
    if peer.get("firewall") not in (None, "open"):
        lines.append(("let in", policyWords(peer["firewall"])))
    lines += [
        ("LAN", f"{shown(lan.get('prefix'))} in {shown(lan.get('network'), 64)}; {lanWords(lan)}")
        for lan in _objects(peer.get("lans"))
    ]
    lines += wayLines(peer)
    return _block(shown(peer.get("nick"), _NICK_WIDTH, absent="(no nickname)"), lines, style)


def renderStatus(status: Mapping[str, Any], style: Style) -> str:
    """
    This node.
    """
    nat = status.get("nat")
    lines = [
        ("state", stateSentence(status)),
        *([("problem", shown(status["error"]))] if status.get("error") else []),
        (
            "address",
            ", ".join(shown(status[key]) for key in ("address", "address6") if status.get(key)) or "-",
        ),
        ("identity", shown(status.get("clientId"))),
        ("mediator", shown(status.get("mediator"), absent="none")),
        ("UDP port", shown(status.get("udpPort"))),
        ("Internet", natSummary(nat) if isinstance(nat, dict) else shown(nat, absent="not known yet")),
        ("relays", relaySummary(status)),
        *namesSummary(status),
        *firewallSummary(status),
        *hinderedLines(status),
        *(("dropped", line) for line in droppedLines(status)),
    ]
    return _block(shown(status.get("nick"), _NICK_WIDTH, absent="(no nickname)"), lines, style)


def renderFirewall(answer: Mapping[str, Any], style: Style) -> str:
    """
    What members may reach here.
    """
    lines = firewallLines(answer)
    if not lines:
        return "this computer is in no network\n"
    return _block("What members of each network reach of this computer", lines, style)


def renderLan(answer: Mapping[str, Any], style: Style) -> str:
    """
    Which protocols pass in which network.
    """
    lines = lanLines(answer)
    if not lines:
        return "this computer is in no network\n"
    return _block("What passes between this computer and the members of each network", lines, style)


def renderSharedLans(answer: Mapping[str, Any], style: Style) -> str:
    """
    The LANs that are shared.
    """
    lines = sharedLines(answer)
    if not lines:
        return "No LANs are shared: 'vnet share-lan 192.168.7.0/24' offers members the way to one.\n"
    return _block("LANs behind members", lines, style)


def renderNatReport(report: Mapping[str, Any], style: Style) -> str:
    """
    The report on the NAT, and what it means.
    """
    meaning = shown(report.get("summary") or natSummary(report))
    return _block("Between this computer and the Internet", natLines(report), style, meaning)


def _objects(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _memberRow(member: Mapping[str, Any]) -> Sequence[Text]:
    from rich.text import Text

    state, path = member.get("state"), member.get("path")
    colour = _COLOURS.get(str(state), "")
    how = _PATHS.get(str(path), "no path yet") if state == "online" else shown(state)
    return [
        Text(_MARKS.get(str(state), "!"), colour),
        Text(shown(member.get("address"), 45)),
        Text(shown(member.get("nick"), _NICK_WIDTH), "bold" if state == "online" else colour),
        Text(how, "yellow" if how == "relayed" else colour),
        Text("  ".join(filter(None, [latency(member.get("latencyMs")), _way(member)]))),
        Text(shown(member["name"], _NAME_WIDTH) if member.get("name") else ""),
        Text(briefLans(member.get("lans"))),
    ]


def _way(member: Mapping[str, Any]) -> str | None:
    relay = relayName(member.get("relay"), member.get("transport"))
    return f"by {relay}" if relay else udpAddress(member.get("endpoint"))


def _networkLine(network: Mapping[str, Any], ownId: str | None) -> Text:
    from rich.text import Text

    members = _objects(network.get("members"))
    total, online = network.get("memberCount"), network.get("onlineCount")
    if not isinstance(total, int) or not isinstance(online, int):
        total, online = len(members), sum(member.get("state") == "online" for member in members)
    state = shown(network.get("state"))
    own = briefLans(network.get("ownLans"))
    alone = "no other members yet" if network.get("owner") else "members not known while logged out"
    count = f"{online}/{total} online" if total else alone
    return Text.assemble(
        (shown(network.get("name"), 64), "bold"),
        "  ",
        (state, _COLOURS.get(state, "")),
        f"  {count}  owner {_ownerName(network, members, ownId)}{f'  you: {own}' if own else ''}",
    )


def _ownerName(network: Mapping[str, Any], members: Iterable[Mapping[str, Any]], ownId: str | None) -> str:
    owner = network.get("owner")
    if owner is None or owner == "":
        return "-"
    if owner == ownId:
        return "you"
    nick = network.get("ownerNick") or next(
        (member.get("nick") for member in members if member.get("clientId") == owner), None
    )
    return shown(nick or owner, _NICK_WIDTH if nick else 12)


def _line(cells: Sequence[Text], widths: Sequence[int]) -> Text:
    """
    One row of the list.  Not a row of a rich table: that takes from every column when the terminal is narrow,
    where the address and the nickname are worth more than what stands to the right of them.
    """
    from rich.text import Text

    line = Text()
    for cell, width in zip(cells, widths, strict=True):
        line.append_text(cell)
        line.append(" " * (width - cell.cell_len + 2))
    return line


def _block(title: str, lines: Iterable[tuple[str, str]], style: Style, end: str = "") -> str:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in lines:
        table.add_row(Text(f"  {name}", "bright_black"), Text(value))
    return _print([Text(title, "bold"), table, *([Text(end)] if end else [])], style)


def _print(renderables: Iterable[RenderableType], style: Style, whole: bool = True) -> str:
    output = io.StringIO()
    console = _console(output, style)
    for renderable in renderables:
        console.print(renderable, no_wrap=not whole, overflow=None if whole else "ellipsis")
    lines = output.getvalue().split("\n")
    return harmless("\n".join(line.rstrip(" ") for line in lines), style.colour)


def _console(output: io.StringIO, style: Style) -> Console:
    from rich.console import Console

    return Console(
        file=output,
        width=style.width or _UNLIMITED,
        force_terminal=style.colour,
        color_system="standard" if style.colour else None,
        no_color=not style.colour,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
        _environ={} if style.colour else {**os.environ, "TERM": "dumb"},
    )
