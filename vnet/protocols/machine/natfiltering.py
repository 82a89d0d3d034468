# -*- test-case-name: vnet.test.test_natdiscovery -*-
"""
What comes back in to a socket that has sent to one server only (RFC 5780 section 4.4).
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define

from vnet.protocols.codec.stunattributes import CHANGE_REQUEST, ChangeRequest
from vnet.protocols.machine.natbehaviour import filteringOf
from vnet.protocols.machine.natmapping import MappingTest
from vnet.protocols.machine.natprobe import Probe, Probes, reachedFrom
from vnet.values import Address

__all__ = ["FilteringTest"]

_SENDS = 3


@define(eq=False, repr=False)
class _Change:
    """
    @ivar place: from where the answer is to come.
    """

    probe: Probe
    place: Address

    def outcome(self, answers: Callable[[Address], bool]) -> bool | None:
        """
        Whether the answer came from there; L{None} when it would not have come in any case.
        """
        if self.probe.source is not None:
            # From where it was sent: an error, or an answer of a server that knows no CHANGE-REQUEST.
            elsewhere = self.probe.source != self.probe.target and self.probe.mapped is not None
            return True if elsewhere else None
        # Silence says something only of an address that answers when it is asked.
        return False if answers(self.place) else None


class FilteringTest:
    """
    Asks the chosen server for answers from elsewhere, through a fresh socket.
    """

    def __init__(self, servers: MappingTest, name: str, probes: Probes, at: float) -> None:
        """
        @param servers: which has chosen a server.
        @param name: of the socket.
        @param at: when to ask.
        """
        self._servers = servers
        server, other = servers.server, servers.other
        self._otherAddress = self._otherPort = None
        if server is None:
            return

        def ask(change: ChangeRequest, place: Address) -> _Change:
            target, sources = reachedFrom(server, name), frozenset({reachedFrom(place, name)})
            attributes = (CHANGE_REQUEST(change),)
            probe = probes.add(target, at, _SENDS, servers.rto, attributes=attributes, sources=sources)
            return _Change(probe, place)

        if other is not None:
            self._otherAddress = ask(ChangeRequest(address=True, port=True), other)
            self._otherPort = ask(ChangeRequest(port=True), Address(server.host, other.port))
            return
        ports = [each for each in servers.servers if each.host == server.host and each != server]
        if ports:
            self._otherPort = ask(ChangeRequest(port=True), ports[0])

    @property
    def over(self) -> bool:
        """
        Whether no answer is waited for.
        """
        return all(each.probe.over for each in (self._otherAddress, self._otherPort) if each is not None)

    @property
    def filtering(self) -> str | None:
        """
        What came back in: see L{filteringOf}.
        """
        address, port = (
            None if each is None else each.outcome(self._servers.answers)
            for each in (self._otherAddress, self._otherPort)
        )
        return filteringOf(address, port)
