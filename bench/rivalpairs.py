"""
Two nodes of a rival in two homes: which way their packets go, and how soon.

That is seen in the middle of the Internet, where the packets between the two homes are counted.
"""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Sequence
from itertools import count

import attrs
from rich.console import Console
from rivals import RIVALS, Rival

from vnet.test.netlab import Home, Lab, LabError, stop
from vnet.test.netlab._system import configure
from vnet.test.priv.natpairs import Outcome, Pinging, inTurn

__all__ = ["INTERVAL", "PATIENCE", "measureRivals"]

#: Seconds: how long a first ping is waited for, and how long a direct path.
PATIENCE = 30.0
#: Seconds from one echo to the next: nebula tries a direct path instead of a relayed one after 1,000 packets.
INTERVAL = 0.01
#: A way is direct when of the echoes of this many seconds so large a share went directly, both ways.
WINDOW, SHARE = 0.6, 0.8
POLL = 0.05


@attrs.define
class Counted:
    """
    Counts, in the middle, the packets from each of two homes to the other.
    """

    _internet: str
    _table: str
    _addresses: tuple[str, str]

    def begin(self) -> None:
        """
        Begin to count.
        """
        one, other = self._addresses
        rules = "\n".join(f"ip saddr {a} ip daddr {b} counter" for a, b in ((one, other), (other, one)))
        hook = "type filter hook forward priority filter + 10; policy accept;"
        configure(self._internet, rules=f"table ip {self._table} {{ chain seen {{ {hook}\n{rules}\n}}\n}}")

    def packets(self) -> tuple[int, int]:
        """
        @return: how many there were so far, one way and the other.
        """
        argv = ["ip", "netns", "exec", self._internet, "nft", "list", "table", "ip", self._table]
        text = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout
        one, other = (int(found) for found in re.findall(r"packets (\d+)", text))
        return one, other

    def end(self) -> None:
        """
        Count no more.
        """
        configure(self._internet, rules=f"delete table ip {self._table}")


def meet(
    lab: Lab, rival: Rival, homes: Sequence[Home], numbers: Sequence[int], ended: threading.Event
) -> Outcome:
    """
    Start two nodes at the same time, and see what they find.  Seconds are counted from the start.
    """
    counted = Counted(
        lab.internet.namespace, f"pair{numbers[0]}", (homes[0].publicAddress, homes[1].publicAddress)
    )
    counted.begin()
    begin = time.monotonic()
    nodes = [rival.join(home.host, number) for home, number in zip(homes, numbers, strict=True)]
    ping = Pinging(homes[0].host, rival.address(numbers[1]), INTERVAL)
    try:
        return _watch(ping, counted, begin, ended)
    finally:
        ping.end()
        stop(*nodes)
        counted.end()


def _watch(ping: Pinging, counted: Counted, begin: float, ended: threading.Event) -> Outcome:
    pinged: float | None = None
    looked, answers, before = begin, 0, (0, 0)
    while (now := time.monotonic()) - begin < PATIENCE and not ended.is_set():
        found = ping.look()
        if pinged is None and found:
            pinged = now - begin
        if now - looked >= WINDOW:
            packets = counted.packets()
            echoes, ways = (
                found - answers,
                [after - first for after, first in zip(packets, before, strict=True)],
            )
            if echoes > 5 and min(ways) >= SHARE * echoes:
                return Outcome("direct", 0.0, now - WINDOW - begin, pinged)
            looked, answers, before = now, found, packets
        time.sleep(POLL)
    if ended.is_set():
        raise LabError("ended before it was done")
    return Outcome("none" if pinged is None else "relayed", 0.0, None, pinged)


def measureRivals(
    chosen: Sequence[tuple[str, str]], jobs: int, console: Console
) -> dict[str, dict[tuple[str, str], Outcome]]:
    """
    Let each program try each pair, in homes of its own.

    @param jobs: pairs at a time.
    """
    results: dict[str, dict[tuple[str, str], Outcome]] = {name: {} for name in RIVALS}
    done = count(1)
    with Lab("rivals") as lab:
        rivals = {}
        for name, (make, _) in RIVALS.items():
            rivals[name] = make()
            directory = lab.directory / name
            directory.mkdir()
            rivals[name].serve(lab.addHost(name), directory)
        time.sleep(1.0)

        def one(task: tuple[int, tuple[str, str]], ended: threading.Event) -> None:
            index, kinds = task
            homes = [lab.addHome(f"{side}{index}", nat=kind) for side, kind in zip("ab", kinds, strict=True)]
            for name, rival in rivals.items():
                outcome = meet(lab, rival, homes, (2 * index + 2, 2 * index + 3), ended)
                results[name][kinds] = outcome
                for home in homes:
                    home.flushConntrack()
                console.print(
                    f"{next(done)}/{len(chosen) * len(rivals)} {name}: {' - '.join(kinds)}: {_said(outcome)}",
                    style="dim",
                    markup=False,
                    soft_wrap=True,
                )

        inTurn(jobs, list(enumerate(chosen)), one)
    return results


def _said(outcome: Outcome) -> str:
    if outcome.ping is None:
        return "no path"
    return f"{outcome.path} {outcome.ping:.1f} s"
