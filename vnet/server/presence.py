# -*- test-case-name: vnet.test.test_presence -*-
"""
Who is there: nodes, networks, and the versions by which members keep in step.

All of it is in memory, read from the database at the start and changed after each commit, so that reading
never waits for a disk.  Each change of a network makes its version one higher and is one L{Change} for those
who listen.  A network keeps which members its last L{RING} versions changed; a member that holds one of
these gets the difference, any other the whole.

A change of owner has no push of its own: it skips a version, so that each member asks for the difference.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from attrs import define, field, frozen

from vnet.protocols import control
from vnet.server.accounts import Account
from vnet.server.networks import StoredNetwork

__all__ = ["LOST_FOR", "RING", "Change", "Network", "Node", "Presence", "Synchronisation"]

RING = 256
"""Versions that a network remembers."""

LOST_FOR = 7 * 86400.0
"""Seconds after which a lost node is offline."""


@define(eq=False)
class Node:
    """
    A node.

    @ivar state: C{"online"}, C{"lost"} or C{"offline"}.
    @ivar lostAt: since when it is lost.
    @ivar networks: those that it is a member of, by identifier.
    """

    key: bytes
    address: str
    address6: str
    nick: str
    state: str
    lostAt: float = 0.0
    networks: dict[bytes, Network] = field(factory=dict, repr=False)


@define(eq=False)
class Network:
    """
    A network.

    @ivar members: by key, the longest first: whether the member is online in this network, if it is online
        at all.
    @ivar listeners: the keys of the members who get its changes.
    @ivar lans: by key of the member: the prefixes that it offers, and whether they are accepted.
    @ivar ring: which member the latest versions changed.
    """

    identifier: bytes
    name: str
    owner: bytes
    protected: bool
    members: dict[bytes, bool] = field(factory=dict, repr=False)
    listeners: set[bytes] = field(factory=set, repr=False)
    lans: dict[bytes, dict[str, bool]] = field(factory=dict, repr=False)
    version: int = 1
    ring: deque[bytes] = field(factory=lambda: deque(maxlen=RING), repr=False)

    def changedSince(self, version: int) -> list[bytes] | None:
        """
        @return: the members that changed after a version, each once; L{None} when that is not known any more.
        """
        missed = self.version - version
        if not 0 <= missed <= len(self.ring):
            return None
        return list(dict.fromkeys(list(self.ring)[len(self.ring) - missed :]))


@frozen
class Change:
    """
    One version of one network, to be pushed.

    @ivar listeners: the keys of those who get it.
    @ivar member: the member as L{control.MemberChanged} has it.
    """

    network: bytes
    version: int
    member: dict[str, Any]
    listeners: tuple[bytes, ...]


@define(eq=False)
class Presence:
    """
    All nodes and networks.
    """

    nodes: dict[bytes, Node] = field(factory=dict)
    networks: dict[bytes, Network] = field(factory=dict)

    def load(self, accounts: Iterable[Account], networks: Iterable[StoredNetwork], now: float) -> None:
        """
        Take what the database holds.  Who had not logged out is lost until it comes back.
        """
        for account in accounts:
            self._add(account, "lost" if account.present else "offline").lostAt = now
        for stored in networks:
            network = Network(stored.identifier, stored.name, stored.owner, stored.protected)
            self.networks[network.identifier] = network
            for key, online in stored.members:
                network.members[key] = online
                self.nodes[key].networks[network.identifier] = network
            for key, prefix, accepted in stored.lans:
                network.lans.setdefault(key, {})[prefix] = accepted

    def _add(self, account: Account, state: str) -> Node:
        node = Node(account.key, account.address, account.address6, account.nick, state)
        self.nodes[node.key] = node
        return node

    def peers(self, one: bytes, other: bytes) -> bool:
        """
        Whether two nodes share a network in which neither went offline.
        """
        mine, theirs = self.nodes.get(one), self.nodes.get(other)
        if mine is None or theirs is None or one == other:
            return False
        fewer = mine if len(mine.networks) <= len(theirs.networks) else theirs
        return any(each.members.get(one) and each.members.get(other) for each in fewer.networks.values())

    # Changes of a node.

    def login(self, account: Account) -> Iterator[Change]:
        """
        A node is logged in.
        """
        node = self.nodes.get(account.key) or self._add(account, "offline")
        if (node.state, node.nick) != ("online", account.nick):
            node.state, node.nick = "online", account.nick
            yield from self._everywhere(node)

    def logout(self, key: bytes) -> Iterator[Change]:
        """
        A node logged out: it is offline.
        """
        yield from self._leaveFor(key, "offline")

    def lose(self, key: bytes, now: float) -> Iterator[Change]:
        """
        A node's connection broke: it is lost.
        """
        self.nodes[key].lostAt = now
        yield from self._leaveFor(key, "lost")

    def _leaveFor(self, key: bytes, state: str) -> Iterator[Change]:
        node = self.nodes[key]
        for network in node.networks.values():
            network.listeners.discard(key)
        if node.state != state:
            node.state = state
            yield from self._everywhere(node)

    def expire(self, now: float) -> Iterator[list[Change]]:
        """
        Who has been lost for too long is offline.

        @return: the changes of one node after the other; who has enough of them asks again later.
        """
        for node in self.nodes.values():
            if node.state == "lost" and now - node.lostAt >= LOST_FOR:
                yield list(self._leaveFor(node.key, "offline"))

    def setNick(self, key: bytes, nick: str) -> Iterator[Change]:
        """
        A node has another nickname.
        """
        node = self.nodes[key]
        if node.nick != nick:
            node.nick = nick
            yield from self._everywhere(node)

    def _everywhere(self, node: Node) -> Iterator[Change]:
        for network in list(node.networks.values()):
            yield self._changed(network, node.key)

    # Changes of a network.

    def create(self, identifier: bytes, name: str, key: bytes, protected: bool) -> None:
        """
        A network was founded.  Its only member synchronises by itself.
        """
        network = self.networks[identifier] = Network(identifier, name, key, protected)
        network.members[key] = True
        self.nodes[key].networks[identifier] = network

    def join(self, identifier: bytes, key: bytes) -> Iterator[Change]:
        """
        A node became a member.  It synchronises by itself.
        """
        network = self.networks[identifier]
        if key not in network.members:
            network.members[key] = True
            self.nodes[key].networks[identifier] = network
            yield self._changed(network, key)

    def leave(self, identifier: bytes, key: bytes, owner: bytes | None) -> Iterator[Change]:
        """
        A member left.

        @param owner: who owns the network now; L{None}: it has ended.
        """
        network = self.networks[identifier]
        network.members.pop(key, None)
        network.listeners.discard(key)
        network.lans.pop(key, None)
        self.nodes[key].networks.pop(identifier, None)
        if owner is None:
            del self.networks[identifier]
            return
        if network.owner != owner:
            network.owner = owner
            self._next(network, owner)
        yield self._changed(network, key)

    def setOnline(self, identifier: bytes, key: bytes, online: bool) -> Iterator[Change]:
        """
        A member went online or offline in one network.
        """
        network = self.networks[identifier]
        if network.members[key] != online:
            network.members[key] = online
            yield self._changed(network, key)

    def setLan(self, identifier: bytes, key: bytes, prefix: str, accepted: bool | None) -> Iterator[Change]:
        """
        What a member offers is accepted, or not; L{None}: it offers it no more.
        """
        network = self.networks[identifier]
        offered = network.lans.setdefault(key, {})
        if offered.get(prefix) != accepted:
            if accepted is None:
                del offered[prefix]
            else:
                offered[prefix] = accepted
            yield self._changed(network, key)

    def listen(self, key: bytes, identifier: bytes) -> None:
        """
        A member is in step with a network, and gets its changes from now on.
        """
        network = self.networks.get(identifier)
        if network is not None and key in network.members:
            network.listeners.add(key)

    def _next(self, network: Network, key: bytes) -> None:
        network.version += 1
        network.ring.append(key)

    def _changed(self, network: Network, key: bytes) -> Change:
        self._next(network, key)
        return Change(
            network.identifier, network.version, self.member(network, key), tuple(network.listeners)
        )

    def member(self, network: Network, key: bytes) -> dict[str, Any]:
        """
        @return: a member as the control protocol has it; of one that is gone, its key alone.
        """
        online = network.members.get(key)
        if online is None:
            return {"key": key, "address": "", "address6": "", "nick": "", "state": "gone"}
        node = self.nodes[key]
        lans = network.lans.get(key)
        return {
            "key": key,
            "address": node.address,
            "address6": node.address6,
            "nick": node.nick,
            "state": node.state if online else "offline",
            "lans": [{"prefix": prefix, "accepted": each} for prefix, each in lans.items()] if lans else None,
        }


@define(eq=False)
class Synchronisation:
    """
    One node getting in step, page by page.

    @ivar told: the version of each network that the pages so far describe.
    """

    _presence: Presence
    _key: bytes
    _epoch: bytes
    _held: dict[bytes, int]
    _sameEpoch: bool
    told: dict[bytes, int] = field(factory=dict, init=False)

    def pages(self) -> Iterator[dict[str, Any]]:
        """
        @return: the answers of L{control.Synchronise}, but for their cursors.  At least one.
        """
        node = self._presence.nodes[self._key]
        gone = [identifier for identifier in self._held if identifier not in node.networks]
        entries: list[dict[str, Any]] = []
        room = control.PAGE
        for network in list(node.networks.values()):
            if network.identifier not in node.networks:
                self.told[network.identifier] = network.version
                continue
            for entry in self._entries(network):
                size = 1 + sum(map(_size, entry["members"]))
                if size > room:
                    yield {"epoch": self._epoch, "networks": entries, "gone": gone}
                    entries, gone, room = [], [], control.PAGE
                    if network.identifier not in node.networks:
                        # It left while it was reading.
                        break
                entries.append(entry)
                room -= size
        yield {"epoch": self._epoch, "networks": entries, "gone": gone}

    def _entries(self, network: Network) -> Iterator[dict[str, Any]]:
        held = self._held.get(network.identifier) if self._sameEpoch else None
        changed = network.changedSince(held) if held is not None else None
        whole = changed is None
        keys = list(network.members) if changed is None else changed
        self.told[network.identifier] = version = network.version
        if not keys and version == held:
            return
        for number, members in enumerate(self._parts(network, keys)):
            yield {
                "network": network.identifier,
                "name": network.name,
                "owner": network.owner,
                "protected": network.protected,
                "online": network.members.get(self._key, False),
                "version": version,
                "whole": whole and number == 0,
                "members": members,
            }

    def _parts(self, network: Network, keys: list[bytes]) -> Iterator[list[dict[str, Any]]]:
        """
        @return: as many members at a time as a whole page takes beside their network; at least one part.
        """
        part: list[dict[str, Any]] = []
        room = control.PAGE - 1
        for key in keys:
            member = self._presence.member(network, key)
            size = _size(member)
            if size > room:
                yield part
                part, room = [], control.PAGE - 1
            part.append(member)
            room -= size
        yield part


def _size(member: dict[str, Any]) -> int:
    return 1 + len(member.get("lans") or ())
