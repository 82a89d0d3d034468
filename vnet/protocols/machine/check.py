# -*- test-case-name: vnet.test.test_agent -*-
"""
Connectivity checks: STUN Binding requests that two ICE agents sign with each other's passwords (RFC 8445
section 7).

Those that keep a path are the same again and again, but for their transaction ids, and so are the answers to them.  So the last
one of each kind is remembered as a L{Stencil}, and the next is neither put together nor taken apart anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from vnet.protocols.codec.hmacsha1 import HmacSha1
from vnet.protocols.codec.signal import Credentials
from vnet.protocols.codec.stun import (
    BINDING,
    Authentic,
    Class,
    Message,
    authenticate,
    encode,
    shortTermKey,
)
from vnet.protocols.codec.stunattributes import (
    ERROR_CODE,
    FINGERPRINT,
    ICE_CONTROLLED,
    ICE_CONTROLLING,
    MESSAGE_INTEGRITY,
    MESSAGE_INTEGRITY_SHA256,
    PATH_PADDING,
    PRIORITY,
    UNKNOWN_ATTRIBUTES,
    USE_CANDIDATE,
    USERNAME,
    XOR_MAPPED_ADDRESS,
    Attribute,
    ErrorCode,
)
from vnet.protocols.codec.stunstencil import Stencil
from vnet.values import Address

__all__ = ["ROLE_CONFLICT", "Request", "Signer"]

ROLE_CONFLICT = 487
"""The error code of RFC 8445 section 7.3.1.1."""

_UNDERSTOOD = (USERNAME, MESSAGE_INTEGRITY, MESSAGE_INTEGRITY_SHA256, PRIORITY, USE_CANDIDATE)


@attrs.frozen
class Request:
    """
    An authentic check of the peer.

    @ivar priority: what the peer would give a candidate at the address that the check came from.
    @ivar controlling: the role that the peer takes.
    @ivar nominates: whether it holds USE-CANDIDATE.
    @ivar foreign: the attributes that this agent would have to understand and does not.
    """

    transactionId: bytes
    priority: int
    controlling: bool
    tieBreaker: int
    nominates: bool
    foreign: tuple[int, ...]


@attrs.define(eq=False, repr=False)
class Signer:
    """
    Writes and reads the checks of one agent.

    @ivar remote: the peer's credentials, once they are known.
    @ivar controlling: the role of this agent.
    """

    local: Credentials
    controlling: bool
    _random: Callable[[int], bytes]
    remote: Credentials | None = None
    tieBreaker: int = attrs.field(init=False)
    _localKey: bytes = attrs.field(init=False)
    _localStencils: HmacSha1 = attrs.field(init=False)
    _remoteKeys: tuple[bytes, HmacSha1] | None = attrs.field(default=None, init=False)
    _asked: tuple[tuple[int, bool, bool, int], Stencil] | None = attrs.field(default=None, init=False)
    _told: tuple[Address, Stencil] | None = attrs.field(default=None, init=False)
    _wasAsked: tuple[Request, Stencil] | None = attrs.field(default=None, init=False)
    _wasTold: tuple[Authentic, Stencil] | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._localKey = shortTermKey(self.local.password)
        self._localStencils = HmacSha1(self._localKey)
        self._draw()

    def switchRole(self) -> None:
        """
        Take the other role, after a conflict that the peer has won.
        """
        self.controlling = not self.controlling
        self._draw()

    def _keysOf(self, remote: Credentials) -> tuple[bytes, HmacSha1]:
        """
        What the peer's credentials sign with.
        """
        if self._remoteKeys is None:
            key = shortTermKey(remote.password)
            self._remoteKeys = key, HmacSha1(key)
        return self._remoteKeys

    def request(self, transactionId: bytes, priority: int, nominate: bool, size: int = 0) -> bytes:
        """
        Write a check.

        @param size: bytes that it is to have, a multiple of 4; it is never shorter than without.
        @raise ValueError: the peer's credentials are not known.
        """
        if self.remote is None:
            raise ValueError("no remote credentials")
        kind = priority, nominate, self.controlling, self.tieBreaker
        if self._asked is not None and self._asked[0] == kind and not size:
            return self._asked[1].write(transactionId)
        attributes: list[Attribute[Any]] = [
            USERNAME(f"{self.remote.ufrag}:{self.local.ufrag}"),
            PRIORITY(priority),
            (ICE_CONTROLLING if self.controlling else ICE_CONTROLLED)(self.tieBreaker),
        ]
        if nominate:
            attributes.append(USE_CANDIDATE(True))
        key, stencils = self._keysOf(self.remote)
        data = encode(
            Message(BINDING, Class.REQUEST, transactionId, tuple(attributes)), key=key, fingerprint=True
        )
        self._asked = kind, Stencil(data, stencils)
        if size < len(data) + 4:
            return data
        attributes.append(PATH_PADDING(bytes(size - len(data) - 4)))
        return encode(
            Message(BINDING, Class.REQUEST, transactionId, tuple(attributes)), key=key, fingerprint=True
        )

    def readRequest(self, message: Message) -> Request | None:
        """
        Judge a check: L{None} when the peer did not make it for this agent.
        """
        username = message.get(USERNAME) or ""
        ours, _, theirs = username.partition(":")
        if ours != self.local.ufrag or FINGERPRINT not in message:
            return None
        if self.remote is not None and theirs != self.remote.ufrag:
            return None
        authentic = authenticate(message, self._localKey)
        if authentic is None:
            return None
        priority = authentic.get(PRIORITY)
        roles = authentic.get(ICE_CONTROLLING), authentic.get(ICE_CONTROLLED)
        tieBreaker = roles[0] if roles[0] is not None else roles[1]
        if priority is None or tieBreaker is None or None not in roles:
            return None
        request = Request(
            authentic.transactionId,
            priority,
            roles[0] is not None,
            tieBreaker,
            USE_CANDIDATE in authentic,
            authentic.notUnderstood(_UNDERSTOOD),
        )
        if self.remote is not None and (stencil := _stencilOf(message, self._localStencils)) is not None:
            self._wasAsked = request, stencil
        return request

    def repeatedRequest(self, data: bytes) -> Request | None:
        """
        Judge a datagram: L{None} when it is not the same check as the last that was read, with another transaction id.
        """
        if self._wasAsked is None or not self._wasAsked[1].matches(data):
            return None
        last = self._wasAsked[0]
        nominates, foreign = last.nominates, last.foreign
        return Request(data[8:20], last.priority, last.controlling, last.tieBreaker, nominates, foreign)

    def readResponse(self, message: Message) -> Authentic | None:
        """
        Judge the answer to a check: L{None} when the peer did not make it.
        """
        if self.remote is None:
            return None
        key, stencils = self._keysOf(self.remote)
        response = authenticate(message, key)
        mapped = None if response is None else response.get(XOR_MAPPED_ADDRESS)
        # An IPv6 address is written with the transaction id.
        if response is not None and mapped is not None and ":" not in mapped.host:
            stencil = _stencilOf(message, stencils)
            if stencil is not None:
                self._wasTold = response, stencil
        return response

    def repeatedResponse(self, data: bytes) -> Authentic | None:
        """
        Judge a datagram: L{None} when it is not the same answer as the last that was read, with another transaction id.
        """
        if self._wasTold is None or not self._wasTold[1].matches(data):
            return None
        last = self._wasTold[0]
        return Authentic(last.method, last.klass, data[8:20], last.attributes, last.unknown, last.malformed)

    def success(self, transactionId: bytes, addr: Address) -> bytes:
        """
        Answer a check.

        @param addr: where it came from.
        """
        if self._told is not None and self._told[0] == addr:
            return self._told[1].write(transactionId)
        data = self._response(Class.SUCCESS, transactionId, XOR_MAPPED_ADDRESS(addr))
        if ":" not in addr.host:
            self._told = addr, Stencil(data, self._localStencils)
        return data

    def conflict(self, transactionId: bytes) -> bytes:
        """
        Refuse a check: this agent keeps its role, the peer has to switch.
        """
        error = ERROR_CODE(ErrorCode(ROLE_CONFLICT, "Role Conflict"))
        return self._response(Class.ERROR, transactionId, error)

    def unknown(self, transactionId: bytes, foreign: tuple[int, ...]) -> bytes:
        """
        Refuse a check that holds attributes which are not understood (RFC 8489 section 6.3.1).
        """
        error = ERROR_CODE(ErrorCode(420, "Unknown Attribute"))
        return self._response(Class.ERROR, transactionId, error, UNKNOWN_ATTRIBUTES(foreign))

    def _response(self, klass: Class, transactionId: bytes, *attributes: Attribute[Any]) -> bytes:
        message = Message(BINDING, klass, transactionId, attributes)
        return encode(message, key=self._localKey, fingerprint=True)

    def _draw(self) -> None:
        self.tieBreaker = int.from_bytes(self._random(8), "big")


def _stencilOf(message: Message, key: HmacSha1) -> Stencil | None:
    """
    What an authentic message was made with; L{None} unless it has just one MESSAGE-INTEGRITY, followed by FINGERPRINT, at its end.
    """
    isUsual = FINGERPRINT in message and MESSAGE_INTEGRITY_SHA256 not in message
    if not isUsual or message.get(MESSAGE_INTEGRITY) != message.received[-28:-8]:
        return None
    try:
        # What is there may only look like it.
        return Stencil(message.received, key)
    except ValueError:
        return None
