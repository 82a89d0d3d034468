"""
Tests for L{vnet.protocols.tls}: TLS in memory.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from twisted.test import iosim
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from vnet.protocols import tls

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


class Authority:
    """
    Signs certificates.
    """

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test authority")])
        self.certificate = self.issue(self.key, None, ca=True)

    def issue(
        self, key: ec.EllipticCurvePrivateKey, host: str | None, age: int = 1, days: int = 9, ca: bool = False
    ) -> x509.Certificate:
        """
        @param age: since how many days the certificate is valid; C{days}: for how long.
        """
        subject = self.name if ca else x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "server")])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - age * DAY)
            .not_valid_after(NOW + (days - age) * DAY)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if host is not None:
            name: x509.GeneralName = x509.DNSName(host)
            if host[0].isdigit():
                name = x509.IPAddress(ipaddress.ip_address(host))
            builder = builder.add_extension(x509.SubjectAlternativeName([name]), critical=False)
        return builder.sign(self.key, hashes.SHA256())


@implementer(IHandshakeListener)
class End(Protocol):
    """
    One end: says what it has seen.
    """

    secure = False
    lost: Failure | None = None
    received = b""

    def handshakeCompleted(self) -> None:
        """TLS is up."""
        self.secure = True

    def dataReceived(self, data: bytes) -> None:
        """Keep data."""
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Keep why."""
        self.lost = reason


class TLSTests(SynchronousTestCase):
    """
    A client and a server.
    """

    def setUp(self) -> None:
        self.authority = Authority()
        self.key = ec.generate_private_key(ec.SECP256R1())
        directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, directory)
        file = directory / "authorities.pem"
        file.write_bytes(self.authority.certificate.public_bytes(Encoding.PEM))
        # What OpenSSL takes for the system's authorities.
        old = os.environ.get("SSL_CERT_FILE")
        os.environ["SSL_CERT_FILE"] = str(file)
        self.addCleanup(self.restore, old)

    def restore(self, old: str | None) -> None:
        if old is None:
            del os.environ["SSL_CERT_FILE"]
        else:
            os.environ["SSL_CERT_FILE"] = old

    def connect(self, serverCreator: Any, clientCreator: Any) -> tuple[End, End]:
        """
        @return: client and server after all has been said.
        """
        clock = Clock()
        server, client = End(), End()
        serverTLS = self.serverTLS(serverCreator, server, clock)
        clientTLS = TLSMemoryBIOProtocol(TLSMemoryBIOFactory(clientCreator, True, Factory(), clock), client)
        serverIO, clientIO = iosim.FakeTransport(serverTLS, True), iosim.FakeTransport(clientTLS, False)
        pump = iosim.connect(serverTLS, serverIO, clientTLS, clientIO, greet=False, clock=clock)
        self.pump: Any = pump
        # At once: it must wait for the end of the handshake, and for the verdict on the certificate.
        clientTLS.write(b"secret")
        pump.flush()
        return client, server

    def serverTLS(self, creator: Any, server: Protocol, clock: Clock) -> Any:
        factory = Factory()
        factory.buildProtocol = lambda addr: server  # type: ignore[method-assign]
        return tls.serverFactory(creator, factory, clock).buildProtocol(IPv4Address("TCP", "192.0.2.1", 1024))

    def serve(self, certificate: x509.Certificate) -> tls.ServerCreator:
        return tls.serverOptions(self.key, certificate)

    def refusal(self, certificate: x509.Certificate, pin: bytes | None, host: str) -> str:
        """
        @return: why the client refuses; the server has got nothing of it.
        """
        client, server = self.connect(self.serve(certificate), tls.clientOptions(pin, host))
        self.assertEqual(b"", server.received)
        if client.lost is None:
            raise AssertionError("not refused")
        client.lost.trap(tls.CertificateRefused)
        text = tls.describeFailure(client.lost)
        self.assertNotIn("\n", text)
        return text

    def accepted(self, certificate: x509.Certificate, pin: bytes | None, host: str) -> tuple[End, End]:
        client, server = self.connect(self.serve(certificate), tls.clientOptions(pin, host))
        self.assertEqual((True, None, b"secret"), (client.secure, client.lost, server.received))
        return client, server

    def test_pin(self) -> None:
        """With its pin a certificate is taken whoever signed it, expired, and for any name."""
        for certificate in (
            self.authority.issue(self.key, "other.example"),
            self.authority.issue(self.key, None, age=20, days=10),
            Authority().issue(self.key, "other.example"),
        ):
            self.accepted(certificate, tls.spkiHash(certificate), "mediator.example")

    def test_wrongPin(self) -> None:
        """With another pin it is refused, valid or not."""
        certificate = self.authority.issue(self.key, "mediator.example")
        self.assertIn("pin", self.refusal(certificate, b"x" * 32, "mediator.example"))

    def test_name(self) -> None:
        """Without a pin, a certificate of a known authority for the name or the address is taken."""
        for host in ("mediator.example", "192.0.2.7"):
            self.accepted(self.authority.issue(self.key, host), None, host)

    def test_wrongName(self) -> None:
        """Without a pin, a certificate for another name, address, or for none, is refused."""
        for inside, host in (
            ("other.example", "mediator.example"),
            (None, "mediator.example"),
            ("192.0.2.7", "192.0.2.8"),
            ("mediator.example", "192.0.2.7"),
        ):
            self.assertIn(f"not for {host}", self.refusal(self.authority.issue(self.key, inside), None, host))

    def test_expired(self) -> None:
        """Without a pin, an expired certificate is refused as such, and so is one from the future."""
        host = "mediator.example"
        self.assertIn(
            "expired", self.refusal(self.authority.issue(self.key, host, age=20, days=10), None, host)
        )
        self.assertIn("not valid yet", self.refusal(self.authority.issue(self.key, host, age=-2), None, host))

    def test_unknownAuthority(self) -> None:
        """Without a pin, a certificate of an unknown authority, or of none, is refused."""
        host = "mediator.example"
        self.assertIn("authority", self.refusal(Authority().issue(self.key, host), None, host))

    def test_exporter(self) -> None:
        """Both ends export the same value, another on each connection, and agree on the mediator's key."""
        certificate = self.authority.issue(self.key, "mediator.example")
        values = set()
        for _ in range(2):
            client, server = self.accepted(certificate, tls.spkiHash(certificate), "mediator.example")
            self.assertEqual(tls.exportedKey(client.transport), tls.exportedKey(server.transport))
            self.assertEqual(tls.spkiHash(certificate), tls.peerSpkiHash(client.transport))
            self.assertEqual(tls.spkiHash(certificate), tls.localSpkiHash(server.transport))
            values.add(tls.exportedKey(client.transport))
        self.assertEqual({2, 32}, {len(values), *map(len, values)})

    def test_longHandshake(self) -> None:
        """A ClientHello of more than 16 KiB ends the connection, however it is cut; one a little shorter does not."""
        certificate = self.authority.issue(self.key, "mediator.example")
        record = b"\x16\x03\x01\x04\x00" + b"x" * 1024
        first = b"\x16\x03\x01\x04\x00\x01" + (131_000).to_bytes(3, "big") + b"\x03\x03" + b"x" * 1018
        for piece in (1, 1000, 65536):
            server = End()
            outer = self.serverTLS(self.serve(certificate), server, Clock())
            transport = iosim.FakeTransport(outer, True)
            outer.makeConnection(transport)
            hello = first + record * 15
            for start in range(0, 16_384, piece):
                outer.dataReceived(hello[start : min(start + piece, 16_384)])
            self.assertFalse(transport.disconnecting)
            outer.dataReceived(b"x")
            self.assertTrue(transport.disconnecting)

    def test_manyBytesAfterwards(self) -> None:
        """After the handshake there is no such limit."""
        certificate = self.authority.issue(self.key, "mediator.example")
        client, server = self.accepted(certificate, None, "mediator.example")
        if client.transport is None:
            raise AssertionError("no transport")
        client.transport.write(b"x" * 100_000)
        self.pump.flush()
        self.assertEqual(100_006, len(server.received))

    def test_oldClient(self) -> None:
        """The server speaks nothing older than TLS 1.3."""
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        certificate = self.authority.issue(self.key, "mediator.example")
        client, server = self.connect(
            self.serve(certificate), tls.ClientCreator(context, None, lambda *a: None)
        )
        self.assertEqual((False, False, b""), (client.secure, server.secure, server.received))

    def test_oldServer(self) -> None:
        """The client speaks nothing older than TLS 1.3."""
        certificate = self.authority.issue(self.key, "mediator.example")
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(certificate)
        context.use_privatekey(self.key)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        client, server = self.connect(
            tls.ServerCreator(context), tls.clientOptions(tls.spkiHash(certificate), "mediator.example")
        )
        self.assertEqual((False, b""), (client.secure, server.received))
        if client.lost is None:
            raise AssertionError("not refused")
        self.assertIn("TLS failed", tls.describeFailure(client.lost))

    def test_relay(self) -> None:
        """A relay may speak TLS 1.2, and is told by ALPN that TURN is meant; its certificate counts as the mediator's does."""
        certificate = self.authority.issue(self.key, "relay.example")
        offered: list[list[bytes]] = []

        def choose(connection: SSL.Connection, protocols: list[bytes]) -> bytes:
            offered.append(protocols)
            return protocols[0]

        for newest in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            for pin in (tls.spkiHash(certificate), None):
                context = SSL.Context(SSL.TLS_SERVER_METHOD)
                context.use_certificate(certificate)
                context.use_privatekey(self.key)
                context.set_max_proto_version(newest)
                context.set_alpn_select_callback(choose)
                client, server = self.connect(
                    tls.ServerCreator(context), tls.relayClientOptions(pin, "relay.example")
                )
                self.assertEqual((client.secure, server.received), (True, b"secret"))
        self.assertEqual(offered, [[b"stun.turn"]] * 4)

    def test_relaySuite(self) -> None:
        """Where the processor has instructions for AES, the cheapest suite carries what relays do; else OpenSSL's order holds."""
        found = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, found)
        for number, (text, has) in enumerate(
            (
                ("model name\t: an aes of 2026\nflags\t\t: fpu aes avx\n", True),
                ("Features\t: fp asimd aes pmull\n", True),
                ("model name\t: aes\nflags\t\t: fpu vaes\n", False),
                ("", False),
            )
        ):
            file = found / str(number)
            file.write_text(text)
            self.assertEqual(tls.hasCipherCircuits(file), has)
        self.assertFalse(tls.hasCipherCircuits(found / "none"))
        certificate = self.authority.issue(self.key, "relay.example")
        for options in (tls.relayClientOptions, tls.clientOptions):
            _, server = self.connect(
                tls.relayServerOptions(self.key, certificate),
                options(tls.spkiHash(certificate), "relay.example"),
            )
            cheap = options is tls.relayClientOptions and tls.hasCipherCircuits()
            suite = self.pump.serverIO.protocol.getHandle().get_cipher_name()
            self.assertEqual((server.received, suite == "TLS_AES_128_GCM_SHA256"), (b"secret", cheap))

    def test_relayRefused(self) -> None:
        """The certificate of another than the relay is refused, and the text speaks of the relay."""
        certificate = self.authority.issue(self.key, "other.example")
        for pin in (b"x" * 32, None):
            client, server = self.connect(
                self.serve(certificate), tls.relayClientOptions(pin, "relay.example")
            )
            if client.lost is None:
                raise AssertionError("not refused")
            text = tls.describeFailure(client.lost, "relay")
            self.assertEqual((server.received, "mediator" in text), (b"", False))
            self.assertIn("the relay's", text)
