"""
Targets: the control protocol, both sides, and what is sealed inside of it.

The first byte of an input says in pieces of which size the rest arrives; 0 is all at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from typing import Any

from attrs import define, field
from nacl.signing import SigningKey
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols import amp
from twisted.python.failure import Failure

from vnet.client.mediatorclock import MediatorClock
from vnet.client.session import Session
from vnet.client.sync import MAXIMUM_MEMBERS, NetworkView, synchronise
from vnet.client.welcome import Welcome, parseWelcome
from vnet.errors import DecodeError, VnetError
from vnet.protocols import control
from vnet.protocols.codec import signal
from vnet.protocols.codec.address6 import address6Of
from vnet.protocols.codec.prefix import parsePrefix
from vnet.protocols.controlclient import ControlClient, Credentials
from vnet.protocols.controlserver import ControlServer, ControlServerFactory, Limits
from vnet.protocols.machine.admission import Admission
from vnet.protocols.machine.sealer import Sealer
from vnet.server.checks import checkedPrefix
from vnet.test.fuzz.codectargets import signalSeeds
from vnet.test.fuzz.target import Fault, Target, accepting, logged, require

__all__ = ["TARGETS", "VALID_LOGIN"]

_NODE, _PEER = SigningKey(b"n" * 32), SigningKey(b"p" * 32)
_KEY, _PEER_KEY = bytes(_NODE.verify_key), bytes(_PEER.verify_key)
_IDENTITY = (b"m" * 32, b"x" * 32)
_SIGNATURE = _NODE.sign(control.loginTranscript(*_IDENTITY)).signature
_NETWORK = b"n" * 16
_LOST = Failure(ConnectionLost())
_MAXIMUM_ANSWER = 64 * 1024


def _pieces(data: bytes) -> Iterator[bytes]:
    size = data[0] if data else 0
    rest = data[1:]
    if not size:
        yield rest
        return
    for start in range(0, len(rest), size):
        yield rest[start : start + size]


def _command(command: type[amp.Command], tag: bytes | None = b"1", **arguments: object) -> bytes:
    box = command.makeArguments(arguments, amp.AMP())
    box[amp.COMMAND] = command.commandName
    if tag is not None:
        box[amp.ASK] = tag
    return bytes(box.serialize())


def _answer(command: type[amp.Command], tag: bytes, **values: object) -> bytes:
    box = command.makeResponse(values, amp.AMP())
    box[amp.ANSWER] = tag
    return bytes(box.serialize())


def _error(tag: bytes, code: bytes, text: bytes = b"no") -> bytes:
    return bytes(amp.Box({amp.ERROR: tag, amp.ERROR_CODE: code, amp.ERROR_DESCRIPTION: text}).serialize())


class _Transport(StringTransport):
    """
    A transport that delivers nothing any more after an abort.
    """

    def __init__(self) -> None:
        super().__init__(lenient=True)
        self.connected = True
        self.heard = 0

    def deliver(self, protocol: Any, data: bytes) -> None:
        for piece in _pieces(data):
            if self.disconnected:
                return
            protocol.dataReceived(piece)
            self.heard += len(piece)
            require(len(self.value()) <= _MAXIMUM_ANSWER, "what is said is bounded")


class _Backend:
    """
    Answers what it is asked; nothing, when C{admitted} is false.
    """

    def __init__(self, admitted: bool) -> None:
        self._admitted = admitted

    async def login(self, session: ControlServer, key: bytes, nick: str, software: str) -> dict[str, Any]:
        require(self._admitted, "nobody logs in without a signature")
        session.admit()
        return _WELCOME

    def ended(self, session: ControlServer) -> None:
        require(self._admitted, "who was not logged in does not end")

    def drained(self, session: ControlServer) -> None:
        require(self._admitted, "who was not logged in has nothing to read")

    async def logout(self, session: ControlServer) -> dict[str, Any]:
        return self._answer(session)

    async def ping(self, session: ControlServer) -> dict[str, Any]:
        return self._answer(session, now=1)

    async def relays(self, session: ControlServer) -> dict[str, Any]:
        return self._answer(session, relays=_WELCOME["relays"])

    async def createNetwork(self, session: ControlServer, name: str, proof: bytes) -> dict[str, Any]:
        name.encode("utf-8")
        return self._answer(session, network=_NETWORK)

    joinNetwork = createNetwork

    async def leaveNetwork(self, session: ControlServer, network: bytes) -> dict[str, Any]:
        return self._answer(session)

    async def setNick(self, session: ControlServer, nick: str) -> dict[str, Any]:
        raise control.Denied(nick)

    async def setPresence(self, session: ControlServer, network: bytes, online: bool) -> dict[str, Any]:
        return self._answer(session)

    async def offerLan(
        self, session: ControlServer, network: bytes, prefix: str, offered: bool
    ) -> dict[str, Any]:
        checkedPrefix(prefix, ())
        return self._answer(session)

    async def acceptLan(
        self, session: ControlServer, network: bytes, member: bytes, prefix: str, accepted: bool
    ) -> dict[str, Any]:
        checkedPrefix(prefix, ())
        return self._answer(session)

    async def synchronise(
        self, session: ControlServer, epoch: bytes, held: list[dict[str, Any]], cursor: bytes
    ) -> dict[str, Any]:
        for each in held:
            require(
                isinstance(each["network"], bytes) and isinstance(each["version"], int), "a shape is checked"
            )
        return self._answer(session, epoch=epoch, networks=[], gone=[], cursor=b"")

    async def connect(self, session: ControlServer, peer: bytes) -> dict[str, Any]:
        await Deferred()
        return {}

    async def forwardSignal(self, session: ControlServer, peer: bytes, sealed: bytes) -> dict[str, Any]:
        raise control.NotPeers("no")

    async def testPort(self, session: ControlServer, port: int, token: bytes) -> dict[str, Any]:
        return self._answer(session, host="192.0.2.1")

    def _answer(self, session: ControlServer, **values: Any) -> dict[str, Any]:
        require(session.key == _KEY, "only who has logged in is answered")
        return values


_WELCOME: dict[str, Any] = {
    "realm": b"r" * 16,
    "epoch": b"e" * 8,
    "now": 1_000_000,
    "address": "100.64.0.1",
    "address6": str(address6Of(bytes.fromhex("fd123456789a"), _KEY)),
    "pool": "100.64.0.0/10",
    "pool6": "fd12:3456:789a::/48",
    "stun": [":3478", "[2001:db8::1]:3478"],
    "relays": [{"uri": "turn:192.0.2.1", "username": "u", "credential": "c"}],
}


@define(eq=False)
class _Serving:
    """
    One connection to a mediator, from its beginning to its end.
    """

    _admitted: bool
    clock: Clock = field(factory=Clock)
    admission: Admission = field(factory=Admission)
    transport: _Transport = field(factory=_Transport)
    counters: Counter[str] = field(factory=Counter)

    def run(self, data: bytes) -> None:
        self.admission.enter("192.0.2.1")
        factory = ControlServerFactory(
            _Backend(self._admitted),
            self.clock,
            lambda transport: _IDENTITY,
            self.admission,
            counters=self.counters,
        )
        server = ControlServer(factory, "192.0.2.1")
        server.makeConnection(self.transport)
        server.handshakeCompleted()
        if self._admitted:
            server.key = _KEY
            server.admit()
        self.transport.deliver(server, data)
        heard = (
            self._admitted or self.transport.disconnected or self.transport.heard <= Limits().strangerBytes
        )
        require(heard, "a stranger is not heard for long")
        self._end(server)

    def _end(self, server: ControlServer) -> None:
        self.clock.advance(60.0)
        require(self.transport.disconnected, "a connection that says nothing right is closed in time")
        server.connectionLost(_LOST)
        require(not self.clock.getDelayedCalls(), "a connection leaves no timer behind")
        require(self.admission.enter("192.0.2.1"), "a connection that has gone is not counted")


def _serving(admitted: bool) -> Callable[[bytes], None]:
    def check(data: bytes) -> None:
        with logged() as failures, accepting("a protocol raises nothing"):
            _Serving(admitted).run(data)
        require(not failures, "a stranger writes no errors into the log")

    return check


VALID_LOGIN = _command(
    control.Login, b"1", version=1, key=_KEY, signature=_SIGNATURE, nick="nick", software="vnet"
)
_FORGED = _command(control.Login, version=1, key=_KEY, signature=bytes(64), nick="nick", software="vnet")


def _commandSeeds() -> Sequence[bytes]:
    held = [{"network": _NETWORK, "version": 3}]
    return [
        _command(control.Logout),
        _command(control.Ping),
        _command(control.Ping, None),
        _command(control.CreateNetwork, name="home", proof=bytes(32)),
        _command(control.JoinNetwork, name="B\u00fccher", proof=b""),
        _command(control.LeaveNetwork, network=_NETWORK),
        _command(control.SetNick, nick="nick"),
        _command(control.SetPresence, network=_NETWORK, online=True),
        _command(control.Synchronise, epoch=b"e" * 8, held=held, cursor=b""),
        _command(control.Connect, peer=_PEER_KEY),
        _command(control.ForwardSignal, peer=_PEER_KEY, sealed=bytes(100)),
        _answer(control.Signal, b"1"),
        _error(b"1", b"UNKNOWN"),
        _command(amp.StartTLS),
        _command(control.OfferLan, network=_NETWORK, prefix="192.168.7.0/24", offered=True),
        _command(control.AcceptLan, network=_NETWORK, member=_PEER_KEY, prefix="fd00:7::/64", accepted=False),
    ]


def _strangerSeeds() -> Sequence[bytes]:
    stream = [_FORGED, _FORGED + _FORGED, _FORGED.replace(b"1", b"2"), *_commandSeeds()]
    return [size + each for each in stream for size in (b"\0", b"\7")]


def _memberSeeds() -> Sequence[bytes]:
    each = _commandSeeds()
    return [b"\0" + one for one in each] + [b"\x40" + b"".join(each[1:4]), b"\0" + each[9] * 3 + each[1]]


# The client


class _Owner:
    """
    A node that believes what the mediator says.
    """

    def __init__(self) -> None:
        self.view = NetworkView()

    def sessionOnline(self, session: Session, welcome: Welcome) -> None: ...

    def sessionLost(self, reason: str) -> None: ...

    def sessionReplaced(self, session: Session) -> None: ...

    def memberChanged(self, network: bytes, version: int, members: Sequence[dict[str, Any]]) -> None:
        self.view.applyChange(network, version, members)

    def networkGone(self, network: bytes) -> None:
        self.view.networks.pop(network, None)

    def rendezvous(self, peer: bytes, start: int, startAt: float, host: str) -> None:
        require(not host or str(ip_address(host)) == host, "a host is an address")
        require(len(peer) == 32 and startAt <= 5.0, "a rendezvous is with somebody and soon")

    def signal(self, peer: bytes, sealed: bytes) -> None:
        try:
            signal.decode(_SEALER.open(peer, sealed))
        except DecodeError:
            return


async def _logIn(client: ControlClient, session: Session, owner: _Owner) -> None:
    """
    As much as L{Session} does, without TLS.
    """
    try:
        answer = await client.login(_CREDENTIALS, *_IDENTITY)
        MediatorClock().observe(0.0, 1.0, answer["now"])
        parseWelcome(answer, "192.0.2.1", _CREDENTIALS.key)
    except Exception:
        return  # as in Session: whatever it is, this login has failed
    session._protocol, session.online = client, True
    try:
        await synchronise(owner.view, session.call)
    except VnetError:
        return


_CREDENTIALS = Credentials(_KEY, lambda message: bytes(64), "nick", "vnet")


def _client(data: bytes) -> None:
    clock, owner, transport = Clock(), _Owner(), _Transport()
    session = Session(clock, None, lambda: _CREDENTIALS, owner)  # type: ignore[arg-type]
    client = ControlClient(clock, session)
    client.makeConnection(transport)
    client.handshakeCompleted()
    running = Deferred.fromCoroutine(_logIn(client, session, owner))
    found: list[Failure] = []
    running.addErrback(found.append)
    with logged() as failures, accepting("a protocol raises nothing"):
        transport.deliver(client, data)
        clock.advance(30.0)
        client.connectionLost(_LOST)
    for event in failures:
        found.append(event["log_failure"])
    if found:
        raise Fault(f"it does not hold that a mediator makes nothing fail: {found[0].getTraceback()}")
    require(not clock.getDelayedCalls(), "a connection leaves no timer behind")
    members = sum(len(network.members) for network in owner.view.networks.values())
    require(members <= MAXIMUM_MEMBERS, "a node remembers no more than it can")
    for each in owner.view.networks.values():
        lans = [lan for offered in each.lans.values() for lan in offered]
        require(len(lans) <= control.MAXIMUM_NETWORK_OFFERS, "nor more LANs")
        require(all(str(parsePrefix(lan.prefix)) == lan.prefix for lan in lans), "a LAN is a prefix")


def _clientSeeds() -> Sequence[bytes]:
    member = {
        "key": _PEER_KEY,
        "address": "100.64.0.2",
        "address6": str(address6Of(bytes.fromhex("fd123456789a"), _PEER_KEY)),
        "nick": "n",
        "state": "online",
    }
    network = {
        "network": _NETWORK,
        "name": "home",
        "owner": _KEY,
        "protected": True,
        "online": True,
        "version": 3,
        "whole": True,
        "members": [member, {**member, "key": _KEY, "state": "gone"}],
    }
    login = _answer(control.Login, b"1", **_WELCOME)
    page = {"epoch": b"e" * 8, "networks": [network], "gone": [b"g" * 16]}
    first = _answer(control.Synchronise, b"2", cursor=b"c", **page)
    last = _answer(control.Synchronise, b"3", cursor=b"", **page)
    lans = [{"prefix": "192.168.7.0/24", "accepted": True}, {"prefix": "x", "accepted": False}]
    changed = {**member, "lans": lans}
    change = _command(control.MemberChanged, network=_NETWORK, version=4, members=[changed])
    pushes = [
        change,
        _command(control.NetworkGone, network=_NETWORK),
        _command(control.Rendezvous, peer=_PEER_KEY, start=2_000_000, now=1_000_000, host="192.0.2.1"),
        _command(control.Signal, peer=_PEER_KEY, sealed=_sealed(_signals()[0])),
        _command(control.Replaced, byYou=True),
        _command(control.Replaced, byYou=False),
        _command(control.Rendezvous, None, peer=_PEER_KEY, start=1 << 70, now=-1),
        _command(amp.StartTLS),
        _error(b"1", b"LOGIN"),
        _error(b"2", b"BUSY"),
        _error(b"9", b"UNHANDLED"),
        _answer(control.Ping, b"1", now=10**400),
    ]
    return [
        b"\0" + login,
        b"\x11" + login + first + last,
        b"\0" + login + first + last + change + b"".join(pushes[1:5]),
        *(b"\0" + push for push in pushes),
        *(b"\0" + login + push for push in pushes),
    ]


# Sealed signals


_SEALER = Sealer(bytes(_NODE), lambda size: bytes(size))
_PEER_SEALER = Sealer(bytes(_PEER), lambda size: bytes(size))
_signals = signalSeeds


def _sealed(plaintext: bytes) -> bytes:
    return _PEER_SEALER.seal(_KEY, plaintext)


def _makeSealed() -> Callable[[bytes], None]:
    def check(data: bytes) -> None:
        for peer, sealed in ((_PEER_KEY, data), (data[:32], data[32:]), (data[:32], data)):
            try:
                _SEALER.open(peer, sealed)
            except DecodeError:
                continue
            raise Fault("nobody seals without the key")
        if len(data) <= signal.MAXIMUM_SIZE:
            plaintext = _SEALER.open(_PEER_KEY, _sealed(data))
            require(plaintext == data, "what is opened is what was sealed")
            signal.decode(plaintext)

    return check


def _sealedSeeds() -> Sequence[bytes]:
    # By somebody else: no small change makes it what the peer sealed.
    wrong = Sealer(b"t" * 32, lambda size: bytes(size)).seal(_KEY, _signals()[0])
    return [*_signals(), wrong, _PEER_KEY + wrong]


TARGETS = [
    Target("control-stranger", lambda: _serving(False), _strangerSeeds),
    Target("control-node", lambda: _serving(True), _memberSeeds, maximum=1024),
    Target("control-client", lambda: _client, _clientSeeds),
    Target("sealed", _makeSealed, _sealedSeeds),
]
