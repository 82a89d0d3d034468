# -*- test-case-name: vnet.test.test_names_nameservice -*-
"""
The names of a node's members: kept in step with its networks, and made known to this computer.

The DNS responder has all of them.  systemd-resolved is told of it where it runs; otherwise multicast DNS has C{nick.local}.
C{resolv.conf} is not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from vnet.client.calls import Calls
from vnet.client.names.groups import isToGroup
from vnet.client.names.registry import DOMAIN, Registry
from vnet.client.names.resolved import Resolved
from vnet.client.names.responder import Responder
from vnet.client.names.reverse import reverseZones
from vnet.client.names.roster import PeerTable, Roster
from vnet.client.welcome import Welcome
from vnet.errors import StateError

if TYPE_CHECKING:
    from vnet.client.names.multicast import MulticastResponder
    from vnet.client.names.zone import Zone

__all__ = ["NameParts", "NameService"]

_SETTLE = 0.2
# Seconds for each member beyond the first few: settling takes a twentieth of that.
_PAUSE, _FEW = 1e-4, 100
_SAVE = 5.0
_SAVE_AGAIN = 60.0
_LOOK_AGAIN = 60.0
_OFF = "vnet-client was started with --no-names"
_EARLY = "this node has no address yet"
_NO_RESOLVED = "systemd-resolved does not run here"


@frozen
class NameParts:
    """
    What names take.

    @ivar reactor: for sockets, processes and time.
    @ivar path: the file that keeps who has which name.
    @ivar hostName: this computer's, for which nobody else answers.
    """

    reactor: Any
    path: Path
    resolved: Resolved
    hostName: str


@define(eq=False, repr=False)
class NameService:
    """
    The names.

    @ivar _parts: L{None}: there are none.
    @ivar _interface: the name of the network interface.
    @ivar _write: takes frames for the operating system.
    @ivar _roster: who there is now; L{None}: that is not known.
    @ivar by: C{"resolved"}, C{"mdns"} or C{"off"}: how this computer comes to know of the names.
    @ivar why: why not by what would be better, one line; empty: there is nothing better.
    """

    _parts: NameParts | None
    _interface: str
    _own: bytes
    _peers: PeerTable
    _write: Callable[[Sequence[bytes]], None]
    _roster: Callable[[], Roster | None]
    _log: Logger = field(factory=Logger)
    by: str = field(default="off", init=False)
    why: str = field(default=_EARLY, init=False)
    _registry: Registry = field(factory=Registry, init=False)
    _responder: Responder | None = field(default=None, init=False)
    _multicast: MulticastResponder | None = field(default=None, init=False)
    _zone: Zone | None = field(default=None, init=False)
    _welcome: Welcome | None = field(default=None, init=False)
    _told: tuple[tuple[str, ...], tuple[str, ...]] | None = field(default=None, init=False)
    _dirty: bool = field(default=False, init=False)
    _size: int = field(default=0, init=False)
    _settledAt: float = field(default=float("-inf"), init=False)
    _unsaved: bool = field(default=False, init=False)
    _choosing: bool = field(default=False, init=False)
    _calls: Calls | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        parts = self._parts
        if parts is None:
            self.why = _OFF
            return
        self._calls = Calls(parts.reactor)
        self._responder = Responder(parts.reactor)
        try:
            self._registry = Registry.load(parts.path)
        except (StateError, ValueError):
            self._log.warn("the file {path} is damaged and is written anew", path=parts.path)

    # What happens.

    def configured(self, welcome: Welcome) -> None:
        """
        This node has these addresses now.
        """
        before, self._welcome = self._welcome, welcome
        if self._parts is None:
            return
        self.changed()
        addresses = (welcome.address, welcome.address6)
        if before is None or addresses != (before.address, before.address6) or welcome.pool != before.pool:
            self._open()
        self._look()

    def changed(self) -> None:
        """
        A member, a network or a nickname has changed.
        """
        if self._parts is not None:
            self._dirty = True
            self._later("settle", max(_SETTLE, self._pause), self._settle)

    def groupFrame(self, frame: bytes) -> None:
        """
        The operating system sends this frame to a group.
        """
        if self.by == "mdns" and self._parts is not None and isToGroup(frame):
            if self._multicast is None:
                # As with the zone.
                from vnet.client.names.multicast import MulticastResponder

                self._multicast = MulticastResponder(self._parts.reactor, self, self._ownPacked, self._write)
            self._multicast.heard(frame)

    def stop(self) -> None:
        """
        There are no names any more.
        """
        self._size = 0
        self._settle()
        self._save()
        if self._calls is not None:
            self._calls.cancelAll()
        if self._responder is not None:
            self._responder.close()
        self.by, self._parts, self._multicast, self._calls = "off", None, None, None

    # What is shown.

    def status(self) -> dict[str, Any]:
        """
        @return: the JSON value: how this computer comes to know of the names.
        """
        serving = self._responder.serving if self._responder is not None else ()
        return {
            "by": self.by,
            "server": serving[0] if serving else None,
            "name": self._nameOf(self._own),
            "why": self.why or None,
        }

    def nameIn(self, network: bytes, key: bytes) -> str | None:
        """
        @return: the name of a member of a network, C{nick.network.vnet}.
        """
        if self._parts is None:
            return None
        self._settle()
        return self._registry.nameIn(network, key)

    # What is looked up: see L{vnet.client.names.zone.Book} and L{vnet.client.names.multicast.Members}.

    def addressesOf(self, labels: Sequence[str]) -> tuple[str, ...]:
        """
        See L{vnet.client.names.zone.Book.addressesOf}.
        """
        self._settle()
        if list(labels) == ["dns"]:
            return self._addresses(self._own)
        key = self._registry.find(labels)
        return () if key is None else self._addresses(key)

    def isNetwork(self, label: str) -> bool:
        """
        See L{vnet.client.names.zone.Book.isNetwork}.
        """
        self._settle()
        return self._registry.isNetwork(label)

    def nameAt(self, address: str) -> str | None:
        """
        See L{vnet.client.names.zone.Book.nameAt}.
        """
        key = self._own if address in self._addresses(self._own) else self._peers.keyAt(address)
        return None if key is None else self._nameOf(key)

    def memberAt(self, label: str) -> tuple[str, ...]:
        """
        See L{vnet.client.names.multicast.Members.memberAt}.
        """
        self._settle()
        key = self._registry.find([label])
        if key is None or key == self._own or self._parts is None or label == self._parts.hostName:
            return ()
        return self._addresses(key)

    def labelAt(self, address: str) -> str | None:
        """
        See L{vnet.client.names.multicast.Members.labelAt}.
        """
        key = self._peers.keyAt(address)
        name = None if key is None else self._nameOf(key)
        return None if name is None else name.removesuffix(f".{DOMAIN}")

    def _nameOf(self, key: bytes) -> str | None:
        self._settle()
        return None if self._parts is None else self._registry.nameOf(key)

    def _addresses(self, key: bytes) -> tuple[str, ...]:
        if key != self._own:
            return self._peers.addressesOf(key)
        return () if self._welcome is None else (self._welcome.address, self._welcome.address6)

    def _ownPacked(self) -> list[bytes]:
        return [ip_address(address).packed for address in self._addresses(self._own)]

    # Who has which name.

    @property
    def _pause(self) -> float:
        """How long what there is holds, seconds: in a large network somebody comes or goes all the time."""
        return max(0, self._size - _FEW) * _PAUSE

    def _settle(self) -> None:
        parts = self._parts
        if parts is None or not self._dirty or parts.reactor.seconds() < self._settledAt + self._pause:
            return
        roster = self._roster()
        if roster is None:
            return
        self._dirty = False
        self._size = sum(len(network.members) for network in roster.networks)
        self._settledAt = parts.reactor.seconds()
        if self._registry.settle(roster):
            self._unsaved = True
            self._later("save", _SAVE, self._save)

    def _save(self) -> None:
        if self._parts is None or not self._unsaved:
            return
        try:
            self._registry.save(self._parts.path)
            self._unsaved = False
        except StateError as error:
            self._log.error("who has which name is not on disk: {error}", error=error)
            self._later("save", _SAVE_AGAIN, self._save)

    # How this computer comes to know.

    def _open(self) -> None:
        welcome = self._welcome
        if welcome is None or self._responder is None:
            return
        self._zone = None
        problem = self._responder.open((welcome.address, welcome.address6), self._answer)
        self._set("mdns", problem or self.why)

    def _answer(self, question: bytes, maximum: int) -> bytes | None:
        welcome = self._welcome
        if self._zone is None and welcome is not None:
            # All kinds of records there are: in memory only where somebody asks for a name.
            from vnet.client.names.zone import Zone

            self._zone = Zone(self, reverseZones(welcome.pool, welcome.pool6))
        return None if self._zone is None else self._zone.answer(question, maximum)

    def _look(self) -> None:
        """
        See what there is on this computer, now and every minute.
        """
        if self._parts is None or self._responder is None:
            return
        self._later("look", _LOOK_AGAIN, self._look)
        if not self._responder.serving:
            self._open()
        if self._responder.serving and not self._choosing:
            self._choosing = True
            Deferred.fromCoroutine(self._choose(self._parts.resolved)).addErrback(
                lambda failure: self._log.failure("while systemd-resolved is told of the names", failure)
            )

    async def _choose(self, resolved: Resolved) -> None:
        try:
            while True:
                welcome = self._welcome
                if not resolved.runs():
                    self._told = None
                    self._set("mdns", _NO_RESOLVED)
                elif welcome is not None and self._responder is not None:
                    zones = (DOMAIN, *reverseZones(welcome.pool, welcome.pool6))
                    await self._tell(resolved, self._responder.serving, zones)
                if welcome is self._welcome:
                    return
        finally:
            self._choosing = False

    async def _tell(self, resolved: Resolved, servers: tuple[str, ...], zones: tuple[str, ...]) -> None:
        problem = ""
        if (servers, zones) != self._told:
            problem = await resolved.configure(self._interface, servers, zones)
        self._told = None if problem else (servers, zones)
        self._set("mdns" if problem else "resolved", problem)

    def _set(self, by: str, why: str) -> None:
        if self._parts is None:
            return
        if why and why not in (self.why, _NO_RESOLVED):
            self._log.warn("names: {why}", why=why)
        self.by, self.why = by, why

    def _later(self, name: str, delay: float, call: Callable[[], None]) -> None:
        if self._calls is not None and name not in self._calls:
            self._calls.later(name, delay, call)
