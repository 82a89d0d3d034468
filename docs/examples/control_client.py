"""
A control client: it logs in with a key of its own, pings, is refused, and logs out.

    python docs/examples/control_client.py
"""

from collections.abc import Sequence
from typing import Any

from control_server import listen
from nacl.signing import SigningKey
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.task import react

from vnet.protocols import control
from vnet.protocols.codec.url import MediatorUrl, parseMediatorUrl
from vnet.protocols.controlclient import ControlClient, Credentials
from vnet.protocols.tls import clientOptions, exportedKey, peerSpkiHash


class Handler:
    """
    Hears what the mediator says: the methods of C{vnet.protocols.controlclient.ControlHandler}.
    """

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()

    def memberChanged(self, network: bytes, version: int, members: Sequence[dict[str, Any]]) -> None:
        print("somebody came or went")

    def networkGone(self, network: bytes) -> None:
        print("no member any more")

    def rendezvous(self, peer: bytes, start: int, now: int) -> None:
        print("connect to a peer")

    def signal(self, peer: bytes, sealed: bytes) -> None:
        print("a sealed signal")

    def replaced(self, byYou: bool) -> None:
        print("another session with this key")

    def disconnected(self, reason: Any) -> None:
        self.ended.callback(None)


async def connect(reactor: Any, url: MediatorUrl, handler: Handler) -> ControlClient:
    """
    Connect, and let TLS judge the mediator by the pin in its URL.
    """
    tcp = HostnameEndpoint(reactor, url.host, url.port)
    client = ControlClient(reactor, handler)
    await connectProtocol(wrapClientTLS(clientOptions(url.pin, url.host), tcp), client)
    await client.whenSecure()
    return client


async def main(reactor: Any) -> None:
    port, url = listen(reactor)
    handler, key = Handler(), SigningKey.generate()
    client = await connect(reactor, parseMediatorUrl(str(url)), handler)

    def sign(message: bytes) -> bytes:
        return bytes(key.sign(message).signature)

    me = Credentials(bytes(key.verify_key), sign, "example", "example 1")
    answer = await client.login(me, peerSpkiHash(client.transport), exportedKey(client.transport))
    print(f"logged in; the address is {answer['address']}")
    await client.call(control.Ping)
    try:
        await client.call(control.CreateNetwork, name="home", proof=b"")
    except control.Denied as refusal:
        print(f"refused: {refusal}")
    await client.call(control.Logout)
    await handler.ended
    await port.stopListening()
    print("logged out")


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
