# -*- test-case-name: vnet.test.test_punch -*-
"""
Hole punching: direct UDP paths to peers behind NATs, all through one socket.

A L{Puncher} runs an ICE agent for each peer, and asks STUN servers how the socket looks from outside.  It
sends and receives nothing by itself: it is given what arrives, and hands over what is to be sent.  So any
Twisted program that has a UDP socket, and a way to carry a few hundred bytes to its peer beforehand, can
embed it::

    class Punched(DatagramProtocol):
        def startProtocol(self):
            self.puncher = Puncher(reactor, self.sendAll, os.urandom)
            self.puncher.setLocal(["192.168.1.2"], self.transport.getHost().port)
            self.puncher.setServers([Address("203.0.113.1", 3478)])

        def sendAll(self, datagrams):
            for data, address in datagrams:
                self.transport.write(data, (address.host, address.port))

        def datagramReceived(self, data, addr):
            if isStun(data):
                self.puncher.datagramReceived(data, Address(*addr))
            else:
                ...  # of the application, from a peer

        def connect(self, peer, controlling, startAt):
            self.attempt = self.puncher.connect(
                peer, controlling=controlling, startAt=startAt, onEvent=self.happened)
            ...  # tell the peer self.attempt.signal(start), and give what it tells to self.attempt.remoteSignal()

        def happened(self, event):
            if isinstance(event, Selected):
                self.transport.write(b"hello through the hole", event.path.address[:2])

Exactly one of the two peers is C{controlling}; both call C{connect} with the same moment as C{startAt},
as precisely as they know.  A socket bound to C{::} gives IPv4 addresses as C{::ffff:192.0.2.1}: write them
as IPv4 before they come here.
"""

from __future__ import annotations

from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from vnet.driver import Driver
from vnet.errors import DecodeError, Refused
from vnet.protocols.attempt import Attempt
from vnet.protocols.codec.natsignal import Traits
from vnet.protocols.codec.signal import Credentials
from vnet.protocols.codec.stun import decode, isStun
from vnet.protocols.codec.stunattributes import USERNAME
from vnet.protocols.machine.agent import Agent
from vnet.protocols.machine.agentevents import AgentEvent, ConsentLost, Failed, Selected
from vnet.protocols.machine.binding import BindingEvent, Bindings, Mapped, MappingChanged, ServerSilent
from vnet.protocols.machine.candidates import checkable, gather
from vnet.protocols.machine.lifetime import KeepAlive
from vnet.protocols.machine.pathmtu import BASE
from vnet.protocols.machine.ratelimit import KeyedLimit
from vnet.protocols.machine.slots import Slots
from vnet.protocols.traversaltools import Means, Sockets
from vnet.values import Address, Candidate

__all__ = ["MAXIMUM_ATTEMPTS", "Asker", "Attempt", "Puncher"]

MAXIMUM_ATTEMPTS = 1024
"""Peers for which one puncher has an agent at once."""

_TRANSACTIONS = 16384
_REQUEST = b"\0\1"
_USERNAME = USERNAME.code.to_bytes(2, "big")
_SETTLED = 10.0

# Checks a second, and at once, of all attempts to one host that has not answered any.
_UNANSWERED_RATE = 50.0
_UNANSWERED_BURST = 150

Datagrams = list[tuple[bytes, Address]]


class Asker(Protocol):
    """
    Who asks STUN servers something, and gets the answers; or sends a request to this node itself, and gets that.
    """

    def expects(self, transactionId: bytes, addr: Address) -> bool:
        """Whether an answer, or a request, from this address with this id belongs to it."""

    def datagramReceived(self, data: bytes, addr: Address) -> None:
        """Take such an answer or request."""


class Puncher:
    """
    All agents of one UDP socket.

    @ivar reflexive: the addresses that STUN servers see, without repetition.
    @ivar candidates: this side's candidates, the best first.
    @ivar keepAlive: how often the NAT wants a packet of an idle path: see L{keepAliveChanged}.
    @ivar traits: the NAT in front of the socket, as far as it is known.
    @ivar askers: who else asks STUN servers through the socket, or through spare ones.
    @ivar ignored: how many datagrams belonged to no agent.
    """

    def __init__(
        self,
        clock: IReactorTime,
        send: Callable[[Datagrams], None],
        random: Callable[[int], bytes],
        *,
        onMapped: Callable[[], None] = lambda: None,
        accepts: Callable[[Address], bool] = checkable,
        sockets: Sockets | None = None,
        sendLimited: Callable[[Datagrams, int], None] = lambda datagrams, hopLimit: None,
        sendWhole: Callable[[bytes, Address], bool] | None = None,
        largest: int = BASE,
    ) -> None:
        """
        @param clock: whose C{seconds} never goes back.
        @param send: sends datagrams through the socket; what it cannot send it drops.
        @param random: returns so many unpredictable bytes.
        @param onMapped: called when L{candidates} has changed: time to tell the peers.
        @param accepts: whether checks may be sent to an address that a peer names.
        @param sockets: opens spare sockets, for NATs that need more than checks; what comes to one has its name as C{via}
            of the source, and C{send} sends from it where the destination has.
        @param sendLimited: as C{send}, with a hop limit.
        @param sendWhole: as C{send}, one that is not fragmented: see L{vnet.interfaces.IDatagramPort.sendWhole}; L{None}: how
            long datagrams may be is not asked.
        @param largest: bytes of a datagram that are of use.
        """
        self._clock = clock
        self._send = send
        self._random = random
        self._sendWhole, self._largest = sendWhole, largest
        self._onMapped = onMapped
        self.accepts = accepts
        self._attempts: dict[str, Attempt] = {}
        self._pace = KeyedLimit(_UNANSWERED_RATE, _UNANSWERED_BURST, limit=4096)
        self._transactions: OrderedDict[bytes, str] = OrderedDict()
        self.keepAlive = KeepAlive()
        self._slots = Slots.drawn(random(2))
        self._refreshedAt = 0.0
        self._bindings = Bindings([], random=random, refreshInterval=self.keepAlive.interval)
        self._discovery: Driver[BindingEvent] = Driver(self._bindings, clock, send, self._discovered)
        self._hosts: tuple[str, ...] = ()
        self._relays: dict[str, tuple[Address, ...]] = {}
        self._opened: tuple[Address, ...] = ()
        self._port = 0
        self._pool: tuple[str, ...] = ()
        self.reflexive: tuple[Address, ...] = ()
        self.candidates: tuple[Candidate, ...] = ()
        self._means = Means(clock, send, sendLimited, random, sockets, accepts)
        self.askers: list[Asker] = [self._means.sampler]
        self.ignored = 0

    def __len__(self) -> int:
        return len(self._attempts)

    def seconds(self) -> float:
        """
        Now.
        """
        return self._clock.seconds()

    @property
    def traits(self) -> Traits | None:
        """
        The NAT in front of the socket; L{None}: nothing is known.
        """
        return None if self._means.traits == Traits() else self._means.traits

    def setTraits(self, traits: Traits, noise: float = 0.0, hosts: Sequence[str] = ()) -> None:
        """
        Say what is known of the NAT in front of the socket.

        @param noise: of a sequential one, mappings of others a second.
        @param hosts: its public IPv4 addresses, if it uses any of several: peers that filter by address are to let all in.
        """
        self._means.noise = noise
        if len(hosts) > 1 and tuple(hosts) != self._pool:
            self._pool = tuple(hosts)
            self._update()
        if traits.host != self._means.traits.host:
            self._means.triedAt.clear()
        if traits != self._means.traits:
            self._means.traits = traits
            self._onMapped()

    def setLocal(self, hosts: Sequence[str], port: int) -> None:
        """
        Say what the socket is; again when the network has changed.

        @param hosts: the addresses of this computer, without those of the overlay itself.
        @param port: that of the socket.
        """
        self._hosts, self._port = tuple(hosts), port
        self._refreshedAt = self.seconds()
        self._bindings.refresh(self.seconds())
        self._discovery.wake()
        self._update()
        for attempt in self._attempts.values():
            attempt.networkChanged()

    def setBare(self, isBare: bool) -> None:
        """
        Say whether it is known that there is no NAT in front of this node.
        """
        if isBare != self.keepAlive.isBare:
            self.keepAlive.isBare = isBare
            self.keepAliveChanged()

    def keepAliveChanged(self) -> None:
        """
        L{keepAlive} has another interval.
        """
        self._bindings.refreshEvery(self.keepAlive.interval)
        self._discovery.wake()

    def setServers(self, servers: Sequence[Address]) -> None:
        """
        Ask these STUN servers from now on.
        """
        self._bindings.setServers(servers)
        self._discovery.wake()
        self._remap()

    def setMapped(self, addresses: Sequence[Address]) -> None:
        """
        Say where routers take datagrams for the socket because they were asked to; again when that has changed.
        """
        self._opened = tuple(addresses)
        self._update()

    def contradicts(self, address: Address) -> bool:
        """
        Whether STUN servers see other hosts of the same family than an address, that a router has named.
        """
        seen = {each.host for each in self.reflexive if (":" in each.host) == (":" in address.host)}
        return bool(seen) and address.host not in seen

    def setRelays(self, relays: Mapping[str, Sequence[Address]]) -> None:
        """
        Use these allocations of ours on relays too; again when they have changed.  What they bring and take has addresses
        whose C{via} is their name.

        @param relays: the relayed addresses of each, by its name; the best first.
        """
        self._relays = {name: tuple(addresses) for name, addresses in relays.items()}
        self._update()
        for attempt in list(self._attempts.values()):
            attempt.learnRelays(self._relays)

    def connect(
        self,
        peer: bytes,
        *,
        controlling: bool,
        startAt: float,
        onEvent: Callable[[AgentEvent], None],
        observed: str = "",
        onSignal: Callable[[], None] = lambda: None,
        onSize: Callable[[], None] = lambda: None,
    ) -> Attempt:
        """
        Search for a path to a peer.

        @param peer: who it is, as the caller calls it.
        @param controlling: whether this side decides.
        @param startAt: when both sides begin, in seconds of the clock.
        @param onEvent: called with each event of L{vnet.protocols.machine.agentevents}.
        @param observed: the IP address that the peer has been seen at by someone else than itself: ports of its NAT are
            guessed only there; empty: not at all.
        @param onSignal: called when the peer has to be told C{Attempt.signal} again; C{onSize}: when C{Attempt.size} has changed.
        @raise Refused: there are L{MAXIMUM_ATTEMPTS} already, and none of them has failed.
        """
        if len(self._attempts) >= MAXIMUM_ATTEMPTS and not self._evict():
            raise Refused(f"no more than {MAXIMUM_ATTEMPTS} peers can be connected at once")
        credentials = self._makeCredentials()
        ufrag = credentials.ufrag
        agent = Agent(
            controlling=controlling,
            local=credentials,
            startAt=startAt,
            random=self._random,
            pace=self._pace,
            keepAlive=self.keepAlive,
            slots=self._slots,
        )

        def happened(event: AgentEvent) -> None:
            if isinstance(event, Selected | ConsentLost):
                attempt.pathChanged()
            elif isinstance(event, Failed) and attempt.isBusy:
                agent.search(self.seconds())
                return
            onEvent(event)

        driver: Driver[AgentEvent] = Driver(
            agent, self._clock, lambda batch: self._sendFor(ufrag, batch), happened
        )
        attempt = self._attempts[ufrag] = Attempt(peer, credentials, self, agent, driver)
        attempt.traverse(self._means, startAt, observed, onSignal)
        if self._sendWhole is not None:
            attempt.measure(self._means, self._largest, partial(self._sendWholeFor, ufrag), onSize)
        attempt.learnLocal(self.candidates)
        attempt.learnRelays(self._relays)
        return attempt

    def _evict(self) -> bool:
        """
        Make room: close the attempt that has failed longest ago.
        """
        failed = [
            (each.failedAt, ufrag) for ufrag, each in self._attempts.items() if each.failedAt is not None
        ]
        if not failed:
            return False
        self._attempts[min(failed)[1]].close()
        return True

    def forget(self, attempt: Attempt) -> None:
        """
        Drop an attempt that was closed.
        """
        self._attempts.pop(attempt.credentials.ufrag, None)

    def close(self) -> None:
        """
        Close all attempts, and ask no server any more.
        """
        self._discovery.stop()
        self._means.sampler.close()
        for attempt in list(self._attempts.values()):
            attempt.close()

    def datagramReceived(self, data: bytes, addr: Address) -> None:
        """
        Take a STUN message; whatever it holds, this does not raise.
        """
        if not isStun(data):
            self.ignored += 1
            return
        transactionId = data[8:20]
        if data[0] & 1:
            # An answer, or an error.
            if self._bindings.expects(transactionId, addr):
                self._discovery.datagramReceived(data, addr)
                return
            ufrag = self._transactions.get(transactionId, "")
        else:
            ufrag = _ufragOf(data)
        attempt = self._attempts.get(ufrag)
        if attempt is not None:
            attempt.received(data, addr)
            return
        for asker in self.askers:
            if asker.expects(transactionId, addr):
                asker.datagramReceived(data, addr)
                return
        self.ignored += 1

    def _sendFor(self, ufrag: str, batch: Datagrams) -> None:
        if self._means.traits.limited:
            # Answers go where something came from: the mapping is there.
            attempt, admits = self._attempts.get(ufrag), self._means.admits
            peer = b"" if attempt is None else attempt.peer
            batch = [each for each in batch if each[0][:2] != _REQUEST or admits(each[1], peer)]
        for data, _ in batch:
            self._noteRequest(ufrag, data)
        self._send(batch)

    def _sendWholeFor(self, ufrag: str, data: bytes, addr: Address) -> bool:
        self._noteRequest(ufrag, data)
        return self._sendWhole is None or self._sendWhole(data, addr)

    def _noteRequest(self, ufrag: str, data: bytes) -> None:
        """
        The answer is for the same attempt.
        """
        if data[:2] == _REQUEST:
            self._transactions[data[8:20]] = ufrag
            while len(self._transactions) > _TRANSACTIONS:
                self._transactions.popitem(last=False)

    def _makeCredentials(self) -> Credentials:
        while True:
            # 48 bits keep the attempts apart, 144 keep the password from being guessed (RFC 8445 section 5.3).
            text = b64encode(self._random(24)).decode("ascii")
            if text[:8] not in self._attempts:
                return Credentials(text[:8], text[8:])

    def _discovered(self, event: BindingEvent) -> None:
        if isinstance(event, MappingChanged):
            self._judge(event)
        if isinstance(event, Mapped | ServerSilent):
            self._remap()

    def _judge(self, event: MappingChanged) -> None:
        """
        Where only the port is another one, and nothing has happened to the network, the mapping has died of idleness.
        """
        quiet = self.seconds() - self._refreshedAt > _SETTLED
        if quiet and event.old.host == event.new.host:
            self.keepAlive.lapsed()
            self.keepAliveChanged()

    def _remap(self) -> None:
        # A server that is silent for a while does not take the candidate away: the mapping may well be there.
        mappings = self._bindings.mappings
        # Guesses are for IPv4 only: IPv6 has no NATs.
        self._means.server = next((server for server in mappings if ":" not in server.host), None)
        seen = tuple(dict.fromkeys(mappings.values()))
        if seen and seen != self.reflexive:
            self.reflexive = seen
            self._update()

    def _pooled(self) -> list[Address]:
        """
        Addresses at which no server has seen the socket, but a peer may.
        """
        seen = [each for each in self.reflexive if ":" not in each.host]
        known = {each.host for each in seen}
        return [Address(host, seen[0].port) for host in self._pool if seen and host not in known]

    def _update(self) -> None:
        relayed = [address for addresses in self._relays.values() for address in addresses]
        opened = [each for each in self._opened if not self.contradicts(each)]
        candidates = gather(self._hosts, self._port, (*self.reflexive, *self._pooled()), relayed, opened)
        if candidates == self.candidates:
            return
        self.candidates = candidates
        for attempt in self._attempts.values():
            attempt.learnLocal(candidates)
        self._onMapped()


def _ufragOf(data: bytes) -> str:
    """
    For which attempt a request is.
    """
    if data[20:22] == _USERNAME:
        # As nearly all have it.
        name = data[24 : 24 + int.from_bytes(data[22:24], "big")]
    else:
        try:
            name = (decode(data).get(USERNAME) or "").encode()
        except DecodeError:
            return ""
    return name.partition(b":")[0].decode("ascii", "replace")
