"""
A relay without sockets, and clients that ask it one thing at a time.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

from attrs import define, field

from vnet.protocols.codec.stun import Class, Message, decode, encode
from vnet.protocols.codec.stunattributes import (
    CHANNEL_NUMBER,
    DATA,
    ERROR_CODE,
    REQUESTED_TRANSPORT,
    XOR_PEER_ADDRESS,
    XOR_RELAYED_ADDRESS,
    Attribute,
    AttributeType,
)
from vnet.protocols.codec.turn import ALLOCATE, CHANNEL_BIND, CREATE_PERMISSION, REFRESH, SEND, UDP
from vnet.protocols.machine.relaycredentials import SharedSecrets, restPassword
from vnet.protocols.machine.relaying import Relaying
from vnet.protocols.machine.relayingevents import RelayingEvent, SendToPeer
from vnet.protocols.machine.relaysettings import RelaySettings
from vnet.protocols.machine.turnsigner import RelayCredentials, TurnSigner
from vnet.values import Address

__all__ = ["HOSTS", "SECRET", "Caller", "Relay", "codeOf", "credentialsOf", "raw"]

HOSTS = {4: "192.0.2.1", 6: "2001:db8::1"}
SECRET = b"a secret of relay and mediator"
_WALL = 1_700_000_000.0


def raw(code: int, value: bytes) -> Attribute[bytes]:
    """
    An attribute with any value.
    """
    return AttributeType(code, f"{code:#06x}", DATA.format)(value)


def credentialsOf(user: str, expiry: float = _WALL + 3600) -> RelayCredentials:
    """
    What a mediator gives to a user.
    """
    username = f"{int(expiry)}:{user}"
    return RelayCredentials(username, restPassword(SECRET, username))


@define(eq=False)
class Relay:
    """
    The relay.

    @ivar now: its time, and C{wall} that of the day.
    @ivar bound: the addresses that it has; C{foreign}: ports that it cannot have.
    """

    settings: RelaySettings = field(factory=lambda: RelaySettings("relay.example", HOSTS))
    now: float = 1000.0
    wall: float = _WALL
    bound: set[Address] = field(factory=set)
    foreign: set[tuple[int, int]] = field(factory=set)
    machine: Relaying = field(init=False)
    random: Callable[[int], bytes] = field(factory=lambda: random.Random(1).randbytes)
    _numbers: Any = field(factory=lambda: itertools.count(1))

    def __attrs_post_init__(self) -> None:
        self.machine = Relaying(
            self.settings,
            SharedSecrets((SECRET,)),
            random=self.random,
            wallClock=lambda: self.wall,
            open=self._open,
            close=self.bound.remove,
            isConnection=lambda client: not client.via.startswith("udp"),
        )

    def _open(self, address: Address) -> bool:
        if (6 if ":" in address.host else 4, address.port) in self.foreign:
            return False
        self.bound.add(address)
        return True

    def exchange(self, data: bytes, client: Address) -> list[bytes]:
        """
        What the relay answers.
        """
        self.machine.receive(data, client, self.now)
        answers = self.machine.datagramsToSend(self.now)
        assert all(to == client for _, to in answers)
        return [answer for answer, _ in answers]

    def events(self) -> list[RelayingEvent]:
        """
        Take what has happened.
        """
        return list(iter(self.machine.nextEvent, None))

    def sent(self) -> list[tuple[Address, bytes, bool]]:
        """
        Take what is to be sent to peers.
        """
        return [(each.peer, each.data, each.whole) for each in self.events() if isinstance(each, SendToPeer)]

    def sleep(self, seconds: float) -> None:
        """
        Let time pass.
        """
        end = self.now + seconds
        while (deadline := self.machine.deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.machine.timerFired(self.now)
            following = self.machine.deadline()
            assert following is None or following > self.now
        self.now = end
        self.wall += seconds

    def caller(self, user: str = "high-alice", **values: Any) -> Caller:
        """
        A client with an address of its own.
        """
        number = next(self._numbers)
        address = values.pop("address", None) or Address(f"8.200.{number >> 8}.{number & 255}", 4000, "udp1")
        return Caller(self, address, credentialsOf(user, **values))

    def allocated(self, *attributes: Attribute[Any], **values: Any) -> Caller:
        """
        A client that has an allocation.
        """
        caller = self.caller(**values)
        caller.allocate(*attributes)
        self.events()
        return caller


@define(eq=False)
class Caller:
    """
    A client.

    @ivar relayed: its relayed addresses.
    """

    relay: Relay
    address: Address
    credentials: RelayCredentials
    relayed: tuple[Address, ...] = ()
    signer: TurnSigner = field(init=False)
    _ids: Any = field(factory=lambda: itertools.count(1))

    def __attrs_post_init__(self) -> None:
        self.signer = TurnSigner(self.credentials)

    def newId(self) -> bytes:
        """
        The id of a new transaction.
        """
        return int(next(self._ids)).to_bytes(12, "big")

    def challenge(self) -> None:
        """
        Get a nonce.
        """
        [answer] = self.relay.exchange(self.signer.request(ALLOCATE, self.newId(), ()), self.address)
        assert self.signer.challenge(decode(answer))

    def request(self, method: int, *attributes: Attribute[Any]) -> bytes:
        """
        Write a request that is signed.
        """
        if not self.signer.challenged:
            self.challenge()
        return self.signer.request(method, self.newId(), attributes)

    def send(self, data: bytes) -> Message:
        """
        Send a request, and look at what comes back: one answer, that is signed.
        """
        [answer] = self.relay.exchange(data, self.address)
        message = decode(answer)
        assert (message.method, message.transactionId) == (decode(data, True).method, data[8:20])
        assert self.signer.read(message) is not None or message.get(ERROR_CODE).code == 401  # type: ignore[union-attr]
        return message

    def ask(self, method: int, *attributes: Attribute[Any]) -> Message:
        """
        The answer to a request.
        """
        return self.send(self.request(method, *attributes))

    def code(self, method: int, *attributes: Attribute[Any]) -> int:
        """
        The error that a request gets; 0: it succeeds.
        """
        return codeOf(self.ask(method, *attributes))

    # What clients do

    def tryAllocate(self, *attributes: Attribute[Any]) -> int:
        """
        Allocate.

        @return: see L{code}.
        """
        return self.code(ALLOCATE, REQUESTED_TRANSPORT(UDP), *attributes)

    def allocate(self, *attributes: Attribute[Any]) -> Message:
        """
        Get an allocation.
        """
        answer = self.ask(ALLOCATE, REQUESTED_TRANSPORT(UDP), *attributes)
        assert answer.klass is Class.SUCCESS, answer
        self.relayed = answer.getAll(XOR_RELAYED_ADDRESS)
        return answer

    def refresh(self, *attributes: Attribute[Any]) -> int:
        """
        @return: see L{code}.
        """
        return self.code(REFRESH, *attributes)

    def permit(self, *peers: Address) -> int:
        """
        @return: see L{code}.
        """
        return self.code(CREATE_PERMISSION, *map(XOR_PEER_ADDRESS, peers))

    def bind(self, number: int, peer: Address) -> int:
        """
        @return: see L{code}.
        """
        return self.code(CHANNEL_BIND, CHANNEL_NUMBER(number), XOR_PEER_ADDRESS(peer))

    def sendTo(self, peer: Address, data: bytes = b"data", *attributes: Attribute[Any]) -> None:
        """
        Send to a peer by an indication.
        """
        self.indicate(XOR_PEER_ADDRESS(peer), DATA(data), *attributes)

    def indicate(self, *attributes: Attribute[Any]) -> None:
        """
        Send an indication; there is no answer.
        """
        message = Message(SEND, Class.INDICATION, self.newId(), attributes)
        assert self.relay.exchange(encode(message), self.address) == []


def codeOf(answer: Message) -> int:
    """
    The code of an error; 0 is a success.
    """
    error = answer.get(ERROR_CODE)
    assert (error is None) == (answer.klass is Class.SUCCESS)
    return 0 if error is None else error.code
