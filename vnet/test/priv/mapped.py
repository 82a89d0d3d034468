"""
A program that has its UDP port mapped by its router, and tells line by line what becomes of that.

    python -m vnet.test.priv.mapped PORT LIFETIME

Each line is a JSON object: C{"status"} when something has changed, C{"got"} for a datagram.  It ends, and removes the
mapping, when its standard input does.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import globalLogBeginner, textFileLogObserver

from vnet.client.portmapping.mapper import PortMapper
from vnet.client.portmapping.network import ReactorNetwork


def say(**line: Any) -> None:
    """
    Write a line.
    """
    print(json.dumps(line), flush=True)


class Port(DatagramProtocol):
    """
    The UDP port.
    """

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """See L{DatagramProtocol}."""
        say(got=datagram.decode(), source=addr[0])


def main(port: int, lifetime: int) -> None:
    """
    Run.
    """
    from twisted.internet import reactor as installed

    reactor: Any = installed
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    mapper = PortMapper(
        reactor,
        ReactorNetwork(reactor),
        lambda router, number: b"n" * 12,
        os.urandom,
        lambda: say(status=attrs.asdict(mapper.status)),
        lifetime,
    )

    async def end() -> None:
        await mapper.close()
        reactor.stop()

    def waitForEnd() -> None:
        sys.stdin.read()
        reactor.callFromThread(Deferred.fromCoroutine, end())

    reactor.listenUDP(port, Port())
    reactor.callWhenRunning(mapper.update, port)
    reactor.callWhenRunning(threading.Thread(target=waitForEnd, daemon=True).start)
    reactor.run()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
