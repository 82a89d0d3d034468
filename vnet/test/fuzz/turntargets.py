"""
Targets: a TURN server under what strangers and its own users send, and the trains and streams that it moves.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Sequence
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from vnet.protocols.codec import stun
from vnet.protocols.codec import stunattributes as attributes
from vnet.protocols.codec.turn import (
    ALLOCATE,
    CHANNEL_BIND,
    CHANNELS_5766,
    CREATE_PERMISSION,
    REFRESH,
    SEND,
    UDP,
    encodeChannelData,
)
from vnet.protocols.machine.relaycredentials import SharedSecrets
from vnet.protocols.machine.relayingevents import SendToPeer
from vnet.protocols.machine.relaysettings import RelayLimits, RelaySettings
from vnet.protocols.machine.served import Served
from vnet.protocols.trains import cut
from vnet.protocols.turn import STRANGER_TIME, TurnServer
from vnet.protocols.turnforward import Forwarding
from vnet.test.fuzz.codectargets import mendStun
from vnet.test.fuzz.target import Target, accepting, logged, require
from vnet.test.relaycallers import HOSTS, SECRET, Caller, Relay
from vnet.test.relayforwarding import PretendedSocket
from vnet.values import Address

__all__ = ["TARGETS"]

_PEER, _PEER2, _PEER6 = Address("8.1.1.1", 5000), Address("8.1.1.2", 5000), Address("2600::1", 5000)
_ONE, _TWO = 0x4000, 0x4001
_STEPS = (0.0, 0.3, 31.0, 301.0, 601.0, 1801.0)
_ERRORS = frozenset({400, 401, 403, 420, 437, 438, 440, 441, 442, 443, 486, 508})
_UNSIGNED = frozenset({400, 401})
_INTEGRITY = b"\0\x08\0\x14"


class _World:
    """
    A relay with two users that have allocations, and one that has none.
    """

    def __init__(self) -> None:
        limits = RelayLimits(permissions=3, channels=3, perUser=2)
        self.relay = Relay(RelaySettings("relay.example", HOSTS, limits=limits))
        both = attributes.ADDITIONAL_ADDRESS_FAMILY(6)
        self.callers = [
            self.relay.allocated(both, user="high-alice"),
            self.relay.allocated(attributes.EVEN_PORT(True), user="low-bob"),
            self.relay.caller(user="high-carol"),
        ]
        self.callers[2].challenge()
        self.callers[0].permit(_PEER, self.callers[1].relayed[0])
        self.callers[0].bind(_ONE, _PEER)
        self.relay.events()

    def tables(self) -> object:
        """
        All that clients can change, but for the times.
        """
        return [
            (
                client,
                {family: side.relayed for family, side in each.sides.items()},
                list(each.permissions),
                list(each.channels),
                each.until,
            )
            for client, each in self.relay.machine.clients.items()
        ]

    def verify(self) -> None:
        """
        What holds whatever was asked.
        """
        machine, limits = self.relay.machine, self.relay.settings.limits
        sides = [side for served in machine.clients.values() for side in served.sides.values()]
        bound = {side.bound for side in sides}
        require(
            len(bound) == len(sides) and bound <= self.relay.bound, "each address has one owner, and is bound"
        )
        require(
            set(machine._byRelayed) == {side.relayed for side in sides},
            "all allocations are found by address",
        )
        for client, served in machine.clients.items():
            require(served.client == client and served.sides, "an allocation has a client and an address")
            require(len(served.permissions) <= limits.permissions, "permissions are limited")
            require(len(served.channels) <= limits.channels, "channels are limited")
            self._verifyPeers(served)

    def _verifyPeers(self, served: Served) -> None:
        machine = self.relay.machine
        for host in served.permissions:
            own = host in machine.policy.own
            require(own or machine.policy.allows(host), "nobody who is forbidden has a permission")
            require((6 if ":" in host else 4) in served.sides, "permissions are of a family that there is")
        require(
            {id(each) for each in served.channels.values()} == {id(each) for each in served.byPeer.values()},
            "channels and peers belong together",
        )
        for number, channel in served.channels.items():
            require(number in CHANNELS_5766 and channel.number == number, "channels have their numbers")
            require(
                channel.permission is served.permissions[channel.peer.host], "channels know their permission"
            )


def _senderOf(first: int) -> int:
    return (first & 3) % 3


def _chunks(data: bytes) -> Iterator[bytes]:
    """
    Messages, each with two bytes before it that say how long it is.
    """
    place = 0
    while place + 2 <= len(data):
        size = int.from_bytes(data[place : place + 2], "big") & 0x3FF
        yield data[place + 2 : place + 2 + size]
        place += 2 + size


def _joined(messages: Sequence[bytes]) -> bytes:
    return b"".join(len(each).to_bytes(2, "big") + each for each in messages)


class _Asking:
    """
    The first byte says who sends, and how much later; then come up to four messages.
    """

    def __init__(self) -> None:
        self._fresh: _World | None = None

    def __call__(self, data: bytes) -> None:
        world = self._fresh or _World()
        self._fresh = None
        before = world.tables()
        first = data[0] if data else 0
        caller, step = world.callers[_senderOf(first)], _STEPS[(first >> 2) % len(_STEPS)]
        world.relay.sleep(step)
        for message in list(_chunks(data[1:]))[:4]:
            self._ask(world, caller, message)
        world.verify()
        if not step and world.tables() == before and not world.relay.machine.counters["allocated"] > 2:
            self._fresh = world

    def _ask(self, world: _World, caller: Caller, message: bytes) -> None:
        relay, keys = world.relay, [each.signer._key for each in world.callers]
        before = world.tables()
        with accepting("a relay raises nothing"):
            answers = relay.exchange(message, caller.address)
        require(len(answers) <= 1, "there is one answer at most")
        for answer in answers:
            self._judge(message, answer, keys)
        for event in relay.events():
            if isinstance(event, SendToPeer):
                isOwn = relay.machine.servedAt(event.peer) is not None
                require(
                    isOwn or relay.machine.policy.allows(event.peer.host), "nothing goes to who is forbidden"
                )
                require(event.served.permits(event.peer.host, relay.now), "nothing goes where nothing may")
        if not _isAuthentic(message, keys):
            require(world.tables() == before, "nothing is changed by what nobody signed")
        world.verify()

    def _judge(self, message: bytes, answer: bytes, keys: Sequence[bytes]) -> None:
        with accepting("an answer is a STUN message"):
            said = stun.decode(answer)
        asked = stun.decode(message, tolerant=True)
        require(said.method == asked.method and said.transactionId == asked.transactionId, "it is the answer")
        require(
            len(answer) + 28 <= 2.7 * (len(message) + 28), "an answer is no more than 2.7 times the request"
        )
        error = said.get(attributes.ERROR_CODE)
        code = 0 if error is None else error.code
        require(
            (said.klass is stun.Class.SUCCESS) == (code == 0), "an error has a code, and a success has none"
        )
        require(code in _ERRORS or not code, "errors are those of the RFC")
        if asked.method != stun.BINDING and code not in _UNSIGNED:
            require(any(stun.authenticate(said, key) for key in keys), "an answer to who is known is signed")


def _isAuthentic(data: bytes, keys: Sequence[bytes]) -> bool:
    try:
        message = stun.decode(data, tolerant=True)
        return any(stun.authenticate(message, key) for key in keys)
    except ValueError:
        return False


def _signed(message: bytes, key: bytes, sha256: bool) -> bytes:
    """
    A message with header, length and integrity as they have to be.
    """
    body = mendStun(message)
    for mark in (_INTEGRITY, b"\0\x1c\0\x20"):
        place = body.find(mark, 20)
        body = body if place < 0 else body[:place]
    size = 36 if sha256 else 24
    signed = body[:2] + (len(body) - 20 + size).to_bytes(2, "big") + body[4:]
    mac = hmac.digest(key, signed, "sha256" if sha256 else "sha1")
    return signed + (b"\0\x1c\0\x20" if sha256 else _INTEGRITY) + mac


def _mendSigned(data: bytes) -> bytes:
    if not data:
        return data
    key = _FIRST.callers[_senderOf(data[0])].signer._key
    return data[:1] + _joined([_signed(each, key, True) for each in list(_chunks(data[1:]))[:4]])


def _mendPlain(data: bytes) -> bytes:
    return data[:1] + _joined([mendStun(each) for each in list(_chunks(data[1:]))[:4]])


_FIRST = _World()
_TAKEN = tuple(caller.relayed[0] for caller in _FIRST.callers[:2])


def _requests() -> list[tuple[int, tuple[attributes.Attribute[Any], ...]]]:
    """
    What clients ask.
    """
    transport, number = attributes.REQUESTED_TRANSPORT(UDP), attributes.CHANNEL_NUMBER
    four, six = attributes.REQUESTED_ADDRESS_FAMILY(4), attributes.REQUESTED_ADDRESS_FAMILY(6)
    peer, life = attributes.XOR_PEER_ADDRESS, attributes.LIFETIME
    tokens = list(_FIRST.relay.machine._allocations._ports._reserved)
    return [
        (ALLOCATE, (transport,)),
        (ALLOCATE, (transport, life(3600), attributes.ADDITIONAL_ADDRESS_FAMILY(6))),
        (ALLOCATE, (transport, attributes.EVEN_PORT(True), attributes.DONT_FRAGMENT(True))),
        (ALLOCATE, (transport, six, attributes.EVEN_PORT(False))),
        (ALLOCATE, (transport, attributes.RESERVATION_TOKEN(tokens[0]))),
        (REFRESH, (life(0),)),
        (REFRESH, (life(1200), four)),
        (REFRESH, (life(0), six)),
        (CREATE_PERMISSION, (peer(_PEER), peer(_PEER2))),
        (CREATE_PERMISSION, (peer(_PEER6), peer(Address("10.0.0.1", 1)))),
        (CREATE_PERMISSION, tuple(map(peer, _TAKEN))),
        (CHANNEL_BIND, (number(_ONE), peer(_PEER))),
        (CHANNEL_BIND, (number(_TWO), peer(_PEER6))),
        (CHANNEL_BIND, (number(_TWO), peer(_TAKEN[1]))),
        (CHANNEL_BIND, (number(_TWO), peer(Address("::ffff:127.0.0.1", 80)))),
        (stun.BINDING, ()),
    ]


def _indications() -> list[bytes]:
    data = attributes.DATA(b"data")
    return [
        stun.encode(
            stun.Message(
                SEND, stun.Class.INDICATION, bytes(range(12)), (attributes.XOR_PEER_ADDRESS(peer), data)
            )
        )
        for peer in (_PEER, _PEER2, _PEER6, *_TAKEN, _TAKEN[0]._replace(port=22))
    ]


def _signedSeeds() -> Sequence[bytes]:
    seeds = []
    for number, caller in enumerate(_FIRST.callers):
        asked = [caller.request(method, *held) for method, held in _requests()]
        seeds += [bytes([number]) + _joined([each]) for each in (*asked, *_indications())]
        seeds += [
            bytes([number | step << 2]) + _joined([asked[8], asked[13], asked[5], asked[0]])
            for step in range(6)
        ]
        seeds.append(bytes([number]) + _joined([asked[10], *_indications()[3:]]))
    return seeds


def _plainSeeds() -> Sequence[bytes]:
    plain = [
        stun.encode(
            stun.Message(method, stun.Class.REQUEST, bytes(range(12)), held), fingerprint=bool(number % 2)
        )
        for number, (method, held) in enumerate(_requests())
    ]
    return [bytes([number]) + _joined([each]) for each in (*plain, *_indications()) for number in range(3)]


# Trains


class _Path:
    """
    A relay's data path, with two channels.
    """

    def __init__(self) -> None:
        relay = Relay(RelaySettings("relay.example", HOSTS))
        caller = relay.allocated()
        for number, peer in ((_ONE, _PEER), (_TWO, _PEER2)):
            caller.bind(number, peer)
        self.served = relay.machine.clients[caller.address]
        self.forwarding = Forwarding(relay.machine, lambda: relay.now)
        self.pretended = PretendedSocket()
        socket: Any = self.pretended
        self.forwarding.attach(self.served.sides[4].bound, socket)

    def train(self, train: memoryview, segment: int) -> bool:
        """
        Try it as a whole.

        @return: whether it was one.
        """
        memory = self.forwarding.buffer.memory
        memory[: len(train)] = train
        return _isData(train) and self.forwarding.channelData(
            self.served, memory[: len(train)], segment, 1000.0
        )

    def each(self, datagrams: Sequence[memoryview]) -> None:
        """
        Take them one by one.
        """
        for each in datagrams:
            require(self.train(each, len(each)) or not _isData(each), "one datagram is all of it")

    def result(self) -> tuple[list[tuple[bytes, Address]], dict[str, int]]:
        """
        Take what has left, and what was counted.
        """
        found = list(self.pretended.sent), dict(self.forwarding.counters)
        self.pretended.sent.clear()
        self.forwarding.counters.clear()
        return found


def _isData(data: bytes | memoryview) -> bool:
    return len(data) >= 4 and 0x40 <= data[0] < 0x80


class _Trains:
    """
    The first byte is the length of the datagrams, the rest the train of a client: as a whole, and one by one.
    """

    def __init__(self) -> None:
        self._one, self._other = _Path(), _Path()

    def __call__(self, data: bytes) -> None:
        if len(data) < 2:
            return
        segment, train = min(data[0] + 1, len(data) - 1), memoryview(data)[1:]
        singly = list(cut(train, segment))
        if not self._one.train(train, segment):
            require(not self._one.pretended.sent, "nothing of a train that is taken apart was sent before")
            self._one.each(singly)
        self._other.each(singly)
        sent, counted = self._one.result()
        require((sent, counted) == self._other.result(), "datagrams fare in a train as they would alone")
        require(sum(len(each) for each, _ in sent) <= len(data), "nothing becomes more")


def _trainSeeds() -> Sequence[bytes]:
    texts = [encodeChannelData(number, b"x" * 12) for number in (_ONE, _TWO, 0x4ABC)]
    empty, short = encodeChannelData(_ONE, b""), encodeChannelData(_ONE, b"xyz")
    padded = encodeChannelData(_ONE, b"x" * 9) + bytes(3)
    return [
        b"\x0f" + texts[0] * 8,
        b"\x0f" + texts[0] * 3 + short,
        b"\x0f" + texts[0] + texts[1] + texts[2],
        b"\x0f" + padded * 3 + texts[0],
        b"\x03" + empty * 5,
        b"\xff" + texts[1],
    ]


# Streams


class _Wire(StringTransport):
    """
    A connection that may be dropped.
    """

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class _Reactor(Clock):
    """
    A clock; nothing is read.
    """

    def addReader(self, reader: object) -> None: ...

    def removeReader(self, reader: object) -> None: ...


def _stream(data: bytes) -> None:
    """
    A stranger's connection, byte by byte or in pieces: the first byte says how long those are.
    """
    reactor = _Reactor()
    server = TurnServer(reactor, RelaySettings("relay.example", HOSTS), SharedSecrets((SECRET,)))
    stream, wire = server.makeStream("tcp", "8.1.1.1", 4000), _Wire()
    size, rest = (data[0] or 256, data[1:]) if data else (1, b"")
    with logged() as failures, accepting("a relay raises nothing"):
        stream.makeConnection(wire)
        for start in range(0, len(rest), size):
            if not wire.aborted:
                stream.dataReceived(rest[start : start + size])
        require(stream._splitter.waiting <= 2048 + size, "a stranger's message is not kept for long")
        require(not server.relaying.clients, "a stranger gets no allocation")
        require(len(wire.value()) <= 5 * len(data), "answers are not much longer than what was asked")
        reactor.advance(STRANGER_TIME)
        require(wire.aborted, "a stranger's connection is cut")
        stream.connectionLost()
    require(not failures, "nothing fails")
    require(
        not (reactor.getDelayedCalls() or server._connections or len(server.crowd)), "nothing is left of it"
    )


def _streamSeeds() -> Sequence[bytes]:
    plain = [b"".join(list(_chunks(each[1:]))) for each in _plainSeeds()[::3]]
    signed = [b"".join(list(_chunks(each[1:]))) for each in _signedSeeds()[:8]]
    data = encodeChannelData(_ONE, b"hello", stream=True)
    return [
        size + each
        for size in (b"\1", b"\x40", b"\0")
        for each in (*plain, *signed, data * 3, plain[0] + data)
    ]


TARGETS = [
    Target("turn-server-strangers", _Asking, _plainSeeds, _mendPlain, 1024),
    Target("turn-server-users", _Asking, _signedSeeds, _mendSigned, 1536),
    Target("turn-trains", _Trains, _trainSeeds, maximum=1024),
    Target("turn-server-stream", lambda: _stream, _streamSeeds, maximum=2560),
]
