# -*- test-case-name: vnet.test.test_client_sync -*-
"""
The node's view of its networks: kept in step with the mediator by versions and deltas.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import Any

from attrs import define, evolve, field, frozen

from vnet.errors import DecodeError, Refused
from vnet.protocols import control
from vnet.protocols.codec.names import displayable
from vnet.protocols.codec.prefix import sharablePrefix

__all__ = ["Lan", "Member", "Network", "NetworkView", "synchronise"]

MAXIMUM_NETWORKS = 256
MAXIMUM_MEMBERS = 65_536
_MAXIMUM_PAGES = 2_000
_LONGEST_ADDRESS = 45
_CELLS = 2 * control.MAXIMUM_NAME
_KEY = 32
_STATES = frozenset({"online", "offline", "lost"})


@frozen
class Lan:
    """
    A LAN that a member offers in a network.

    @ivar prefix: as L{vnet.protocols.codec.prefix} writes it.
    @ivar accepted: whether the network's owner has accepted it, as the mediator says.
    """

    prefix: str
    accepted: bool


@frozen
class Member:
    """
    A member of a network, as the mediator describes it.

    @ivar key: the Ed25519 public key, 32 bytes.
    @ivar nick: what the member calls itself: hostile text.
    @ivar state: C{"online"}, C{"offline"} or C{"lost"}.
    """

    key: bytes
    address: str
    address6: str
    nick: str
    state: str


@define
class Network:
    """
    A network of which this node is a member.

    @ivar network: its 16-byte identifier.
    @ivar owner: the owner's key.
    @ivar protected: whether it has a password.
    @ivar online: whether this node is online in it.
    @ivar members: by key; this node is one of them.
    @ivar lans: what members offer, by key; nothing for those that offer none.
    """

    network: bytes
    name: str
    owner: bytes
    protected: bool
    online: bool
    version: int
    members: dict[bytes, Member] = field(factory=dict)
    lans: dict[bytes, tuple[Lan, ...]] = field(factory=dict)

    def setLans(self, key: bytes, raw: Sequence[dict[str, Any]]) -> None:
        """
        Take what a member offers, as far as it can be true.
        """
        self.lans.pop(key, None)
        if raw:
            room = control.MAXIMUM_NETWORK_OFFERS - sum(map(len, self.lans.values()))
            lans = _lans(raw[: control.MAXIMUM_OFFERS])[:room]
            if lans:
                self.lans[key] = lans


def _member(raw: dict[str, Any]) -> Member | None:
    """
    @return: the member, or L{None} for one that is gone or that no member can be.
    """
    if raw["state"] not in _STATES or len(raw["key"]) != _KEY:
        return None
    nick = _harmless(raw["nick"], control.MAXIMUM_NICK)
    address, address6 = raw["address"][:_LONGEST_ADDRESS], raw["address6"][:_LONGEST_ADDRESS]
    return Member(raw["key"], address, address6, nick, raw["state"])


def _lans(raw: Iterable[dict[str, Any]]) -> tuple[Lan, ...]:
    found: dict[str, Lan] = {}
    for each in raw:
        with suppress(DecodeError):
            prefix = str(sharablePrefix(each["prefix"]))
            found[prefix] = Lan(prefix, each["accepted"])
    return tuple(found.values())


def _harmless(text: str, limit: int) -> str:
    return displayable(text[:limit], _CELLS)


@define
class NetworkView:
    """
    All networks of this node.

    @ivar gone: networks of which this node was a member, and is none any more.
    """

    epoch: bytes = b""
    networks: dict[bytes, Network] = field(factory=dict)
    gone: set[bytes] = field(factory=set)

    def held(self) -> list[dict[str, Any]]:
        """
        @return: the C{held} argument of L{control.Synchronise}.
        """
        return [{"network": each.network, "version": each.version} for each in self.networks.values()]

    def applyPage(self, answer: dict[str, Any]) -> None:
        """
        Take one page of a synchronisation.
        """
        self.epoch = answer["epoch"]
        for raw in answer["networks"]:
            self._applyNetwork(raw)
        for network in answer["gone"]:
            if self.networks.pop(network, None) is not None:
                self.gone.add(network)

    def _applyNetwork(self, raw: dict[str, Any]) -> None:
        identifier = raw["network"]
        known = self.networks.get(identifier)
        if known is None and (len(identifier) != 16 or len(self.networks) >= MAXIMUM_NETWORKS):
            return
        if known is None or raw["whole"]:
            known = self.networks[identifier] = Network(identifier, "", b"", False, True, 0)
        known.name = _harmless(raw["name"], control.MAXIMUM_NAME)
        known.owner, known.protected = raw["owner"][:_KEY], raw["protected"]
        known.online, known.version = raw["online"], raw["version"]
        self._applyMembers(known, raw["members"])

    def applyChange(self, network: bytes, version: int, members: Sequence[dict[str, Any]]) -> bool:
        """
        Take one push.

        @return: whether it follows what is held; if not, nothing is changed and a synchronisation is due.
        """
        known = self.networks.get(network)
        if known is None or version > known.version + 1:
            return False
        if version == known.version + 1:
            known.version = version
            self._applyMembers(known, members)
        return True

    def _applyMembers(self, network: Network, members: Iterable[dict[str, Any]]) -> None:
        room = MAXIMUM_MEMBERS - sum(len(each.members) for each in self.networks.values())
        for raw in members:
            member = _member(raw)
            if member is None:
                room += network.members.pop(raw["key"], None) is not None
                network.lans.pop(raw["key"], None)
                continue
            if member.key in network.members:
                network.members[member.key] = member
            elif room > 0:
                network.members[member.key] = member
                room -= 1
            else:
                continue
            network.setLans(member.key, raw.get("lans") or ())

    def clear(self) -> None:
        """
        Forget all.
        """
        self.epoch = b""
        self.networks.clear()
        self.gone.clear()

    def find(self, name: str) -> Network | None:
        """
        @return: the network of this name.
        """
        matching = (each for each in self.networks.values() if each.name == name)
        return next(matching, None)

    def setOnline(self, network: bytes, online: bool) -> None:
        """
        This node went online or offline in one network.
        """
        if network in self.networks:
            self.networks[network].online = online

    def sharedWith(self, key: bytes, joined: Container[str]) -> list[Network]:
        """
        @param joined: the networks that this node joined itself, in hexadecimal: a mediator cannot add it to others.
        @return: the networks that this node shares with a member.
        """
        return [
            each for each in self.networks.values() if key in each.members and each.network.hex() in joined
        ]

    def peer(self, key: bytes, joined: Container[str]) -> Member | None:
        """
        One member, in the best state that it has in a network in which this node is online; L{None} when they share none.
        """
        found: Member | None = None
        for network in self.sharedWith(key, joined):
            found = _better(found, _seenFrom(network, network.members[key]))
        return found

    def peers(self, own: bytes, joined: Container[str]) -> dict[bytes, Member]:
        """
        Everyone else, each once, as L{peer} gives it.
        """
        found: dict[bytes, Member] = {}
        for network in self.networks.values():
            if network.network.hex() in joined:
                for key, member in network.members.items():
                    if key != own:
                        found[key] = _better(found.get(key), _seenFrom(network, member))
        return found


def _seenFrom(network: Network, member: Member) -> Member:
    return member if network.online else evolve(member, state="offline")


_RANK = {"offline": 0, "lost": 1, "online": 2}


def _better(known: Member | None, seen: Member) -> Member:
    return seen if known is None or _RANK[seen.state] > _RANK[known.state] else known


Call = Callable[..., Coroutine[Any, Any, dict[str, Any]]]


async def synchronise(view: NetworkView, call: Call) -> None:
    """
    Ask for all that changed, page by page.

    @param call: asks the mediator, as L{vnet.client.session.Session.call} does.
    @raise Refused: there is no end of pages.
    """
    epoch, held, cursor = view.epoch, view.held(), b""
    for _ in range(_MAXIMUM_PAGES):
        answer = await call(control.Synchronise, epoch=epoch, held=held, cursor=cursor)
        view.applyPage(answer)
        cursor = answer["cursor"]
        if not cursor:
            return
    raise Refused("the mediator's account of the networks has no end")
