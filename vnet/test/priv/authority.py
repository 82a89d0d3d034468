"""
A certificate authority for tests, known only to programs that are told so by C{SSL_CERT_FILE}.
"""

from __future__ import annotations

import datetime
from ipaddress import ip_address
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

__all__ = ["Authority", "Issued"]

_DAY = datetime.timedelta(days=1)


@attrs.frozen
class Issued:
    """
    The files, PEM, of a certificate and its key.
    """

    key: Path
    certificate: Path


@attrs.frozen
class Authority:
    """
    Signs certificates.

    @ivar directory: for the files.
    """

    directory: Path
    name: str = "authority"
    _key: ec.EllipticCurvePrivateKey = attrs.field(
        factory=lambda: ec.generate_private_key(ec.SECP256R1()), init=False
    )

    @property
    def root(self) -> Path:
        """
        The file, PEM, of the authority's own certificate; written when it is asked for.
        """
        path = self.directory / f"{self.name}.pem"
        if not path.exists():
            builder = self._builder(self.name, self._key.public_key(), -_DAY, _DAY)
            builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            path.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))
        return path

    def issue(self, file: str, *subjects: str, expired: bool = False) -> Issued:
        """
        Make a certificate.

        @param file: how its files' names begin.
        @param subjects: DNS names and IP addresses.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        begin, end = (-3 * _DAY, -_DAY) if expired else (-_DAY, _DAY)
        builder = self._builder(file, key.public_key(), begin, end).add_extension(
            x509.SubjectAlternativeName([_generalName(each) for each in subjects]), critical=False
        )
        issued = Issued(self.directory / f"{file}.key", self.directory / f"{file}.crt")
        issued.certificate.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))
        issued.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return issued

    def _builder(
        self,
        subject: str,
        key: ec.EllipticCurvePublicKey,
        begin: datetime.timedelta,
        end: datetime.timedelta,
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(_called(subject))
            .issuer_name(_called(self.name))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begin)
            .not_valid_after(now + end)
        )


def _called(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _generalName(subject: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(subject))
    except ValueError:
        return x509.DNSName(subject)
