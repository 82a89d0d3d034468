"""
A small TURN server for tests of the client's side, which fails as a test says.  It is written from the codecs alone.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from attrs import define, field

from vnet.protocols.codec.stun import BINDING, Class, Message, authenticate, decode, encode, longTermKey
from vnet.protocols.codec.stunattributes import (
    CHANNEL_NUMBER,
    ERROR_CODE,
    LIFETIME,
    NONCE,
    PASSWORD_ALGORITHMS,
    REALM,
    USERNAME,
    XOR_MAPPED_ADDRESS,
    XOR_PEER_ADDRESS,
    XOR_RELAYED_ADDRESS,
    Attribute,
    ErrorCode,
    PasswordAlgorithm,
)
from vnet.protocols.codec.turn import (
    ALLOCATE,
    CHANNEL_BIND,
    REFRESH,
    decodeChannelData,
    encodeChannelData,
)
from vnet.values import Address

__all__ = ["MD5", "SHA256", "Lease", "TurnScript"]

MD5, SHA256 = PasswordAlgorithm(1), PasswordAlgorithm(2)
_LIFETIME, _CHANNEL, _PERMISSION = 600.0, 600.0, 300.0


@define(eq=False)
class Lease:
    """
    One allocation.

    @ivar channels: when each ends, by number and peer; C{permitted}: when each permission ends, by host.
    """

    client: Address
    relayed: Address
    username: str
    expires: float
    channels: dict[int, tuple[Address, float]] = field(factory=dict)
    permitted: dict[str, float] = field(factory=dict)


@define(eq=False, slots=False)
class TurnScript:
    """
    The server.

    @ivar password: of a username; L{None}: there is no such user.
    @ivar algorithms: of passwords that it offers; C{cookie}: whether the nonce says so.
    @ivar nonce: which requests have to name.
    @ivar errors: the codes that the next requests of a method get, signed; C{unsigned}: the same without a signature.
    @ivar allocations: by client.
    @ivar requests: all that it understood, oldest first; C{answers}: all that it answered.
    @ivar toClient: sends to a client; C{toPeer}: from a relayed address to a peer.
    @ivar dropped: data that it relayed to nobody.
    @ivar mute: whether it does not answer.
    """

    seconds: Callable[[], float]
    host: str
    toClient: Callable[[bytes, Address], None]
    toPeer: Callable[[bytes, Address, Address], None] = lambda data, relayed, peer: None
    opened: Callable[[Address], None] = lambda relayed: None
    ended: Callable[[Address], None] = lambda relayed: None
    password: Callable[[str], str | None] = lambda username: "secret"
    algorithms: tuple[PasswordAlgorithm, ...] = ()
    cookie: bool | None = None
    nonce: str = "n1"
    realm: str = "relay.example"
    lifetime: float = _LIFETIME
    extraRelayed: tuple[Address, ...] = ()
    errors: dict[int, list[int]] = field(factory=dict)
    unsigned: dict[int, list[int]] = field(factory=dict)
    allocations: dict[Address, Lease] = field(factory=dict)
    requests: list[Message] = field(factory=list)
    answers: list[Message] = field(factory=list)
    dropped: int = 0
    mute: bool = False
    _nextPort: int = 50000

    def forget(self) -> None:
        """
        Be another process, which knows of nothing.
        """
        for lease in list(self.allocations.values()):
            self._end(lease)
        self.nonce += "x"

    def received(self, data: bytes, client: Address) -> None:
        """
        A client has sent this.
        """
        if self.mute:
            return
        if data[0] >= 0x40:
            self._channelData(data, client)
            return
        message = decode(data)
        self.requests.append(message)
        if message.method == BINDING and message.klass is Class.REQUEST:
            self._answer(message, client, Class.SUCCESS, (XOR_MAPPED_ADDRESS(client),), None)
        elif message.klass is Class.REQUEST:
            self._requested(message, client)

    def count(self, method: int) -> int:
        """
        How many requests of a method came, those without credentials included.
        """
        return sum(1 for each in self.requests if each.method == method)

    def arrived(self, data: bytes, peer: Address, relayed: Address) -> None:
        """
        A peer has sent this to a relayed address.
        """
        lease = next((each for each in self.allocations.values() if each.relayed == relayed), None)
        now = self.seconds()
        if lease is None or self.mute or lease.permitted.get(peer.host, 0.0) < now:
            self.dropped += 1
            return
        for number, (bound, expires) in lease.channels.items():
            if bound == peer and expires > now:
                self.toClient(encodeChannelData(number, data), lease.client)
                return
        self.dropped += 1

    def _channelData(self, frame: bytes, client: Address) -> None:
        number, data = decodeChannelData(frame)
        lease, now = self.allocations.get(client), self.seconds()
        peer, expires = (None, 0.0) if lease is None else lease.channels.get(number, (None, 0.0))
        if lease is None or peer is None or expires <= now or lease.permitted.get(peer.host, 0.0) <= now:
            self.dropped += 1
            return
        self.toPeer(data, lease.relayed, peer)

    # Requests

    def _requested(self, message: Message, client: Address) -> None:
        username, unsigned = message.get(USERNAME), self.unsigned.get(message.method)
        if username is None:
            self._challenge(message, client, 401)
            return
        if unsigned:
            self._error(message, client, unsigned.pop(0), None)
            return
        password = self.password(username)
        key = None if password is None else self._key(username, password)
        if key is None or authenticate(message, key) is None:
            self._challenge(message, client, 401)
        elif message.get(NONCE) != self._fullNonce():
            self._challenge(message, client, 438)
        else:
            self._authentic(message, client, key, username)

    def _key(self, username: str, password: str) -> bytes:
        chosen = next((each for each in self.algorithms if each in (MD5, SHA256)), MD5)
        return longTermKey(username, self.realm, password, "sha256" if chosen == SHA256 else "md5")

    def _authentic(self, message: Message, client: Address, key: bytes, username: str) -> None:
        self._expire()
        errors, lease = self.errors.get(message.method), self.allocations.get(client)
        if errors:
            self._error(message, client, errors.pop(0), key)
        elif message.method == ALLOCATE:
            self._allocate(message, client, key, username, lease)
        elif lease is None:
            self._error(message, client, 437, key)
        elif lease.username != username:
            self._error(message, client, 441, None)
        elif message.method == REFRESH:
            self._refresh(message, client, key, lease)
        elif message.method == CHANNEL_BIND:
            self._bind(message, client, key, lease)

    def _allocate(
        self, message: Message, client: Address, key: bytes, username: str, lease: Lease | None
    ) -> None:
        if lease is not None:
            self._error(message, client, 437, key)
            return
        relayed = Address(self.host, self._nextPort)
        self._nextPort += 1
        self.allocations[client] = Lease(client, relayed, username, self.seconds() + self.lifetime)
        self.opened(relayed)
        given = (relayed, *self.extraRelayed)
        attributes: list[Attribute[Any]] = [XOR_RELAYED_ADDRESS(each) for each in given]
        mapped = XOR_MAPPED_ADDRESS(Address(client.host, client.port))
        self._answer(message, client, Class.SUCCESS, (*attributes, mapped, LIFETIME(int(self.lifetime))), key)

    def _refresh(self, message: Message, client: Address, key: bytes, lease: Lease) -> None:
        if message.get(LIFETIME) == 0:
            self._end(lease)
            self._answer(message, client, Class.SUCCESS, (LIFETIME(0),), key)
            return
        lease.expires = self.seconds() + self.lifetime
        self._answer(message, client, Class.SUCCESS, (LIFETIME(int(self.lifetime)),), key)

    def _bind(self, message: Message, client: Address, key: bytes, lease: Lease) -> None:
        number, peer = message.get(CHANNEL_NUMBER), message.get(XOR_PEER_ADDRESS)
        now = self.seconds()
        live = {n: bound for n, (bound, expires) in lease.channels.items() if expires > now}
        if number is None or peer is None or live.get(number, peer) != peer:
            self._error(message, client, 400, key)
            return
        lease.channels[number] = (peer, now + _CHANNEL)
        lease.permitted[peer.host] = now + _PERMISSION
        self._answer(message, client, Class.SUCCESS, (), key)

    def _expire(self) -> None:
        for lease in [each for each in self.allocations.values() if each.expires <= self.seconds()]:
            self._end(lease)

    def _end(self, lease: Lease) -> None:
        del self.allocations[lease.client]
        self.ended(lease.relayed)

    # Answers

    def _fullNonce(self) -> str:
        if self.cookie if self.cookie is not None else self.algorithms:
            return "obMatJos2" + base64.b64encode(b"\x80\0\0").decode() + self.nonce
        return self.nonce

    def _challenge(self, message: Message, client: Address, code: int) -> None:
        attributes: tuple[Attribute[Any], ...] = (REALM(self.realm), NONCE(self._fullNonce()))
        if self.algorithms:
            attributes += (PASSWORD_ALGORITHMS(self.algorithms),)
        self._answer(message, client, Class.ERROR, (ERROR_CODE(ErrorCode(code)), *attributes), None)

    def _error(self, message: Message, client: Address, code: int, key: bytes | None) -> None:
        self._answer(message, client, Class.ERROR, (ERROR_CODE(ErrorCode(code)),), key)

    def _answer(
        self,
        message: Message,
        client: Address,
        klass: Class,
        attributes: tuple[Attribute[Any], ...],
        key: bytes | None,
    ) -> None:
        answer = Message(message.method, klass, message.transactionId, attributes)
        self.answers.append(answer)
        if key is not None and self.algorithms:
            self.toClient(encode(answer, key256=key), client)
        else:
            self.toClient(encode(answer, key), client)
