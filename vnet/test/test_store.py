"""
Tests for L{vnet.server.store}: real SQLite files.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from vnet.errors import StateError
from vnet.protocols import control
from vnet.server import accounts
from vnet.server.addresses import parsePool
from vnet.server.store import schema, tables
from vnet.server.store.schema import openDatabase, parseDatabaseUrl
from vnet.server.store.worker import Store, inline
from vnet.test.mediatorlab import finished


def digest(path: Path) -> str:
    """
    @return: the hash of a file.
    """
    return hashlib.sha256(path.read_bytes()).hexdigest()


class DatabaseTests(SynchronousTestCase):
    """
    L{openDatabase}.
    """

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        self.path = self.directory / "mediator.db"
        self.url = sa.URL.create("sqlite", database=str(self.path))

    def make(self, nodes: int = 0) -> None:
        with self.opened() as engine, engine.begin() as connection:
            pool = parsePool("203.0.113.0/24")
            for number in range(nodes):
                accounts.admit(
                    connection, bytes([number]) * 32, f"nick{number}", pool, b"\xfd12345", lambda below: 0
                )

    @contextmanager
    def opened(self) -> Iterator[sa.Engine]:
        engine = openDatabase(self.url)
        try:
            yield engine
        finally:
            engine.dispose()

    def refusal(self) -> str:
        """
        @return: why the database is refused; it is one line, and the file is as before.
        """
        before = digest(self.path)
        with self.assertRaises(StateError) as caught:
            openDatabase(self.url).dispose()
        text = str(caught.exception)
        self.assertNotIn("\n", text)
        self.assertIn(str(self.path), text)
        self.assertEqual(before, digest(self.path))
        return text

    def test_private(self) -> None:
        """All files of the database are 0600, whatever the umask."""
        old = os.umask(0)
        try:
            with self.opened() as engine, engine.begin() as connection:
                connection.execute(sa.text("UPDATE mediator SET starts = 9"))
                modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in self.directory.iterdir()}
        finally:
            os.umask(old)
        self.assertIn("mediator.db-wal", modes)
        self.assertEqual({0o600}, set(modes.values()), modes)

    def test_durable(self) -> None:
        """Connections use a write-ahead log, full synchronisation and foreign keys."""
        with self.opened() as engine, engine.connect() as connection:
            values = [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            ]
        self.assertEqual(["wal", 2, 1], values)

    def test_realmKept(self) -> None:
        """Realm and prefix are drawn once."""
        with self.opened() as engine, engine.begin() as connection:
            first = accounts.readRealm(connection)
        with self.opened() as engine, engine.begin() as connection:
            self.assertEqual(first, accounts.readRealm(connection))
        self.assertEqual((16, 6, 0xFD), (len(first.realm), len(first.prefix6), first.prefix6[0]))

    def test_migrationsMatch(self) -> None:
        """The migrations make exactly the tables that the program uses."""
        with self.opened() as engine, engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            self.assertEqual([], compare_metadata(context, tables.metadata))

    def test_downgrade(self) -> None:
        """The first migration can be taken back."""
        self.make()
        with self.opened() as engine, engine.begin() as connection:
            config = schema._scripts()
            config.attributes["connection"] = connection
            command.downgrade(config, "base")
            self.assertEqual(["alembic_version"], sa.inspect(connection).get_table_names())

    def test_fromBeforeLans(self) -> None:
        """A database from before LANs were shared is kept as it is, and can hold them."""
        self.make(3)
        with self.opened() as engine, engine.begin() as connection:
            config = schema._scripts()
            config.attributes["connection"] = connection
            command.downgrade(config, "0001")
            self.assertNotIn("lans", sa.inspect(connection).get_table_names())
        with self.opened() as engine, engine.begin() as connection:
            self.assertEqual(3, len(connection.execute(sa.select(tables.nodes)).all()))
            self.assertEqual([], connection.execute(sa.select(tables.lans)).all())

    def test_newer(self) -> None:
        """A database with a schema from the future is refused and not touched."""
        self.make()
        self.setRevision("9999")
        self.assertIn("newer version", self.refusal())

    def setRevision(self, revision: str) -> None:
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
            connection.commit()

    def test_damaged(self) -> None:
        """A file that is no database, is empty or cut off is refused with the file and what to do, and not touched."""
        self.make(100)
        whole = self.path.read_bytes()
        for content in (b"", b"hello", b"SQLite format 3\0", whole[:5000], whole[:-4096], b"x" + whole[1:]):
            self.path.write_bytes(content)
            self.assertIn("restore a backup", self.refusal())

    def test_otherDatabase(self) -> None:
        """A SQLite database of another program is refused and not touched."""
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("CREATE TABLE photos (id INTEGER)")
        self.assertIn("no mediator's tables", self.refusal())

    def test_flippedBytes(self) -> None:
        """Whatever bytes of the file are flipped, it opens or is refused in one line; nothing else is raised."""
        self.make(100)
        whole = bytearray(self.path.read_bytes())
        dice = random.Random(7)
        refused = 0
        for _ in range(40):
            flipped = bytearray(whole)
            for _ in range(20):
                flipped[dice.randrange(len(flipped))] ^= 1 << dice.randrange(8)
            self.path.write_bytes(flipped)
            for suffix in ("-wal", "-shm"):
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)
            try:
                openDatabase(self.url).dispose()
            except StateError as error:
                self.assertNotIn("\n", str(error))
                self.assertEqual(flipped, self.path.read_bytes())
                refused += 1
        self.assertGreater(refused, 10)

    def test_interruptedCreation(self) -> None:
        """What a crash during the creation left is no hindrance."""
        (self.directory / "mediator.db.new").write_bytes(b"half")
        self.make()
        self.assertFalse((self.directory / "mediator.db.new").exists())

    def test_second(self) -> None:
        """A database that one mediator has open is refused to another, until the first has closed it or ended."""
        self.make()
        with self.opened() as engine:
            with self.assertRaisesRegex(StateError, "in use by another mediator"):
                openDatabase(self.url)
            engine.dispose()
            engine.dispose()
            openDatabase(self.url).dispose()
        process = subprocess.Popen(
            [sys.executable, "-c", self.HOLD, str(self.url)], stdout=subprocess.PIPE, text=True
        )
        if process.stdout is None:
            raise AssertionError("no pipe")
        self.assertEqual("open\n", process.stdout.readline())
        with self.assertRaisesRegex(StateError, "in use by another mediator"):
            openDatabase(self.url)
        process.kill()
        process.communicate()
        self.make()

    HOLD = (
        "import sys, time; from sqlalchemy import make_url; from vnet.server.store.schema import openDatabase;"
        "engine = openDatabase(make_url(sys.argv[1])); print('open', flush=True); time.sleep(60)"
    )

    def test_directoryOnDisk(self) -> None:
        """That a new database, and a backup, are there is on disk before anything is stored."""
        synced: list[str] = []
        real = os.fsync

        def fsync(descriptor: int) -> None:
            synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            real(descriptor)

        self.patch(os, "fsync", fsync)
        self.make()
        self.assertEqual([str(self.directory)], synced)
        schema._backUp(self.path, "0001")
        self.assertEqual(str(self.directory), synced[-1])
        self.assertTrue(synced[-2].endswith(".backup"))

    def test_missingDirectory(self) -> None:
        """A path that cannot be is refused in one line."""
        with self.assertRaisesRegex(StateError, "No such file"):
            openDatabase(sa.URL.create("sqlite", database="/nonexistent/x.db"))

    def test_backupBeforeMigration(self) -> None:
        """Before a migration the database is copied beside itself, 0600; without one it is not."""
        self.make(3)
        self.make()
        self.assertEqual([], list(self.directory.glob("*.backup")))
        migrations = self.directory / "migrations"
        shutil.copytree(Path(schema.__file__).parent / "migrations", migrations)
        (migrations / "versions" / "r9000.py").write_text(
            "import sqlalchemy as sa\nfrom alembic import op\nrevision = '9000'\ndown_revision = '0002'\n"
            "def upgrade():\n    op.add_column('nodes', sa.Column('extra', sa.Integer))\n"
        )
        config = schema._scripts()
        config.set_main_option("script_location", str(migrations))
        self.patch(schema, "_scripts", lambda: config)
        with self.opened() as engine, engine.connect() as connection:
            self.assertIn("extra", [each["name"] for each in sa.inspect(connection).get_columns("nodes")])
        (backup,) = self.directory.glob("*.backup")
        self.assertEqual(0o600, stat.S_IMODE(backup.stat().st_mode))
        with closing(sqlite3.connect(backup)) as copy:
            self.assertEqual(3, copy.execute("SELECT count(*) FROM nodes").fetchone()[0])
            self.assertEqual("0002", copy.execute("SELECT version_num FROM alembic_version").fetchone()[0])

    def test_failedMigration(self) -> None:
        """A migration that fails changes nothing."""
        self.make(3)
        migrations = self.directory / "migrations"
        shutil.copytree(Path(schema.__file__).parent / "migrations", migrations)
        (migrations / "versions" / "r9000.py").write_text(
            "from alembic import op\nrevision = '9000'\ndown_revision = '0002'\n"
            "def upgrade():\n    op.execute('DELETE FROM nodes')\n    op.execute('no such statement')\n"
        )
        config = schema._scripts()
        config.set_main_option("script_location", str(migrations))
        self.patch(schema, "_scripts", lambda: config)
        with self.assertRaises(StateError):
            openDatabase(self.url)
        with closing(sqlite3.connect(self.path)) as connection:
            self.assertEqual(3, connection.execute("SELECT count(*) FROM nodes").fetchone()[0])
            self.assertEqual(
                "0002", connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
            )

    def test_urls(self) -> None:
        """A URL without a file, with an unknown or missing driver, or none at all, is refused in one line."""
        for text in ("sqlite://", "sqlite:///:memory:", "nonsense", "oracle9://x", "http://x/y"):
            with self.assertRaises(ValueError) as caught:
                parseDatabaseUrl(text)
            self.assertNotIn("\n", str(caught.exception))
        self.assertEqual("/a/b.db", parseDatabaseUrl("sqlite:////a/b.db").database)


class StoreTests(SynchronousTestCase):
    """
    L{Store}.
    """

    def setUp(self) -> None:
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        self.engine = openDatabase(sa.URL.create("sqlite", database=f"{directory}/mediator.db"))
        self.addCleanup(self.engine.dispose)

    def test_rollback(self) -> None:
        """What raises changes nothing."""

        def work(connection: sa.Connection) -> None:
            connection.execute(tables.mediator.update().values(starts=77))
            raise control.Denied("no")

        store = Store(self.engine, inline)
        with self.assertRaises(control.Denied):
            finished(store.run(work))
        starts = finished(store.run(lambda c: c.execute(sa.select(tables.mediator.c.starts)).scalar_one()))
        self.assertEqual(1, starts)

    def test_storage(self) -> None:
        """What the database refuses is Storage with the cause, logged once until it works again."""

        def work(connection: sa.Connection) -> None:
            raise OperationalError("x", {}, sqlite3.OperationalError("database or disk is full"))

        store = Store(self.engine, inline)
        for _ in range(3):
            with self.assertRaisesRegex(control.Storage, "disk is full"):
                finished(store.run(work))
        self.assertTrue(store._failing)
        finished(store.run(lambda connection: None))
        self.assertFalse(store._failing)

    def test_notWrapped(self) -> None:
        """What SQLite says while a connection is made, and that there is none, is Storage, too."""
        store = Store(self.engine, inline)
        for error in (sqlite3.OperationalError("disk I/O error"), NoConnection("QueuePool limit")):

            def work(connection: sa.Connection, error: Exception = error) -> None:
                raise error

            with self.assertRaises(control.Storage):
                finished(store.run(work))

    def test_busy(self) -> None:
        """When too much waits, more is refused."""

        def never(work: Any) -> Deferred[Any]:
            return Deferred()

        store = Store(self.engine, never, limit=3)
        for _ in range(3):
            Deferred.fromCoroutine(store.run(lambda connection: None))
        with self.assertRaises(control.Busy):
            finished(store.run(lambda connection: None))
