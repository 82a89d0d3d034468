"""
Disks that are full, and what must not be found on them.
"""

from __future__ import annotations

import base64
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path

import pytest

from vnet.errors import VnetError
from vnet.protocols.machine.secrets import deriveMaster, proofOf
from vnet.test.priv.cluster import waitUntil
from vnet.test.priv.household import HouseholdCase
from vnet.test.priv.unharmed import fullDisk, hashed, onTmpfs, refused, unharmed

PASSWORD = "correct horse"


@pytest.mark.timeout(120)
class FullDiskTests(HouseholdCase):
    """
    The states of the mediator and of alice are on small disks of their own.
    """

    @classmethod
    def build(cls) -> None:
        """
        Mount them before anything starts.
        """
        directory = cls.cluster.lab.directory
        for name, size in (("mediator", "4m"), ("alice", "256k")):
            # After tearDownClass, and also where building fails.
            cls.addClassCleanup(onTmpfs(directory / name, size))
        super().build()

    def test_mediator(self) -> None:
        """
        While the mediator's disk is full, changes are refused with the reason and nothing is half done; nodes stay connected, go
        on to see each other and are let in again; when there is space, changes work.
        """
        bob = self.bob
        with fullDisk(self.mediator.state):
            number = self.fillDatabase()
            with unharmed(self.alice), unharmed(bob):
                for arguments in (
                    ["create", "--no-password", "other"],
                    ["set-nick", "robert"],
                    ["leave", "family"],
                    ["go-offline", "family"],
                ):
                    self.assertIn("cannot store this now", refused(bob, 1, *arguments))
            dave = self.cluster.addNode("dave")
            self.assertIn("cannot store", refused(dave, 1, "login", self.mediator.url))
            dave.stop()
            before, address, killed = len(bob.networks()), bob.address, time.monotonic()
            bob.kill()
            waitUntil(lambda: self.stateOfBob() == "lost", 20, "bob is lost")
            bob.start()
            bob.waitOnline()
            self.assertEqual(len(bob.networks()), before)
            waitUntil(lambda: self.stateOfBob() == "online", 20, "bob is online again")
            self.alice.waitPing(address)
            # While he was away; there are five a second.
            type(self).mayLose += 1 + int(5 * (time.monotonic() - killed))
            self.assertIn("cannot store", refused(bob, 1, "set-nick", "robert"))
        self.assertGreater(number, 0)
        bob.vnet("set-nick", "robert")
        bob.create("other", None)
        bob.vnet("leave", "other")
        waitUntil(lambda: self.alice.ask("peer", name="robert"), 20, "alice sees the name")

    def fillDatabase(self) -> int:
        """
        Change something until the database and its journal have no room either.
        """
        for number in range(400):
            try:
                self.alice.ask("set-nick", nick=f"{'alice':a<60}{number}")
            except VnetError as error:
                if "cannot store" in str(error):
                    return number + 1
                if "too many" not in str(error):
                    raise
                time.sleep(0.2)
        raise AssertionError("the disk never becomes full")

    def stateOfBob(self) -> str:
        """
        As alice sees it.
        """
        members = self.alice.networks()[0]["members"]
        return str(members[0]["state"])

    def test_client(self) -> None:
        """
        While the node's own disk is full, what it would have to remember is refused with the reason, here and at the mediator;
        the session, the tunnel and new peers are not hindered; when there is space, all works.
        """
        alice = self.alice
        url, host = self.mediator.url, self.mediator.host.address
        with fullDisk(alice.state):
            with unharmed(alice), unharmed(self.bob):
                for arguments in (
                    ["create", "--no-password", "mine"],
                    ["join", "--no-password", "mine"],
                    ["leave", "family"],
                    ["set-nick", "ann"],
                    ["logout"],
                ):
                    self.assertIn("No space left", refused(alice, 1, *arguments))
            # Another name of the same mediator, which ends the old session before it is found that this cannot be kept.
            other = url.replace(host, f"0x{int(ip_address(host)):x}")
            before = hashed(alice.state)
            self.assertIn("No space left", refused(alice, 1, "login", other))
            self.assertEqual(alice.waitOnline()["mediator"], url)
            self.assertEqual(hashed(alice.state), before)
            carol = self.cluster.addNode("carol")
            carol.login()
            carol.join("family", PASSWORD)
            alice.waitPath(carol)
            carol.vnet("leave", "family")
            carol.stop()
        with unharmed(self.bob):
            alice.create("mine", None)
            alice.vnet("leave", "mine")
        self.assertEqual([each["name"] for each in alice.networks()], ["family"])


@pytest.mark.timeout(120)
class SecretTests(HouseholdCase):
    """
    Where secrets are, and where not.
    """

    def test_modes(self) -> None:
        """
        The states of mediator and node are for their user alone: 0700, and each file 0600; the control socket is 0660.
        """
        for daemon in (self.mediator, self.alice, self.bob):
            self.assertEqual(daemon.state.stat().st_mode & 0o7777, 0o700, daemon.name)
            modes = {name: mode for name, (mode, _) in hashed(daemon.state).items()}
            self.assertEqual(set(modes.values()), {0o600}, modes)
        self.assertEqual(self.alice.socket.stat().st_mode & 0o777, 0o660)

    def test_secrets(self) -> None:
        """
        The password is nowhere in a file, a log, or the arguments or environment of a process; the network's secret and the
        node's key are in its own state only, and the mediator has not even the proof.
        """
        self.alice.vnet("invite", "family")
        realm = self.realm()
        master = deriveMaster(PASSWORD, realm, "family")
        seed = bytes.fromhex((self.alice.state / "identity.key").read_text().split()[3])
        own = {self.alice.state / "state.json", self.bob.state / "state.json"}
        self.assertEqual(set(self.holders(master)), own)
        self.assertEqual(self.holders(seed), [self.alice.state / "identity.key"])
        self.assertEqual(self.holders(proofOf(master)), [])
        self.assertEqual(self.holders(PASSWORD.encode()), [])
        self.assertEqual(self.holders(self.privateKey()), [self.mediator.state / "key.pem"])

    def realm(self) -> bytes:
        """
        The mediator's name for ever.
        """
        path = self.mediator.state / "mediator.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            found: bytes = database.execute("SELECT realm FROM mediator").fetchone()[0]
        return found

    def privateKey(self) -> bytes:
        """
        A line of the mediator's key.
        """
        return (self.mediator.state / "key.pem").read_bytes().splitlines()[1]

    def holders(self, secret: bytes) -> list[Path]:
        """
        The files that hold a secret, as it is, in hexadecimal or in base64.
        """
        forms = {secret, secret.hex().encode(), secret.hex().upper().encode()}
        forms |= {base64.b64encode(secret).rstrip(b"="), base64.urlsafe_b64encode(secret).rstrip(b"=")}
        return sorted(path for path, data in self.places() if any(form in data for form in forms))

    def places(self) -> Iterator[tuple[Path, bytes]]:
        """
        All files and logs, and what other users see of the processes.
        """
        for path in self.cluster.lab.directory.rglob("*"):
            if path.is_file():
                yield path, path.read_bytes()
        for daemon in self.cluster.daemons:
            if daemon.process is not None:
                for name in ("cmdline", "environ"):
                    path = Path(f"/proc/{daemon.process.pid}/{name}")
                    yield path, path.read_bytes()
