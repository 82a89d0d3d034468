"""
A node with nothing but its data plane and static keys: a program for tests::

    python -m vnet.test.priv.dataplanenode NUMBER PORT PRIVATE_KEY PEER_NUMBER PEER_KEY PEER_HOST PEER_PORT [OPTION...]

The node is 100.64.0.NUMBER and fd76:1:2::NUMBER.  It prints C{ready}, and then the round trip of one echo to its
peer, milliseconds, for each line on its standard input.  Its log goes to standard error.

Options are C{tun}; C{live}: the peer gets what is sent to groups; C{partial}: the peer takes unfinished checksums;
C{offload=LIST}, as of C{vnet-client}; and C{unknown=LIST}: what the kernel shall not know, of C{checksum}, C{tcp}, C{udp},
C{segment} and C{gro}.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from twisted.internet.stdio import StandardIO
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.protocols.basic import LineOnlyReceiver

from vnet.client.dataplane import device, udpsocket
from vnet.client.dataplane.device import EVERYTHING, TapDevice
from vnet.client.dataplane.forwarder import Forwarder
from vnet.client.dataplane.udp import UdpPort
from vnet.protocols.machine.wireguard import WireGuard
from vnet.values import Address, Offload

#: The option of each word, and what no kernel knows.
_UNKNOWN = {
    "checksum": (device, "_F_CSUM", 0x20000),
    "tcp": (device, "_F_TSO", 0x40000),
    "udp": (device, "_F_USO", 0x80000),
    "segment": (udpsocket, "_UDP_SEGMENT", 250),
    "gro": (udpsocket, "_UDP_GRO", 251),
}

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


def forget(words: list[str]) -> None:
    """
    Ask the kernel for options that it does not know instead of these.
    """
    for word in words:
        module, name, value = _UNKNOWN[word]
        if not hasattr(module, name):
            raise LookupError(name)
        setattr(module, name, value)


def main(argv: list[str]) -> None:
    from twisted.internet import reactor as installed

    reactor: Any = installed
    number, port, peer, peerPort = int(argv[0]), int(argv[1]), int(argv[3]), int(argv[6])
    private, peerKey = bytes.fromhex(argv[2]), bytes.fromhex(argv[4])
    reactor.seconds = lambda: time.clock_gettime(time.CLOCK_BOOTTIME)
    options = dict(option.partition("=")[::2] for option in argv[7:])
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    forget([word for word in options.get("unknown", "").split(",") if word])
    offload = EVERYTHING
    if "offload" in options:
        offload = Offload(**dict.fromkeys(filter(None, options["offload"].split(",")), True))
    tap, udp = TapDevice(reactor, isTun="tun" in options, wanted=offload), UdpPort(reactor, port)
    machine = WireGuard(private, random=os.urandom, wallClock=time.time_ns)
    forwarder = Forwarder(tap, udp, machine, reactor, lambda data, addr: None, lambda event: None)
    tap.open()
    udp.open()
    forwarder.start()
    forwarder.configure(f"100.64.0.{number}", POOL, f"fd76:1:2::{number}", POOL6)
    address, address6 = f"100.64.0.{peer}", f"fd76:1:2::{peer}"
    allowed = (f"{address}/32", f"{address6}/128")
    machine.addPeer(peerKey, allowedIps=allowed, endpoint=Address(argv[5], peerPort))
    forwarder.addMember(peerKey, address, address6)
    forwarder.setTakesPartial(peerKey, "partial" in options)
    forwarder.setLive(peerKey, "live" in options)
    StandardIO(Lines(forwarder, peerKey, number, peer))
    reactor.callWhenRunning(print, "ready", flush=True)
    reactor.run()


if __name__ == "__main__":
    main(sys.argv[1:])
