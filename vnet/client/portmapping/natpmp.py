# -*- test-case-name: vnet.test.test_portmapper -*-
"""
A mapping by NAT-PMP.
"""

from __future__ import annotations

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from vnet.client.portmapping.asking import Asker
from vnet.client.portmapping.way import LIFETIME, Grant, NoMapping, Silent, believe, believeHost
from vnet.protocols.codec.natpmp import (
    ADDRESS_REQUEST,
    RESULTS,
    ExternalAddress,
    Mapped,
    Refusal,
    decodeAnswer,
    encodeMapping,
)
from vnet.protocols.machine.epoch import Epoch
from vnet.protocols.machine.routerquery import SENDS

__all__ = ["NatPmp"]

_SENDS_TO_KEEP = 5
_VERSION_UNKNOWN = 1


@define(eq=False, repr=False)
class NatPmp:
    """
    See L{vnet.client.portmapping.way.Way}.

    @ivar _port: the node's UDP port.
    """

    _clock: IReactorTime
    _asker: Asker
    _port: int
    _lifetime: int = LIFETIME
    _epoch: Epoch = field(factory=Epoch, init=False)
    _host: str = field(default="", init=False)
    _restarted: bool = field(default=False, init=False)
    name = "nat-pmp"

    async def find(self) -> None:
        """See L{vnet.client.portmapping.way.Way}."""
        await self._learnHost(SENDS)

    async def obtain(self, port: int) -> Grant:
        """See L{vnet.client.portmapping.way.Way}."""
        mapped = await self._map(port, self._lifetime)
        self._restarted = False
        return believe(self._host, mapped.externalPort, mapped.lifetime, self._clock.seconds())

    async def keep(self, grant: Grant, due: bool) -> Grant:
        """See L{vnet.client.portmapping.way.Way}."""
        await self._learnHost(_SENDS_TO_KEEP)
        if due or self._restarted:
            return await self.obtain(grant.external.port)
        return Grant(grant.external._replace(host=self._host), grant.lifetime, grant.madeAt)

    async def remove(self, grant: Grant) -> None:
        """See L{vnet.client.portmapping.way.Way}."""
        await self._map(0, 0)

    def close(self) -> None:
        """See L{vnet.client.portmapping.way.Way}."""
        self._asker.close()

    async def _learnHost(self, sends: int) -> None:
        answer: ExternalAddress | Refusal = await self._asker.ask([ADDRESS_REQUEST], self._readAddress, sends)
        self._noteEpoch(answer.epoch)
        if isinstance(answer, Refusal):
            raise _refused(answer)
        self._host = believeHost(answer.host)

    async def _map(self, port: int, lifetime: int) -> Mapped:
        request = encodeMapping(self._port, port, lifetime)
        answer: Mapped | Refusal = await self._asker.ask([request], self._readMapped, _SENDS_TO_KEEP)
        self._noteEpoch(answer.epoch)
        if isinstance(answer, Refusal):
            raise _refused(answer)
        return answer

    def _noteEpoch(self, epoch: int) -> None:
        if not self._epoch.goesOn(epoch, self._clock.seconds()):
            self._restarted = True

    def _readAddress(self, data: bytes) -> ExternalAddress | Refusal | None:
        answer = decodeAnswer(data)
        if isinstance(answer, Refusal):
            return answer if answer.opcode == 0 else None
        return answer if isinstance(answer, ExternalAddress) else None

    def _readMapped(self, data: bytes) -> Mapped | Refusal | None:
        answer = decodeAnswer(data)
        if isinstance(answer, Refusal):
            return answer if answer.opcode == 1 else None
        return answer if isinstance(answer, Mapped) and answer.internalPort == self._port else None


def _refused(answer: Refusal) -> NoMapping:
    reason = RESULTS.get(answer.result, f"result {answer.result}")
    return Silent(reason) if answer.result == _VERSION_UNKNOWN else NoMapping(reason)
