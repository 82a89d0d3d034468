# -*- test-case-name: vnet.test.test_client_memberships -*-
"""
The networks that this node has joined: their secrets, and the verbs that change them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from attrs import define, field
from twisted.logger import Logger

from vnet.client.state import StateFile
from vnet.client.sync import Network, NetworkView
from vnet.errors import DecodeError, Refused, StateError
from vnet.protocols import control
from vnet.protocols.codec.names import validateName
from vnet.protocols.codec.url import Invite, parseMediatorUrl
from vnet.protocols.machine.secrets import presharedKey, proofOf

__all__ = ["Asker", "Memberships"]

DeriveMaster = Callable[[str, bytes, str], Awaitable[bytes]]


class Asker(Protocol):
    """
    Asks the mediator.
    """

    async def ask(self, command: Any, **arguments: Any) -> dict[str, Any]:
        """
        @raise Refused: the mediator refuses; L{vnet.errors.Unreachable}: it is not there.
        """


@define(eq=False, repr=False)
class Memberships:
    """
    What this node joined, as it remembers it, beside what the mediator says.

    The mediator's word alone puts nobody into a network: only one that this node joined itself counts, with the
    secret that it had then.
    """

    _state: StateFile
    _view: NetworkView
    _asker: Asker
    _deriveMaster: DeriveMaster
    _log: Logger = field(factory=Logger)

    @property
    def joined(self) -> dict[str, Any]:
        """The networks that this node joined, by identifier in hexadecimal."""
        return dict(self._state.remembered.networks)

    def presharedKeys(self, own: bytes, peer: bytes) -> tuple[bytes, ...]:
        """
        @return: the preshared keys of two members, one for each network with a password that they share, in a common order.
        """
        shared = sorted(
            network.network for network in self._view.sharedWith(peer, self._state.remembered.networks)
        )
        masters = (self._state.secretOf(network) for network in shared)
        return tuple(presharedKey(master, own, peer) for master in masters if master is not None)

    async def create(self, name: str, password: str | None, realm: bytes) -> None:
        """
        Found a network.

        @raise Refused: the name is not valid, or taken.
        """
        await self._enter(control.CreateNetwork, name, await self._master(name, password, realm))

    async def join(self, name: str, password: str | None, realm: bytes) -> None:
        """
        Join a network.

        @raise Refused: name or password are wrong, or a limit is reached.
        """
        await self._enter(control.JoinNetwork, name, await self._master(name, password, realm))

    async def joinWithSecret(self, invite: Invite) -> None:
        """
        Join the network of an invitation.
        """
        await self._enter(control.JoinNetwork, invite.network, invite.secret)

    async def _master(self, name: str, password: str | None, realm: bytes) -> bytes | None:
        _validated(name)
        if not password:
            return None
        try:
            return await self._deriveMaster(password, realm, _validated(name))
        except ValueError as error:
            raise Refused("the password holds characters that cannot be encoded") from error

    async def _enter(self, command: Any, name: str, master: bytes | None) -> None:
        name = _validated(name)
        proof = proofOf(master) if master else b""
        self._state.ensureRoom()
        # Where no answer comes, the mediator may have done it all the same.
        self._state.beginEntering(name, master)
        try:
            network = (await self._asker.ask(command, name=name, proof=proof))["network"]
        except Refused:
            self._notEntered(name)
            raise
        try:
            self._state.rememberNetwork(network, name, master)
        except StateError:
            if network.hex() not in self.joined:
                await self._asker.ask(control.LeaveNetwork, network=network)
            raise

    def _notEntered(self, name: str) -> None:
        try:
            self._state.endEntering(name)
        except StateError as error:
            self._log.warn("the state is not up to date: {error}", error=error)

    def adoptEntered(self) -> None:
        """
        The view is in step: networks whose founding or joining got no answer, and took place, count as joined.

        @raise StateError: the state cannot be written.
        """
        for name, entering in self._state.remembered.entering.items():
            network = self._view.find(name)
            if network is None:
                self._notEntered(name)
            elif network.network.hex() not in self.joined:
                secret = bytes.fromhex(entering.secret) if entering.secret else None
                self._state.rememberNetwork(network.network, name, secret)

    async def leave(self, name: str) -> None:
        """
        Leave a network.
        """
        network = self.find(name).network
        self._state.ensureRoom()
        await self._asker.ask(control.LeaveNetwork, network=network)
        self.forget(network)

    def forget(self, network: bytes) -> None:
        """
        This node is no member any more.
        """
        self._view.networks.pop(network, None)
        try:
            self._state.forgetNetwork(network)
        except StateError as error:
            # Without the mediator's word it counts for nothing.
            self._log.error("a network that this node has left stays in its state: {error}", error=error)

    def forgetGone(self) -> None:
        """
        The view is in step: the networks that it has lost are forgotten with their secrets, but those joined anew.
        """
        for network in self._view.gone - self._view.networks.keys():
            self.forget(network)
        self._view.gone.clear()

    async def setOnline(self, name: str, online: bool) -> None:
        """
        Be online or offline in one network.
        """
        network = self.find(name).network
        await self._asker.ask(control.SetPresence, network=network, online=online)
        self._view.setOnline(network, online)

    def find(self, name: str) -> Network:
        """
        @raise Refused: this node is in no network of that name.
        """
        network = self._view.find(_validated(name))
        if network is None:
            raise Refused(f"this node is in no network named {name!r}: see 'vnet list'")
        return network

    def invite(self, name: str) -> str:
        """
        @return: the link that lets another computer join.
        """
        network = self.find(name)
        if network.network.hex() not in self._state.remembered.networks:
            raise Refused(f"this node has forgotten the secret of {name!r}: join it again")
        url = parseMediatorUrl(self._state.remembered.mediator)
        return str(Invite(url, network.name, self._state.secretOf(network.network)))


def _validated(name: str) -> str:
    try:
        return validateName(name)
    except DecodeError as error:
        raise Refused(str(error)) from error
