# -*- test-case-name: vnet.test.test_certificate -*-
"""
A server's own certificate: made at the first start, with a P-256 key, for as long as the server lives.

Nodes recognise it by its key (the pin in the URL of a mediator or a relay), so who signed it and its dates do not matter.  Or
one of an authority, from files.
"""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path
from typing import Any

from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vnet.errors import ConfigurationError, StateError
from vnet.statedir import StateDirectory

__all__ = ["Identity", "loadCertificateFiles", "loadIdentity"]

_KEY, _CERTIFICATE = "key.pem", "certificate.pem"
_BACK_DATED = datetime.timedelta(days=2)
_LIFETIME = datetime.timedelta(days=36_500)


@frozen
class Identity:
    """
    A key and its certificate.
    """

    key: ec.EllipticCurvePrivateKey = field(repr=False)
    certificate: x509.Certificate


def loadIdentity(directory: StateDirectory, host: str) -> Identity:
    """
    Read the key and the certificate, or make them.

    @param host: the DNS name or IP address that a new certificate is for.
    @raise StateError: a file cannot be used; it is not touched.
    """
    key = _loadKey(directory)
    if key is None:
        if directory.read(_CERTIFICATE) is not None:
            raise StateError(
                f"{directory.path / _CERTIFICATE} is there but {_KEY} is not: bring the key back from a backup, "
                "or move the certificate away to start with a new key (and a new URL)"
            )
        key = ec.generate_private_key(ec.SECP256R1())
        directory.write(_KEY, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    certificate = _loadCertificate(directory, key)
    if certificate is None:
        certificate = _selfSigned(key, host)
        directory.write(_CERTIFICATE, certificate.public_bytes(Encoding.PEM))
    return Identity(key, certificate)


def loadCertificateFiles(
    certificateFile: Path, keyFile: Path
) -> tuple[x509.Certificate, Any, list[x509.Certificate]]:
    """
    Read a certificate, its key and the rest of its chain, all PEM.

    @return: certificate, key, chain.
    @raise ConfigurationError: they cannot be used; the text says which and why.
    """
    try:
        certificate, *chain = x509.load_pem_x509_certificates(_read(certificateFile))
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigurationError(f"{certificateFile} holds no certificate in PEM") from None
    try:
        key = load_pem_private_key(_read(keyFile), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigurationError(f"{keyFile} holds no private key in PEM without a password") from None
    if key.public_key() != certificate.public_key():
        raise ConfigurationError(f"the certificate in {certificateFile} is for another key than {keyFile}")
    return certificate, key, chain


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error


def _loadKey(directory: StateDirectory) -> ec.EllipticCurvePrivateKey | None:
    content = directory.read(_KEY)
    if content is None:
        return None
    try:
        key = load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise StateError(
            f"the key file {directory.path / _KEY} is damaged: bring it back from a backup, "
            "or move it and the certificate away to start with a new key (and a new URL)"
        )
    return key


def _loadCertificate(directory: StateDirectory, key: ec.EllipticCurvePrivateKey) -> x509.Certificate | None:
    content = directory.read(_CERTIFICATE)
    if content is None:
        return None
    path = directory.path / _CERTIFICATE
    try:
        certificate = x509.load_pem_x509_certificate(content)
        matches = certificate.public_key() == key.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise StateError(f"the certificate {path} is damaged: move it away, and it is made anew") from None
    if not matches:
        raise StateError(f"the certificate {path} is for another key than {_KEY} beside it")
    return certificate


def _selfSigned(key: ec.EllipticCurvePrivateKey, host: str) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vnet")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACK_DATED)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectAlternativeName([_generalName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )


def _generalName(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
