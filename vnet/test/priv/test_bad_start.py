"""
Starts that cannot be: exit code 1, one line on standard error, no traceback, and nothing changed.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest
from sqlalchemy.engine import URL

from vnet.client.identity import loadIdentity
from vnet.client.state import StateFile
from vnet.errors import StateError
from vnet.server.accounts import allAccounts
from vnet.server.networks import allNetworks
from vnet.server.store.schema import openDatabase
from vnet.test.priv.daemons import Daemon, Mediator, Node
from vnet.test.priv.startcase import Start, StartCase
from vnet.test.priv.unharmed import onTmpfs, othersReach

STATE: dict[str, Any] = {
    "version": 1,
    "mediator": "vnet://192.0.2.1:7443",
    "online": True,
    "nick": "alice",
    "networks": {"00" * 16: {"name": "family", "secret": "11" * 32, "realm": "22" * 16}},
    "pins": {},
}


@pytest.mark.timeout(120)
class ClientTests(StartCase):
    """
    C{twistd vnet-client}.
    """

    def state(self, **files: bytes | None) -> Path:
        """
        @param files: other content for C{identity} and C{state}; L{None}: no such file.
        @return: a state directory.
        """
        directory = self.directory()
        loadIdentity(directory / "identity.key")
        (directory / "state.json").write_text(json.dumps(STATE))
        for name, content in files.items():
            path = directory / {"identity": "identity.key", "state": "state.json"}[name]
            path.unlink()
            if content is not None:
                path.write_bytes(content)
        return directory

    def start(self, expected: str, state: Path, *options: str, prefix: tuple[str, ...] = ()) -> Start:
        """
        @return: a start.
        """
        return Start("vnet-client", state, expected, options, prefix)

    def test_key(self) -> None:
        """
        A key file that is empty, cut off, garbage or has one bit changed is refused and left as it is.
        """
        whole = (self.state() / "identity.key").read_bytes()
        flipped = bytearray(whole)
        flipped[40] ^= 1
        contents = (b"", whole[:-20], b"\xff\x00garbage", bytes(flipped), whole + whole, b"x" * 100_000)
        self.check(*(self.start("is damaged", self.state(identity=each)) for each in contents))

    def test_stateFile(self) -> None:
        """
        A state.json that is empty, cut off, of other types or of a newer vnet is refused and left as it is.
        """
        text = json.dumps(STATE).encode()
        wrong: list[Any] = [
            [],
            {**STATE, "networks": []},
            {**STATE, "networks": {"xx": {"name": "x", "secret": None, "realm": "22" * 16}}},
            {**STATE, "networks": {"00" * 16: {"name": "x", "secret": "11", "realm": "22" * 16}}},
            {**STATE, "pins": {"x": 7}},
            {**STATE, "mediator": "nonsense"},
            {**STATE, "mediator": 7},
            {**STATE, "version": "1"},
            {**STATE, "nick": "a\x1b[31m"},
            {**STATE, "nick": None},
        ]
        for each in wrong:
            state = StateFile(self.state(state=json.dumps(each).encode()) / "state.json")
            with self.assertRaises(StateError, msg=str(each)):
                state.load()
        contents = [text[:-30], b"[" * 100_000, json.dumps(wrong[-1]).encode()]
        starts = [self.start("is damaged", self.state(state=each)) for each in contents]
        newer = json.dumps({"version": 2, "all": "new"}).encode()
        self.check(*starts, self.start("newer vnet", self.state(state=newer)))

    def test_directory(self) -> None:
        """
        A state directory that cannot be made, is a file, or cannot be written.
        """
        file = self.directory() / "file"
        file.touch()
        readOnly = self.lab.directory / "readonly"
        unmount = onTmpfs(readOnly, "64k")
        try:
            subprocess.run(["mount", "-o", "remount,ro", str(readOnly)], check=True)
            self.check(
                self.start("/proc/nowhere", Path("/proc/nowhere")),
                self.start(str(file), file),
                self.start(str(readOnly), readOnly),
            )
        finally:
            unmount()

    def test_ports(self) -> None:
        """
        A UDP port that another program has, and what is no port.
        """
        holding = "import socket, time; s = socket.socket(10, 2); s.bind(('::', 4000)); print(flush=True); time.sleep(600)"
        holder = self.host.popen([sys.executable, "-c", holding], stdout=subprocess.PIPE)
        if holder.stdout is not None:
            holder.stdout.readline()
        self.check(
            self.start("UDP port 4000 is in use", self.state(), "--port=4000"),
            self.start("'99999' is no UDP port", self.state(), "--port=99999"),
            self.start("'-1' is no UDP port", self.state(), "--port=-1"),
            self.start("--frob", self.state(), "--frob"),
        )
        holder.kill()
        holder.wait()

    def test_interface(self) -> None:
        """
        An interface name that is taken, too long or no name.
        """
        self.check(
            self.start("eth0 exists already", self.state(), "--interface=eth0"),
            self.start("15", self.state(), "--interface=abcdefghijklmnop"),
            self.start("no interface name", self.state(), "--interface=a/b"),
            self.start("no interface name", self.state(), "--interface="),
        )

    def test_privileges(self) -> None:
        """
        Without CAP_NET_ADMIN, as another user, or without /dev/net/tun.
        """
        capability = ("setpriv", "--bounding-set=-net_admin")
        hidden = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev/net && exec "$@"', "sh")
        foreign = self.state()
        other = self.directory()
        self.lab.directory.chmod(0o755)
        for path in (other, *other.iterdir()):
            os.chown(path, 65534, 65534)
        nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
        starts = [
            self.start("CAP_NET_ADMIN", self.state(), prefix=capability),
            self.start("/dev/net/tun is missing", self.state(), prefix=hidden),
        ]
        if othersReach():
            starts += [
                self.start("Permission denied", foreign, prefix=nobody),
                # A first start: it makes its key before it looks for the device.
                Start("vnet-client", other, "CAP_NET_ADMIN", prefix=nobody, unchanged=False),
            ]
        self.check(*starts)

    def test_second(self) -> None:
        """
        A second client on one state directory; the first goes on.
        """
        first = Node("first", self.host, self.directory(), "vnet-client")
        first.options = [f"--socket={first.state / 'control.sock'}", "--interface=first"]
        first.start()
        self.check(
            self.start("in use by another process", first.state, "--interface=second"),
            self.start(
                "another vnet client is running",
                self.state(),
                "--interface=third",
                f"--socket={first.socket}",
            ),
        )
        self.assertEqual(first.status()["state"], "offline")
        first.stop()


@pytest.mark.timeout(120)
class MediatorTests(StartCase):
    """
    C{twistd vnet-mediator}.
    """

    good: ClassVar[Path]

    @classmethod
    def setUpClass(cls) -> None:
        """
        Make a state directory that is good.
        """
        super().setUpClass()
        mediator = Mediator(
            "good", cls.host, cls.lab.directory / "good", "vnet-mediator", ["--host=192.0.2.1"]
        )
        mediator.start()
        cls.host.python(FILL)
        mediator.stop()
        cls.good = mediator.state

    def start(self, expected: str, change: Callable[[Path], None] | None = None, *options: str) -> Start:
        """
        @param change: done to a copy of the good state directory before.
        """
        state = self.directory() / "state"
        shutil.copytree(self.good, state)
        if change is not None:
            change(state)
        return Start("vnet-mediator", state, expected, ("--host=192.0.2.1", *options))

    def test_pools(self) -> None:
        """
        Blocks that home networks use, that are no unicast addresses, or that are small or large.
        """
        blocks = [
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "127.0.0.0/8",
            "224.0.0.0/4",
            "100.64.0.0/25",
        ]
        self.check(*(self.start("pool", None, f"--pool={each}") for each in blocks))

    def test_database(self) -> None:
        """
        A database that is cut off, no database, damaged in its pages, of another program or of a newer vnet is refused,
        and left as it is.
        """

        def content(change: Callable[[bytearray], None]) -> Callable[[Path], None]:
            def apply(state: Path) -> None:
                data = bytearray((state / "mediator.db").read_bytes())
                change(data)
                (state / "mediator.db").write_bytes(data)

            return apply

        def statement(text: str) -> Callable[[Path], None]:
            def apply(state: Path) -> None:
                with closing(sqlite3.connect(state / "mediator.db")) as database:
                    database.execute("PRAGMA foreign_keys = OFF")
                    database.execute(text)
                    database.commit()

            return apply

        def cut(data: bytearray) -> None:
            del data[9000:]

        def text(data: bytearray) -> None:
            data[:] = b"this is no database\n" * 500

        def page(data: bytearray) -> None:
            data[4096:8192] = bytes(4096)

        self.check(
            self.start("is damaged", content(cut)),
            self.start("is damaged", content(text)),
            self.start("is damaged", content(page)),
            self.start("newer", statement("UPDATE alembic_version SET version_num = 'r9999'")),
            self.start("is damaged", statement("ALTER TABLE members RENAME COLUMN online TO offline")),
            self.start("is damaged", statement("DELETE FROM nodes")),
            self.start("holds no mediator", statement("DELETE FROM mediator")),
        )

    def test_flips(self) -> None:
        """
        A database with bytes changed at random, in its header or elsewhere, is refused with one line and left as it is, or it
        still says the same; there is no third way.
        """
        whole = (self.good / "mediator.db").read_bytes()
        expected = self.contents(whole)
        self.assertEqual(len(expected[0]), 1)
        refusals = 0
        for seed in range(120):
            numbers = random.Random(seed)
            data = bytearray(whole)
            for _ in range(numbers.choice((1, 4, 64))):
                data[numbers.randrange(100 if seed % 2 else len(data))] = numbers.randrange(256)
            try:
                found = self.contents(bytes(data))
            except StateError as error:
                refusals += 1
                self.assertTrue(str(error).isprintable(), seed)
            else:
                self.assertEqual(found, expected, seed)
        self.assertGreater(refusals, 40)

    def contents(self, data: bytes) -> tuple[list[Any], list[Any]]:
        """
        What a database says; refused, it is as it was.
        """
        path = self.directory() / "mediator.db"
        path.write_bytes(data)
        try:
            engine = openDatabase(URL.create("sqlite", database=str(path)))
        except StateError:
            self.assertEqual(path.read_bytes(), data)
            raise
        try:
            with engine.begin() as connection:
                return allAccounts(connection), allNetworks(connection)
        finally:
            engine.dispose()

    def test_ports(self) -> None:
        """
        TCP port 7443 or UDP port 3478 in use by another program.
        """
        first = Daemon("first", self.host, self.directory(), "vnet-mediator", ["--host=192.0.2.1"])
        first.spawn()
        mediator = Mediator("x", self.host, first.state, "vnet-mediator")
        mediator.process = first.process
        mediator.waitReady()
        self.check(
            attrs.evolve(self.start("in use", None, "--stun=:3479"), unchanged=False),
            attrs.evolve(self.start("in use", None, "--listen=tcp:7444"), unchanged=False),
            Start("vnet-mediator", first.state, "in use by another process"),
        )
        self.assertTrue(first.running)
        first.stop()


FILL = """
from vnet.test.priv.rawnode import RawNode
node = RawNode(7443)
node.login()
node.call("CreateNetwork", name=b"home", proof=b"P" * 32)
node.close()
"""
