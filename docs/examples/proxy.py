"""
A connection through an HTTP proxy that wants a login: the proxy is here too.

    python docs/examples/proxy.py
"""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react

from vnet.protocols.codec.httpauth import ProxyLogin
from vnet.protocols.httpconnect import wrapHttpConnect

LOOPBACK = "127.0.0.1"
REFUSAL = (
    b"HTTP/1.1 407 Proxy Authentication Required\r\n"
    b'Proxy-Authenticate: Basic realm="example"\r\nContent-Length: 0\r\n\r\n'
)


class Proxy(Protocol):
    """
    A proxy that knows one name and one password, and echoes what the far end would get.
    """

    tunnel = False

    def dataReceived(self, data: bytes) -> None:
        if self.tunnel:
            self.transport.write(data)
            return
        print("the proxy is asked:", data.partition(b"\r\n")[0].decode())
        if b"Proxy-Authorization: Basic YW5uOnMzY3JldA==" in data:
            self.tunnel = True
            self.transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            self.transport.write(REFUSAL)


class Client(Protocol):
    """
    Says something, and waits for the echo.
    """

    def __init__(self) -> None:
        self.heard: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        print("connected to", self.transport.getPeer())
        self.transport.write(b"hello")

    def dataReceived(self, data: bytes) -> None:
        self.heard.callback(data)


async def main(reactor: Any) -> None:
    port = reactor.listenTCP(0, Factory.forProtocol(Proxy), interface=LOOPBACK)
    proxy = TCP4ClientEndpoint(reactor, LOOPBACK, port.getHost().port)
    endpoint = wrapHttpConnect(proxy, "host.example", 443, reactor, ProxyLogin("ann", "s3cret"))
    client = await connectProtocol(endpoint, Client())
    print("heard:", (await client.heard).decode())


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
