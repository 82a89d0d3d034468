"""
AMP that does not log who connects: a mediator keeps no record of where its users are.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure

__all__ = ["QuietAMP"]

_DONE = Failure(ConnectionDone())


class QuietAMP(amp.AMP):
    """
    AMP, without the two log lines that L{amp.AMP} writes for each connection, with both its addresses.
    """

    transport: Any

    def makeConnection(self, transport: Any) -> None:
        """
        See L{amp.BinaryBoxProtocol.makeConnection}.
        """
        amp.BinaryBoxProtocol.makeConnection(self, transport)

    def connectionLost(self, reason: Failure = _DONE) -> None:
        """
        See L{amp.BinaryBoxProtocol.connectionLost}.
        """
        amp.BinaryBoxProtocol.connectionLost(self, reason)
        self.transport = None
