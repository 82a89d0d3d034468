# -*- test-case-name: vnet.test.test_forwarder -*-
"""
Packets to a peer: sealed and sent at once, or kept by the machine until there is a session; and a path asked for where there is
none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from vnet.driver import DatagramMachine
from vnet.interfaces import IDatagramPort
from vnet.protocols.codec.segmentation import Segments
from vnet.protocols.machine.sealing import PacketTrain
from vnet.protocols.machine.wireguardevents import PacketsReceived, PeerStatus, WireGuardEvent
from vnet.values import Address, Train

__all__ = ["WANTED_INTERVAL", "Sending", "Tunnels"]

#: How often the owner hears that packets for a member wait for a path, seconds.
WANTED_INTERVAL = 1.0


class Tunnels(DatagramMachine[WireGuardEvent], Protocol):
    """
    What the forwarder asks of L{vnet.protocols.machine.wireguard.WireGuard}.
    """

    @property
    def isPending(self) -> bool:
        """
        Whether the machine has anything to send or to tell, or a deadline that is new.
        """

    def peerFor(self, destination: bytes) -> bytes | None:
        """
        Whose an inner address is.
        """

    def peerStatus(self, publicKey: bytes) -> PeerStatus:
        """
        What is known of a peer; C{KeyError} when there is none.
        """

    def mute(self, publicKey: bytes, until: float) -> None:
        """
        Open nothing that a peer sends until then; C{KeyError} when there is none.
        """

    def send(self, publicKey: bytes, packets: Sequence[bytes], now: float) -> None:
        """
        Send inner packets to a peer; C{KeyError} when there is none.
        """

    def sealPackets(self, publicKey: bytes, packets: Sequence[bytes], now: float) -> Sequence[Train]:
        """
        The same, for us to send at once.
        """

    def sealSegments(self, publicKey: bytes, segments: PacketTrain, now: float) -> Sequence[Train]:
        """
        The same of a segment train.
        """

    def nextPackets(self) -> PacketsReceived | None:
        """
        Take the oldest event if it tells of packets.
        """

    def receiveTrains(self, trains: Sequence[Train], now: float) -> Sequence[tuple[bytes, Address]]:
        """
        Datagrams have come; this gives back those that are not of this protocol.
        """


@define(eq=False, repr=False)
class Sending:
    """
    Sends packets through tunnels.  Methods raise C{KeyError} where the machine has no such peer.

    @ivar _wanted: see L{vnet.client.dataplane.forwarder.Forwarder}.
    """

    _log = Logger()

    _port: IDatagramPort
    _wireguard: Tunnels
    _clock: IReactorTime
    _wanted: Callable[[bytes], None]
    _lastWanted: dict[bytes, float] = field(factory=dict, init=False)
    _takePartial: set[bytes] = field(factory=set, init=False)

    def send(self, publicKey: bytes, packets: Sequence[bytes]) -> None:
        """
        Send packets whose checksums are as the peer takes them.
        """
        now = self._clock.seconds()
        trains = self._wireguard.sealPackets(publicKey, packets, now)
        if trains:
            self._port.sendTrains(trains)
        self._wantPath(publicKey, now)

    def sendSegments(self, publicKey: bytes, segments: Segments) -> None:
        """
        Send a segment train.
        """
        now = self._clock.seconds()
        segments.finishes = not (segments.isPlain and publicKey in self._takePartial)
        self._port.sendTrains(self._wireguard.sealSegments(publicKey, segments, now))
        self._wantPath(publicKey, now)

    def sendWanted(self, publicKey: bytes, packets: Sequence[bytes]) -> None:
        """
        Send packets; where there is no peer, ask for one, and send them if there is one then.
        """
        try:
            self.send(publicKey, packets)
        except KeyError:
            self.want(publicKey)
            self.send(publicKey, packets)

    def takesPartial(self, publicKey: bytes) -> bool:
        """
        Whether a peer takes packets whose checksums are unfinished.
        """
        return publicKey in self._takePartial

    def setTakesPartial(self, publicKey: bytes, takes: bool) -> None:
        """
        Say whether it does; at first it does not.
        """
        if takes:
            self._takePartial.add(publicKey)
        else:
            self._takePartial.discard(publicKey)

    def forget(self, publicKey: bytes) -> None:
        """
        Nothing is known of a peer any more.
        """
        self._lastWanted.pop(publicKey, None)
        self._takePartial.discard(publicKey)

    def _wantPath(self, publicKey: bytes, now: float) -> None:
        if now - self._lastWanted.get(publicKey, -WANTED_INTERVAL) >= WANTED_INTERVAL:
            if self._wireguard.peerStatus(publicKey).endpoint is None:
                self.want(publicKey)
            else:
                self._lastWanted[publicKey] = now

    def want(self, publicKey: bytes) -> None:
        """
        Tell the owner that a peer is wanted, unless it was told a moment ago.
        """
        now = self._clock.seconds()
        if now - self._lastWanted.get(publicKey, -WANTED_INTERVAL) >= WANTED_INTERVAL:
            self._lastWanted[publicKey] = now
            with self._log.failuresHandled("while a path is asked for"):
                self._wanted(publicKey)
