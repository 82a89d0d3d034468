"""
Target: the discovery of what a NAT does, under what its servers answer.

An input is a list of steps: a byte that says what is answered and how, the number of bytes that follow, and these: attributes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from vnet.protocols.codec import stun
from vnet.protocols.codec import stunattributes as attributes
from vnet.protocols.machine.candidates import checkable
from vnet.protocols.machine.natbehaviour import inside
from vnet.protocols.machine.natdiscovery import (
    BUDGET,
    SOCKETS,
    BehaviourDiscovery,
    Found,
    SocketsFree,
    SocketsWanted,
)
from vnet.test.fuzz.target import Target, accepting, require
from vnet.test.wgpair import Datagram, seededRandom
from vnet.values import Address

__all__ = ["TARGETS"]

_SERVERS = (Address("203.0.113.5", 3478), Address("203.0.113.5", 3479))
_OTHER = Address("203.0.113.6", 3479)
_SOCKETS = [(f"#{number}", 50000 + number) for number in range(SOCKETS)]
_HEADER = 20


class _Run:
    """
    One discovery; what it sends is looked at.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.sent: list[Datagram] = []
        self.free = self.wanted = 0
        self.machine = BehaviourDiscovery(
            _SERVERS, ["192.168.0.2"], random=seededRandom("nat"), accepts=checkable, now=0.0
        )
        self.settle()

    def settle(self) -> None:
        self.sent += self.machine.datagramsToSend(self.now)
        while (event := self.machine.nextEvent()) is not None:
            if isinstance(event, SocketsWanted):
                self.wanted += 1
                self.machine.useSockets(_SOCKETS[: event.count], self.now)
            elif isinstance(event, SocketsFree):
                self.free += 1
            else:
                require(isinstance(event, Found), "there are three events")
            self.sent += self.machine.datagramsToSend(self.now)

    def until(self, end: float) -> None:
        while (due := self.machine.deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.machine.timerFired(self.now)
            self.settle()
        self.now = end

    def end(self) -> None:
        self.until(self.now + 30.0)
        require(self.machine.findings.complete, "a discovery ends")
        require(self.machine.deadline() is None, "one that has ended waits for nothing")
        require(self.wanted <= 1 and self.free == self.wanted, "sockets are given back, once")
        require(len(self.sent) <= BUDGET, "a discovery has a budget")
        targets = {target for _, target in self.sent}
        known = {server.host for server in _SERVERS}
        require(all(checkable(each) for each in targets), "nothing is sent to where no peer can be")
        require(not any(inside(each.host) for each in targets), "nothing is sent into the home")
        named = {each.host for each in targets} - known
        require(len(named) <= 3, "servers name one other host, and two external addresses")


def _steps(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 2:
        yield data[0], data[2 : 2 + data[1]]
        data = data[2 + data[1] :]


def _check(data: bytes) -> None:
    run = _Run()
    with accepting("a discovery raises nothing"):
        for what, held in _steps(data):
            asked, target = run.sent[what % 32 % len(run.sent)]
            source = Address(_OTHER.host, _OTHER.port, target.via) if what & 0x20 else target
            kind = asked[:2] if what & 0x40 else (b"\1\x11" if what & 0x80 else b"\1\1")
            body = held + bytes(-len(held) % 4)
            answer = kind + len(body).to_bytes(2, "big") + asked[4:_HEADER] + body
            run.machine.receive(answer, source, run.now)
            run.settle()
            run.until(run.now + 0.01)
        run.end()


def _seeds() -> Sequence[bytes]:
    identifier = bytes(12)

    def held(*values: attributes.Attribute[Any]) -> bytes:
        message = stun.Message(stun.BINDING, stun.Class.SUCCESS, identifier, values)
        return stun.encode(message)[_HEADER:]

    def step(what: int, *values: attributes.Attribute[Any]) -> bytes:
        body = held(*values)
        return bytes([what, len(body)]) + body

    mapped = [attributes.XOR_MAPPED_ADDRESS(Address("198.51.100.7", 40000 + number)) for number in range(12)]
    other = attributes.OTHER_ADDRESS(_OTHER)
    pauses = [step(0x40)] * 5
    first = [step(number, mapped[0], other) for number in range(2)]
    samples = [each for number in range(2, 14) for each in (step(number, mapped[number - 2]), *pauses)]
    changed = [step(0x20 | number, mapped[0]) for number in range(2, 8)]
    refused = [step(0x80 | number, attributes.ERROR_CODE(attributes.ErrorCode(420))) for number in range(8)]
    lies = [
        step(0, attributes.XOR_MAPPED_ADDRESS(Address(host, 9)), attributes.OTHER_ADDRESS(Address(host, 9)))
        for host in ("127.0.0.1", "0.0.0.0", "224.0.0.1", "10.0.0.1", "::1")
    ]
    begun = b"".join([*first, *pauses, *pauses])
    return [
        begun,
        begun + b"".join(samples),
        begun + b"".join([*samples, *changed]),
        begun + b"".join(refused),
        *lies,
        *(each + b"".join(pauses * 2 + samples) for each in lies),
    ]


TARGETS = [Target("nat-discovery", lambda: _check, _seeds, None, 1024)]
