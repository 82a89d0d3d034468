# -*- test-case-name: vnet.test.test_cli -*-
"""
C{vnet ping}: several echoes, one after the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from attrs import define, field

from vnet.client.clierror import ClientFailure, Failure
from vnet.client.wording import latency, shown

__all__ = ["Pinger"]


@define
class Pinger:
    """
    Sends echoes to one peer, one a second.

    @ivar once: send one, and give C{{"latencyMs": ...}}.
    @ivar tell: gets a line for a person about each.
    """

    name: str
    once: Callable[[], dict[str, Any]]
    tell: Callable[[str], None]
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    replies: list[dict[str, Any]] = field(factory=list, init=False)

    def run(self, count: int) -> None:
        """
        Send C{count} echoes, or fewer if the person who asked has seen enough.

        @raise ClientFailure: the client is not there to be asked.
        """
        try:
            self._send(count)
        except KeyboardInterrupt:
            if not self.replies:
                raise

    def _send(self, count: int) -> None:
        for number in range(count):
            started = self.clock()
            self.replies.append(self._reply())
            if number + 1 < count:
                self.sleep(max(0.0, 1.0 - (self.clock() - started)))

    def _reply(self) -> dict[str, Any]:
        try:
            milliseconds = self.once().get("latencyMs")
            reason = "no answer"
        except ClientFailure:
            raise
        except Failure as error:
            # Also a refusal: while there is no path yet, asking is what brings one.
            milliseconds, reason = None, error.message
        if milliseconds is None:
            self.tell(shown(reason))
            return {"latencyMs": None, "error": reason}
        self.tell(f"answer from {shown(self.name, 64)}: {latency(milliseconds)}")
        return {"latencyMs": milliseconds}

    @property
    def received(self) -> list[float]:
        """
        The times of those that were answered, milliseconds.
        """
        return [reply["latencyMs"] for reply in self.replies if reply["latencyMs"] is not None]

    def answer(self) -> dict[str, Any]:
        """
        The JSON of the whole.
        """
        times = self.received
        return {
            "name": self.name,
            "sent": len(self.replies),
            "received": len(times),
            "minimumMs": min(times, default=None),
            "averageMs": round(sum(times) / len(times), 3) if times else None,
            "maximumMs": max(times, default=None),
            "replies": self.replies,
        }

    def summary(self) -> str:
        """
        The whole in one line.
        """
        times = self.received
        counted = f"{len(self.replies)} sent, {len(times)} answered"
        if not times:
            return counted
        low, mean, high = (latency(value) for value in (min(times), sum(times) / len(times), max(times)))
        return f"{counted}; minimum {low}, average {mean}, maximum {high}"
