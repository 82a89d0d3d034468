"""
A node with nothing but its data plane and static keys: a program for tests::

    python -m vnet.test.priv.dataplanenode NUMBER PORT PRIVATE_KEY PEER_NUMBER PEER_KEY PEER_HOST PEER_PORT

The node is 100.64.0.NUMBER and fd76:1:2::NUMBER.  It prints C{ready}, and then the round trip of one echo to its
peer, milliseconds, for each line on its standard input.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from twisted.internet.stdio import StandardIO
from twisted.protocols.basic import LineOnlyReceiver

from vnet.client.dataplane.device import TapDevice
from vnet.client.dataplane.forwarder import Forwarder
from vnet.client.dataplane.udp import UdpPort
from vnet.protocols.machine.wireguard import WireGuard
from vnet.values import Address

POOL, POOL6 = "100.64.0.0/10", "fd76:1:2::/48"


class Lines(LineOnlyReceiver):
    """
    One echo for each line.
    """

    delimiter = b"\n"

    def __init__(self, forwarder: Forwarder, key: bytes, number: int, peer: int) -> None:
        self._forwarder, self._key = forwarder, key
        self._addresses = f"100.64.0.{number}", f"100.64.0.{peer}"

    def lineReceived(self, line: bytes) -> None:
        answered = self._forwarder.echo(self._key, *self._addresses)
        answered.addCallbacks(
            lambda seconds: print(f"{seconds * 1000:.3f}", flush=True),
            lambda failure: print(failure.getErrorMessage(), flush=True),
        )


def main(argv: list[str]) -> None:
    from twisted.internet import reactor as installed

    reactor: Any = installed
    number, port, peer, peerPort = int(argv[0]), int(argv[1]), int(argv[3]), int(argv[6])
    private, peerKey = bytes.fromhex(argv[2]), bytes.fromhex(argv[4])
    reactor.seconds = lambda: time.clock_gettime(time.CLOCK_BOOTTIME)
    device, udp = TapDevice(reactor), UdpPort(reactor, port)
    machine = WireGuard(private, random=os.urandom, wallClock=time.time_ns)
    forwarder = Forwarder(device, udp, machine, reactor, lambda data, addr: None, lambda event: None)
    device.open()
    udp.open()
    forwarder.start()
    forwarder.configure(f"100.64.0.{number}", POOL, f"fd76:1:2::{number}", POOL6)
    address, address6 = f"100.64.0.{peer}", f"fd76:1:2::{peer}"
    allowed = (f"{address}/32", f"{address6}/128")
    machine.addPeer(peerKey, allowedIps=allowed, endpoint=Address(argv[5], peerPort))
    forwarder.addMember(peerKey, address, address6)
    StandardIO(Lines(forwarder, peerKey, number, peer))
    reactor.callWhenRunning(print, "ready", flush=True)
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1:])
