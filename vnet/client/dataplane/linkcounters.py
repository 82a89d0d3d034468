# -*- test-case-name: vnet.test.test_linkcounters -*-
"""
What the kernel counts of an interface: proc_pid_net(5), which is of this thread's own network namespace.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from attrs import frozen

__all__ = ["LinkCounters", "linkCounters", "parseCounters"]

_FILE = Path("/proc/thread-self/net/dev")
_COLUMNS = 16


@frozen
class LinkCounters:
    """
    Seen from the operating system: it sends what we read.  Segment trains count as one packet.
    """

    receivedBytes: int = 0
    receivedPackets: int = 0
    receiveDropped: int = 0
    sentBytes: int = 0
    sentPackets: int = 0
    sendDropped: int = 0


def parseCounters(text: str, name: str) -> LinkCounters:
    """
    @param text: of the file.
    @return: all 0 for an interface that is not in it.
    """
    for line in text.splitlines():
        found, colon, rest = line.partition(":")
        numbers = rest.split()
        if colon and found.strip() == name and len(numbers) >= _COLUMNS:
            values = [int(each) if each.isdigit() else 0 for each in numbers]
            received, sent = values[:4], values[8:12]
            return LinkCounters(received[0], received[1], received[3], sent[0], sent[1], sent[3])
    return LinkCounters()


def linkCounters(name: str) -> LinkCounters:
    """
    @return: the counters of an interface; all 0 if there is none of this name.
    """
    with suppress(OSError):
        return parseCounters(_FILE.read_text(), name)
    return LinkCounters()
