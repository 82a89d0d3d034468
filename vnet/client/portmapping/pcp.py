# -*- test-case-name: vnet.test.test_portmapper -*-
"""
A mapping by PCP.

The request that makes a mapping also renews it, and makes it again in a router that has restarted, and its answer shows
the external address.  So that is all that is ever sent, and the epoch tells nothing that is not seen anyway.
"""

from __future__ import annotations

from hashlib import blake2b

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from vnet.client.portmapping.asking import Asker
from vnet.client.portmapping.way import LIFETIME, Grant, NoMapping, Silent, believe
from vnet.protocols.codec.pcp import NONCE, RESULTS, SUCCESS, Answer, decodeAnswer, encodeMap
from vnet.protocols.machine.routerquery import SENDS

__all__ = ["Pcp", "nonceOf"]

_SENDS_TO_KEEP = 5
_VERSION_UNKNOWN = 1


def nonceOf(secret: bytes, router: str, port: int) -> bytes:
    """
    The nonce of a node for a router and its UDP port: who started again after it was killed gets its mapping back.

    @param secret: of the node, 32 bytes.
    """
    return blake2b(
        f"{router} {port}".encode(), key=secret, digest_size=NONCE, person=b"vnet PCP nonce"
    ).digest()


@define(eq=False, repr=False)
class Pcp:
    """
    See L{vnet.client.portmapping.way.Way}.

    @ivar _local: this computer's address towards the router.
    @ivar _port: the node's UDP port.
    @ivar _nonce: known to nobody else, and the same as long as there may be a mapping.
    """

    _clock: IReactorTime
    _asker: Asker
    _local: str
    _port: int
    _nonce: bytes
    _lifetime: int = LIFETIME
    _found: Grant | None = field(default=None, init=False)
    name = "pcp"

    async def find(self) -> None:
        """See L{vnet.client.portmapping.way.Way}: who speaks it gives the mapping at once."""
        self._found = await self._map(self._port, "", SENDS)

    async def obtain(self, port: int) -> Grant:
        """See L{vnet.client.portmapping.way.Way}."""
        if self._found is None:
            raise Silent("it was not asked")
        return self._found

    async def keep(self, grant: Grant, due: bool) -> Grant:
        """See L{vnet.client.portmapping.way.Way}."""
        return await self._map(grant.external.port, grant.external.host, _SENDS_TO_KEEP)

    async def remove(self, grant: Grant) -> None:
        """See L{vnet.client.portmapping.way.Way}."""
        await self._ask(encodeMap(self._local, self._nonce, self._port, 0, 0), _SENDS_TO_KEEP)

    def close(self) -> None:
        """See L{vnet.client.portmapping.way.Way}."""
        self._asker.close()

    async def _map(self, port: int, host: str, sends: int) -> Grant:
        request = encodeMap(self._local, self._nonce, self._port, port, self._lifetime, host)
        answer = await self._ask(request, sends)
        if answer.result == _VERSION_UNKNOWN:
            raise Silent(RESULTS[_VERSION_UNKNOWN])
        if answer.result != SUCCESS or answer.mapping is None:
            raise NoMapping(RESULTS.get(answer.result, f"result {answer.result}"))
        mapping = answer.mapping
        return believe(mapping.host, mapping.externalPort, answer.lifetime, self._clock.seconds())

    async def _ask(self, request: bytes, sends: int) -> Answer:
        return await self._asker.ask([request], self._read, sends)

    def _read(self, data: bytes) -> Answer | None:
        answer = decodeAnswer(data)
        ours = answer.mapping
        if ours is not None and (ours.nonce != self._nonce or ours.internalPort != self._port):
            return None
        return answer
