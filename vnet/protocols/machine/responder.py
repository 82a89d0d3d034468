# -*- test-case-name: vnet.test.test_agent -*-
"""
How an ICE agent answers checks (RFC 8445 section 7.3).
"""

from __future__ import annotations

from collections import OrderedDict

import attrs

from vnet.protocols.codec.stun import Message
from vnet.protocols.machine.check import Request, Signer
from vnet.values import Address

__all__ = ["Answer", "Responder"]

_RECENT = 512


@attrs.frozen
class Answer:
    """
    What an authentic check is answered.

    @ivar request: the check; L{None} when it is refused.
    """

    data: bytes
    request: Request | None = None


class Responder:
    """
    Answers the checks of the peer, and nothing else.
    """

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self._recent: OrderedDict[bytes, Address] = OrderedDict()

    def answer(self, message: Message, addr: Address) -> Answer | None:
        """
        Judge a check.  A conflict of roles that the peer wins switches the role of this agent.

        @param message: a Binding request.
        @return: L{None} when silence is the answer: the peer has not made it, or somebody sends it again
            from elsewhere.
        """
        signer = self._signer
        request = signer.readRequest(message)
        if request is None or self._isReplay(request.transactionId, addr):
            return None
        if request.foreign:
            return Answer(signer.unknown(request.transactionId, request.foreign))
        if request.controlling == signer.controlling:
            # RFC 8445 section 7.3.1.1: the larger tie-breaker controls.
            if (signer.tieBreaker >= request.tieBreaker) == signer.controlling:
                return Answer(signer.conflict(request.transactionId))
            signer.switchRole()
        return Answer(signer.success(request.transactionId, addr), request)

    def _isReplay(self, transactionId: bytes, addr: Address) -> bool:
        first = self._recent.setdefault(transactionId, addr)
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)
        return first != addr
