# -*- test-case-name: vnet.test.test_chronicle -*-
"""
What happens among the networks and members of a node, told as it happens: docs/commands describes the events.

Whoever changes something says so (L{Chronicle.note}); what has changed is found by comparison with what was told, once
in a turn of the reactor.  Without a watcher nothing is kept, and nothing compared.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from vnet.client.logins import Logins
from vnet.client.memberships import Memberships
from vnet.client.peer import Peer
from vnet.client.peerreport import describe
from vnet.client.peers import Peers
from vnet.client.sync import NetworkView

if TYPE_CHECKING:
    from vnet.client.lansharing.sharing import SharedLan

__all__ = ["Chronicle"]

_WAY = ("endpoint", "relay", "transport", "latencyMs")


_Lan = tuple[str, bytes, str]
# The identifier of the network, the key of the member who offers it, and the prefix.


@frozen
class _Seen:
    """
    A peer as watchers know it.

    @ivar described: the JSON value of it in a list.
    @ivar networks: the identifiers of the networks that it shares with this node.
    """

    described: Mapping[str, Any]
    networks: frozenset[str]

    def __getitem__(self, key: str) -> Any:
        return self.described[key]


@define(eq=False, repr=False)
class Chronicle:
    """
    Tells watchers of one node.

    @ivar _ownKey: its Ed25519 key.
    @ivar _mediator: the URL of the mediator that this node logged in with last.
    @ivar _sharedLans: gives the LANs of its networks.
    @ivar _wallClock: seconds since 1970.
    """

    _clock: IReactorTime
    _wallClock: Callable[[], float]
    _ownKey: bytes
    _view: NetworkView
    _memberships: Memberships
    _peers: Peers
    _logins: Logins
    _mediator: Callable[[], str]
    _sharedLans: Callable[[], Iterable[SharedLan]] = field(default=tuple)
    _log: Logger = field(factory=Logger)
    _watchers: list[Callable[[dict[str, Any]], None]] = field(factory=list, init=False)
    _state: str = field(default="", init=False)
    _networks: dict[str, tuple[str, str]] = field(factory=dict, init=False)
    _members: dict[bytes, _Seen] = field(factory=dict, init=False)
    _lans: dict[_Lan, str] = field(factory=dict, init=False)
    _problems: dict[_Lan, str | None] = field(factory=dict, init=False)
    _changed: dict[bytes, None] = field(factory=dict, init=False)
    _all: bool = field(default=False, init=False)
    _call: IDelayedCall | None = field(default=None, init=False)

    def watch(self, tell: Callable[[dict[str, Any]], None]) -> Callable[[], None]:
        """
        Tell what happens from now on, after an event that says how things stand.

        @param tell: called with each event, a JSON value that it must not change.
        @return: call it to hear no more; may be called twice.
        """
        if self._watchers:
            self._compare()
        else:
            self._begin()
        self._watchers.append(tell)
        members = self._members.values()
        tell(
            self._event(
                "watching",
                state=self._state,
                networks=len(self._networks),
                members=len(members),
                online=sum(each["state"] == "online" for each in members),
            )
        )
        return lambda: self._leave(tell)

    def _leave(self, tell: Callable[[dict[str, Any]], None]) -> None:
        if tell in self._watchers:
            self._watchers.remove(tell)
        if not self._watchers:
            self.stop()

    def stop(self) -> None:
        """
        Tell nobody any more, and forget what was told.
        """
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()
        self._all = False
        for table in (self._watchers, self._networks, self._members, self._lans, self._changed):
            table.clear()
        self._problems.clear()

    def note(self, keys: Iterable[bytes] = ()) -> None:
        """
        Something has changed: of these peers, by their Ed25519 keys, or of this node.
        """
        if self._watchers:
            self._changed.update(dict.fromkeys(keys))
            if self._call is None:
                self._call = self._clock.callLater(0, self._due)

    def noteAll(self) -> None:
        """
        Any of the peers may have changed.
        """
        self._all = True
        self.note()

    def _due(self) -> None:
        self._call = None
        with self._log.failuresHandled("while watchers are told"):
            self._compare()

    # What is

    def _begin(self) -> None:
        self._state, self._all = self._logins.state, False
        self._networks.update(
            (identifier, (network.name, self._stateOf(identifier)))
            for identifier, network in self._memberships.joined.items()
        )
        joined = self._memberships.joined
        self._members.update((peer.key, self._look(peer, joined)) for peer in self._peers.all())
        self._lans = self._offeredLans()
        self._problems = {each: lan.why for each, lan in self._lansInUse()}

    def _stateOf(self, identifier: str) -> str:
        network = self._view.networks.get(bytes.fromhex(identifier))
        return "online" if network is not None and network.online else "offline"

    def _offeredLans(self) -> dict[_Lan, str]:
        return {
            (identifier, key, lan.prefix): "accepted" if lan.accepted else "offered"
            for identifier in self._memberships.joined
            if (network := self._view.networks.get(bytes.fromhex(identifier))) is not None
            for key, lans in network.lans.items()
            for lan in lans
        }

    def _lansInUse(self) -> Iterator[tuple[_Lan, SharedLan]]:
        for lan in self._sharedLans():
            if lan.state in ("shared", "used", "blocked"):
                yield (lan.network.hex(), lan.key, lan.prefix), lan

    def _look(self, peer: Peer, joined: Container[str]) -> _Seen:
        shared = self._view.sharedWith(peer.key, joined)
        return _Seen(describe(peer), frozenset(each.network.hex() for each in shared))

    # What has changed

    def _compare(self) -> None:
        self._compareMediator()
        known = dict(self._networks)
        self._compareNetworks()
        keys: Iterable[bytes] = self._changed
        if self._all:
            keys = dict.fromkeys([*self._members, *(peer.key for peer in self._peers.all())])
        self._changed, self._all = {}, False
        # What comes or goes with its network is not told one by one.
        steady = frozenset(
            identifier
            for identifier, (_, state) in self._networks.items()
            if state == "online" and known.get(identifier, ("", ""))[1] == "online"
        )
        joined = self._memberships.joined
        for key in keys:
            peer = self._peers.get(key)
            self._compareMember(key, None if peer is None else self._look(peer, joined), steady)
        self._compareLans(steady)
        self._compareProblems(steady)

    def _compareMediator(self) -> None:
        state, self._state = self._state, self._logins.state
        if state != self._state:
            error = self._logins.error if self._state != "online" else ""
            self._tell("mediator", state=self._state, mediator=self._mediator() or None, error=error or None)

    def _compareNetworks(self) -> None:
        joined, known = self._memberships.joined, self._networks
        for identifier in [each for each in known if each not in joined]:
            self._tell("network", network=known.pop(identifier)[0], state="left")
        for identifier, network in joined.items():
            state, before = self._stateOf(identifier), known.get(identifier)
            if before is None and bytes.fromhex(identifier) not in self._view.networks:
                continue  # It is told when its members are known.
            known[identifier] = (network.name, state)
            if before is None or before[1] != state:
                self._tellNetwork(identifier, "joined" if before is None else state)

    def _tellNetwork(self, identifier: str, state: str) -> None:
        network = self._view.networks.get(bytes.fromhex(identifier))
        members = [] if network is None else network.members.values()
        others = [each.state for each in members if self._peers.get(each.key) is not None]
        self._tell(
            "network",
            network=self._nameOf(identifier),
            state=state,
            members=len(others),
            online=others.count("online"),
        )

    def _compareMember(self, key: bytes, new: _Seen | None, steady: frozenset[str]) -> None:
        old = self._members.pop(key, None)
        if new is not None:
            self._members[key] = new
        here = new or old
        if here is None:
            return
        before: frozenset[str] = frozenset() if old is None else old.networks
        after: frozenset[str] = frozenset() if new is None else new.networks
        for identifier in sorted((after - before) & steady, key=self._nameOf):
            self._tellMember("memberJoined", here, network=self._nameOf(identifier), state=here["state"])
        for identifier in sorted((before - after) & steady, key=self._nameOf):
            self._tellMember("memberLeft", here, network=self._nameOf(identifier))
        if old is not None and new is not None:
            self._compareSeen(old, new)

    def _compareSeen(self, old: _Seen, new: _Seen) -> None:
        if old["nick"] != new["nick"]:
            self._tellMember("memberNick", new, before=old["nick"])
        if old["state"] != new["state"]:
            self._tellMember("memberState", new, state=new["state"], before=old["state"])
        if old["path"] != new["path"]:
            way = {key: new[key] for key in _WAY}
            self._tellMember("memberPath", new, path=new["path"], before=old["path"], **way)

    def _compareLans(self, steady: frozenset[str]) -> None:
        before, self._lans = self._lans, self._offeredLans()
        for lan in dict.fromkeys([*before, *self._lans]):
            old, new = before.get(lan), self._lans.get(lan, "withdrawn")
            identifier, key, prefix = lan
            if old == new or identifier not in steady:
                continue
            told = {"network": self._nameOf(identifier), "prefix": prefix, "state": new, "before": old}
            seen = self._members.get(key)
            if key == self._ownKey:
                self._tell("ownLan", **told)
            elif seen is not None and identifier in seen.networks:
                # Who has left has taken its LANs along.
                self._tellMember("memberLan", seen, **told)

    def _compareProblems(self, steady: frozenset[str]) -> None:
        before, self._problems = self._problems, {}
        for each, lan in self._lansInUse():
            self._problems[each] = lan.why
            if lan.why != before.get(each) and each[0] in steady:
                self._tell(
                    "lanProblem",
                    network=self._nameOf(each[0]),
                    prefix=lan.prefix,
                    own=lan.isOwn,
                    state=lan.state,
                    why=lan.why,
                    help=list(lan.help),
                )

    def _nameOf(self, identifier: str) -> str:
        return self._networks[identifier][0]

    def _tellMember(self, event: str, seen: _Seen, **more: Any) -> None:
        networks = sorted(self._nameOf(each) for each in seen.networks if each in self._networks)
        who = {key: seen[key] for key in ("clientId", "nick", "address")}
        self._tell(event, **who, networks=networks, **more)

    def _tell(self, event: str, **more: Any) -> None:
        told = self._event(event, **more)
        for tell in tuple(self._watchers):
            with self._log.failuresHandled("while a watcher is told"):
                tell(told)

    def _event(self, event: str, **more: Any) -> dict[str, Any]:
        now = datetime.fromtimestamp(self._wallClock(), UTC).isoformat(timespec="milliseconds")
        return {"time": now.replace("+00:00", "Z"), "event": event, **more}
