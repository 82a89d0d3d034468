# -*- test-case-name: vnet.test.test_natdiscovery -*-
"""
Discovery of what the NAT in front of a socket does (RFC 5780): mapping, filtering, port allocation, pooling, hairpin.

The socket itself asks several servers at once.  The first that answers, preferably one with two addresses, is then asked from
some fresh sockets, one after the other: their external ports show how the NAT chooses.  The first of them also asks for answers
from elsewhere, which tells what comes back in.  At last two sockets try to reach each other through the NAT::

    0            RTT             RTT + 0.35 s           about 1.2 s
    | mapping ---|-- ports -------|----------------------|
                 |-- filtering --------------------------|
                                  |-- hairpin -----------|

The machine opens no sockets: it asks for them by L{SocketsWanted}, gets them by L{BehaviourDiscovery.useSockets}, and says
with L{SocketsFree} that it needs them no more.  Nothing is sent to an address that a server names but to one more host, and
only if C{accepts} allows it.  Answers from where nothing was sent count only if they come from just the address that was asked
for, to just the socket that asked, with the transaction id.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

import attrs

from vnet.errors import DecodeError
from vnet.protocols.codec.stun import BINDING, Class, Message, decode
from vnet.protocols.codec.stunattributes import MAPPED_ADDRESS, XOR_MAPPED_ADDRESS
from vnet.protocols.machine.natbehaviour import ENDPOINT_INDEPENDENT
from vnet.protocols.machine.natfiltering import FilteringTest
from vnet.protocols.machine.nathairpin import HairpinTest
from vnet.protocols.machine.natmapping import MappingTest
from vnet.protocols.machine.natprobe import Probe, Probes, reachedFrom
from vnet.protocols.machine.portallocation import PortAllocation, PortSample, allocationOf
from vnet.values import Address

__all__ = [
    "BUDGET",
    "SOCKETS",
    "BehaviourDiscovery",
    "DiscoveryEvent",
    "Findings",
    "Found",
    "SocketsFree",
    "SocketsWanted",
]

SOCKETS = 8
"""Fresh sockets of one discovery."""

BUDGET = 40
"""Datagrams of one discovery."""

# Two sockets at once show the step, the time to the next two what others take.
_WITHIN, _BETWEEN = 0.005, 0.1
_SENDS = 3


@attrs.frozen
class Findings:
    """
    What is known so far.  See L{vnet.values.NatReport} for the words.

    @ivar answered: whether a server has answered; L{None} while that may still be.
    @ivar public: the external address of the socket.
    @ivar hosts: all external hosts that were seen.
    @ivar complete: whether nothing more is to come.
    """

    answered: bool | None = None
    public: Address | None = None
    mapping: str | None = None
    mappingVaries: bool | None = None
    filtering: str | None = None
    allocation: PortAllocation | None = None
    hosts: tuple[str, ...] = ()
    hairpin: bool | None = None
    complete: bool = False


@attrs.frozen
class SocketsWanted:
    """
    Open so many sockets, and give them to L{BehaviourDiscovery.useSockets}.
    """

    count: int


@attrs.frozen
class SocketsFree:
    """
    These sockets may be closed.
    """

    names: tuple[str, ...]


@attrs.frozen
class Found:
    """
    More is known.
    """

    findings: Findings


DiscoveryEvent: TypeAlias = SocketsWanted | SocketsFree | Found


class BehaviourDiscovery:
    """
    The machine, for one discovery.  See L{vnet.driver.DatagramMachine} for its five verbs.

    @ivar findings: what is known now.
    """

    def __init__(
        self,
        servers: Sequence[Address],
        hosts: Sequence[str],
        *,
        random: Callable[[int], bytes],
        accepts: Callable[[Address], bool],
        now: float,
    ) -> None:
        """
        @param servers: STUN servers of one family, the best first; two ports each of the first hosts count.
        @param hosts: the addresses of this computer.
        @param random: returns so many unpredictable bytes.
        @param accepts: whether something may be sent to an address that a server names.
        """
        self._hosts = frozenset(hosts)
        self._probes = Probes(random, BUDGET)
        self._mapping = MappingTest(servers, self._probes, accepts, now)
        self._asking = False
        self._sockets: tuple[str, ...] = ()
        self._localPorts: dict[str, int] = {}
        self._samples: dict[str, Probe] = {}
        self._filtering: FilteringTest | None = None
        self._hairpinAt: float | None = None
        self._hairpin: HairpinTest | None = None
        self._events: deque[DiscoveryEvent] = deque()
        self.findings = Findings()

    def useSockets(self, sockets: Sequence[tuple[str, int]], now: float) -> None:
        """
        Here are the sockets that were wanted, or some of them, or none.

        @param sockets: the C{via} and the local port of each.
        """
        server = self._mapping.server
        if server is None or not self._asking:
            return
        self._asking = False
        self._localPorts = dict(sockets)
        self._sockets = tuple(self._localPorts)
        at = now
        for index, name in enumerate(self._sockets):
            target = reachedFrom(server, name)
            self._samples[name] = self._probes.add(target, at, _SENDS, self._mapping.rto)
            at += _BETWEEN if index % 2 else _WITHIN
        if self._sockets:
            first = self._sockets[0]
            self._filtering = FilteringTest(self._mapping, first, self._probes, now + _WITHIN / 2)
            self._hairpinAt = max(at, now + self._mapping.rto / 2)
        self._conclude()

    def expects(self, transactionId: bytes, addr: Address) -> bool:
        """
        Whether an answer or a request from this address with this id belongs to this machine.
        """
        return self._probes.find(transactionId, addr) is not None

    def receive(self, data: bytes, addr: Address, now: float) -> None:
        """
        Take an answer, or a request of our own that has come back.  Anything else is ignored.
        """
        try:
            message = decode(data)
        except DecodeError:
            return
        probe = self._probes.find(message.transactionId, addr)
        if probe is None or message.method != BINDING or message.klass is Class.INDICATION:
            return
        if (message.klass is Class.REQUEST) != (not probe.sources):
            return
        probe.source = addr
        if probe.sources:
            probe.mapped = _mappedIn(message, probe.target)
        self._probes.end(probe)
        self._mapping.answered(probe, message, now)
        self._mapping.tryLast(now)
        self._conclude()

    def datagramsToSend(self, now: float) -> list[tuple[bytes, Address]]:
        if self._probes.fire(now):
            self._mapping.tryLast(now)
            self._probes.fire(now)
            self._conclude()
        return self._probes.take()

    def deadline(self) -> float | None:
        times = (self._probes.deadline(), self._mapping.chooseAt, self._hairpinAt)
        return min((each for each in times if each is not None), default=None)

    def timerFired(self, now: float) -> None:
        if self._mapping.chooseAt is not None and self._mapping.chooseAt <= now:
            self._mapping.choose(now)
            self._asking = True
            # Without a NAT there are no ports to be sampled.
            self._events.append(SocketsWanted(SOCKETS if self._natted else 1))
        if self._hairpinAt is not None and self._hairpinAt <= now:
            self._hairpinAt = None
            self._startHairpin(now)
        self._probes.fire(now)
        self._mapping.tryLast(now)
        self._probes.fire(now)
        self._conclude()

    def nextEvent(self) -> DiscoveryEvent | None:
        return self._events.popleft() if self._events else None

    @property
    def _natted(self) -> bool | None:
        public = self._mapping.public
        return None if public is None else public.host not in self._hosts

    def _startHairpin(self, now: float) -> None:
        server, own = self._mapping.server, self._mapping.public
        found = next(((name, each.mapped) for name, each in self._samples.items() if each.mapped), None)
        if server is None or own is None or found is None or not self._natted:
            return
        name, mapped = found
        if self._mapping.mayName(server, own) and self._mapping.mayName(server, mapped):
            self._hairpin = HairpinTest(own, name, mapped, self._probes, now)

    # What it all says.

    def _conclude(self) -> None:
        if self.findings.complete:
            return
        socketsDone = not self._asking and self._socketsDone()
        complete = self._mapping.chooseAt is None and socketsDone and self._mapping.over
        findings = self._judge(complete)
        if findings != self.findings:
            self.findings = findings
            self._events.append(Found(findings))
        if complete:
            self._probes.clear()
        if self._sockets and socketsDone:
            self._events.append(SocketsFree(self._sockets))
            self._sockets = ()

    def _socketsDone(self) -> bool:
        tests = [each for each in (self._filtering, self._hairpin) if each is not None]
        return self._hairpinAt is None and self._sampled and all(each.over for each in tests)

    @property
    def _sampled(self) -> bool:
        return all(each.over for each in self._samples.values())

    def _judge(self, complete: bool) -> Findings:
        seen = self._mapping.seen
        external = [*seen.values(), *(each.mapped for each in self._samples.values() if each.mapped)]
        allocation = self._allocation() if self._natted and self._sampled else None
        filteringOver = self._filtering is not None and self._filtering.over and self._mapping.over
        return Findings(
            answered=True if seen else False if complete else None,
            public=self._mapping.public,
            mapping=self._mappingWord(allocation) if self._mapping.over else None,
            mappingVaries=len(set(seen.values())) > 1 if len(seen) > 1 else None,
            filtering=self._filtering.filtering if self._filtering is not None and filteringOver else None,
            allocation=allocation,
            hosts=tuple(dict.fromkeys(each.host for each in external)),
            hairpin=None if self._hairpin is None else self._hairpin.hairpin,
            complete=complete,
        )

    def _mappingWord(self, allocation: PortAllocation | None) -> str | None:
        # Without a NAT, or with one that gives each socket its own port, there is no other port to be given.
        single = not self._natted or (allocation is not None and allocation.kind == "preserving")
        if single and len(set(self._mapping.seen.values())) == 1:
            return ENDPOINT_INDEPENDENT
        return self._mapping.mapping

    def _allocation(self) -> PortAllocation | None:
        samples = [
            PortSample(index, each.sentAt, self._localPorts[name], each.mapped, each.sent == 1)
            for index, (name, each) in enumerate(self._samples.items())
            if each.mapped is not None
        ]
        return allocationOf(samples, self._mapping.seen.values())


def _mappedIn(message: Message, server: Address) -> Address | None:
    """
    The address that a success names (RFC 8489 section 6.3.3), if it is of the server's family.
    """
    if message.klass is not Class.SUCCESS or message.unknown:
        return None
    mapped = message.get(XOR_MAPPED_ADDRESS) or message.get(MAPPED_ADDRESS)
    return mapped if mapped is not None and (":" in mapped.host) == (":" in server.host) else None
