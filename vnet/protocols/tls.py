# -*- test-case-name: vnet.test.test_tls -*-
"""
TLS 1.3 for the control connection, both sides; the client's side for relays.

The mediator is recognised by the SHA-256 of its key (a pin), or by its name.  With a pin nothing else of the
certificate counts: neither who signed it, nor its names, nor its dates, because whoever holds the pinned key
is the mediator.  Without one, the system's certificate authorities and service-identity (RFC 9525) judge it.

The node is recognised by a signature over the TLS exporter (RFC 8446 section 7.5), which binds the login to
this very connection.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from attrs import define, field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import SSL, crypto
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import extract_patterns
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.error import (
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    DNSLookupError,
    NoRouteError,
    TCPTimedOutError,
    TimeoutError,
)
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from twisted.logger import Logger
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from vnet.errors import VnetError
from vnet.protocols.control import EXPORTER_LABEL

__all__ = [
    "CertificateRefused",
    "ClientCreator",
    "ServerCreator",
    "clientOptions",
    "describeFailure",
    "exportedKey",
    "hasCipherCircuits",
    "identify",
    "localSpkiHash",
    "peerSpkiHash",
    "relayClientOptions",
    "relayServerOptions",
    "restrict",
    "serverFactory",
    "serverOptions",
    "spkiHash",
]

_EXPORTED = 32
_TURN = b"stun.turn"
_CHEAP_SUITES = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
_PROCESSOR = Path("/proc/cpuinfo")

# OpenSSL takes a ClientHello of 128 KiB, for which it needs 300; a large one of today has 2.
_MAXIMUM_HANDSHAKE = 16 * 1024

# X509_verify_cert's errors that people meet, by number (openssl/x509_vfy.h).
_NOT_YET_VALID = 9
_EXPIRED = 10
_UNTRUSTED = frozenset({2, 7, 18, 19, 20, 21})


_Judge: TypeAlias = Callable[[SSL.Connection, crypto.X509, int, int, bool], str | None]


class CertificateRefused(VnetError):
    """
    The server's certificate is not what it should be: the text says why, in one line.
    """


def spkiHash(certificate: x509.Certificate) -> bytes:
    """
    What a pin is made of.

    @return: the SHA-256 of the certificate's SubjectPublicKeyInfo in DER, 32 bytes.
    """
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).digest()


def exportedKey(transport: Any) -> bytes:
    """
    The value of the TLS exporter that a login signs: the same on both sides of one connection,
    and on no other.

    @param transport: the transport of a protocol whose handshake is complete.
    @return: 32 bytes.
    """
    connection: SSL.Connection = transport.getHandle()
    return connection.export_keying_material(EXPORTER_LABEL, _EXPORTED, None)


def peerSpkiHash(transport: Any) -> bytes:
    """
    L{spkiHash} of the certificate that the other side showed.

    @raise CertificateRefused: it showed none.
    """
    certificate = transport.getHandle().get_peer_certificate()
    if certificate is None:
        raise CertificateRefused("the mediator showed no certificate")
    return spkiHash(certificate.to_cryptography())


def identify(transport: Any) -> tuple[bytes, bytes]:
    """
    What a node signs to log in: L{peerSpkiHash} and L{exportedKey}.
    """
    return peerSpkiHash(transport), exportedKey(transport)


def localSpkiHash(transport: Any) -> bytes:
    """
    L{spkiHash} of the certificate that this side showed.
    """
    return spkiHash(transport.getHandle().get_certificate().to_cryptography())


def restrict(context: SSL.Context) -> SSL.Context:
    """
    Make a context speak TLS 1.3 and nothing older, without buffers for idle connections or a session cache.
    """
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    return context


@implementer(IOpenSSLServerConnectionCreator)
@frozen(eq=False)
class ServerCreator:
    """
    Makes the server's side of connections.

    @ivar _context: the context, which L{restrict} has been applied to.
    """

    _context: SSL.Context

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:
        """
        @return: a connection for one client.
        """
        return SSL.Connection(self._context, None)


def serverOptions(key: Any, certificate: x509.Certificate) -> ServerCreator:
    """
    Serve one certificate.

    @param key: its private key, of C{cryptography}.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate(certificate)
    context.use_privatekey(key)
    return ServerCreator(restrict(context))


def relayServerOptions(
    key: Any, certificate: x509.Certificate, chain: Sequence[x509.Certificate] = ()
) -> ServerCreator:
    """
    Serve the certificate of a relay.  Clients of other makers may speak TLS 1.2 only.

    @param key: its private key, of C{cryptography}.
    @param chain: those that stand between it and an authority.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate(certificate)
    context.use_privatekey(key)
    for each in chain:
        context.add_extra_chain_cert(each)
    restrict(context).set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_alpn_select_callback(_selectTurn)
    return ServerCreator(context)


def _selectTurn(connection: SSL.Connection, offered: list[bytes]) -> Any:
    return _TURN if _TURN in offered else SSL.NO_OVERLAPPING_PROTOCOLS


class _ServerTransport(BufferingTLSTransport):
    """
    The server's side of TLS, which drops a client whose handshake is long.
    """

    _secure = False
    _received = 0

    def dataReceived(self, data: bytes) -> None:
        """
        Anything from the network.
        """
        if not self._secure:
            self._received += len(data)
            if self._received > _MAXIMUM_HANDSHAKE:
                self.abortConnection()
                return
        super().dataReceived(data)
        self._secure = self._secure or self.getHandle().get_peer_finished() is not None


def serverFactory(creator: IOpenSSLServerConnectionCreator, factory: Any, clock: Any) -> TLSMemoryBIOFactory:
    """
    Put TLS before a factory's protocols.

    @param clock: a reactor's clock.
    @return: what makes the protocols that the transport of TCP gets.
    """
    wrapping = TLSMemoryBIOFactory(creator, False, factory, clock)
    wrapping.protocol = _ServerTransport
    return wrapping


@define(eq=False, repr=False)
class _Verification:
    """
    Judges the certificate of one connection.
    """

    _log = Logger()

    _who: str
    _judge: _Judge
    _tls: Any = field(default=None)

    def __call__(
        self, connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int
    ) -> bool:
        try:
            refusal = self._judge(connection, certificate, error, depth, bool(ok))
        except Exception:
            # An exception would be lost inside OpenSSL.
            self._log.failure("while verifying the {who}'s certificate", who=self._who)
            refusal = "the mediator's certificate cannot be read"
        if refusal is not None:
            self._tls.failVerification(Failure(CertificateRefused(_about(self._who, refusal))))
        return refusal is None


@implementer(IOpenSSLClientConnectionCreator)
@frozen(eq=False)
class ClientCreator:
    """
    Makes the client's side of connections: see L{clientOptions}.

    @ivar _who: what the server is, for a person.
    """

    _context: SSL.Context
    _serverName: bytes | None
    _judge: _Judge
    _who: str = "mediator"

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        """
        @return: a connection to one server, which fails with L{CertificateRefused}.
        """
        connection = SSL.Connection(self._context, None)
        if self._serverName is not None:
            connection.set_tlsext_host_name(self._serverName)
        verification = _Verification(self._who, self._judge, tlsProtocol)
        connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, verification)
        return connection


def clientOptions(pin: bytes | None, hostname: str) -> ClientCreator:
    """
    How a node recognises its mediator.

    @param pin: L{spkiHash} of the mediator's certificate; L{None} to verify its name.
    @param hostname: the DNS name or IP address of the mediator's URL.
    @return: what C{wrapClientTLS} takes.
    """
    return _creator(restrict(SSL.Context(SSL.TLS_CLIENT_METHOD)), "mediator", pin, hostname)


def relayClientOptions(pin: bytes | None, hostname: str) -> ClientCreator:
    """
    How a node recognises a relay.  Relays of others may speak TLS 1.2 only; a server of several protocols is told by ALPN
    which one is meant (RFC 7443).

    @param pin: as in L{clientOptions}.
    @param hostname: the DNS name or IP address of the relay's URI.
    """
    context = restrict(SSL.Context(SSL.TLS_CLIENT_METHOD))
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_alpn_protos([_TURN])
    if hasCipherCircuits():
        # What it carries is encrypted already, so the cheapest suite does.
        context.set_tls13_ciphersuites(_CHEAP_SUITES)
    return _creator(context, "relay", pin, hostname)


@cache
def hasCipherCircuits(processor: Path = _PROCESSOR) -> bool:
    """
    Whether the processor has instructions for AES, without which ChaCha20 is faster.
    """
    try:
        lines = processor.read_text().splitlines()
    except OSError:
        return False
    flags = [
        each.partition(":")[2].split() for each in lines if each.lower().startswith(("flags", "features"))
    ]
    return any("aes" in each for each in flags)


def _creator(context: SSL.Context, who: str, pin: bytes | None, hostname: str) -> ClientCreator:
    isAddress = isIPAddress(hostname) or isIPv6Address(hostname)
    serverName = None if isAddress else hostname.encode("idna")
    if pin is not None:
        return ClientCreator(context, serverName, _judgeByPin(pin), who)
    context.set_default_verify_paths()
    name = hostname if serverName is None else serverName.decode("ascii")
    return ClientCreator(context, serverName, _judgeByName(name, isAddress), who)


def _judgeByPin(pin: bytes) -> _Judge:
    def judge(
        connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: bool
    ) -> str | None:
        if depth != 0 or hmac.compare_digest(spkiHash(certificate.to_cryptography()), pin):
            return None
        return (
            "the mediator's key is not the one in its URL (the pin after '#' differs): "
            "another server answers there, or the mediator has a new key; ask its operator for the URL"
        )

    return judge


def _judgeByName(name: str, isAddress: bool) -> _Judge:
    def judge(
        connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: bool
    ) -> str | None:
        if not ok:
            return _chainRefusal(error)
        if depth != 0:
            return None
        try:
            _verifyName(certificate, name, isAddress)
        except (VerificationError, CertificateError, ValueError):
            return f"the mediator's certificate is not for {name}: is this the right host?"
        return None

    return judge


def _verifyName(certificate: crypto.X509, name: str, isAddress: bool) -> None:
    wanted = IPAddress_ID(name) if isAddress else DNS_ID(name)
    verify_service_identity(extract_patterns(certificate.to_cryptography()), [wanted], [])


def _chainRefusal(error: int) -> str:
    if error == _EXPIRED:
        return (
            "the mediator's certificate has expired: its operator has to renew it "
            "(or is this computer's date wrong?)"
        )
    if error == _NOT_YET_VALID:
        return "the mediator's certificate is not valid yet: is this computer's date right?"
    if error in _UNTRUSTED:
        return (
            "the mediator's certificate is from an authority that this computer does not know: "
            "if it made its own, use the URL that ends with #sha256-"
        )
    return f"the mediator's certificate is not valid (OpenSSL's verification error {error})"


def describeFailure(failure: Failure, who: str = "mediator") -> str:
    """
    Why a connection could not be made or was lost, in one line for a person.

    @param who: what the server is.
    """
    error = failure.value
    if isinstance(error, SSL.Error):
        return _about(who, _describeTLS(error))
    known = _IN_SHORT.get(type(error))
    return known or " ".join(str(error).split()) or type(error).__name__


_REFUSED = "nothing listens there: the connection was refused"
_CLOSED = "the other side closed the connection"
_BROKEN = "the connection broke, or the other side closed it"

_IN_SHORT: dict[type[object], str] = {
    ConnectionRefusedError: _REFUSED,
    NoRouteError: "there is no route to it",
    TCPTimedOutError: "it did not answer",
    TimeoutError: "it did not answer",
    ConnectionDone: _CLOSED,
    ConnectionLost: _BROKEN,
    DNSLookupError: "the host's name does not resolve",
    ConnectionAborted: _BROKEN,
}

_OTHER_PROTOCOL = ("wrong version number", "record layer failure", "packet length too long", "http request")
_OLD_VERSION = ("protocol version", "unsupported protocol", "version too low")


def _about(who: str, text: str) -> str:
    """
    Say of another server what was said of the mediator.
    """
    return text.replace("the mediator", f"the {who}")


def _describeTLS(error: SSL.Error) -> str:
    reasons = [str(entry[-1]) for entry in (error.args[0] if error.args else ()) or () if entry]
    text = ", ".join(filter(None, reasons))
    if any(each in text for each in _OTHER_PROTOCOL):
        return f"what answers there does not speak TLS: is that the mediator's port? ({text})"
    if any(each in text for each in _OLD_VERSION):
        return f"TLS failed: what answers there does not speak TLS 1.3 ({text})"
    return f"TLS failed: {text}" if text else "TLS failed"
