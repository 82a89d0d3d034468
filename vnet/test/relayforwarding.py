"""
What stands at the ends of a relay's data path in tests, in place of the kernel and of clients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from attrs import define, field

from vnet.protocols.codec.stun import Class, decode
from vnet.protocols.codec.stunattributes import DATA, ICMP, XOR_PEER_ADDRESS, Icmp
from vnet.protocols.codec.turn import DATA_INDICATION
from vnet.protocols.trains import LONGEST, MOST, Refusal, TrainSocket, cut
from vnet.values import Address, Buffer

__all__ = ["PretendedClient", "PretendedSocket"]


@define(eq=False)
class PretendedSocket:
    """
    Takes trains as the kernel would.

    @ivar sent: each datagram, and where it went; C{trains}: how many were in each call.
    @ivar waiting: what L{receive} gives: data, segment, source; C{refusals}: what L{refusal} does.
    """

    sent: list[tuple[bytes, Address]] = field(factory=list)
    trains: list[int] = field(factory=list)
    whole: list[bytes] = field(factory=list)
    waiting: list[tuple[bytes, int, tuple[Any, ...]]] = field(factory=list)
    refusals: list[Refusal] = field(factory=list)
    counters: Counter[str] = field(factory=Counter)

    def send(
        self, parts: Sequence[bytes | memoryview], segment: int, count: int, to: tuple[Any, ...]
    ) -> bool:
        data = memoryview(b"".join(parts))
        if count > 1:
            assert segment > 0 and count <= MOST and len(data) <= LONGEST
        pieces = list(cut(data, segment)) if count > 1 else [data]
        assert len(pieces) == count, (len(pieces), count)
        self.trains.append(count)
        self.sent += [(bytes(each), Address(*to[:2])) for each in pieces]
        return True

    def sendWhole(self, data: bytes, to: tuple[Any, ...]) -> bool:
        self.whole.append(data)
        return self.send((data,), len(data), 1, to)

    def receive(self, buffer: memoryview) -> tuple[int, int, tuple[Any, ...]] | None:
        if not self.waiting:
            return None
        data, segment, source = self.waiting.pop(0)
        buffer[: len(data)] = data
        return len(data), segment, source

    def refusal(self) -> Refusal | None:
        return self.refusals.pop(0) if self.refusals else None

    def socketAddress(self, address: Address) -> tuple[Any, ...]:
        return (address.host, address.port, 0, 0) if ":" in address.host else (address.host, address.port)

    canonical = staticmethod(TrainSocket.canonical)


@define(eq=False)
class PretendedClient:
    """
    Takes what goes to a client.
    """

    channels: list[tuple[int, bytes, int]] = field(factory=list)
    messages: list[tuple[Address | None, bytes | Icmp | None]] = field(factory=list)

    def carry(self, number: int, datagrams: Sequence[Buffer]) -> None:
        self.channels.append((number, b"".join(datagrams), len(datagrams[0])))

    def message(self, data: bytes) -> None:
        message = decode(data)
        assert (message.method, message.klass) == (DATA_INDICATION, Class.INDICATION)
        self.messages.append(
            (message.get(XOR_PEER_ADDRESS), message.get(DATA) if DATA in message else message.get(ICMP))
        )
