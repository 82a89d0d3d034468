# -*- test-case-name: vnet.test.test_relaying -*-
"""
A TURN server's side of all its allocations (RFC 8656), and STUN's Binding beside them.

A client is told by its L{Address}, whose C{via} is the name of the socket or the connection that it comes through: that is
its 5-tuple.  Data does not go through here: who moves it looks the allocation up in L{Relaying.clients}, and asks it.

Nothing is kept of a client that has not shown that it knows a password, but a count of the answers that its host got.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

from vnet.errors import DecodeError
from vnet.protocols.codec.stun import BINDING, Authentic, Class, Message, decode, encode
from vnet.protocols.codec.stunattributes import (
    ADDRESS_ERROR_CODE,
    CHANNEL_NUMBER,
    DATA,
    DONT_FRAGMENT,
    ERROR_CODE,
    EVEN_PORT,
    FINGERPRINT,
    ICMP,
    LIFETIME,
    MESSAGE_INTEGRITY,
    MESSAGE_INTEGRITY_SHA256,
    NONCE,
    PASSWORD_ALGORITHM,
    REALM,
    REQUESTED_ADDRESS_FAMILY,
    REQUESTED_TRANSPORT,
    RESERVATION_TOKEN,
    UNKNOWN_ATTRIBUTES,
    USERHASH,
    USERNAME,
    XOR_MAPPED_ADDRESS,
    XOR_PEER_ADDRESS,
    XOR_RELAYED_ADDRESS,
    AddressErrorCode,
    Attribute,
    AttributeType,
    ErrorCode,
    Icmp,
)
from vnet.protocols.codec.turn import (
    ALLOCATE,
    CHANNEL_BIND,
    CHANNELS_5766,
    CREATE_PERMISSION,
    DATA_INDICATION,
    REFRESH,
    SEND,
)
from vnet.protocols.machine.allocationrequest import Denial
from vnet.protocols.machine.allocations import Allocations
from vnet.protocols.machine.bindingresponse import bindingResponse
from vnet.protocols.machine.ratelimit import KeyedQuota, sourceKey
from vnet.protocols.machine.relaycredentials import CredentialSource
from vnet.protocols.machine.relayingevents import Allocated, Ended, RelayingEvent, SendToPeer
from vnet.protocols.machine.relaysettings import RelayLimits, RelaySettings, Service
from vnet.protocols.machine.served import Served, familyOf
from vnet.protocols.machine.stunorigins import Origins
from vnet.protocols.machine.turnauth import Admitted, Refusal, TurnAuth
from vnet.protocols.machine.turnnonce import Nonces
from vnet.values import Address

__all__ = ["Allocated", "Ended", "RelayLimits", "RelaySettings", "Relaying", "SendToPeer", "Service"]

_SOURCES = 8192

_UNDERSTOOD: frozenset[AttributeType[Any]] = frozenset(
    {
        CHANNEL_NUMBER,
        DATA,
        DONT_FRAGMENT,
        EVEN_PORT,
        LIFETIME,
        MESSAGE_INTEGRITY,
        MESSAGE_INTEGRITY_SHA256,
        NONCE,
        PASSWORD_ALGORITHM,
        REALM,
        REQUESTED_ADDRESS_FAMILY,
        REQUESTED_TRANSPORT,
        RESERVATION_TOKEN,
        USERHASH,
        USERNAME,
        XOR_PEER_ADDRESS,
    }
)

Attributes = tuple[Attribute[Any], ...]


class Relaying:
    """
    The machine.  See L{vnet.driver.DatagramMachine} for its five verbs.

    @ivar clients: the allocations, by client.
    @ivar policy: who may be a peer.
    @ivar origins: the sockets of STUN by what clients' addresses have as C{via}; who opens them says so here.
    @ivar counters: what was done and what was not, by reason.
    """

    def __init__(
        self,
        settings: RelaySettings,
        credentials: CredentialSource,
        *,
        random: Callable[[int], bytes],
        wallClock: Callable[[], float],
        open: Callable[[Address], bool],
        close: Callable[[Address], None],
        isConnection: Callable[[Address], bool] = lambda client: False,
    ) -> None:
        """
        @param credentials: whom to serve.
        @param random: returns so many unpredictable bytes.
        @param wallClock: seconds since 1970.
        @param open: binds a UDP address of this host, and says whether it could.
        @param close: gives it back.
        @param isConnection: whether a client has a connection, which shows that it is where it says.
        """
        self.settings = settings
        self.policy = settings.policy
        self.origins: Origins[str] = Origins()
        self.policy.setOwn({*self.policy.own, *settings.hosts.values(), *settings.external.values()})
        self.counters: Counter[str] = Counter()
        self._random = random
        self._isConnection = isConnection
        self._auth = TurnAuth(settings.realm, credentials, Nonces(random(32)), wallClock)
        self._allocations = Allocations(settings, random, open, close)
        self.clients = self._allocations.byClient
        self._byRelayed = self._allocations.byRelayed
        self._challenges = KeyedQuota(settings.limits.challenges, 1.0, _SOURCES)
        self._bindings = KeyedQuota(settings.limits.bindings, 1.0, _SOURCES)
        self._outbox: list[tuple[bytes, Address]] = []
        self._events = self._allocations.events
        self._methods = {
            REFRESH: self._refresh,
            CREATE_PERMISSION: self._createPermission,
            CHANNEL_BIND: self._bindChannel,
        }

    # What who moves the data asks

    def servedAt(self, relayed: Address) -> Served | None:
        """
        The allocation that peers see at an address.
        """
        return self._byRelayed.get(relayed)

    def refuses(self, peer: Address) -> bool:
        """
        Whether nothing may go to a peer.  An allocation on this relay is a good one, other ports of its host are not.
        """
        return peer not in self._byRelayed and not self.policy.allows(peer.host)

    def gone(self, client: Address) -> None:
        """
        The connection of a client is lost.
        """
        served = self.clients.get(client)
        if served is not None:
            self._allocations.end(served, tuple(served.sides))

    def endAll(self) -> None:
        """
        Give all ports back.
        """
        self._allocations.endAll()

    @property
    def users(self) -> int:
        """
        How many users have an allocation.
        """
        return self._allocations.users

    # The five verbs

    def receive(self, data: bytes, addr: Address, now: float) -> None:
        """
        A STUN message of a client has come.
        """
        try:
            message = decode(data, tolerant=True)
        except DecodeError:
            self.counters["malformed"] += 1
            return
        if message.klass is Class.INDICATION and message.method == SEND:
            self._send(message, addr, now)
        elif message.klass is not Class.REQUEST:
            self.counters["ignored"] += 1
        elif message.method == BINDING:
            self._bindingRequested(message, addr, now)
        elif message.method == ALLOCATE or message.method in self._methods:
            self._requested(message, addr, now)
        else:
            self.counters["ignored"] += 1

    def datagramsToSend(self, now: float) -> list[tuple[bytes, Address]]:
        """
        Take what is to be sent to clients.
        """
        outbox, self._outbox = self._outbox, []
        return outbox

    def deadline(self) -> float | None:
        """
        When L{timerFired} is to be called.
        """
        return self._allocations.deadline()

    def timerFired(self, now: float) -> None:
        """
        End what nobody has refreshed.
        """
        self.counters["expired"] += self._allocations.expire(now)

    def nextEvent(self) -> RelayingEvent | None:
        """
        Take the oldest event.
        """
        return self._events.popleft() if self._events else None

    # Requests

    def _bindingRequested(self, message: Message, client: Address, now: float) -> None:
        if not self._bindings.allow(self._sourceOf(client), now):
            self.counters["limited"] += 1
            return
        response = bindingResponse(message, client, self.origins, self.origins.addressOf(client.via))
        via = client.via if response.origin is None else self.origins[response.origin]
        answer = encode(response.message, fingerprint=FINGERPRINT in message)
        self._outbox.append((answer, client._replace(via=via)))

    def _requested(self, message: Message, client: Address, now: float) -> None:
        served = self.clients.get(client)
        known = None if served is None else served.username
        verdict = self._auth.judge(message, client, now, known)
        if isinstance(verdict, Refusal):
            self._refuse(message, verdict, client, served is not None, now)
            return
        try:
            attributes = self._perform(verdict, client, served, now)
        except Denial as denial:
            self.counters[f"error{denial.code}"] += 1
            error = (ERROR_CODE(ErrorCode(denial.code)), *denial.attributes)
            self._answer(message, verdict, Class.ERROR, error, client)
        else:
            self._answer(message, verdict, Class.SUCCESS, attributes, client)

    def _perform(self, admitted: Admitted, client: Address, served: Served | None, now: float) -> Attributes:
        """
        @return: the attributes of a success.
        @raise Denial: there is none.
        """
        request = admitted.request
        unknown = request.notUnderstood(_UNDERSTOOD)
        if unknown:
            raise Denial(420, UNKNOWN_ATTRIBUTES(unknown))
        if request.malformed:
            raise Denial(400)
        if request.method == ALLOCATE:
            return self._allocate(admitted, client, served, now)
        if served is None:
            raise Denial(437)
        if served.username != admitted.username:
            raise Denial(441)
        return self._methods[request.method](request, served, now)

    def _refuse(self, message: Message, refusal: Refusal, client: Address, known: bool, now: float) -> None:
        # Without one of our nonces, who has a password has not shown that he is where he says.
        isProven = known and refusal.admitted is not None
        if not isProven and not self._challenges.allow(self._sourceOf(client), now):
            self.counters["limited"] += 1
            return
        self.counters[f"error{refusal.code}"] += 1
        error = (ERROR_CODE(ErrorCode(refusal.code)), *refusal.attributes)
        self._answer(message, refusal.admitted, Class.ERROR, error, client)

    def _sourceOf(self, client: Address) -> Hashable:
        # Answers to a connection reach nobody else, and what is not answered there is not asked again.
        return client.via if self._isConnection(client) else sourceKey(client.host)

    def _answer(
        self, request: Message, signer: Admitted | None, klass: Class, attributes: Attributes, client: Address
    ) -> None:
        key = None if signer is None or signer.sha256 else signer.key
        key256 = signer.key if signer is not None and signer.sha256 else None
        message = Message(request.method, klass, request.transactionId, attributes)
        self._outbox.append((encode(message, key, key256, FINGERPRINT in request), client))

    # Allocate and Refresh

    def _allocate(self, admitted: Admitted, client: Address, served: Served | None, now: float) -> Attributes:
        request = admitted.request
        if served is not None:
            if served.transactionId != request.transactionId or served.username != admitted.username:
                self._allocations.settle(client, request.transactionId)
                raise Denial(437)
            return self._describe(served, now)
        served = self._allocations.make(admitted, client, now)
        self.counters["allocated"] += 1
        return self._describe(served, now)

    def _describe(self, served: Served, now: float) -> Attributes:
        lifetime = max(1, round(served.until - now))
        token = () if served.token is None else (RESERVATION_TOKEN(served.token),)
        return (
            *(XOR_RELAYED_ADDRESS(served.sides[family].relayed) for family in sorted(served.sides)),
            LIFETIME(lifetime),
            XOR_MAPPED_ADDRESS(served.client),
            *token,
            *(ADDRESS_ERROR_CODE(AddressErrorCode(family, code)) for family, code in served.errors.items()),
        )

    def _refresh(self, request: Authentic, served: Served, now: float) -> Attributes:
        family = request.get(REQUESTED_ADDRESS_FAMILY)
        if family is not None and family not in served.sides:
            raise Denial(443)
        families = tuple(served.sides) if family is None else (family,)
        if request.get(LIFETIME) == 0:
            self._allocations.end(served, families)
            return (LIFETIME(0),)
        return (LIFETIME(self._allocations.refresh(served, families, request, now)),)

    # Permissions, channels, and indications

    def _createPermission(self, request: Authentic, served: Served, now: float) -> Attributes:
        peers = request.getAll(XOR_PEER_ADDRESS)
        if not peers:
            raise Denial(400)
        for peer in peers:
            self._checkPeer(served, peer)
        hosts = {peer.host for peer in peers}
        if not served.hasRoomFor(hosts, self.settings.limits.permissions, now):
            raise Denial(508)
        for host in hosts:
            served.permit(host, now)
        return ()

    def _bindChannel(self, request: Authentic, served: Served, now: float) -> Attributes:
        limits = self.settings.limits
        number, peer = request.get(CHANNEL_NUMBER), request.get(XOR_PEER_ADDRESS)
        if (
            number is None
            or peer is None
            or number not in CHANNELS_5766
            or not served.mayBind(number, peer, now)
        ):
            raise Denial(400)
        self._checkPeer(served, peer)
        if number not in served.channels and not served.channelsLeft(limits.channels, now):
            raise Denial(508)
        if not served.hasRoomFor({peer.host}, limits.permissions, now):
            raise Denial(508)
        served.bind(number, peer, now)
        return ()

    def _checkPeer(self, served: Served, peer: Address) -> None:
        if familyOf(peer) not in served.sides:
            raise Denial(443)
        if self.refuses(peer):
            self.counters["forbidden"] += 1
            raise Denial(403)

    def _send(self, message: Message, client: Address, now: float) -> None:
        served = self.clients.get(client)
        peer, data = message.get(XOR_PEER_ADDRESS), message.get(DATA)
        if (
            served is None
            or peer is None
            or data is None
            or message.malformed
            or message.notUnderstood(_UNDERSTOOD)
        ):
            self.counters["ignored"] += 1
        elif not served.permits(peer.host, now) or self._isOwnElsewhere(peer):
            self.counters["noPermission"] += 1
        else:
            self._events.append(SendToPeer(served, peer, data, DONT_FRAGMENT in message))

    def _isOwnElsewhere(self, peer: Address) -> bool:
        """
        Permissions are for hosts: on our own one they are good for relayed addresses only.
        """
        return peer.host in self.policy.own and self.refuses(peer)

    def indication(self, peer: Address, data: bytes) -> bytes:
        """
        What a client gets of a peer that has no channel.
        """
        attributes = (XOR_PEER_ADDRESS(peer), DATA(data))
        return encode(Message(DATA_INDICATION, Class.INDICATION, self._random(12), attributes))

    def refusal(self, peer: Address, icmp: Icmp) -> bytes:
        """
        What a client gets when ICMP has said something of what it sent to a peer (section 11.5).
        """
        attributes = (XOR_PEER_ADDRESS(peer), ICMP(icmp))
        return encode(Message(DATA_INDICATION, Class.INDICATION, self._random(12), attributes))
