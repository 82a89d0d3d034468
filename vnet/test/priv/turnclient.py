"""
A TURN client that waits for each answer, in any namespace of a lab.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs

from vnet.protocols.codec.stun import Class, Message, decode, encode
from vnet.protocols.codec.stunattributes import (
    CHANNEL_NUMBER,
    DATA,
    ERROR_CODE,
    REQUESTED_TRANSPORT,
    XOR_PEER_ADDRESS,
    XOR_RELAYED_ADDRESS,
    Attribute,
)
from vnet.protocols.codec.turn import (
    ALLOCATE,
    CHANNEL_BIND,
    CREATE_PERMISSION,
    REFRESH,
    SEND,
    UDP,
    Splitter,
    encodeChannelData,
)
from vnet.protocols.machine.relaycredentials import restPassword
from vnet.protocols.machine.turnsigner import RelayCredentials, TurnSigner
from vnet.protocols.trains import BUFFER, TrainSocket, cut
from vnet.test.netlab import Space
from vnet.values import Address

__all__ = ["BlockingClient", "inside", "openPeer", "receiveAll"]

_NAMES = itertools.count(1)
_CLONE_NEWNET = 0x40000000


@contextmanager
def inside(space: Space) -> Iterator[None]:
    """
    This thread is in a space: the sockets that it makes stay there.
    """
    with open("/proc/thread-self/ns/net", "rb") as home, open(f"/run/netns/{space.namespace}", "rb") as there:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(home.fileno())


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def openPeer(space: Space, host: str, port: int = 0) -> TrainSocket:
    """
    The UDP socket of a peer.
    """
    with inside(space):
        return TrainSocket.bind(host, port, buffer=8 << 20)


def receiveAll(opened: TrainSocket, count: int, timeout: float = 5.0) -> list[tuple[bytes, Address]]:
    """
    What comes to a socket: so many datagrams, or what there is in time.
    """
    found: list[tuple[bytes, Address]] = []
    buffer, end = memoryview(bytearray(BUFFER)), time.monotonic() + timeout
    while len(found) < count and time.monotonic() < end:
        train = opened.receive(buffer)
        if train is None:
            time.sleep(0.001)
            continue
        size, segment, source = train
        pieces = cut(buffer[:size], segment) if size else [buffer[:0]]
        found += [(bytes(each), TrainSocket.canonical(source)) for each in pieces]
    return found


@attrs.define(eq=False)
class BlockingClient:
    """
    The client.

    @ivar transport: C{udp}, C{tcp} or C{tls}.
    @ivar relayed: its relayed addresses.
    @ivar waiting: messages that came while an answer was waited for.
    """

    space: Space
    server: Address
    secret: str
    transport: str = "udp"
    user: str = ""
    host: str = ""
    relayed: tuple[Address, ...] = ()
    waiting: list[bytes] = attrs.field(factory=list)
    udp: TrainSocket = attrs.field(init=False)
    stream: Any = attrs.field(default=None, init=False)
    signer: TurnSigner = attrs.field(init=False)
    _splitter: Splitter = attrs.field(factory=Splitter, init=False)

    def __attrs_post_init__(self) -> None:
        user = self.user or f"high-{next(_NAMES)}"
        username = f"{int(time.time()) + 3600}:{user}"
        self.signer = TurnSigner(RelayCredentials(username, restPassword(self.secret.encode(), username)))
        family = "::" if ":" in self.server.host else "0.0.0.0"
        with inside(self.space):
            if self.transport == "udp":
                self.udp = TrainSocket.bind(self.host or family, 0, buffer=8 << 20)
            else:
                self.stream = self._connect()

    def _connect(self) -> Any:
        source = (self.host, 0) if self.host else None
        opened = socket.create_connection(self.server[:2], 10, source)
        if self.transport == "tcp":
            return opened
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(opened)

    def close(self) -> None:
        """
        Close the socket.
        """
        if self.stream is None:
            self.udp.close()
        else:
            self.stream.close()

    # Messages

    def put(self, *messages: bytes) -> None:
        """
        Send messages: over UDP, those of one length as a train.
        """
        if self.stream is not None:
            self.stream.sendall(b"".join(each + bytes(-len(each) % 4) for each in messages))
            return
        to = self.udp.socketAddress(self.server)
        self.udp.send(messages, len(messages[0]), len(messages), to)

    def take(self, timeout: float = 2.0) -> bytes | None:
        """
        The next message; L{None} when there is none in time.
        """
        end = time.monotonic() + timeout
        while not self.waiting and (left := end - time.monotonic()) > 0:
            if self.stream is None:
                self.waiting += [data for data, _ in receiveAll(self.udp, 1, left)]
            else:
                self.stream.settimeout(left)
                try:
                    data = self.stream.recv(65536)
                except TimeoutError:
                    break
                if not data:
                    raise ConnectionError("the relay has closed the connection")
                self.waiting += self._splitter.feed(data)
        return self.waiting.pop(0) if self.waiting else None

    def data(self, count: int, timeout: float = 5.0) -> list[bytes]:
        """
        So many messages with data, or what there is in time.
        """
        found: list[bytes] = []
        end = time.monotonic() + timeout
        while len(found) < count and (left := end - time.monotonic()) > 0:
            message = self.take(left)
            if message is not None:
                found.append(message)
        return found

    def ask(self, method: int, *attributes: Attribute[Any]) -> Message:
        """
        The answer to a request, which is signed once we have been challenged.

        @raise TimeoutError: there is none, though the request was sent four times.
        """
        identifier = os.urandom(12)
        request = self.signer.request(method, identifier, attributes)
        kept: list[bytes] = []
        for _ in range(4):
            self.put(request)
            while (data := self.take(1.0)) is not None:
                if data[:1] < b"\x40" and data[8:20] == identifier:
                    self.waiting[:0] = kept
                    return decode(data)
                kept.append(data)
        raise TimeoutError(f"no answer to {method:#x}")

    def code(self, method: int, *attributes: Attribute[Any]) -> int:
        """
        The error that a request gets; 0: it succeeds.
        """
        answer = self.ask(method, *attributes)
        error = answer.get(ERROR_CODE)
        if answer.klass is not Class.SUCCESS and error is None:
            raise AssertionError("an error without a code")
        return error.code if error is not None else 0

    # What clients do

    def allocate(self, *attributes: Attribute[Any]) -> None:
        """
        Get an allocation.
        """
        if not self.signer.challenged:
            assert self.signer.challenge(self.ask(ALLOCATE, REQUESTED_TRANSPORT(UDP)))
        answer = self.ask(ALLOCATE, REQUESTED_TRANSPORT(UDP), *attributes)
        assert answer.klass is Class.SUCCESS, answer
        self.relayed = answer.getAll(XOR_RELAYED_ADDRESS)

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

    def tell(self, number: int, *texts: bytes) -> None:
        """
        Send on a channel.
        """
        self.put(*(encodeChannelData(number, each) for each in texts))

    def indicate(self, peer: Address, data: bytes, *attributes: Attribute[Any]) -> None:
        """
        Send an indication.
        """
        held: Sequence[Attribute[Any]] = (XOR_PEER_ADDRESS(peer), DATA(data), *attributes)
        self.put(encode(Message(SEND, Class.INDICATION, os.urandom(12), tuple(held))))
