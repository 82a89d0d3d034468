# -*- test-case-name: vnet.test.test_wording -*-
"""
Sentences for a person, from the JSON that the client answers with.  What strangers chose is made harmless.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vnet.protocols.codec.names import displayable

__all__ = [
    "age",
    "amount",
    "latency",
    "packetSize",
    "relayName",
    "relaySummary",
    "shown",
    "stateSentence",
    "udpAddress",
]

_WIDE = 500


def shown(value: object, width: int = _WIDE, absent: str = "-") -> str:
    """
    Any JSON value as harmless text of one line.
    """
    if value is None or value == "":
        return absent
    if isinstance(value, bool):
        return "yes" if value else "no"
    return displayable(str(value), width)


def latency(milliseconds: object) -> str:
    """
    A time of some milliseconds; empty when it is not known.
    """
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float):
        return ""
    return f"{milliseconds:.1f} ms" if milliseconds < 100 else f"{milliseconds:.0f} ms"


def relayName(relay: object, transport: object) -> str:
    """
    A relay, and over what it is reached; empty when there is none.
    """
    if not relay:
        return ""
    return f"{shown(relay)} over {shown(transport).upper()}" if transport else shown(relay)


def relaySummary(status: Mapping[str, Any]) -> str:
    """
    The relays of this node.

    @param status: as the client answers.
    """
    relays = status.get("relays")
    found = [each for each in relays if isinstance(each, Mapping)] if isinstance(relays, list) else []
    if found:
        return ", ".join(
            " ".join(
                filter(
                    None,
                    [relayName(each.get("relay"), each.get("transport")), _within(each.get("latencyMs"))],
                )
            )
            for each in found
        )
    return f"none: {shown(status['relayError'])}" if status.get("relayError") else "none"


def _within(milliseconds: object) -> str:
    text = latency(milliseconds)
    return f"({text})" if text else ""


def age(seconds: object) -> str:
    """
    How long ago something was.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return "never"
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s ago"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s ago"
    return f"{whole // 3600} h {whole % 3600 // 60} min ago"


def amount(octets: object) -> str:
    """
    A number of bytes.
    """
    if isinstance(octets, bool) or not isinstance(octets, int | float):
        return "-"
    number = float(octets)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def packetSize(octets: object) -> str:
    """
    The size of a packet.
    """
    if isinstance(octets, bool) or not isinstance(octets, int):
        return "-"
    return f"{octets:,} bytes"


def udpAddress(value: object) -> str | None:
    """
    A transport address as text, from text or a pair of host and port.
    """
    if isinstance(value, list | tuple) and len(value) == 2:
        host, port = shown(value[0]), shown(value[1])
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return shown(value) if value else None


def stateSentence(status: Mapping[str, Any]) -> str:
    """
    What the state of the node means for its user.
    """
    state = status.get("state")
    mediator = shown(status.get("mediator"), absent="")
    if state == "online":
        return "online: connected to the mediator."
    if state == "connecting":
        return "connecting: the mediator does not answer yet. Tunnels that were up stay up."
    if state == "offline" and mediator:
        return f"offline: logged out. Go online with: vnet login '{mediator}'"
    if state == "offline":
        return "offline: no mediator is known. Log in with 'vnet login URL', or 'vnet join LINK'."
    return shown(state)
