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
    @ivar isNew: whether it was not heard before.
    """

    data: bytes
    request: Request | None = None
    isNew: bool = True


class Responder:
    """
    Answers the checks of the peer, and nothing else.
    """

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self._recent: OrderedDict[bytes, Address] = OrderedDict()

    def answer(self, message: Message, addr: Address) -> Answer | None:
        """
        Judge a check.

        @param message: a Binding request.
        @return: L{None} when silence is the answer: the peer has not made it, or somebody sends it again
            from elsewhere.
        """
        request = self._signer.readRequest(message)
        return None if request is None else self.answerTo(request, addr)

    def answerTo(self, request: Request, addr: Address) -> Answer | None:
        """
        Answer an authentic check.  A conflict of roles that the peer wins switches the role of this agent.

        @return: L{None} when somebody sends it again from elsewhere.
        """
        signer, isNew = self._signer, request.transactionId not in self._recent
        if not isNew and self._recent[request.transactionId] != addr:
            return None
        self._recent[request.transactionId] = addr
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)
        if request.foreign:
            return Answer(signer.unknown(request.transactionId, request.foreign))
        if request.controlling == signer.controlling:
            # RFC 8445 section 7.3.1.1: the larger tie-breaker controls.
            if (signer.tieBreaker >= request.tieBreaker) == signer.controlling:
                return Answer(signer.conflict(request.transactionId))
            signer.switchRole()
        return Answer(signer.success(request.transactionId, addr), request, isNew)
