"""
Clients of a TURN server, one or thousands: each is an L{Allocation} with a socket of its own.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import attrs

from vnet.errors import VnetError
from vnet.protocols.machine.allocation import Allocation, RelayCredentials
from vnet.protocols.machine.relaycredentials import restPassword
from vnet.values import Address

__all__ = ["LoadError", "TurnClient", "allocate", "bindChannels", "openSocket", "release"]

BUFFER = 16 << 20
_LARGEST = 65_535
_SO_RCVBUFFORCE, _SO_SNDBUFFORCE, _SOL_UDP, _UDP_GRO = 33, 32, 17, 104
_VALID = 86_400
#: How often clients that had no answer look at their clocks, seconds.
_TICK = 0.05
_PATIENCE = 120.0


class LoadError(VnetError):
    """
    The server did not do what the load needs.
    """


def openSocket(host: str = "0.0.0.0", port: int = 0, buffer: int = BUFFER) -> socket.socket:
    """
    A UDP socket that reads trains.

    @param buffer: bytes that the kernel keeps in each direction.
    """
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer)
    opened.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, buffer)
    opened.setsockopt(_SOL_UDP, _UDP_GRO, 1)
    opened.bind((host, port))
    return opened


def _credentials(secret: bytes, name: str) -> RelayCredentials:
    username = f"{int(time.time()) + _VALID}:high-{name}"
    return RelayCredentials(username, restPassword(secret, username))


@attrs.define(eq=False)
class TurnClient:
    """
    A client of a server.

    @ivar host: its own address.
    @ivar port: its own port; 0: any.
    """

    server: Address
    secret: bytes = attrs.field(repr=False)
    host: str
    port: int = 0
    socket: socket.socket = attrs.field(init=False)
    allocation: Allocation = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        credentials = _credentials(self.secret, f"{self.host}-{self.port}")
        self.allocation = Allocation(self.server, credentials, random=os.urandom)
        self.open()

    def open(self) -> None:
        """
        Take the port, again after a L{close}.
        """
        self.socket = openSocket(self.host, self.port)
        self.socket.connect((self.server.host, self.server.port))

    def close(self) -> None:
        """
        Leave the port to another socket; the allocation stays.
        """
        self.socket.close()

    @property
    def relayed(self) -> tuple[str, int]:
        """
        Where peers send to.
        """
        address = self.allocation.relayed[0]
        return address.host, address.port

    @property
    def isAllocated(self) -> bool:
        """
        Whether the server relays for it.

        @raise LoadError: it never will.
        """
        if self.allocation.state == "failed":
            raise LoadError(f"no allocation on {self.server}: {self.allocation.nextEvent()}")
        return self.allocation.state == "allocated"

    def flush(self) -> None:
        """
        Send what the machine has to send.
        """
        for data, _ in self.allocation.datagramsToSend(time.monotonic()):
            self.socket.send(data)

    def read(self) -> None:
        """
        Give the machine what has come.
        """
        try:
            while True:
                data = self.socket.recv(_LARGEST)
                self.allocation.receive(data, self.server, time.monotonic())
        except BlockingIOError:
            self.flush()

    def tick(self) -> None:
        """
        Let the machine repeat what has had no answer.
        """
        deadline, now = self.allocation.deadline(), time.monotonic()
        if deadline is not None and deadline <= now:
            self.allocation.timerFired(now)
            self.flush()

    def header(self, peer: Address) -> bytes:
        """
        What has to stand before each datagram to a peer; empty until there is a channel.
        """
        frames = self.allocation.wrap([(b"", peer)], time.monotonic())
        self.flush()
        return frames[0] if frames else b""


def _settle(clients: Sequence[TurnClient], isDone: Callable[[TurnClient], bool], atOnce: int) -> None:
    """
    Let clients talk with the server until each is done.

    @param atOnce: of so many clients.
    """
    waiting, active = deque(clients), dict[int, TurnClient]()
    end = time.monotonic() + _PATIENCE
    with select.epoll() as poll:
        while waiting or active:
            while waiting and len(active) < atOnce:
                client = waiting.popleft()
                active[client.socket.fileno()] = client
                poll.register(client.socket, select.EPOLLIN)
                client.flush()
            if time.monotonic() > end:
                raise LoadError(f"{len(active)} clients wait in vain for {clients[0].server}")
            ready = [number for number, _ in poll.poll(_TICK)]
            for number in ready:
                active[number].read()
            if not ready:
                for client in active.values():
                    client.tick()
            for number in ready or list(active):
                if isDone(active[number]):
                    poll.unregister(active.pop(number).socket)


def allocate(clients: Sequence[TurnClient], atOnce: int = 32) -> None:
    """
    Get an allocation for each.

    @raise LoadError: the server refuses.
    """
    _settle(clients, lambda client: client.isAllocated, atOnce)


def bindChannels(clients: Sequence[TurnClient], peer: Address, size: int, atOnce: int = 32) -> list[bytes]:
    """
    Get a channel to a peer for each.

    @param size: bytes of the datagrams for the peer.
    @return: what stands before those of each client.
    @raise LoadError: the server refuses.
    """
    for client in clients:
        client.header(peer)
    _settle(clients, lambda client: client.isAllocated and bool(client.header(peer)), atOnce)
    return [client.header(peer)[:2] + size.to_bytes(2, "big") for client in clients]


def release(clients: Iterable[TurnClient]) -> None:
    """
    Give all allocations back.
    """
    for client in clients:
        client.allocation.close(time.monotonic())
        client.flush()
        client.close()
