# -*- test-case-name: vnet.test.test_stun_server -*-
"""
What a STUN server answers (RFC 8489 section 6.3.1).
"""

from __future__ import annotations

from typing import Any

from vnet.protocols.codec.stun import BINDING, Class, Message
from vnet.protocols.codec.stunattributes import (
    ERROR_CODE,
    MESSAGE_INTEGRITY,
    MESSAGE_INTEGRITY_SHA256,
    NONCE,
    PASSWORD_ALGORITHM,
    PRIORITY,
    REALM,
    UNKNOWN_ATTRIBUTES,
    USE_CANDIDATE,
    USERHASH,
    USERNAME,
    XOR_MAPPED_ADDRESS,
    AttributeType,
    ErrorCode,
)
from vnet.values import Address

__all__ = ["bindingResponse"]

#: What a server that authenticates nobody may leave aside (RFC 8489 section 9, RFC 8445).
_UNDERSTOOD: frozenset[AttributeType[Any]] = frozenset(
    {
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


def bindingResponse(request: Message, source: Address) -> Message | None:
    """
    The answer to a Binding request (RFC 8489 section 6.3.1): its sender's address, or error 420 for
    what must be understood and is not.  It has no SOFTWARE and no reason phrase, so that it is hardly
    longer than the request.

    @return: L{None} when the message is no Binding request.
    """
    if request.method != BINDING or request.klass is not Class.REQUEST:
        return None
    unknown = request.notUnderstood(_UNDERSTOOD)
    if unknown:
        attributes = (ERROR_CODE(ErrorCode(420)), UNKNOWN_ATTRIBUTES(unknown))
        return Message(BINDING, Class.ERROR, request.transactionId, attributes)
    mapped = XOR_MAPPED_ADDRESS(source)
    return Message(BINDING, Class.SUCCESS, request.transactionId, (mapped,))
