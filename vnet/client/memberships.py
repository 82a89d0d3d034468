# -*- test-case-name: vnet.test.test_client_memberships -*-
"""
The networks that this node has joined: their secrets, and the verbs that change them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from attrs import define, field
from twisted.logger import Logger

from vnet.client.state import RememberedNetwork, StateFile
from vnet.client.sync import Network, NetworkView
from vnet.errors import DecodeError, Refused, StateError, Unreachable
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

    The mediator's word alone puts nobody into a network: only one that this node joined itself at this mediator counts,
    with the name and the secret that it had then.

    @ivar _realm: the realm of the mediator that this node is logged in to, or was last; empty before the first login.
    """

    _state: StateFile
    _view: NetworkView
    _asker: Asker
    _deriveMaster: DeriveMaster
    _realm: Callable[[], bytes]
    _log: Logger = field(factory=Logger)

    @property
    def joined(self) -> dict[str, RememberedNetwork]:
        """
        The networks that this node joined at this mediator, by identifier in hexadecimal; before the first login, all.
        """
        realm = self._realm().hex()
        networks = self._state.remembered.networks.items()
        return {identifier: network for identifier, network in networks if realm in ("", network.realm)}

    def presharedKeys(self, own: bytes, peer: bytes) -> tuple[bytes, ...]:
        """
        @return: the preshared keys of two members, one for each network with a password that they share, in a common order.
        """
        shared = sorted(network.network for network in self._view.sharedWith(peer, self.joined))
        masters = (self._state.secretOf(network) for network in shared)
        return tuple(presharedKey(master, own, peer) for master in masters if master is not None)

    async def create(self, name: str, password: str | None, realm: bytes) -> None:
        """
        Found a network.

        @raise Refused: the name is not valid, or taken.
        """
        await self._enter(control.CreateNetwork, name, await self._master(name, password, realm), realm)

    async def join(self, name: str, password: str | None, realm: bytes) -> None:
        """
        Join a network.

        @raise Refused: name or password are wrong, or a limit is reached.
        """
        await self._enter(control.JoinNetwork, name, await self._master(name, password, realm), realm)

    async def joinWithSecret(self, invite: Invite) -> None:
        """
        Join the network of an invitation.
        """
        await self._enter(control.JoinNetwork, invite.network, invite.secret, self._realm())

    async def _master(self, name: str, password: str | None, realm: bytes) -> bytes | None:
        _validated(name)
        if not password:
            return None
        try:
            return await self._deriveMaster(password, realm, _validated(name))
        except ValueError as error:
            raise Refused("the password holds characters that cannot be encoded") from error

    async def _enter(self, command: Any, name: str, master: bytes | None, realm: bytes) -> None:
        name = _validated(name)
        proof = proofOf(master) if master else b""
        if realm != self._realm():
            raise Unreachable("this node has turned to another mediator meanwhile: try again")
        self._state.ensureRoom()
        # Where no answer comes, the mediator may have done it all the same.
        self._state.beginEntering(name, master, realm)
        try:
            network = (await self._asker.ask(command, name=name, proof=proof))["network"]
            await self._keep(network, name, master, realm)
        except Refused:
            self._notEntered(name)
            raise

    async def _keep(self, network: bytes, name: str, master: bytes | None, realm: bytes) -> None:
        try:
            self._state.rememberNetwork(network, name, master, realm)
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
        realm = self._realm()
        for name, entering in self._state.remembered.entering.items():
            if entering.realm != realm.hex():
                continue
            network = self._unjoined(name)
            if network is None:
                self._notEntered(name)
            else:
                secret = bytes.fromhex(entering.secret) if entering.secret else None
                self._state.rememberNetwork(network.network, name, secret, realm)

    def _unjoined(self, name: str) -> Network | None:
        networks = self._view.networks.values()
        known = self._state.remembered.networks
        return next(
            (each for each in networks if each.name == name and each.network.hex() not in known), None
        )

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
        if network.hex() not in self.joined:
            # Joined at another mediator, if at all: this one has no say in it.
            return
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
        @return: the network that this node joined under that name, whatever the mediator calls it now.
        @raise Refused: this node is in no network of that name.
        @raise Unreachable: it is in one, but knows no more of it until it is connected to the mediator.
        """
        name, joined = _validated(name), self.joined
        ours = [network for key, network in self._view.networks.items() if key.hex() in joined]
        found = (network for network in ours if joined[network.network.hex()].name == name)
        network = next(found, None) or self._unjoined(name)
        if network is None and any(each.name == name for each in joined.values()):
            raise Unreachable(
                "this takes the mediator, to which this node is not connected: see 'vnet status'"
            )
        if network is None:
            raise Refused(f"this node is in no network named {name!r}: see 'vnet list'")
        return network

    def invite(self, name: str) -> str:
        """
        @return: the link that lets another computer join.
        """
        network = self.find(name)
        known = self.joined.get(network.network.hex())
        if known is None:
            raise Refused(f"this node has forgotten the secret of {name!r}: join it again")
        url = parseMediatorUrl(self._state.remembered.mediator)
        return str(Invite(url, known.name, self._state.secretOf(network.network)))


def _validated(name: str) -> str:
    try:
        return validateName(name)
    except DecodeError as error:
        raise Refused(str(error)) from error
