"""
A node that needs no network: for tests of what speaks to L{vnet.interfaces.INode}, or to try a front end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from vnet.interfaces import INode

__all__ = ["FakeNode", "event", "member"]

ID = "11" * 32


def member(
    number: int, nick: str, state: str = "online", path: str = "direct", **more: Any
) -> dict[str, Any]:
    """
    The JSON of a member.

    @param number: 1 to 254; makes its addresses and its clientId.
    """
    return {
        "clientId": f"{number:064x}",
        "nick": nick,
        "address": f"100.64.{number // 256}.{number % 256}",
        "address6": f"fd00:1::{number:x}",
        "state": state,
        "path": path,
        **more,
    }


def event(kind: str, **more: Any) -> dict[str, Any]:
    """
    The JSON of an event.
    """
    return {"time": "2026-01-31T12:00:00.000Z", "event": kind, **more}


def _lan(prefix: str, state: str, **more: Any) -> dict[str, Any]:
    return {
        "network": "home",
        "prefix": prefix,
        "own": False,
        "clientId": f"{2:064x}",
        "nick": "alice",
        "address": "100.64.0.2",
        "state": state,
        "why": None,
        **more,
    }


def _status() -> dict[str, Any]:
    return {
        "state": "online",
        "clientId": ID,
        "nick": "me",
        "address": "100.64.0.1",
        "address6": "fd00:1::1",
        "mediator": "vnet://mediator.example:7443#sha256-" + "A" * 43,
        "udpPort": 41641,
        "nat": {
            "udp": True,
            "publicAddress": "203.0.113.7:41641",
            "publicAddress6": None,
            "natted": True,
            "mappingVaries": False,
            "mapping": "endpoint-independent",
            "filtering": "address-and-port-dependent",
            "allocation": "preserving",
            "step": None,
            "noise": None,
            "ports": None,
            "hosts": ["203.0.113.7"],
            "hairpin": False,
            "lifetime": 120.0,
            "shared": None,
            "portMapping": None,
            "forwardedPort": None,
        },
        "relays": [
            {
                "relay": "relay.example:3478",
                "transport": "udp",
                "addresses": ["192.0.2.9:50000"],
                "latencyMs": 20.5,
            }
        ],
        "relayError": None,
        "names": {"by": "resolved", "server": "100.64.0.1", "name": "me.vnet", "why": None},
        "error": None,
        "firewall": [{"network": "home", "policy": "open"}, {"network": "work", "policy": "ping-only"}],
        "dropped": {"tunnelReplayed": 3},
        "droppedLately": {},
    }


def _randomNat() -> dict[str, Any]:
    hard = "address-and-port-dependent"
    return {
        "udp": True,
        "natted": True,
        "mapping": hard,
        "filtering": hard,
        "allocation": "random",
        "shared": False,
    }


def _networks() -> list[dict[str, Any]]:
    return [
        {
            "name": "home",
            "state": "online",
            "owner": ID,
            "members": [
                member(2, "alice", endpoint="198.51.100.4:40001", latencyMs=12.34),
                member(
                    3,
                    "bob",
                    path="relayed",
                    endpoint="203.0.113.9:40000",
                    relay="relay.example:443",
                    transport="tls",
                    latencyMs=48.0,
                ),
                member(4, "carol", state="offline", path="none"),
                member(5, "dave", state="lost"),
                member(6, "eve", state="unreachable", path="none"),
            ],
        },
        {"name": "work", "state": "offline", "owner": f"{2:064x}", "members": []},
    ]


@implementer(INode)
@define
class FakeNode:
    """
    Answers each method from what it is given, and remembers how it was called.

    @ivar answers: by the name of a method: an exception to fail with, a function to call, or JSON.
    @ivar calls: the name of the method and its arguments, in the order of the calls.
    @ivar watchers: who is to be told of events.
    """

    answers: dict[str, Any] = field(factory=dict)
    calls: list[tuple[Any, ...]] = field(factory=list)
    watchers: list[Callable[[dict[str, Any]], None]] = field(factory=list)
    members: list[dict[str, Any]] = field(factory=_networks)

    def _answer(self, default: dict[str, Any], *call: Any) -> Deferred[dict[str, Any]]:
        self.calls.append(call)
        answer = self.answers.get(call[0], default)
        if callable(answer):
            made: Deferred[dict[str, Any]] = answer()
            return made
        return fail(answer) if isinstance(answer, BaseException) else succeed(answer)

    def login(self, url: str) -> Deferred[dict[str, Any]]:
        """The status."""
        return self._answer(_status(), "login", url)

    def logout(self) -> Deferred[dict[str, Any]]:
        """The status, offline."""
        return self._answer({**_status(), "state": "offline"}, "logout")

    def status(self) -> Deferred[dict[str, Any]]:
        """The status."""
        return self._answer(_status(), "status")

    def create(self, name: str, password: str | None) -> Deferred[dict[str, Any]]:
        """The network's name."""
        return self._answer({"network": name}, "create", name, password)

    def join(self, name: str, password: str | None) -> Deferred[dict[str, Any]]:
        """The network's name."""
        return self._answer({"network": name}, "join", name, password)

    def joinInvite(self, link: str) -> Deferred[dict[str, Any]]:
        """A network's name."""
        return self._answer({"network": "home"}, "joinInvite", link)

    def invite(self, name: str) -> Deferred[dict[str, Any]]:
        """A link."""
        return self._answer({"link": f"vnet://mediator.example:7443/{name}"}, "invite", name)

    def leave(self, name: str) -> Deferred[dict[str, Any]]:
        """The network's name."""
        return self._answer({"network": name}, "leave", name)

    def networks(
        self,
        network: str | None = None,
        search: str | None = None,
        state: str | None = None,
        page: int | None = None,
        perPage: int | None = None,
    ) -> Deferred[dict[str, Any]]:
        """L{members}, whatever the selection."""
        return self._answer({"networks": self.members}, "networks", network, search, state, page, perPage)

    def watch(self, tell: Callable[[dict[str, Any]], None]) -> Callable[[], None]:
        """How things stand."""
        self.calls.append(("watch",))
        self.watchers.append(tell)
        tell(event("watching", state="online", networks=2, members=5, online=2))
        return lambda: self.watchers.remove(tell)

    def peer(self, nameOrAddress: str) -> Deferred[dict[str, Any]]:
        """A peer behind a relay."""
        bob = member(
            3,
            "bob",
            path="relayed",
            endpoint="203.0.113.9:40000",
            relay="relay.example:443",
            transport="tls",
            latencyMs=48.0,
            lastHandshake=72.0,
            rxBytes=1536,
            txBytes=5 * 2**20,
            nat={"own": _randomNat(), "peer": _randomNat()},
            tried={
                "addresses": ["192.168.1.20:41641", "203.0.113.9:23114"],
                "relays": ["relay.example:443"],
                "strategy": "hopeless",
                "rounds": 0,
                "probes": 0,
                "sockets": 0,
            },
            heard=["203.0.113.9:40000 through relay.example:443"],
            answersPing=True,
            why="both NATs give each destination a random port: one of you has to forward a port",
            help=["switch on UPnP or PCP in your router"],
        )
        return self._answer(bob, "peer", nameOrAddress)

    def ping(self, nameOrAddress: str) -> Deferred[dict[str, Any]]:
        """One answer."""
        return self._answer({"latencyMs": 12.5}, "ping", nameOrAddress)

    def netcheck(self) -> Deferred[dict[str, Any]]:
        """The report."""
        return self._answer(_status()["nat"], "netcheck")

    def setNick(self, nick: str) -> Deferred[dict[str, Any]]:
        """The status with the new nickname."""
        return self._answer({**_status(), "nick": nick}, "setNick", nick)

    def goOnline(self, name: str) -> Deferred[dict[str, Any]]:
        """The network's name."""
        return self._answer({"network": name, "state": "online"}, "goOnline", name)

    def goOffline(self, name: str) -> Deferred[dict[str, Any]]:
        """The network's name."""
        return self._answer({"network": name, "state": "offline"}, "goOffline", name)

    def lan(self, name: str | None, nonIp: str | None, etherTypes: str | None) -> Deferred[dict[str, Any]]:
        """What passes in each network, or in one."""
        networks = [
            {
                "name": each,
                "nonIp": each == "home",
                "etherTypes": types,
                "etherTypesDefault": types != "0x88b5",
            }
            for each, types in (("home", "ipx,appletalk,netbeui"), ("work", "0x88b5"))
        ]
        shown = [each for each in networks if name in (None, each["name"])]
        return self._answer({"networks": shown, "carriesFrames": True}, "lan", name, nonIp, etherTypes)

    def shareLan(self, prefix: str | None, network: str | None, stop: bool) -> Deferred[dict[str, Any]]:
        """The LANs, or the one that is offered."""
        lans = [
            _lan("192.168.7.0/24", "shared", own=True, clientId=ID, nick="me", address="100.64.0.1"),
            _lan("192.168.8.0/24", "used"),
            _lan(
                "10.0.0.0/8",
                "blocked",
                why="10.0.0.0/8 overlaps 10.1.2.0/24 on eth0, a network of this computer",
            ),
        ]
        answer = {"lans": lans} if prefix is None else _lan(prefix, "none" if stop else "offered", own=True)
        return self._answer(answer, "shareLan", prefix, network, stop)

    def acceptLan(
        self, member: str, prefix: str, network: str | None, stop: bool
    ) -> Deferred[dict[str, Any]]:
        """The LAN, which may be used then."""
        answer = _lan(prefix, "offered" if stop else "accepted")
        return self._answer(answer, "acceptLan", member, prefix, network, stop)

    def useLan(self, member: str, prefix: str, network: str | None, stop: bool) -> Deferred[dict[str, Any]]:
        """The LAN, which is used then."""
        answer = _lan(prefix, "accepted" if stop else "used")
        return self._answer(answer, "useLan", member, prefix, network, stop)

    def firewall(self, name: str | None, policy: str | None) -> Deferred[dict[str, Any]]:
        """The policies, or the one that is chosen."""
        policies = [
            {"name": "home", "policy": "open", "dropped": 0},
            {"name": "work", "policy": "ping-only", "dropped": 12},
        ]
        shown = {"networks": [each for each in policies if name in (None, each["name"])], "droppedOthers": 3}
        return self._answer(
            shown if policy is None else {"network": name, "policy": policy}, "firewall", name, policy
        )
