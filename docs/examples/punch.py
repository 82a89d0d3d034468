"""
Two punchers find a path.  An Internet in memory stands for the sockets, and a clock that is turned by hand
for the reactor, so this takes no time; with a real socket, C{send} writes to its transport.

    python docs/examples/punch.py
"""

import os
from collections.abc import Sequence

from twisted.internet.task import Clock

from vnet.protocols.machine.agentevents import Selected
from vnet.protocols.punch import Puncher
from vnet.testing import MemoryNetwork
from vnet.values import Train

START = 1_000_000


def makePuncher(clock: Clock, network: MemoryNetwork, host: str) -> Puncher:
    """
    A puncher on a UDP port of its own.
    """
    port = network.port(host)
    port.open()
    puncher = Puncher(clock, port.send, os.urandom)
    puncher.setLocal([host], port.port)

    def received(trains: Sequence[Train]) -> None:
        for train in trains:
            for data in train.datagrams():
                puncher.datagramReceived(data, train.address)

    port.start(received)
    return puncher


def main() -> None:
    clock = Clock()
    network = MemoryNetwork(clock, delay=0.02)
    alice = makePuncher(clock, network, "192.0.2.1")
    bob = makePuncher(clock, network, "198.51.100.1")

    def tell(who: str, event: object) -> None:
        if isinstance(event, Selected):
            print(f"{who} sends to {event.path.address}")

    toBob = alice.connect(b"bob", controlling=True, startAt=1.0, onEvent=lambda event: tell("alice", event))
    toAlice = bob.connect(b"alice", controlling=False, startAt=1.0, onEvent=lambda event: tell("bob", event))
    # What each has to know of the other; sealed, and through a mediator, in a real program.
    toBob.remoteSignal(toAlice.signal(START))
    toAlice.remoteSignal(toBob.signal(START))
    clock.pump([0.01] * 200)
    print("a path" if toBob.selected and toAlice.selected else "no path")


if __name__ == "__main__":
    main()
