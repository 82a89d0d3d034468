"""
Tests of C{twistd vnet-mediator} as users run it: a process on the loopback interface.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from nacl.signing import SigningKey
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from vnet.protocols.codec.url import parseMediatorUrl
from vnet.test.priv.rawnode import RawNode, Refusal

PROOF = b"P" * 32


def endQuietly(pid: int) -> None:
    """
    Kill a process of ours, if it is still there.
    """
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class Mediator:
    """
    A running mediator.

    @ivar port: of its TLS.
    """

    def __init__(self, state: Path, *options: str, prefix: tuple[str, ...] = ()) -> None:
        self.state = state
        self.log = (state.parent / "log").open("ab")
        with contextlib.suppress(FileNotFoundError):
            (state / "url").unlink()
        self.process = subprocess.Popen(
            [*prefix, *command(state, *options)], stdout=self.log, stderr=subprocess.PIPE, cwd=state.parent
        )
        self.port = self._waitForPort()

    def _waitForPort(self) -> int:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise AssertionError(
                    f"it ended: {self.process.stderr.read() if self.process.stderr else ''!r}"
                )
            with contextlib.suppress(FileNotFoundError):
                text = (self.state / "url").read_text()
                if text.endswith("\n"):
                    return parseMediatorUrl(text).port
            time.sleep(0.05)
        raise AssertionError("it did not start")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> float:
        """
        @return: how many seconds it took to end.
        """
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(20)
        if self.process.stderr is not None:
            self.process.stderr.close()
        self.log.close()
        return time.monotonic() - began


def twistd() -> list[str]:
    """
    @return: the command beside this interpreter.
    """
    return [str(Path(sys.executable).parent / "twistd"), "-n", "--pidfile="]


def command(state: Path, *options: str) -> list[str]:
    """
    @return: a command line; later options win over these.
    """
    defaults = {
        "--listen": "tcp:0:interface=127.0.0.1",
        "--stun": "127.0.0.1:0",
        "--host": "127.0.0.1",
    }
    given = {option.partition("=")[0] for option in options}
    kept = [f"{name}={value}" for name, value in defaults.items() if name not in given]
    return [*twistd(), "vnet-mediator", f"--state={state}", *kept, *options]


class ProcessCase(SynchronousTestCase):
    """
    Has a directory, and ends what it starts.
    """

    def setUp(self) -> None:
        self.base = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.base)
        self.state = self.base / "state"
        self.running: list[Mediator] = []
        self.addCleanup(self.stopAll)

    def stopAll(self) -> None:
        for mediator in self.running:
            mediator.stop(signal.SIGKILL)

    def start(self, *options: str, prefix: tuple[str, ...] = ()) -> Mediator:
        mediator = Mediator(self.state, *options, prefix=prefix)
        self.running.append(mediator)
        return mediator

    def refusal(self, *options: str) -> str:
        """
        @return: the one line with which a mediator does not start.
        """
        ended = subprocess.run(
            command(self.state, *options), capture_output=True, text=True, timeout=60, cwd=self.base
        )
        self.assertEqual(1, ended.returncode, ended.stderr)
        self.assertNotIn("Traceback", ended.stdout + ended.stderr)
        lines = ended.stderr.splitlines()
        self.assertEqual(1, len(lines), ended.stderr)
        self.assertTrue(lines[0].startswith("vnet-mediator: "), lines[0])
        return lines[0]


class SessionTests(ProcessCase):
    """
    Sessions over real TLS.
    """

    def setUp(self) -> None:
        super().setUp()
        self.mediator = self.start()

    def node(self, key: SigningKey | None = None) -> RawNode:
        node = RawNode(self.mediator.port, key)
        self.addCleanup(node.close)
        return node

    def test_session(self) -> None:
        """A node that only knows the protocol's description logs in, founds a network, and another joins and is seen."""
        a, b = self.node(), self.node()
        self.assertRegex(a.login()["address"].decode(), r"^100\.")
        b.login()
        network = a.call("CreateNetwork", name=b"home", proof=PROOF)["network"]
        a.call("Synchronise", epoch=b"", held=b"", cursor=b"")
        with self.assertRaises(Refusal) as caught:
            b.call("JoinNetwork", name=b"home", proof=b"W" * 32)
        self.assertEqual("DENIED", caught.exception.args[0])
        self.assertEqual(network, b.call("JoinNetwork", name=b"home", proof=PROOF)["network"])
        self.assertIn(b.public, a.push("MemberChanged")["members"])
        a.call("Connect", peer=b.public)
        self.assertEqual(a.push("Rendezvous")["start"], b.push("Rendezvous")["start"])
        a.call("ForwardSignal", peer=b.public, sealed=b"sealed")
        self.assertEqual(b"sealed", b.push("Signal")["sealed"])
        b.close()
        self.assertIn(b"lost", a.push("MemberChanged")["members"])

    def test_replaced(self) -> None:
        """A second login of a key ends the first; both are told."""
        first = self.node()
        first.login()
        second = self.node(first.key)
        second.login()
        self.assertEqual(b"False", first.push("Replaced")["byYou"])
        self.assertEqual(b"True", second.push("Replaced")["byYou"])
        self.assertLess(first.closedAfter(15), 15)
        second.call("Ping")

    def test_wrongExporter(self) -> None:
        """A signature that was made for another connection does not log in."""
        other, node = self.node(), self.node()
        with self.assertRaises(Refusal) as caught:
            node.login(other.transcript())
        self.assertEqual("LOGIN", caught.exception.args[0])
        self.assertLess(node.closedAfter(20), 20)

    def test_bytesBeforeLogin(self) -> None:
        """A stranger that sends more than 1,024 bytes is cut off."""
        node = self.node()
        node.write(b"\0\4nick\xff\xff" + b"x" * 2000)
        self.assertLess(node.closedAfter(10), 10)

    def test_oldTLS(self) -> None:
        """TLS 1.2 is refused."""
        with self.assertRaises((SSL.Error, ConnectionError)):
            RawNode(self.mediator.port, version=SSL.TLS1_2_VERSION)

    def test_deadlines(self) -> None:
        """A silent TCP connection is cut after 10 seconds, a TLS connection without a login after 15."""
        silent = RawNode(self.mediator.port, tls=False)
        stranger = self.node()
        after = silent.closedAfter(20)
        self.assertTrue(8.5 < after < 14, after)
        after += stranger.closedAfter(20)
        self.assertTrue(13.5 < after < 20, after)

    def test_perSource(self) -> None:
        """The 65th connection of an address without a login is refused at once; those with one do not count."""
        user = self.node()
        user.login()
        silent = [RawNode(self.mediator.port, tls=False) for _ in range(64)]
        self.assertLess(RawNode(self.mediator.port, tls=False).closedAfter(8), 8)
        user.call("Ping")
        for each in silent:
            each.close()
        until = time.monotonic() + 10
        while not self.canLogIn():
            self.assertLess(time.monotonic(), until)
            time.sleep(0.1)

    def canLogIn(self) -> bool:
        try:
            self.node().login()
        except (ConnectionError, SSL.Error):
            return False
        return True

    def test_killed(self) -> None:
        """What was acknowledged before kill -9 is there after it: address, network, member, nickname."""
        node = self.node()
        address = node.login()["address"]
        network = node.call("CreateNetwork", name=b"home", proof=PROOF)["network"]
        node.call("SetNick", nick=b"renamed")
        self.mediator.stop(signal.SIGKILL)
        self.mediator = self.start()
        again = self.node(node.key)
        self.assertEqual(address, again.login(nick="renamed")["address"])
        page = again.call("Synchronise", epoch=b"", held=b"", cursor=b"")
        self.assertIn(network, page["networks"])
        self.assertIn(b"renamed", page["networks"])

    def test_terminated(self) -> None:
        """SIGTERM ends it within 5 seconds though nodes are connected, with nothing on standard error."""
        self.node().login()
        stderr = self.mediator.process.stderr
        took = self.mediator.stop()
        self.assertLess(took, 5)
        self.assertNotIn("Traceback", (self.base / "log").read_text())
        self.assertIsNotNone(stderr)

    def test_files(self) -> None:
        """The state is 0700, its files 0600, and the URL is for this user alone."""
        self.node().login()
        modes = {each.name: each.stat().st_mode & 0o777 for each in self.state.iterdir()}
        self.assertEqual({0o600}, set(modes.values()), modes)
        self.assertEqual(0o700, self.state.stat().st_mode & 0o777)

    def test_stun(self) -> None:
        """STUN is answered on the port that logins are told."""
        port = int(self.node().login()["stun"].rpartition(b":")[2])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.settimeout(5)
            probe.sendto(b"\0\1\0\0\x21\x12\xa4\x42" + b"t" * 12, ("127.0.0.1", port))
            self.assertEqual(b"\1\1", probe.recv(100)[:2])


class BadStartTests(ProcessCase):
    """
    Starts that cannot be: exit code 1, one line, nothing changed.
    """

    def test_portInUse(self) -> None:
        """A port that another program uses, for TLS or for STUN."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            self.assertIn("in use", self.refusal(f"--listen=tcp:{port}:interface=127.0.0.1"))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind(("127.0.0.1", 0))
            self.assertIn("in use", self.refusal(f"--stun=127.0.0.1:{other.getsockname()[1]}"))

    def test_foreignAddress(self) -> None:
        """An address that this computer does not have."""
        self.assertIn("192.0.2.1", self.refusal("--stun=192.0.2.1:3478"))
        self.assertIn("192.0.2.1", self.refusal("--listen=tcp:7443:interface=192.0.2.1"))

    def test_second(self) -> None:
        """A second mediator on one state directory; the first goes on."""
        first = self.start()
        self.assertIn("in use by another process", self.refusal())
        node = RawNode(first.port)
        self.addCleanup(node.close)
        node.login()

    def test_database(self) -> None:
        """A damaged and a newer database."""
        self.start().stop()
        database = self.state / "mediator.db"
        whole = database.read_bytes()
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
            connection.commit()
        self.assertIn("newer version", self.refusal())
        database.write_bytes(whole[:9000])
        line = self.refusal()
        self.assertIn(str(database), line)
        self.assertIn("restore a backup", line)
        self.assertEqual(whole[:9000], database.read_bytes())

    def test_key(self) -> None:
        """A damaged key; afterwards it is as it was."""
        self.start().stop()
        (self.state / "key.pem").write_bytes(b"nonsense")
        self.assertIn("key.pem is damaged", self.refusal())
        self.assertEqual(b"nonsense", (self.state / "key.pem").read_bytes())

    def test_options(self) -> None:
        """Options that make no sense; the state directory is not even made."""
        for option, text in (
            ("--pool=192.168.0.0/16", "home and office"),
            ("--pool=100.64.0.0/28", "/24"),
            ("--listen=ssl:7443:privateKey=/nonexistent:certKey=/nonexistent", "/nonexistent"),
            ("--what", "not recognized"),
        ):
            self.assertIn(text, self.refusal(option))

    def test_state(self) -> None:
        """A state directory that cannot be."""
        self.state = Path("/proc/nowhere")
        self.assertIn("/proc/nowhere", self.refusal())

    def test_fullDisk(self) -> None:
        """A full disk."""
        with self.tmpfs("256k"):
            (self.state / "filler").write_bytes(b"")
            with contextlib.suppress(OSError), (self.state / "filler").open("wb") as file:
                while True:
                    file.write(b"x" * 4096)
                    file.flush()
            self.assertRegex(self.refusal(), "space|full")

    @contextmanager
    def tmpfs(self, size: str) -> Iterator[None]:
        self.state.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "vnet", str(self.state)], check=True)
        try:
            yield
        finally:
            self.stopAll()
            subprocess.run(["umount", str(self.state)], check=True)

    def test_diskFullLater(self) -> None:
        """When the disk fills up, changes are refused and all else goes on; with space again, they work."""
        with self.tmpfs("4m"):
            mediator = self.start()
            node, peer = RawNode(mediator.port), RawNode(mediator.port)
            node.login()
            peer.login()
            node.call("CreateNetwork", name=b"home", proof=PROOF)
            peer.call("JoinNetwork", name=b"home", proof=PROOF)
            node.call("Synchronise", epoch=b"", held=b"", cursor=b"")
            filler = self.state / "filler"
            with contextlib.suppress(OSError), filler.open("wb") as file:
                while True:
                    file.write(b"x" * 4096)
                    file.flush()
            refused = 0
            for number in range(40):
                try:
                    node.call("CreateNetwork", name=b"full%d" % number, proof=PROOF)
                except Refusal as error:
                    self.assertEqual("STORAGE", error.args[0])
                    refused += 1
            self.assertGreater(refused, 0)
            node.call("ForwardSignal", peer=peer.public, sealed=b"x")
            self.assertEqual(b"x", peer.push("Signal")["sealed"])
            peer.close()
            self.assertIn(b"lost", node.push("MemberChanged")["members"])
            filler.unlink()
            node.call("CreateNetwork", name=b"after", proof=PROOF)
            node.close()

    def test_daemon(self) -> None:
        """A daemon's failure reaches the command that starts it, as exit code 1 and its reason."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            arguments = command(self.state, f"--listen=tcp:{other.getsockname()[1]}:interface=127.0.0.1")
            arguments = [each for each in arguments if each not in ("-n", "--pidfile=")]
            arguments[1:1] = [f"--pidfile={self.base / 'pid'}", f"--logfile={self.base / 'daemon.log'}"]
            ended = subprocess.run(arguments, capture_output=True, text=True, timeout=60, cwd=self.base)
        self.assertEqual(1, ended.returncode)
        self.assertIn("in use", ended.stderr)
        self.assertNotIn("Traceback", ended.stderr)
        self.assertIn("in use", (self.base / "daemon.log").read_text())
        self.assertFalse((self.base / "pid").exists())


class CertificateTests(ProcessCase):
    """
    A certificate of an authority.
    """

    def test_authority(self) -> None:
        """An ssl: endpoint serves the given certificate, with TLS 1.3 alone and our deadlines, under a URL without a pin."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority's")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(7)
            .not_valid_before(now)
            .not_valid_after(now + datetime.timedelta(days=1))
            .sign(key, hashes.SHA256())
        )
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self.base / "key.pem").write_bytes(pem)
        (self.base / "cert.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        mediator = self.start(
            f"--listen=ssl:0:interface=127.0.0.1:privateKey={self.base}/key.pem:certKey={self.base}/cert.pem"
        )
        self.assertNotIn("#", (self.state / "url").read_text())
        node = RawNode(mediator.port)
        self.addCleanup(node.close)
        node.login()
        shown = node._tls.get_peer_certificate(as_cryptography=True)
        self.assertEqual(certificate, shown)
        with self.assertRaises((SSL.Error, ConnectionError)):
            RawNode(mediator.port, version=SSL.TLS1_2_VERSION)
        after = RawNode(mediator.port, tls=False).closedAfter(20)
        self.assertTrue(8.5 < after < 14, after)


@pytest.mark.commands("strace")
class DurabilityTests(ProcessCase):
    """
    What is acknowledged is on disk.
    """

    def traced(self, mediator: Mediator) -> int:
        tracer = mediator.process.pid
        return int(Path(f"/proc/{tracer}/task/{tracer}/children").read_text().split()[0])

    def test_syncBeforeAnswer(self) -> None:
        """The database is synchronised to the disk before the answer to each change is sent."""
        trace = self.base / "trace"
        # --kill-on-exit would be shorter, where strace has it.
        calls = "trace=fdatasync,fsync,sendto,recvfrom"
        mediator = self.start(prefix=("strace", "-f", "-o", str(trace), "-e", calls))
        traced = self.traced(mediator)
        self.addCleanup(endQuietly, traced)
        node = RawNode(mediator.port)
        self.addCleanup(node.close)
        node.login()
        for number in range(10):
            node.call("Ping")
            node.call("CreateNetwork", name=b"n%d" % number, proof=PROOF)
        os.kill(traced, signal.SIGTERM)
        mediator.process.wait(20)
        synced: list[bool] = []
        sinceRequest = False
        for line in trace.read_text().splitlines():
            if re.search(r"recvfrom\(.* = [1-9]", line):
                sinceRequest = False
            elif re.search(r"f(data)?sync(\(| resumed).* = 0", line):
                sinceRequest = True
            elif re.search(r"sendto\(", line):
                synced.append(sinceRequest)
        # The last twenty answers: to a ping, which needs no disk, and to a change, in turn.
        self.assertEqual([False, True] * 10, synced[-20:])
