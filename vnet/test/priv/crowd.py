"""
Many members of one network in one process, for tests and measurements of what a crowd costs others::

    python -m vnet.test.priv.crowd URL NETWORK COUNT ADDRESS...

Each is a control connection with a key of its own, logged in, in the network, and told of its changes.  One that is called
to a rendezvous finds a path, has a WireGuard tunnel with the peer, and answers echo requests in it; until then it has no
socket beside its connection.  C{ADDRESS} are this host's, which the connections use in turn: a mediator takes no more than
so many new nodes from one.  When all are ready a line of JSON says so, with the address of each; SIGTERM ends them.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Cooperator, react
from twisted.python.failure import Failure

from vnet.boottime import installBootClock
from vnet.client.identity import Identity, tunnelKey
from vnet.driver import Driver
from vnet.protocols import control
from vnet.protocols.codec import signal as signals
from vnet.protocols.codec.icmp import Echo, decodeEcho, encodeEcho
from vnet.protocols.codec.url import MediatorUrl, parseMediatorUrl
from vnet.protocols.controlclient import ControlClient, Credentials
from vnet.protocols.machine.agentevents import Selected
from vnet.protocols.machine.sealer import Sealer
from vnet.protocols.machine.wireguard import WireGuard
from vnet.protocols.machine.wireguardevents import PacketsReceived
from vnet.protocols.punch import Puncher
from vnet.protocols.tls import clientOptions, exportedKey, peerSpkiHash
from vnet.values import Address

__all__ = ["crowdMember"]

_AT_ONCE = 32


def crowdMember(number: int) -> Identity:
    """
    @return: the identity of a member, by its number.
    """
    return Identity(hashlib.sha256(b"crowd %d" % number).digest())


class _Tunnel(DatagramProtocol):
    """
    A member's end of a path to one peer, and of the tunnel on it.
    """

    def __init__(self, reactor: Any, member: _Member, peer: bytes) -> None:
        self._member, self._key = member, tunnelKey(peer)
        self._machine = WireGuard(
            member.identity.tunnelPrivateKey(), random=os.urandom, wallClock=time.time_ns
        )
        self._machine.addPeer(self._key, allowedIps=("0.0.0.0/0",), roaming=False)
        self._driver = Driver(self._machine, reactor, self._sendAll, self._happened)
        self._puncher = Puncher(reactor, self._sendAll, os.urandom)
        # As a client finds out by itself.
        self._puncher.setBare(True)
        port = reactor.listenUDP(0, self, member.host)
        self._puncher.setLocal([member.host], port.getHost().port)
        self._clock, self._peer = reactor, peer

    def begin(self, start: int) -> None:
        """
        Look for a path, from a time of the mediator's clock on, which is that of this computer.
        """
        own = self._member.identity.publicKey
        self._start, self._controlling = start, own < self._peer
        self._attempt = self._puncher.connect(
            self._peer,
            controlling=self._controlling,
            startAt=start / 1e6,
            onEvent=self._found,
            onSignal=self._signal,
        )
        self._signal()

    def _signal(self) -> None:
        self._member.send(self._peer, signals.encode(self._attempt.signal(self._start)))

    def signalled(self, plaintext: bytes) -> None:
        """
        A signal of the peer came.
        """
        signal = signals.decode(plaintext)
        if signal.start == self._start:
            self._attempt.remoteSignal(signal)

    def _found(self, event: object) -> None:
        if isinstance(event, Selected):
            self._machine.setEndpoint(self._key, event.path.address)
            if self._controlling and not self._machine.peerStatus(self._key).established:
                self._machine.initiate(self._key, self._clock.seconds())
            self._driver.wake()

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """
        See L{DatagramProtocol}.
        """
        source = Address(*addr[:2])
        if datagram[0] in range(1, 5) and datagram[1:4] == bytes(3):
            self._machine.receive(datagram, source, self._clock.seconds())
            self._driver.wake()
        else:
            self._puncher.datagramReceived(datagram, source)

    def _sendAll(self, datagrams: Sequence[tuple[bytes, Address]]) -> None:
        for data, address in datagrams:
            if self.transport is not None and not address.via:
                self.transport.write(data, address[:2])

    def _happened(self, event: object) -> None:
        if isinstance(event, PacketsReceived):
            for packet in event.packets:
                self._answer(packet)

    def _answer(self, packet: bytes) -> None:
        echo = decodeEcho(packet)
        reply = Echo(echo.destination, echo.source, echo.identifier, echo.sequence, echo.data, reply=True)
        self._machine.send(self._key, [encodeEcho(reply)], self._clock.seconds())


@define(eq=False)
class _Member:
    """
    One member: what a control client tells its handler.
    """

    reactor: Any
    url: MediatorUrl
    number: int
    host: str
    identity: Identity = field(init=False)
    address: str = field(default="", init=False)
    epoch: bytes = field(default=b"", init=False)
    network: bytes = field(default=b"", init=False)
    version: int = field(default=0, init=False)
    _client: Any = field(default=None, init=False)
    _tunnels: dict[bytes, _Tunnel] = field(factory=dict, init=False)
    _sealer: Sealer = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.identity = crowdMember(self.number)
        self._sealer = Sealer(self.identity.seed, os.urandom)

    async def enter(self, network: str) -> None:
        """
        Log in and join; the first one founds the network.
        """
        tcp = TCP4ClientEndpoint(self.reactor, self.url.host, self.url.port, bindAddress=(self.host, 0))
        client = self._client = ControlClient(self.reactor, self)
        await connectProtocol(wrapClientTLS(clientOptions(self.url.pin, self.url.host), tcp), client)
        await client.whenSecure()
        me = Credentials(self.identity.publicKey, self.identity.sign, f"member {self.number}", "crowd")
        answer = await client.login(me, peerSpkiHash(client.transport), exportedKey(client.transport))
        self.address, self.epoch = answer["address"], answer["epoch"]
        command = control.JoinNetwork if self.number else control.CreateNetwork
        self.network = (await client.call(command, name=network, proof=b""))["network"]

    async def synchronise(self) -> None:
        """
        Get in step, page by page.
        """
        cursor = b""
        while True:
            answer = await self._client.call(control.Synchronise, epoch=b"", held=[], cursor=cursor)
            self.version = max([self.version, *(each["version"] for each in answer["networks"])])
            cursor = answer["cursor"]
            if not cursor:
                return

    async def listen(self, version: int) -> None:
        """
        Be told of changes from now on; what was before is not asked for.
        """
        held = [{"network": self.network, "version": version}]
        await self._client.call(control.Synchronise, epoch=self.epoch, held=held, cursor=b"")

    def send(self, peer: bytes, plaintext: bytes) -> None:
        """
        Send a signal.
        """
        sealed = self._sealer.seal(peer, plaintext)
        calling = Deferred.fromCoroutine(self._client.call(control.ForwardSignal, peer=peer, sealed=sealed))
        calling.addErrback(lambda _: None)

    def rendezvous(self, peer: bytes, start: int, now: int, host: str) -> None:
        """Find a path to a peer."""
        if peer not in self._tunnels:
            self._tunnels[peer] = _Tunnel(self.reactor, self, peer)
        self._tunnels[peer].begin(start)

    def signal(self, peer: bytes, sealed: bytes) -> None:
        """Hear of a peer's candidates."""
        if peer in self._tunnels:
            self._tunnels[peer].signalled(self._sealer.open(peer, sealed))

    def memberChanged(self, network: bytes, version: int, members: Sequence[dict[str, Any]]) -> None:
        """Take note of a change."""
        self.version = version

    def networkGone(self, network: bytes) -> None:
        """Nothing to do."""

    def replaced(self, byYou: bool) -> None:
        """Nothing to do."""

    def disconnected(self, reason: Failure) -> None:
        """Nothing to do."""


async def _each(steps: Iterator[Deferred[None]]) -> None:
    """
    Do all, some of them at once.
    """
    cooperator = Cooperator()
    await gatherResults([cooperator.coiterate(steps) for _ in range(_AT_ONCE)], consumeErrors=True)


async def _gather(reactor: Any, arguments: Sequence[str]) -> None:
    url, network, count, hosts = (
        parseMediatorUrl(arguments[0]),
        arguments[1],
        int(arguments[2]),
        arguments[3:],
    )
    members = [_Member(reactor, url, number, hosts[number % len(hosts)]) for number in range(count)]
    await members[0].enter(network)
    await _each(Deferred.fromCoroutine(each.enter(network)) for each in members[1:])
    await members[0].synchronise()
    version = members[0].version
    await _each(Deferred.fromCoroutine(each.listen(version)) for each in members[1:])
    print(json.dumps({"addresses": [each.address for each in members]}), flush=True)
    await Deferred()


def main() -> None:
    """
    Gather, until SIGTERM.
    """
    from twisted.internet import reactor

    installBootClock(reactor)
    react(lambda reactor: Deferred.fromCoroutine(_gather(reactor, sys.argv[1:])))


if __name__ == "__main__":
    main()
