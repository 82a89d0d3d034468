# -*- test-case-name: vnet.test.priv.test_turn_server -*-
"""
Turns connections to a TURN server away before TLS, where their source has too many already.
"""

from __future__ import annotations

from typing import Any

from attrs import define
from twisted.internet.protocol import Factory

from vnet.protocols.machine.crowd import Crowd
from vnet.protocols.trains import TrainSocket

__all__ = ["TurnGate"]


@define(eq=False, repr=False)
class TurnGate(Factory):
    """
    Stands before TLS, and turns away who has too many connections without an allocation.
    """

    _inner: Any
    _crowd: Crowd
    noisy = False

    def buildProtocol(self, addr: Any) -> Any:
        """
        @return: L{None} when the connection is refused.
        """
        host = TrainSocket.canonical((addr.host, addr.port)).host
        return self._inner.buildProtocol(addr) if self._crowd.admits(host) else None

    def doStart(self) -> None:
        """
        Start the inner factory, too.
        """
        self._inner.doStart()

    def doStop(self) -> None:
        """
        Stop the inner factory, too.
        """
        self._inner.doStop()
