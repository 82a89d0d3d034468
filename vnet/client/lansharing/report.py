# -*- test-case-name: vnet.test.test_lansharing -*-
"""
What users ask of LANs that are shared, and are told of them, as JSON values: docs/commands documents the keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from attrs import define

from vnet.client.lansharing.choices import Choices
from vnet.client.lansharing.sharing import Routes, SharedLan, Sharing
from vnet.client.memberships import Asker, Memberships
from vnet.client.state import StateFile
from vnet.client.sync import Network, NetworkView
from vnet.errors import DecodeError, Refused
from vnet.protocols import control
from vnet.protocols.codec.names import displayable
from vnet.protocols.codec.prefix import Prefix, parsePrefix, sharablePrefix

__all__ = ["SharingVerbs"]

_NICK = 32


@define(eq=False, repr=False)
class SharingVerbs:
    """
    The verbs C{share-lan}, C{accept-lan} and C{use-lan}, and what other verbs say of LANs.

    @ivar _overlay: gives the blocks from which members have their addresses.
    """

    _ownKey: bytes
    _state: StateFile
    _view: NetworkView
    _memberships: Memberships
    _asker: Asker
    _sharing: Sharing
    _routes: Routes
    _overlay: Callable[[], Iterable[Prefix]]

    # The verbs

    async def show(self, name: str | None) -> dict[str, Any]:
        """
        @param name: of one network; L{None}: all.
        @raise Refused: this node is in no such network.
        """
        joined = self._memberships.joined
        if name is not None and all(each.name != name for each in joined.values()):
            raise Refused(f"this node is in no network named {name!r}: see 'vnet list'")
        await self._routes.whenSettled()
        lans = [lan for lan in self._sharing.lans() if name in (None, lan.name)]
        return {"lans": [self._describe(lan) for lan in lans]}

    async def share(self, text: str, name: str | None, stop: bool) -> dict[str, Any]:
        """
        Offer a prefix in a network, or no more.

        @raise Refused: it cannot be: all is as it was.
        """
        network, prefix = self._network(name), self._prefix(text, stop)
        choices = self._sharing.choicesOf(network.network)
        isOffered, isChosen = _isOffered(network, self._ownKey, prefix), prefix in choices.offered
        if stop:
            if not (isOffered or isChosen):
                raise Refused(f"this computer does not share {prefix} in {network.name}")
            # First, so that nothing is forwarded any more, whatever the mediator says.
            await self._choose(network, choices.offering(prefix, False))
        elif isOffered and isChosen:
            raise Refused(f"this computer offers {prefix} in {network.name} already: see 'vnet share-lan'")
        else:
            _refuse(self._routes.offerRefusal(prefix))
            choices.offering(prefix, True)
            self._state.ensureRoom()
        if isOffered == stop:
            await self._asker.ask(control.OfferLan, network=network.network, prefix=prefix, offered=not stop)
        if not stop:
            # Others may have chosen meanwhile.
            await self._choose(network, self._sharing.choicesOf(network.network).offering(prefix, True))
        return self._answer(network, self._ownKey, prefix)

    async def accept(self, member: str, text: str, name: str | None, stop: bool) -> dict[str, Any]:
        """
        Accept, as a network's owner, what a member offers, or no more.

        @raise Refused: it cannot be.
        """
        network, prefix = self._network(name), self._prefix(text, stop)
        key = self._member(network, member)
        if network.owner != self._ownKey:
            raise Refused(f"only the owner of {network.name} accepts what members offer")
        self._checkOffered(network, key, prefix)
        await self._asker.ask(
            control.AcceptLan, network=network.network, member=key, prefix=prefix, accepted=not stop
        )
        await self._sharing.settle()
        return self._answer(network, key, prefix)

    async def use(self, member: str, text: str, name: str | None, stop: bool) -> dict[str, Any]:
        """
        Use what a member offers, or no more.

        @raise Refused: it cannot be: all is as it was.
        """
        network, prefix = self._network(name), self._prefix(text, stop)
        key, choices = self._member(network, member), self._sharing.choicesOf(network.network)
        if stop:
            if not choices.uses(key, prefix):
                raise Refused(f"this computer does not use {prefix} of {self._nick(network, key)}")
            await self._choose(network, choices.using(key, prefix, False))
            return self._answer(network, key, prefix)
        if key == self._ownKey:
            raise Refused(f"{prefix} is offered by this computer itself")
        self._checkUsable(network, key, prefix)
        await self._choose(network, choices.using(key, prefix, True))
        answer = self._answer(network, key, prefix)
        if answer["state"] == "blocked":
            if not choices.uses(key, prefix):
                now = self._sharing.choicesOf(network.network)
                await self._choose(network, now.using(key, prefix, False))
            raise Refused(answer["why"])
        if answer["state"] == "used":
            # Else the first packets would be lost.
            await self._routes.reach(prefix)
        return answer

    def _checkUsable(self, network: Network, key: bytes, prefix: str) -> None:
        self._checkOffered(network, key, prefix)
        if not any(each.prefix == prefix and each.accepted for each in network.lans[key]):
            raise Refused(f"the owner of {network.name} has not accepted {prefix} yet: vnet accept-lan")
        gateway = self._sharing.gatewayOf(key)
        if gateway is None:
            raise Refused(f"there is no tunnel to {self._nick(network, key)}: see 'vnet peer'")
        if not network.online:
            raise Refused(f"this computer is offline in {network.name}: vnet go-online")
        _refuse(self._routes.useRefusal(gateway, prefix))

    async def _choose(self, network: Network, choices: Choices) -> None:
        if network.network.hex() not in self._memberships.joined:
            raise Refused(f"this computer has left {network.name}")
        self._state.setLans(network.network, choices)
        await self._sharing.settle()

    # What was meant

    def _network(self, name: str | None) -> Network:
        if name is not None:
            return self._memberships.find(name)
        names = {each.name for each in self._memberships.joined.values()}
        if len(names) != 1:
            problem = "in several networks: name one with --network" if names else "in no network"
            raise Refused(f"this computer is {problem}")
        return self._memberships.find(*names)

    def _prefix(self, text: str, stop: bool) -> str:
        try:
            return str(parsePrefix(text) if stop else sharablePrefix(text, self._overlay()))
        except DecodeError as error:
            raise Refused(str(error)) from error

    def _member(self, network: Network, text: str) -> bytes:
        """
        @raise Refused: no member, or more than one, has this address, client id or nickname.
        """
        members = network.members.values()
        found = [
            each.key for each in members if text.lower() in (each.key.hex(), each.address, each.address6)
        ]
        found = found or [each.key for each in members if each.nick == text]
        if not found:
            # One that has gone, and of which something was chosen.
            used = self._sharing.choicesOf(network.network).used
            found = [bytes.fromhex(key) for key, _ in used if key == text.lower()][:1]
        if not found:
            raise Refused(
                f"no member of {network.name} is named {text!r} or has that address: see 'vnet list'"
            )
        if len(found) > 1:
            raise Refused(f"{len(found)} members are named {text!r}: use the address of one")
        return found[0]

    def _checkOffered(self, network: Network, key: bytes, prefix: str) -> None:
        if not _isOffered(network, key, prefix):
            offered = ", ".join(each.prefix for each in network.lans.get(key, ())) or "nothing"
            nick = self._nick(network, key)
            raise Refused(f"{nick} does not offer {prefix} in {network.name}; it offers {offered}")

    # What is told

    def _nick(self, network: Network, key: bytes) -> str:
        member = network.members.get(key)
        return key.hex() if member is None else displayable(member.nick, _NICK)

    def _answer(self, network: Network, key: bytes, prefix: str) -> dict[str, Any]:
        for lan in self._sharing.lans(network.network):
            if (lan.key, lan.prefix) == (key, prefix):
                return self._describe(lan)
        gone = SharedLan(network.network, network.name, prefix, key, key == self._ownKey, False, False, True)
        return {**self._describe(gone), "state": "none", "why": None}

    def _describe(self, lan: SharedLan) -> dict[str, Any]:
        network = self._view.networks.get(lan.network)
        member = None if network is None else network.members.get(lan.key)
        return {
            "network": lan.name,
            "prefix": lan.prefix,
            "own": lan.isOwn,
            "clientId": lan.key.hex(),
            "nick": None if member is None else member.nick,
            "address": None if member is None else member.address,
            "state": lan.state,
            "why": lan.why,
            "help": list(lan.help) if lan.state == "shared" else [],
        }

    def hindered(self) -> list[dict[str, Any]]:
        """
        @return: the LANs that this node shares or uses, and that do not work.
        """
        return [self._describe(lan) for lan in self._sharing.lans() if lan.isHindered]

    def ofNetwork(self, network: bytes) -> dict[bytes, list[dict[str, Any]]]:
        """
        @return: the LANs of each member of a network, in brief, by its key.
        """
        found: dict[bytes, list[dict[str, Any]]] = {}
        for lan in self._sharing.lans(network):
            found.setdefault(lan.key, []).append({"prefix": lan.prefix, "state": lan.state, "why": lan.why})
        return found

    def ofMember(self, key: bytes) -> list[dict[str, Any]]:
        """
        @return: the LANs of one member in all networks.
        """
        return [
            {"network": lan.name, "prefix": lan.prefix, "state": lan.state, "why": lan.why}
            for lan in self._sharing.lans()
            if lan.key == key
        ]


def _isOffered(network: Network, key: bytes, prefix: str) -> bool:
    return any(each.prefix == prefix for each in network.lans.get(key, ()))


def _refuse(reason: str) -> None:
    if reason:
        raise Refused(reason)
