# -*- test-case-name: vnet.test.test_eventwording -*-
"""
The lines of C{vnet watch} for a person.  What strangers chose is made harmless.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from vnet.client.wording import latency, relayName, shown, udpAddress

__all__ = ["KINDS", "eventLine"]

_NICK_WIDTH = 32
_NAME_WIDTH = 64

Event = Mapping[str, Any]


def eventLine(event: Event) -> str:
    """
    @param event: as docs/commands describes it.
    @return: one line: the time, the nickname if it is a member's, and what happened.
    """
    kind = str(event.get("event"))
    say = _MEMBER.get(kind)
    if say is not None:
        nick = shown(event.get("nick"), _NICK_WIDTH, absent="(no nickname)")
        return f"{_time(event)}  {nick} ({shown(event.get('address'), 45)}) {say(event)}"
    return f"{_time(event)}  {_NODE.get(kind, _unknown)(event)}"


def _time(event: Event) -> str:
    """
    The local time of day.
    """
    try:
        moment = datetime.fromisoformat(str(event.get("time")))
        return moment.astimezone().strftime("%H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return "--:--:--"


def _network(event: Event) -> str:
    return shown(event.get("network"), _NAME_WIDTH)


def _joined(event: Event) -> str:
    state = event.get("state")
    return f"joined {_network(event)}" + ("" if state == "online" else f", {shown(state)}")


def _lan(event: Event) -> str:
    return f"{shown(event.get('prefix'), _NAME_WIDTH)} in {_network(event)}{_LAN_STATES.get(str(event.get('state')), '')}"


def _memberLan(event: Event) -> str:
    return (
        f"offers no more the LAN {_lan(event)}"
        if event.get("state") == "withdrawn"
        else f"offers the LAN {_lan(event)}"
    )


def _lanProblem(event: Event) -> str:
    which = f"the LAN {shown(event.get('prefix'), _NAME_WIDTH)} in {_network(event)}"
    if not event.get("why"):
        return f"{which} is {shown(event.get('state'))}"
    commands = event.get("help")
    listed = "; ".join(shown(each, 300) for each in commands) if isinstance(commands, list) else ""
    help = f"; to let it through: {listed}" if listed else ""
    return f"{which} does not work: {shown(event.get('why'))}{help}"


def _path(event: Event) -> str:
    path = event.get("path")
    if path == "none":
        return "has no path any more"
    relay = relayName(event.get("relay"), event.get("transport"))
    way = f"by {relay}" if relay else udpAddress(event.get("endpoint"))
    details = ", ".join(filter(None, [way, latency(event.get("latencyMs"))]))
    return f"is reached: {shown(path)}" + (f", {details}" if details else "")


def _mediator(event: Event) -> str:
    state, error = event.get("state"), event.get("error")
    if state == "online":
        return "the mediator is connected"
    what = "logged out" if state == "offline" else "the mediator is not connected"
    return f"{what}: {shown(error)}" if error else what


def _ownNetwork(event: Event) -> str:
    state = event.get("state")
    if state == "left":
        return f"this computer is no member of {_network(event)} any more"
    how = "has joined" if state == "joined" else f"is {shown(state)} in"
    return f"this computer {how} {_network(event)}: {_count(event)}"


def _watching(event: Event) -> str:
    number = event.get("networks")
    networks = f"{shown(number)} network{'' if number == 1 else 's'}"
    return f"this computer is {shown(event.get('state'))}, in {networks}: {_count(event)}"


def _count(event: Event) -> str:
    return f"{shown(event.get('online'))} of {shown(event.get('members'))} others online"


def _missed(event: Event) -> str:
    return f"{shown(event.get('count'))} events are missing, since this was not read fast enough: see 'vnet list'"


def _unknown(event: Event) -> str:
    return shown(event.get("event"))


_LAN_STATES = {"offered": ", not accepted", "accepted": ", accepted"}

_MEMBER: Mapping[str, Callable[[Event], str]] = {
    "memberJoined": _joined,
    "memberLeft": lambda event: f"left {_network(event)}",
    "memberState": lambda event: f"is {shown(event.get('state'))}",
    "memberPath": _path,
    "memberLan": _memberLan,
    "memberNick": lambda event: f"was called {shown(event.get('before'), _NICK_WIDTH)} before",
}
_NODE: Mapping[str, Callable[[Event], str]] = {
    "watching": _watching,
    "mediator": _mediator,
    "network": _ownNetwork,
    "ownLan": lambda event: f"this computer {_memberLan(event)}",
    "lanProblem": _lanProblem,
    "missed": _missed,
}

KINDS = (*_NODE, *_MEMBER)
"""All kinds of event."""
