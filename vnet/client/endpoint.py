# -*- test-case-name: vnet.test.test_client_peer -*-
"""
Where the tunnel to one peer leads, and what happens to what is under way when it comes to lead elsewhere.
"""

from __future__ import annotations

from attrs import define, field

from vnet.client.peercontext import PeerContext
from vnet.protocols.machine.agentevents import Selected
from vnet.protocols.machine.pair import Path
from vnet.values import Address

__all__ = ["Endpoint"]

_DOUBLED = 5.0
_LEEWAY, _LONGEST_RESENT = 0.05, 2.0


@define(eq=False, repr=False)
class Endpoint:
    """
    The endpoint of one tunnel.

    @ivar _tunnelKey: the peer's.
    """

    _context: PeerContext
    _tunnelKey: bytes
    _address: Address | None = field(default=None, init=False)
    _doubledAt: float = field(default=float("-inf"), init=False)

    def set(self, event: Selected, initiate: bool = False) -> None:
        """
        Use a path, and send again what the one before may have lost.

        @param initiate: whether this side begins the handshake.
        """
        old, self._address = self._address, event.path.address
        self._context.tunnels.setEndpoint(self._tunnelKey, event.path.address, initiate)
        silent = event.reason in ("doubt", "lost")
        if old is None or (old == event.path.address and not silent):
            return
        since = None
        if silent:
            # What was sent after the last check that the old path answered may be lost.  That the peer is heard shows
            # nothing: its packets may have come by another way already.
            since = max(event.provenAt - _LEEWAY, self._context.clock.seconds() - _LONGEST_RESENT)
            if old.allocation and old != event.path.address:
                self._context.doubtRelay(old.allocation)
        self._context.handover(old, event.path.address, since)

    def sendAgain(self, path: Path, since: float) -> None:
        """
        A path answers again that was silent: what was sent on it meanwhile is lost.
        """
        if path.address == self._address:
            since = max(since, self._context.clock.seconds() - _LONGEST_RESENT)
            self._context.handover(path.address, path.address, since)

    def double(self, path: Path, other: Address) -> None:
        """
        The peer uses another path, and may have had reason to leave this one: send on both, for a moment.
        """
        now = self._context.clock.seconds()
        if now - self._doubledAt >= _DOUBLED:
            self._doubledAt = now
            self._context.double(path.address, other)

    def unset(self) -> None:
        """
        There is no path.
        """
        self.forget()
        self._context.tunnels.setEndpoint(self._tunnelKey, None)

    def forget(self) -> None:
        """
        There is no tunnel.
        """
        self._address = None
