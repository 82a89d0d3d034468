"""
Target: the ICE agent behind the one UDP port, under what strangers and a hostile peer send.

The first byte of an input says where the datagram comes from, in which role the agent is, and whether something follows the
integrity that looks like it.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from attrs import define, field
from twisted.internet.task import Clock

from vnet.protocols.codec import signal, stun
from vnet.protocols.codec import stunattributes as attributes
from vnet.protocols.machine.agentevents import AgentEvent
from vnet.protocols.punch import Puncher
from vnet.test.fuzz.codectargets import mendStun
from vnet.test.fuzz.target import Target, accepting, logged, require
from vnet.test.wgpair import Datagram, seededRandom
from vnet.values import Address, Candidate

__all__ = ["TARGETS"]

_SERVER = Address("203.0.113.5", 3478)
_THEIRS = (Address("198.51.100.7", 4000), Address("192.168.1.7", 4000))
_SOURCES = (*_THEIRS, _SERVER, Address("203.0.113.99", 9), Address("2001:db8::9", 9))
_REMOTE = signal.Credentials("remote00", "r" * 24)
_CANDIDATES = (
    Candidate("srflx", _THEIRS[0], 1694498815, "1"),
    Candidate("host", _THEIRS[1], 2130706431, "2"),
)
_START = 100.0
_MAXIMUM_SENT = 20


@define(eq=False)
class _Punching:
    """
    A puncher that has told and heard candidates, and has begun to check.
    """

    controlling: bool
    clock: Clock = field(factory=Clock)
    sent: list[Datagram] = field(factory=list)
    events: list[AgentEvent] = field(factory=list)
    puncher: Puncher = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.clock.advance(_START)
        self.puncher = Puncher(self.clock, self.sent.extend, seededRandom("punch"))
        self.puncher.setLocal(["192.168.0.2"], 5000)
        self.puncher.setServers([_SERVER])
        attempt = self.puncher.connect(
            b"peer", controlling=self.controlling, startAt=_START, onEvent=self.events.append
        )
        self.credentials = attempt.credentials
        attempt.remoteSignal(signal.Signal(1, _REMOTE, _CANDIDATES))
        self.clock.advance(0.05)

    def end(self) -> None:
        self.puncher.close()
        require(not self.clock.getDelayedCalls(), "a puncher that is closed leaves no timer behind")

    credentials: signal.Credentials = field(init=False)


class _Check:
    """
    Keeps a puncher of each role as long as nothing has changed it.
    """

    def __init__(self) -> None:
        self._ready: dict[bool, _Punching] = {}

    def __call__(self, data: bytes) -> None:
        first, datagram = (data[0], data[1:]) if data else (0, b"")
        source, role = _SOURCES[first % len(_SOURCES)], bool(first & 0x80)
        punching = self._ready.pop(role, None) or _Punching(role)
        before = len(punching.sent)
        with logged() as failures, accepting("a puncher raises nothing"):
            punching.puncher.datagramReceived(datagram, source)
            if source != _SERVER and not _isAuthentic(datagram, punching):
                require(len(punching.sent) == before, "a puncher is silent to garbage")
                require(not punching.events, "no path is found by what nobody signed")
                self._ready[role] = punching
            else:
                punching.clock.pump([0.05, 0.5])
                require(len(punching.sent) - before <= _MAXIMUM_SENT, "one datagram does not make many")
                punching.end()
        require(not failures, "nothing fails on a datagram")


def _isAuthentic(data: bytes, punching: _Punching) -> bool:
    try:
        message = stun.decode(data)
    except ValueError:
        return False
    keys = (punching.credentials.password, _REMOTE.password)
    return any(stun.authenticate(message, stun.shortTermKey(key)) is not None for key in keys)


def _mend(data: bytes) -> bytes:
    """
    The header, and at the end the integrity that a peer could give.
    """
    if len(data) < 21:
        return data
    body = mendStun(data[1:])
    place = body.find(b"\0\x08\0\x14", 20)
    if place >= 0:
        body = body[:place]
    key = _OURS.password if not body[0] & 1 else _REMOTE.password
    signed = body[:2] + (len(body) + 4).to_bytes(2, "big") + body[4:]
    mac = hmac.digest(stun.shortTermKey(key), signed, "sha1")
    more = b"\xc0\1\0\x14" + mac if data[0] & 0x40 else b""
    return data[:1] + mendStun(body + b"\0\x08\0\x14" + mac + more + b"\x80\x28\0\4" + bytes(4))


_FIRST = _Punching(True)
_OURS = _FIRST.credentials
_ASKED = [(stun.decode(data), addr) for data, addr in _FIRST.sent]


def _seeds() -> Sequence[bytes]:
    identifier = bytes(range(12))
    username = attributes.USERNAME(f"{_OURS.ufrag}:{_REMOTE.ufrag}")
    priority, use = attributes.PRIORITY(1862270975), attributes.USE_CANDIDATE(True)
    roles = (
        attributes.ICE_CONTROLLING(1),
        attributes.ICE_CONTROLLED(1),
        attributes.ICE_CONTROLLING(2**64 - 1),
    )
    requests = [
        stun.Message(stun.BINDING, stun.Class.REQUEST, identifier, (username, priority, role, *nominated))
        for role in roles
        for nominated in ((), (use,))
    ]
    requests.append(stun.Message(stun.BINDING, stun.Class.INDICATION, identifier, (username,)))
    answers = [
        (addr, stun.Message(stun.BINDING, kind, message.transactionId, held))
        for message, addr in _ASKED
        for kind, held in (
            (stun.Class.SUCCESS, (attributes.XOR_MAPPED_ADDRESS(Address("203.0.113.1", 5000)),)),
            (stun.Class.ERROR, (attributes.ERROR_CODE(attributes.ErrorCode(487)),)),
            (stun.Class.ERROR, (attributes.ERROR_CODE(attributes.ErrorCode(400)),)),
        )
    ]
    ours, theirs = (stun.shortTermKey(each.password) for each in (_OURS, _REMOTE))
    return [
        *(
            bytes([number | role]) + stun.encode(message, key=ours, fingerprint=True)
            for message in requests
            for number in range(len(_SOURCES))
            for role in (0, 0x80)
        ),
        *(
            bytes([_SOURCES.index(addr) | 0x80]) + stun.encode(message, key=key, fingerprint=True)
            for addr, message in answers
            for key in (theirs, None)
            if addr in _SOURCES
        ),
    ]


TARGETS = [Target("punch", _Check, _seeds, _mend, 512)]
