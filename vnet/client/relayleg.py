# -*- test-case-name: vnet.test.test_relays -*-
"""
One way to one relay: an allocation, and what carries it: the node's UDP port, or a connection of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

from attrs import define, field
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from vnet.client.dataplane.paths import Datagrams
from vnet.driver import Driver
from vnet.protocols.codec.turn import HEADER, cutTrain, encodeMany
from vnet.protocols.codec.turnuri import RelayUri
from vnet.protocols.demux import Kind, classify
from vnet.protocols.machine.allocation import Allocation, RelayCredentials
from vnet.protocols.tls import describeFailure
from vnet.protocols.trains import LONGEST, MOST
from vnet.protocols.turnstream import TurnStream
from vnet.values import Address, Train

__all__ = ["Leg", "LegOwner", "Unconnected"]

_CONNECT = 10.0
_PARTING = 5.0
_NOWHERE = Address("", 0)
#: The first two bytes of a Data indication (RFC 8656 section 11.6): nobody else has use for one.
_DATA_INDICATION = b"\x00\x17"


class LegOwner(Protocol):
    """
    Whose the legs are.
    """

    def legEvent(self, leg: Leg, event: object) -> None:
        """The allocation has news, see L{vnet.protocols.machine.allocation}, or L{Unconnected}."""

    def legReceived(self, trains: Sequence[Train]) -> None:
        """Peers sent these through the relay."""


@define
class Unconnected:
    """
    The connection to the relay was not made, or is lost.

    @ivar reason: one line for a person.
    """

    reason: str


@define(eq=False, repr=False)
class Leg:
    """
    One way to one relay.

    @ivar name: the C{via} of the addresses that are reached through it.
    @ivar uri: where the relay is, and over what it is reached.
    @ivar credentials: with which the allocation is made, and has to be kept.
    @ivar server: the relay's address; of a connection, once it is made.
    @ivar allocation: L{None} before there is a connection.
    @ivar isHeld: whether the relay has answered, and waits to be asked for an allocation.
    @ivar isAsked: whether it was asked for one.
    @ivar isAiling: whether the relay does not answer any more.
    @ivar obtainedAt: when the allocation was made.
    @ivar isClosed: whether nothing is sent or received any more.
    """

    name: str
    uri: RelayUri
    credentials: RelayCredentials
    _clock: IReactorTime
    _random: Callable[[int], bytes]
    _owner: LegOwner
    _transmit: Callable[[Datagrams], None]
    _transmitTrains: Callable[[Sequence[Train]], None] = lambda trains: None
    _transmitWhole: Callable[[bytes, Address], bool] = lambda data, addr: True
    server: Address = field(default=_NOWHERE, init=False)
    allocation: Allocation | None = field(default=None, init=False)
    isHeld: bool = field(default=False, init=False)
    isAsked: bool = field(default=False, init=False)
    isAiling: bool = field(default=False, init=False)
    isClosed: bool = field(default=False, init=False)
    obtainedAt: float = field(default=0.0, init=False)
    _accepts: Callable[[Address], bool] | None = field(default=None, init=False)
    _driver: Driver[Any] | None = field(default=None, init=False)
    _stream: TurnStream | None = field(default=None, init=False)
    _connecting: Deferred[Any] | None = field(default=None, init=False)
    _parting: IDelayedCall | None = field(default=None, init=False)

    @property
    def isAllocated(self) -> bool:
        """
        Whether the relay relays for us.
        """
        return not self.isClosed and bool(self.relayed)

    @property
    def relayed(self) -> tuple[Address, ...]:
        """
        Where peers reach us.
        """
        return () if self.allocation is None else self.allocation.relayed

    @property
    def rtt(self) -> float:
        """
        Seconds of a round trip to the relay, 0 when that is not known.
        """
        return 0.0 if self.allocation is None else self.allocation.rtt or 0.0

    def dropped(self) -> Counter[str]:
        """
        What it has dropped, by reason.
        """
        found = Counter[str]()
        for part in (self.allocation, self._stream):
            if part is not None:
                found += part.counters
        return found

    # The beginning and the end

    def openUdp(self, server: Address) -> None:
        """
        Ask the relay through the UDP port.
        """
        self._begin(server, isStream=False)

    def openStream(self, endpoint: IStreamClientEndpoint, accepts: Callable[[Address], bool]) -> None:
        """
        Connect to the relay.

        @param accepts: whether a relay may be where the connection leads.
        """
        self._accepts = accepts
        factory = Factory.forProtocol(lambda: TurnStream(self, self._clock))
        factory.noisy = False
        self._connecting = endpoint.connect(factory)
        self._connecting.addTimeout(_CONNECT, self._clock)
        self._connecting.addErrback(self._unconnected)

    def _unconnected(self, failure: Failure) -> None:
        silent = failure.check(TimeoutError) is not None
        self._event(Unconnected("it does not answer" if silent else describeFailure(failure, "relay")))

    def _begin(self, server: Address, isStream: bool) -> None:
        self.server = server
        self.allocation = Allocation(
            server, self.credentials, random=self._random, name=self.name, stream=isStream, hold=True
        )
        send = self._sendToStream if isStream else self._transmit
        self._driver = Driver(self.allocation, self._clock, send, self._event)
        self._driver.wake()

    def _sendToStream(self, batch: Datagrams) -> None:
        if self._stream is not None:
            self._stream.send([data for data, _ in batch])

    def _event(self, event: object) -> None:
        if not self.isClosed:
            self._owner.legEvent(self, event)

    def ask(self) -> None:
        """
        The relay has answered: ask it for an allocation.
        """
        self.isHeld, self.isAsked = False, True
        if self.allocation is not None and self._driver is not None:
            self.allocation.proceed(self._clock.seconds())
            self._driver.wake()

    def check(self) -> None:
        """
        Does the relay keep the allocation?  An event tells.
        """
        if self.allocation is not None and self._driver is not None:
            self.allocation.check(self._clock.seconds())
            self._driver.wake()

    def hasLeft(self, hosts: Collection[str]) -> bool:
        """
        Whether the connection comes from an address that this computer has not any more.

        @param hosts: those that it has.
        """
        transport: Any = None if self._stream is None else self._stream.transport
        own = getattr(transport.getHost(), "host", "") if transport is not None else ""
        # A proxy may run on this computer.
        isLocal = own in ("", "::1") or own.startswith("127.")
        return not isLocal and own.removeprefix("::ffff:") not in hosts

    def close(self) -> None:
        """
        Give the allocation back.  No event follows.  May be called twice.
        """
        if self.isClosed:
            return
        self.isClosed = True
        if self.allocation is not None and self._driver is not None:
            self.allocation.close(self._clock.seconds())
            self._driver.wake()
            self._driver.stop()
        if self._stream is None:
            if self._connecting is not None:
                self._connecting.cancel()
        elif self.isAiling:
            # Nobody would confirm an orderly end.
            self._stream.abort()
        else:
            # A relay may read nothing any more, or never confirm the end of TLS.
            self._parting = self._clock.callLater(_PARTING, self._stream.abort)
            self._stream.close()

    # What the stream says

    def streamConnected(self, stream: TurnStream) -> None:
        """
        See L{vnet.protocols.turnstream.StreamOwner}.
        """
        self._stream = stream
        peer: Any = None if stream.transport is None else stream.transport.getPeer()
        server = Address(str(getattr(peer, "host", "")), int(getattr(peer, "port", 0)))
        if self.isClosed:
            stream.abort()
        elif self._accepts is not None and not self._accepts(server):
            self._event(Unconnected(f"no relay of ours can be at {server.host}"))
            stream.abort()
        else:
            self._begin(server, isStream=True)

    def framesReceived(self, stream: TurnStream, trains: Sequence[Train]) -> None:
        """
        See L{vnet.protocols.turnstream.StreamOwner}.
        """
        found: list[Train] = []
        for train in trains:
            self.received(train, found)
        if found and not self.isClosed:
            self._owner.legReceived(found)

    def streamLost(self, stream: TurnStream, reason: Failure) -> None:
        """
        See L{vnet.protocols.turnstream.StreamOwner}.
        """
        if self._driver is not None:
            self._driver.stop()
        if self._parting is not None and self._parting.active():
            self._parting.cancel()
        self._event(Unconnected(describeFailure(reason, "relay")))

    # Data

    def send(self, datagrams: Datagrams) -> None:
        """
        See L{vnet.client.dataplane.paths.Carrier}.
        """
        allocation, driver = self.allocation, self._driver
        if allocation is None or driver is None or self.isClosed:
            return
        frames = allocation.wrap(datagrams, self._clock.seconds())
        if allocation.stirred:
            driver.wake()
        if not frames:
            return
        if self._stream is not None:
            self._stream.send(frames)
        else:
            server = self.server
            self._transmit([(frame, server) for frame in frames])

    def sendWhole(self, data: bytes, addr: Address) -> bool:
        """
        See L{vnet.interfaces.IDatagramPort.sendWhole}; what goes through a connection is whole anyway.
        """
        allocation, driver = self.allocation, self._driver
        if allocation is None or driver is None or self.isClosed:
            return True
        frames = allocation.wrap([(data, addr)], self._clock.seconds())
        if allocation.stirred:
            driver.wake()
        if self._stream is not None:
            self._stream.send(frames)
            return True
        return all([self._transmitWhole(frame, self.server) for frame in frames])

    def sendTrains(self, trains: Sequence[Train]) -> None:
        """
        See L{vnet.client.dataplane.paths.Carrier}.
        """
        allocation = self.allocation
        if allocation is None or self.isClosed:
            return
        now = self._clock.seconds()
        for train in trains:
            number = allocation.ready(train.address, now)
            if not number:
                self.send([(datagram, train.address) for datagram in train.datagrams()])
            elif self._stream is not None:
                self._stream.sendTrain(number, cutTrain(train))
            else:
                self._transmitTrains(self._wrapped(number, train))

    def _wrapped(self, number: int, train: Train) -> list[Train]:
        """
        A train as ChannelData, which is longer: it may take two.
        """
        datagrams = cutTrain(train)
        size = len(datagrams[0]) + HEADER
        most = min(MOST, LONGEST // size or 1)
        return [
            Train.of(encodeMany(number, datagrams[first : first + most]), size, self.server)
            for first in range(0, len(datagrams), most)
        ]

    def received(self, train: Train, found: list[Train]) -> None:
        """
        See L{vnet.client.dataplane.paths.Carrier}.
        """
        allocation = self.allocation
        if allocation is None or self.isClosed:
            return
        for message in allocation.unwrapTrain(train, found):
            self._receivedOther(message, found)

    def _receivedOther(self, data: bytes, found: list[Train]) -> None:
        allocation, driver = self.allocation, self._driver
        if allocation is None or driver is None or self.isClosed:
            return
        if data[:2] == _DATA_INDICATION:
            unwrapped = allocation.unwrap(data)
            if unwrapped is not None:
                found.append(Train.single(*unwrapped))
            return
        kind = classify(data)
        if kind is Kind.STUN:
            driver.datagramReceived(data, self.server)
        if kind in (Kind.STUN, Kind.WIREGUARD):
            # A mediator may have named a peer's own address as a relay: its tunnel goes on.
            found.append(Train.single(data, self.server))
