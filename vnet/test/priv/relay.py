"""
Relays as processes in a lab: ours, and coturn's.
"""

from __future__ import annotations

import datetime
import subprocess
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from vnet.protocols.tls import spkiHash
from vnet.test.netlab import Host
from vnet.test.priv.cluster import Cluster
from vnet.test.priv.daemons import Daemon, listens, waitUntil

__all__ = ["LAB", "SECRET", "Relay", "addRelay", "startCoturn"]

SECRET = "a secret that relays and mediators share"

LAB = "--allow-peer=198.51.100.0/24"
"""The Internet of the lab is a block of documentation, to which relays do not send."""


@attrs.define(eq=False)
class Relay(Daemon):
    """
    A running C{twistd vnet-relay}.
    """

    def ready(self) -> bool:
        """
        Whether it has written its URIs, and listens.
        """
        return (self.state / "uris").exists() and listens(self.process, 3478)

    @property
    def uris(self) -> list[str]:
        """
        What a mediator is told.
        """
        return (self.state / "uris").read_text().split()


def secretFile(directory: Path) -> Path:
    """
    The file with the secret.
    """
    path = directory / "relay-secret"
    path.write_text(f"{SECRET}\n")
    return path


def addRelay(cluster: Cluster, name: str, *options: str, host: Host | None = None) -> Relay:
    """
    Start a relay on a host, by default on a new public one.
    """
    host = host or cluster.lab.addHost(name)
    secret = secretFile(cluster.lab.directory)
    chosen = [f"--secret-file={secret}", f"--listen={host.address}", LAB, *options]
    relay = Relay(name, host, cluster.lab.directory / name, "vnet-relay", chosen)
    cluster.daemons.append(relay)
    relay.start()
    return relay


def relayOptions(cluster: Cluster, uris: Sequence[str]) -> list[str]:
    """
    What a mediator is told of relays.
    """
    return [
        *(f"--relay={uri}" for uri in uris),
        f"--relay-secret-file={secretFile(cluster.lab.directory)}",
    ]


def _certificate(directory: Path) -> tuple[Path, Path, str]:
    """
    @return: the files of a self-signed certificate and its key, and its pin as URIs have it.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "coturn")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    files = directory / "coturn-cert.pem", directory / "coturn-key.pem"
    files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return *files, urlsafe_b64encode(spkiHash(certificate)).decode().rstrip("=")


def documentedConfiguration() -> list[str]:
    """
    The lines of coturn's configuration as docs/relay.md has them.
    """
    text = (Path(__file__).parents[3] / "docs" / "relay.md").read_text()
    return text.partition("```turnserver.conf\n")[2].partition("```")[0].splitlines()


def startCoturn(cluster: Cluster, host: Host, tlsPort: int = 5349) -> list[str]:
    """
    Start coturn as docs/relay.md says.

    @param tlsPort: its port for TLS.
    @return: the URIs for a mediator.
    """
    directory = cluster.lab.directory
    certificate, key, pin = _certificate(directory)
    given = {
        "cert": str(certificate),
        "pkey": str(key),
        "static-auth-secret": SECRET,
        "tls-listening-port": str(tlsPort),
    }
    lines = []
    for line in documentedConfiguration():
        option = line.partition("=")[0]
        lines.append(f"{option}={given[option]}" if option in given else line)
    configuration = directory / "turnserver.conf"
    configuration.write_text("\n".join([*lines, f"listening-ip={host.address}", f"relay-ip={host.address}"]))
    command = [
        "turnserver",
        "-c",
        str(configuration),
        "--log-file=stdout",
        f"--pidfile={directory}/pid",
    ]
    with (directory / "coturn.log").open("w") as log:
        process = host.popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=directory)
    waitUntil(lambda: listens(process, tlsPort), 10.0, "coturn listens")
    where = host.address
    return [f"turn:{where}:3478", f"turns:{where}:{tlsPort}?transport=tcp#sha256-{pin}"]
