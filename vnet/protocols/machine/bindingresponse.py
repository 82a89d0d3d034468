# -*- test-case-name: vnet.test.test_stun_server -*-
"""
What a STUN server answers (RFC 8489 section 6.3.1, RFC 5780 section 6.1).
"""

from __future__ import annotations

from typing import Any

from attrs import frozen

from vnet.protocols.codec.stun import BINDING, Class, Message
from vnet.protocols.codec.stunattributes import (
    CHANGE_REQUEST,
    ERROR_CODE,
    FINGERPRINT,
    MESSAGE_INTEGRITY,
    MESSAGE_INTEGRITY_SHA256,
    NONCE,
    OTHER_ADDRESS,
    PASSWORD_ALGORITHM,
    PRIORITY,
    REALM,
    RESPONSE_ORIGIN,
    UNKNOWN_ATTRIBUTES,
    USE_CANDIDATE,
    USERHASH,
    USERNAME,
    XOR_MAPPED_ADDRESS,
    Attribute,
    AttributeType,
    ChangeRequest,
    ErrorCode,
)
from vnet.protocols.machine.stunorigins import Origins
from vnet.values import Address

__all__ = ["GROWTH", "BindingResponse", "bindingResponse", "isBindingRequest"]

GROWTH = 3
"""How many times as long as its request an answer may be."""

_HEADER, _FINGERPRINT = 20, 8
_UNCHANGED = ChangeRequest()

#: What a server that authenticates nobody may leave aside (RFC 8489 section 9, RFC 8445), and what it does.
_UNDERSTOOD: frozenset[AttributeType[Any]] = frozenset(
    {
        CHANGE_REQUEST,
        MESSAGE_INTEGRITY,
        MESSAGE_INTEGRITY_SHA256,
        NONCE,
        PASSWORD_ALGORITHM,
        PRIORITY,
        REALM,
        USERHASH,
        USERNAME,
        USE_CANDIDATE,
    }
)


@frozen
class BindingResponse:
    """
    @ivar origin: from where it is to be sent; L{None}: from where the request came to.
    """

    message: Message
    origin: Address | None = None


def isBindingRequest(message: Message) -> bool:
    """
    Whether L{bindingResponse} can answer this.
    """
    return message.method == BINDING and message.klass is Class.REQUEST


def bindingResponse(
    request: Message, source: Address, origins: Origins[Any], own: Address | None = None
) -> BindingResponse:
    """
    The answer to a Binding request: its sender's address, and where the server is besides; or error 420 for what must be
    understood and is not.  It has no SOFTWARE and no reason phrase, so that it is hardly longer than the request.

    RESPONSE-PORT and PADDING are not understood, on purpose: the one lets a stranger have datagrams sent to the ports of others
    behind his NAT, which know this server, and the other makes answers long.

    @param request: as it was decoded: its length limits that of the answer.
    @param own: where it came to; L{None}: that is not known, or it came by a connection.
    """
    change = request.get(CHANGE_REQUEST) or _UNCHANGED
    elsewhere = None if change == _UNCHANGED else origins.changed(own, change)
    unknown = request.notUnderstood(_UNDERSTOOD)
    if change != _UNCHANGED and elsewhere is None:
        unknown = (*unknown, CHANGE_REQUEST.code)
    if unknown:
        refusal = (ERROR_CODE(ErrorCode(420)), UNKNOWN_ATTRIBUTES(unknown))
        return BindingResponse(Message(BINDING, Class.ERROR, request.transactionId, refusal))
    room = GROWTH * len(request.received) - _HEADER - _size(source) - _FINGERPRINT * (FINGERPRINT in request)
    attributes = (XOR_MAPPED_ADDRESS(source), *_whereabouts(elsewhere or own, origins.other(own), room))
    return BindingResponse(Message(BINDING, Class.SUCCESS, request.transactionId, attributes), elsewhere)


def _size(address: Address) -> int:
    return 24 if ":" in address.host else 12


def _whereabouts(origin: Address | None, other: Address | None, room: int) -> tuple[Attribute[Any], ...]:
    """
    Where a server with two addresses is, as far as the answer does not become too long by it: a plain request over IPv6 leaves
    no room, and one with CHANGE-REQUEST has room for the more useful one.
    """
    if origin is None or other is None or room < _size(other):
        return ()
    if room < _size(origin) + _size(other):
        return (OTHER_ADDRESS(other),)
    return (RESPONSE_ORIGIN(origin), OTHER_ADDRESS(other))
