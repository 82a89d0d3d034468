"""
What stands behind a L{vnet.protocols.controlserver.ControlServer}, and what one may cost.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from attrs import frozen

from vnet.protocols import control

if TYPE_CHECKING:
    from vnet.protocols.controlserver import ControlServer

__all__ = ["Answer", "ControlBackend", "Limits"]

Answer = Coroutine[Any, Any, dict[str, Any]]


class ControlBackend(Protocol):
    """
    What answers the commands.  Each method may raise the errors that its command declares.
    """

    def login(self, session: ControlServer, key: bytes, nick: str, software: str) -> Answer:
        """A node has proved that it holds C{key}; see L{control.Login}."""

    def ended(self, session: ControlServer) -> None:
        """The connection of a session that had logged in is closed, without a logout."""

    def drained(self, session: ControlServer) -> None:
        """A session that was L{ControlServer.crowded} is not any more."""

    def logout(self, session: ControlServer) -> Answer:
        """See L{control.Logout}."""

    def ping(self, session: ControlServer) -> Answer:
        """See L{control.Ping}."""

    def relays(self, session: ControlServer) -> Answer:
        """See L{control.Relays}."""

    def createNetwork(self, session: ControlServer, name: str, proof: bytes) -> Answer:
        """See L{control.CreateNetwork}."""

    def joinNetwork(self, session: ControlServer, name: str, proof: bytes) -> Answer:
        """See L{control.JoinNetwork}."""

    def leaveNetwork(self, session: ControlServer, network: bytes) -> Answer:
        """See L{control.LeaveNetwork}."""

    def setNick(self, session: ControlServer, nick: str) -> Answer:
        """See L{control.SetNick}."""

    def setPresence(self, session: ControlServer, network: bytes, online: bool) -> Answer:
        """See L{control.SetPresence}."""

    def offerLan(self, session: ControlServer, network: bytes, prefix: str, offered: bool) -> Answer:
        """See L{control.OfferLan}."""

    def acceptLan(
        self, session: ControlServer, network: bytes, member: bytes, prefix: str, accepted: bool
    ) -> Answer:
        """See L{control.AcceptLan}."""

    def synchronise(
        self, session: ControlServer, epoch: bytes, held: list[dict[str, Any]], cursor: bytes
    ) -> Answer:
        """See L{control.Synchronise}."""

    def connect(self, session: ControlServer, peer: bytes) -> Answer:
        """See L{control.Connect}."""

    def forwardSignal(self, session: ControlServer, peer: bytes, sealed: bytes) -> Answer:
        """See L{control.ForwardSignal}."""

    def testPort(self, session: ControlServer, port: int, token: bytes) -> Answer:
        """See L{control.TestPort}."""


@frozen
class Limits:
    """
    What one connection may cost.

    @ivar handshake: seconds for TLS; C{login} the seconds after it for the login.
    @ivar idle: seconds without a whole box after which a node that is logged in is lost.
    @ivar closing: seconds for the other side to agree that the connection is closed.
    @ivar strangerBytes: bytes of application data before the login is accepted.
    @ivar boxBytes: bytes of one box afterwards; C{boxKeys} its keys.
    @ivar requests: commands of the node that wait for their answers.
    @ivar pushes: commands to the node that wait for its answers.
    """

    handshake: float = 10.0
    login: float = 15.0
    idle: float = 3 * control.PING_INTERVAL
    closing: float = 2.0
    strangerBytes: int = 1024
    boxBytes: int = 128 * 1024
    boxKeys: int = 64
    requests: int = 32
    pushes: int = 1000
