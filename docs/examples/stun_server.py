"""
A STUN server, and a client that asks it: each takes one line.

    python docs/examples/stun_server.py
"""

import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from vnet.protocols.machine.binding import Bindings, Mapped
from vnet.protocols.stun import StunClient, StunServer
from vnet.values import Address


async def main(reactor: Any) -> None:
    server = reactor.listenUDP(0, StunServer(reactor), interface="127.0.0.1")
    answered: Deferred[Mapped] = Deferred()

    def happened(event: object) -> None:
        if isinstance(event, Mapped):
            answered.callback(event)

    bindings = Bindings([Address("127.0.0.1", server.getHost().port)], random=os.urandom)
    client = reactor.listenUDP(0, StunClient(bindings, reactor, happened), interface="127.0.0.1")
    mapped = (await answered).mapped
    print(f"the server sees {mapped}; the client's port is {client.getHost().port}")
    await client.stopListening()
    await server.stopListening()


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
