"""
A control server with a backend of our own, which lets everybody in and knows no networks.

    python docs/examples/control_server.py
"""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from twisted.internet.task import react
from twisted.protocols.tls import TLSMemoryBIOFactory

from vnet.protocols import control
from vnet.protocols.codec.url import MediatorUrl
from vnet.protocols.controlserver import ControlServer, ControlServerFactory, Gate
from vnet.protocols.tls import exportedKey, localSpkiHash, serverOptions, spkiHash


class Backend:
    """
    Answers the commands of nodes: the methods of C{vnet.protocols.controlbackend.ControlBackend}.
    """

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.realm, self.epoch = secrets.token_bytes(16), secrets.token_bytes(8)

    def now(self) -> int:
        return int(self.clock.seconds() * 1e6)

    async def login(self, session: ControlServer, key: bytes, nick: str, software: str) -> dict[str, Any]:
        print(f"{nick} has proved that it holds the key {key.hex()[:16]}...")
        session.admit()
        return {
            "realm": self.realm,
            "epoch": self.epoch,
            "now": self.now(),
            "address": "100.64.0.2",
            "address6": "fd00::2",
            "pool": "100.64.0.0/10",
            "pool6": "fd00::/48",
            "stun": [],
            "relays": [],
        }

    async def ping(self, session: ControlServer) -> dict[str, Any]:
        return {"now": self.now()}

    async def logout(self, session: ControlServer) -> dict[str, Any]:
        self.clock.callLater(0, session.finish)
        return {}

    def ended(self, session: ControlServer) -> None:
        print("a connection broke")

    def __getattr__(self, name: str) -> Any:
        async def refuse(*arguments: Any, **named: Any) -> dict[str, Any]:
            raise control.Denied("there are no networks here")

        return refuse


def makeCertificate() -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """
    A key, and a certificate that it signs itself: clients know it by its pin.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "example")])
    today = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(today)
    return key, builder.not_valid_after(today + timedelta(days=1)).sign(key, SHA256())


def listen(reactor: Any) -> tuple[Any, MediatorUrl]:
    """
    Listen on loopback.

    @return: the port, and the URL with the pin.
    """
    key, certificate = makeCertificate()

    def identify(transport: Any) -> tuple[bytes, bytes]:
        return localSpkiHash(transport), exportedKey(transport)

    factory = ControlServerFactory(Backend(reactor), reactor, identify)
    secure = TLSMemoryBIOFactory(serverOptions(key, certificate), False, factory, reactor)
    port = reactor.listenTCP(0, Gate(secure, factory.admission), interface="127.0.0.1")
    return port, MediatorUrl("127.0.0.1", port.getHost().port, spkiHash(certificate))


async def main(reactor: Any) -> None:
    port, url = listen(reactor)
    print(url)
    await port.stopListening()


if __name__ == "__main__":
    from twisted.internet.defer import Deferred

    react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
