# -*- test-case-name: vnet.test.test_control_server -*-
"""
What stands before the TLS of a control connection.
"""

from __future__ import annotations

from typing import Any

from attrs import define
from twisted.internet.protocol import Factory

from vnet.protocols.machine.admission import Admission

__all__ = ["Gate", "unmapped"]


@define(eq=False, repr=False)
class Gate(Factory):
    """
    Stands before TLS and turns connections away that are too many.

    @ivar _inner: makes the protocols, in the end those of a
        L{vnet.protocols.controlserver.ControlServerFactory} with the same C{_admission}.
    """

    _inner: Any
    _admission: Admission
    noisy = False

    def buildProtocol(self, addr: Any) -> Any:
        """
        @return: L{None} when the connection is refused.
        """
        if not self._admission.enter(unmapped(addr.host)):
            return None
        return self._inner.buildProtocol(addr)

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


def unmapped(host: str) -> str:
    """
    @return: an IPv4-mapped IPv6 literal as IPv4, anything else as it is, without a zone.
    """
    host = host.partition("%")[0]
    return host[7:] if host.startswith("::ffff:") and "." in host else host
