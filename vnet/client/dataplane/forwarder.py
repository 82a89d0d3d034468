# -*- test-case-name: vnet.test.test_forwarder -*-
"""
Between the operating system's interface, the WireGuard machine and the UDP port: batches in, batches out::

    IDevice --frames--> Dispatch --packets by peer, segments--> Sending (WireGuard) --trains--> IDatagramPort
    IDevice <--frames-- Delivery <--runs of packets-- WireGuard <--trains-- IDatagramPort
                                                          |
                                         stunReceived <---+
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from vnet.client.dataplane.clamp import Clamp
from vnet.client.dataplane.delivery import Delivery
from vnet.client.dataplane.dispatch import Dispatch
from vnet.client.dataplane.echo import Echoes
from vnet.client.dataplane.etherip import EtherIp
from vnet.client.dataplane.groups import MEMBER_RATE, Groups
from vnet.client.dataplane.lans import Admits, Lans
from vnet.client.dataplane.neighbours import Neighbours
from vnet.client.dataplane.overlay import Overlay
from vnet.client.dataplane.sending import Sending, Tunnels
from vnet.driver import Driver
from vnet.interfaces import IDatagramPort, IDevice
from vnet.protocols.codec import virtio
from vnet.protocols.codec.llc import DEFAULT_TYPES
from vnet.protocols.codec.runs import Run
from vnet.protocols.demux import Kind, classify
from vnet.protocols.machine.wireguardevents import PacketsReceived, SessionEstablished, WireGuardEvent
from vnet.values import Address, Superframe, Train

__all__ = ["Forwarder"]


def _ignore(told: bytes) -> None:
    """
    Nobody wants to know.
    """


def _usual(publicKey: bytes) -> frozenset[int]:
    """
    The protocols that pass with any member.
    """
    return DEFAULT_TYPES


@define(eq=False, repr=False)
class Forwarder:
    """
    Forwards, and drives the WireGuard machine.

    Device and port are open when L{start} is called, and closed by their owner after L{stop}.  The peers in
    the machine are the owner's too; whoever calls the machine calls L{flush} after it.

    @ivar counters: what was dropped and answered, by reason.
    @ivar _stunReceived: gets each STUN message that came to the port.
    @ivar _wireguardEvent: gets each event of the machine but the packets.
    @ivar _wanted: gets the tunnel key of a member for whom the operating system has packets while there is no
        endpoint or no peer in the machine: at most once a second for each.  It may add the peer.
    @ivar _grouped: gets each frame that the operating system sends to a group.
    @ivar _groupRate: frames a second to groups that are sent, and that are taken of one member.
    @ivar _etherTypes: gives the protocols beside IP that pass to and from a member, by its tunnel key, see
        L{vnet.protocols.codec.llc}.
    @ivar _clamp: knows what the path to each peer carries; L{None}: whatever the interface takes.
    """

    _log = Logger()

    _device: IDevice
    _port: IDatagramPort
    _wireguard: Tunnels
    _clock: IReactorTime
    _stunReceived: Callable[[bytes, Address], None]
    _wireguardEvent: Callable[[WireGuardEvent], None]
    _wanted: Callable[[bytes], None] = _ignore
    _clamp: Clamp | None = None
    _grouped: Callable[[bytes], None] = _ignore
    _groupRate: int = MEMBER_RATE
    _etherTypes: Callable[[bytes], frozenset[int]] = _usual
    counters: Counter[str] = field(factory=Counter, init=False)
    _neighbours: Neighbours = field(init=False)
    _overlay: Overlay = field(factory=Overlay, init=False)
    _lans: Lans = field(factory=Lans, init=False)
    _driver: Driver[WireGuardEvent] = field(init=False)
    _echoes: Echoes = field(init=False)
    _sending: Sending = field(init=False)
    _delivery: Delivery = field(init=False)
    _groups: Groups = field(init=False)
    _etherIp: EtherIp = field(init=False)
    _dispatch: Dispatch = field(init=False)
    _stopped: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._neighbours = Neighbours(self.counters)
        self._driver = Driver(self._wireguard, self._clock, self._port.send, self._event)
        self._echoes = Echoes(self._clock, self._sendEcho)
        self._sending = Sending(self._port, self._wireguard, self._clock, self._wanted)
        self._groups = Groups(
            self._neighbours,
            self._clock,
            self._clamp,
            self._sending.send,
            self._wireguard.mute,
            self.deliver,
            self._driver.wake,
            self.counters,
            self._groupRate,
        )
        self._etherIp = EtherIp(
            self._device,
            self._neighbours,
            self._groups,
            self._sending.sendWanted,
            self.counters,
            self._etherTypes,
        )
        self._delivery = Delivery(
            self._device,
            self._neighbours,
            self._echoes,
            self._groups,
            self._etherIp,
            self._lans,
            self.counters,
        )
        self._dispatch = Dispatch(
            self._device,
            self._wireguard.peerFor,
            self._sending,
            self._neighbours,
            self._groups,
            self._etherIp,
            self._clamp,
            self._clock,
            self._grouped,
            self._lans,
            self.counters,
        )

    # For the owner

    def start(self) -> None:
        """
        Begin to forward.
        """
        self._port.start(self._datagramsReceived)
        self._device.start(self._framesReceived)
        self._driver.wake()

    def stop(self) -> None:
        """
        Forward nothing any more.  Outstanding echoes fail.
        """
        self._stopped = True
        self._driver.stop()
        self._groups.snooping.stop()
        self._echoes.stop()

    def configure(self, address: str, pool: str, address6: str, pool6: str) -> None:
        """
        Give the interface our addresses, see L{IDevice.configure}, and from now on accept packets to them and
        to no others.

        @raise vnet.errors.ConfigurationError: as the device does.
        """
        self._device.configure(address, pool, address6, pool6)
        self._neighbours.setOwn(address, address6)
        self._overlay.setBlocks(pool, pool6)
        self._groups.setBlock(pool)

    def addMember(self, publicKey: bytes, address: str, address6: str) -> None:
        """
        Answer for a member's addresses, or change them.

        @param publicKey: its tunnel key, 32 bytes of X25519.
        @raise ValueError: an address is none.
        """
        self._neighbours.add(publicKey, address, address6)

    def removeMember(self, publicKey: bytes) -> None:
        """
        Forget a member, if it is known.
        """
        self._neighbours.remove(publicKey)
        self._groups.setLive(publicKey, False)
        self._sending.forget(publicKey)

    def shareLans(self, prefixes: Collection[str], admits: Admits) -> None:
        """
        Deliver packets to these prefixes, too, which are behind this node; see L{Lans.share}.
        """
        self._lans.share(prefixes, admits)

    def membersMoved(self) -> None:
        """
        Who may reach which prefixes has changed.
        """
        self._lans.forget()

    def useLans(self, publicKey: bytes, prefixes: Collection[str]) -> None:
        """
        These prefixes are behind a member, and no others: nothing of the tunnels' own goes there, or comes from there.
        """
        self._lans.use(publicKey, prefixes)
        self._overlay.setRouted(*self._lans.used())

    def setTakesPartial(self, publicKey: bytes, takes: bool) -> None:
        """
        Say whether a member takes packets whose checksums are unfinished; at first it does not.
        """
        self._sending.setTakesPartial(publicKey, takes and self._neighbours.get(publicKey) is not None)

    def setLive(self, publicKey: bytes, isLive: bool) -> None:
        """
        Say whether a member has a path, and so gets what is sent to groups; at first it has none.
        """
        self._groups.setLive(publicKey, isLive)

    def deliver(self, frames: Sequence[bytes]) -> None:
        """
        Hand Ethernet frames to the operating system.
        """
        self._device.write([(virtio.FINISHED, frame) for frame in frames])

    def flush(self) -> None:
        """
        Send what the machine has to send, deliver its events, and mind its deadline.
        """
        self._driver.wake()

    def echo(self, publicKey: bytes, ownAddress: str, address: str) -> Deferred[float]:
        """
        One ICMP echo through the tunnel, answered by the peer's operating system.  See L{Echoes.start}.

        @param ownAddress: our overlay address, of the same version as C{address}, the member's.
        @return: the round trip, seconds.
        """
        return self._echoes.start(publicKey, ownAddress, address)

    def _sendEcho(self, publicKey: bytes, packets: Sequence[bytes]) -> None:
        try:
            self._sending.send(publicKey, packets)
        except KeyError:
            self._sending.want(publicKey)
            raise
        self._driver.wake()

    def _framesReceived(self, frames: Sequence[bytes | Superframe]) -> None:
        if not self._stopped:
            self._dispatch.dispatch(frames)
            if self._wireguard.isPending:
                self._driver.wake()

    def _datagramsReceived(self, trains: Sequence[Train]) -> None:
        if self._stopped:
            return
        isInside = self._overlay.holds
        outside = []
        for train in trains:
            if isInside(train.address.host):
                self.counters["fromInside"] += train.datagramCount
            else:
                outside.append(train)
        for data, addr in self._wireguard.receiveTrains(outside, self._clock.seconds()):
            if classify(data) is Kind.STUN:
                # Without a context for each: most of what idle peers cost is here.
                try:
                    self._stunReceived(data, addr)
                except Exception:
                    self._log.failure("while a STUN message is read")
            else:
                self.counters["unknownDatagram"] += 1
        # What comes before any other event needs no driver.
        while (packets := self._wireguard.nextPackets()) is not None:
            try:
                self._packetsReceived(packets)
            except Exception:
                self._log.failure("while packets are delivered")
        if self._wireguard.isPending:
            self._driver.wake()

    def _event(self, event: WireGuardEvent) -> None:
        if isinstance(event, PacketsReceived):
            self._packetsReceived(event)
            return
        if isinstance(event, SessionEstablished):
            self._groups.snooping.sessionBegan(event.publicKey)
        self._wireguardEvent(event)

    def _packetsReceived(self, event: PacketsReceived) -> None:
        member = self._neighbours.get(event.publicKey)
        if member is None:
            self.counters["fromNoMember"] += len(event.packets)
            return
        limit = None if self._clamp is None else self._clamp.limitOf(event.publicKey)
        runs: Sequence[Run] = event.runs
        if self._clamp is not None and limit is not None:
            runs = self._clamp.incoming(limit, runs)
        self._delivery.deliver(member, runs)
