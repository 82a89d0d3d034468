"""
A TURN server, and two clients of it that send to each other through their allocations.

    python docs/examples/relay.py
"""

import os
import time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import deferLater, react

from vnet.driver import Driver
from vnet.protocols.machine.allocation import Allocated, Allocation, RelayCredentials
from vnet.protocols.machine.relaycredentials import SharedSecrets, restPassword
from vnet.protocols.machine.relaysettings import RelaySettings
from vnet.protocols.turn import TurnServer
from vnet.values import Address

SECRET = b"what relay and mediator share"


class Client(DatagramProtocol):
    """
    A UDP port with an allocation.
    """

    def __init__(self, reactor: Any, server: Address, name: str) -> None:
        username = f"{int(time.time()) + 3600}:{name}"
        credentials = RelayCredentials(username, restPassword(SECRET, username))
        self.allocation = Allocation(server, credentials, random=os.urandom)
        self.driver = Driver(self.allocation, reactor, self.sendAll, self.happened)
        self.reactor, self.server = reactor, server
        self.allocated: Deferred[Address] = Deferred()
        self.heard: Deferred[bytes] = Deferred()

    def startProtocol(self) -> None:
        self.driver.wake()

    def sendAll(self, datagrams: list[tuple[bytes, Address]]) -> None:
        for data, address in datagrams:
            self.transport.write(data, (address.host, address.port))  # type: ignore[union-attr]

    def happened(self, event: object) -> None:
        if isinstance(event, Allocated):
            self.allocated.callback(event.relayed[0])

    def send(self, data: bytes, peer: Address) -> None:
        frames = self.allocation.wrap([(data, peer)], self.reactor.seconds())
        self.driver.wake()
        self.sendAll([(frame, self.server) for frame in frames])

    def datagramReceived(self, data: bytes, addr: tuple[str, int]) -> None:
        unwrapped = self.allocation.unwrap(data)
        if unwrapped is not None:
            self.heard.callback(unwrapped[0])
        else:
            self.driver.datagramReceived(data, Address(*addr))

    def stop(self) -> None:
        self.allocation.close(self.reactor.seconds())
        self.driver.wake()
        self.driver.stop()


async def main(reactor: Any) -> None:
    server = TurnServer(reactor, RelaySettings("example", {4: "127.0.0.1"}), SharedSecrets((SECRET,)))
    address = server.listenUdp("127.0.0.1", 0)
    server.start()
    alice, bob = (Client(reactor, address, name) for name in ("alice", "bob"))
    ports = [reactor.listenUDP(0, client, interface="127.0.0.1") for client in (alice, bob)]
    toAlice, toBob = await alice.allocated, await bob.allocated
    bob.send(b"who sends to an address lets it answer", toAlice)
    await deferLater(reactor, 0.1, lambda: None)
    alice.send(b"hello through the relay", toBob)
    print(f"at {toBob} arrived: {(await bob.heard).decode()}")
    for client in (alice, bob):
        client.stop()
    for port in ports:
        await port.stopListening()
    server.stop()


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
