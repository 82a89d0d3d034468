"""
Targets: what a relay says to its client, the stream that it says it on, and the URIs that name one.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from vnet.protocols.codec import stun
from vnet.protocols.codec import stunattributes as attributes
from vnet.protocols.codec.turn import (
    ALLOCATE,
    CHANNEL_BIND,
    CHANNELS,
    DATA_INDICATION,
    REFRESH,
    Splitter,
    encodeChannelData,
)
from vnet.protocols.codec.turnuri import parseRelayUri
from vnet.protocols.machine.allocation import Allocation, RelayCredentials
from vnet.test.fuzz.codectargets import mendStun, textOf
from vnet.test.fuzz.target import Target, accepting, require
from vnet.values import Address

__all__ = ["TARGETS"]

_SERVER, _PEER = Address("192.0.2.1", 3478), Address("198.51.100.2", 5000, "r1")
_IDENTIFIER = bytes(range(12))
_CHALLENGE = (
    attributes.ERROR_CODE(attributes.ErrorCode(401)),
    attributes.REALM("relay.example"),
    attributes.NONCE("nonce"),
)


def _answers(data: bytes) -> None:
    """
    The relay answers each request with this: as it is, and signed as if it were authentic.
    """
    message = stun.decode(data)
    machine = Allocation(
        _SERVER, RelayCredentials("1:x", "secret"), random=random.Random(1).randbytes, name="r1"
    )
    now, asked = 0.0, 0
    machine.datagramsToSend(now)
    for _ in range(12):
        waiting = [*machine._requests._requests.items(), *machine._checks._requests.items()]
        if waiting:
            identifier, request = waiting[0]
            answer = stun.Message(request.method, message.klass, identifier, _plain(message))
            if message.klass is stun.Class.SUCCESS and not machine._signer.challenged:
                answer = stun.Message(request.method, stun.Class.ERROR, identifier, _CHALLENGE)
            try:
                said = stun.encode(answer, machine._signer._key or None)
            except ValueError:
                # Not all that is read can be written.
                return
            machine.receive(said, _SERVER, now)
        machine.wrap([(b"x", _PEER)], now)
        asked += len(machine.datagramsToSend(now))
        while machine.nextEvent() is not None:
            pass
        now += 0.1
        deadline = machine.deadline()
        if deadline is not None and deadline <= now:
            machine.timerFired(now)
            asked += len(machine.datagramsToSend(now))
            deadline = machine.deadline()
        require(deadline is None or deadline > now, "time goes on")
        if machine.state == "allocated":
            require(machine.relayed, "an allocation has an address")
    require(asked <= 60, "no answer makes a client talk without end")
    machine.unwrap(data)
    machine.close(now)
    require(machine.deadline() is None, "what is closed waits for nothing")


def _plain(message: stun.Message) -> tuple[attributes.Attribute[Any], ...]:
    computed = (
        attributes.MESSAGE_INTEGRITY,
        attributes.MESSAGE_INTEGRITY_SHA256,
        attributes.FINGERPRINT,
    )
    return tuple(each for each in message.attributes if each.kind not in computed)


def _answerSeeds() -> Sequence[bytes]:
    algorithms = (attributes.PasswordAlgorithm(2), attributes.PasswordAlgorithm(1))
    realm, nonce = attributes.REALM("relay.example"), attributes.NONCE("nonce")
    promising = attributes.NONCE("obMatJos2gAAAnonce")
    relayed = attributes.XOR_RELAYED_ADDRESS(Address("192.0.2.1", 50000))
    found: list[tuple[stun.Class, tuple[attributes.Attribute[Any], ...]]] = [
        (stun.Class.SUCCESS, (relayed, attributes.XOR_MAPPED_ADDRESS(_PEER), attributes.LIFETIME(600))),
        (stun.Class.SUCCESS, (relayed, attributes.LIFETIME(0), realm, nonce)),
        (stun.Class.ERROR, (attributes.ERROR_CODE(attributes.ErrorCode(401)), realm, promising)),
        (
            stun.Class.ERROR,
            (
                attributes.ERROR_CODE(attributes.ErrorCode(401)),
                realm,
                promising,
                attributes.PASSWORD_ALGORITHMS(algorithms),
            ),
        ),
    ]
    for code in (300, 401, 403, 437, 438, 441, 486, 508, 599):
        found.append((stun.Class.ERROR, (attributes.ERROR_CODE(attributes.ErrorCode(code)), realm, nonce)))
    messages = [
        stun.encode(stun.Message(method, kind, _IDENTIFIER, held))
        for method in (ALLOCATE, REFRESH, CHANNEL_BIND)
        for kind, held in found
    ]
    indication = (attributes.XOR_PEER_ADDRESS(Address("198.51.100.2", 5000)), attributes.DATA(b"hello"))
    indicated = stun.Message(DATA_INDICATION, stun.Class.INDICATION, _IDENTIFIER, indication)
    return [*messages, stun.encode(indicated)]


def _stream(data: bytes) -> None:
    """
    A stream gives the same messages however it is cut, and keeps no more than one of them.
    """
    whole = Splitter(limit=500).feed(data)
    pieces, found = Splitter(limit=500), []
    for place in range(0, len(data), 7):
        found += pieces.feed(data[place : place + 7])
        require(pieces.waiting <= 500, "no more than a message is kept")
    require(found == whole, "cuts make no difference")
    for frame in whole:
        number = frame[0] << 8 | frame[1]
        require(number in CHANNELS or stun.isStun(frame), "what comes out is STUN or ChannelData")


def _streamSeeds() -> Sequence[bytes]:
    frames = [encodeChannelData(0x4000 + n, bytes(n), True) for n in (0, 1, 2, 3, 4, 100)]
    request = stun.encode(stun.Message(ALLOCATE, stun.Class.REQUEST, _IDENTIFIER))
    return [*frames, request, b"".join(frames), request + frames[3] + request, frames[5] + request]


def _uri(data: bytes) -> None:
    for way in parseRelayUri(textOf(data)):
        require(1 <= way.port <= 65535 and way.transport in ("udp", "tcp", "tls"), "it leads somewhere")
        require(way.pin is None or (len(way.pin) == 32 and way.transport == "tls"), "a pin is for TLS")
        require(all("!" <= each <= "~" for each in str(way)), "a URI is visible ASCII")
        with accepting("what was written is read"):
            require(parseRelayUri(str(way)) == (way,), "it is read as the same")


def _uriSeeds() -> Sequence[bytes]:
    pin = b"#sha256-" + b"A" * 43
    return [
        b"turn:relay.example",
        b"turn:192.0.2.1:3478?transport=udp",
        b"turn:[2001:db8::1]:1?transport=tcp",
        b"turns:relay.example:443?transport=tcp" + pin,
        b"turns:[::ffff:192.0.2.1]" + pin,
        b"turns:relay.example?transport=udp",
    ]


TARGETS = [
    Target("relay-answers", lambda: _answers, _answerSeeds, mendStun),
    Target("relay-stream", lambda: _stream, _streamSeeds),
    Target("relay-uri", lambda: _uri, _uriSeeds),
]
