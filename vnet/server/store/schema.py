# -*- test-case-name: vnet.test.test_store -*-
"""
Opening the mediator's database: check it, back it up, bring its schema up to date.

What is wrong with an existing SQLite file is found through a read-only connection, so a damaged file is left
as it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import sqlite3
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from vnet.errors import ConfigurationError, StateError
from vnet.server.store import tables

__all__ = ["cause", "openDatabase", "parseDatabaseUrl"]

_HEADER = b"SQLite format 3\0"
_BUSY = 5.0


def parseDatabaseUrl(text: str) -> URL:
    """
    Read the URL of a database, in SQLAlchemy's form.

    @raise ValueError: it is none; the text is one line.
    """
    try:
        url = make_url(text)
        url.get_dialect()
    except (ArgumentError, NoSuchModuleError, ImportError, ValueError):
        raise ValueError(
            "the database is a URL like sqlite:////var/lib/vnet-mediator/mediator.db or "
            "postgresql+psycopg://user@host/name, and its driver has to be installed"
        ) from None
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise ValueError("a SQLite database of a mediator is a file: sqlite:////path/of/the/file")
    return url


def openDatabase(url: URL) -> Engine:
    """
    Open the database, create it if it is not there, and migrate it to the schema of this program.

    @raise StateError: it is damaged, newer than this program, in use by another mediator, or not to be reached.
    """
    path = Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None
    try:
        with contextlib.ExitStack() as claim:
            if path is not None:
                claim.callback(os.close, _claim(path))
                _prepareFile(path)
            engine = _engine(url)
            try:
                _migrate(engine)
                with engine.begin() as connection:
                    _countStart(connection)
            except BaseException:
                engine.dispose()
                raise
            held = claim.pop_all()
            sa.event.listen(engine, "engine_disposed", lambda _: held.close())
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise StateError(_refusal(url, path, error)) from error
    return engine


def cause(error: BaseException) -> str:
    """
    What a database said, in one line; a damaged one may have anything in it.
    """
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (
        "".join(each if each.isprintable() else "?" for each in " ".join(str(error).split()))
        or type(error).__name__
    )


def _refusal(url: URL, path: Path | None, error: BaseException) -> str:
    where = f"the database {path or url.render_as_string(hide_password=True)}"
    text = cause(error)
    if "full" in text or "No space" in text or "disk I/O" in text:
        return f"{where} cannot be written: {text}; make space on its disk and start again"
    if "locked" in text:
        return f"{where} is in use by another program"
    if path is not None and ("malformed" in text or "not a database" in text or "corrupt" in text):
        return _damaged(path, text)
    return f"{where} cannot be opened: {text}"


def _damaged(path: Path, text: str) -> str:
    return (
        f"the database {path} is damaged ({' '.join(text.split())}); nothing was changed: restore a backup over it "
        f"(migrations leave some beside it, {path.name}.*.backup), or move it away to start anew"
    )


def _claim(path: Path) -> int:
    """
    Two mediators on one database would each know half of what is in it.

    @return: what holds the claim until it is closed, or the process ends.
    @raise StateError: another process has it.
    """
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StateError(f"the database {path} is in use by another mediator: stop it first") from None
    return descriptor


def _prepareFile(path: Path) -> None:
    if not path.exists():
        _createFile(path)
        return
    with path.open("rb") as file:
        header = file.read(len(_HEADER))
    if header != _HEADER:
        raise StateError(_damaged(path, "it is empty" if not header else "it is no SQLite database"))
    _check(path)
    current, pending = _revisions(path)
    if current is not None and pending:
        _backUp(path, current)
    else:
        _checkTables(path)


def _createFile(path: Path) -> None:
    """
    Make a file that is 0600 from the start, with the whole schema, under another name: it is there as a
    whole or not.
    """
    new = path.with_name(f"{path.name}.new")
    _unlink(new)
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    engine = _engine(sa.URL.create("sqlite", database=str(new)))
    try:
        try:
            _migrate(engine)
        finally:
            engine.dispose()
        new.replace(path)
        _sync(path.parent)
    except BaseException:
        _unlink(new)
        raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unlink(path: Path) -> None:
    for each in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        with contextlib.suppress(FileNotFoundError):
            each.unlink()


def _readOnly(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{_quoted(path)}?mode=ro", uri=True, timeout=_BUSY)


def _quoted(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _check(path: Path) -> None:
    """
    @raise StateError: the file is damaged.
    """
    try:
        with contextlib.closing(_readOnly(path)) as connection:
            problems = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(1)")]
            broken = connection.execute("PRAGMA foreign_key_check").fetchone()
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        if "locked" in str(error) or "full" in str(error):
            raise
        raise StateError(_damaged(path, cause(error))) from error
    if problems != ["ok"] or broken is not None:
        raise StateError(
            _damaged(path, problems[0] if problems != ["ok"] else "rows refer to rows that are not there")
        )


def _checkTables(path: Path) -> None:
    """
    @raise StateError: the schema is the one of this program by its number alone.
    """
    try:
        with contextlib.closing(_readOnly(path)) as connection:
            for table in tables.metadata.sorted_tables:
                columns = ", ".join(f'"{table.name}"."{column.name}"' for column in table.columns)
                connection.execute(f'SELECT {columns} FROM "{table.name}" LIMIT 1').fetchone()
            if connection.execute("SELECT 1 FROM mediator").fetchone() is None:
                raise StateError(_damaged(path, "it holds no mediator"))
    except sqlite3.OperationalError as error:
        if "no such" not in str(error):
            raise
        raise StateError(_damaged(path, cause(error))) from error


def _scripts() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _revisions(path: Path) -> tuple[str | None, bool]:
    """
    @return: the schema's revision, and whether this program has a later one.
    @raise StateError: the schema is none that this program knows.
    """
    try:
        with contextlib.closing(_readOnly(path)) as connection:
            rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" not in str(error):
            raise
        raise StateError(_damaged(path, "it holds no mediator's tables")) from error
    current = str(rows[0][0]) if len(rows) == 1 else "unknown"
    scripts = ScriptDirectory.from_config(_scripts())
    _refuseNewer(str(path), current, scripts)
    return current, current != scripts.get_current_head()


def _refuseNewer(where: str, current: str, scripts: ScriptDirectory) -> None:
    known = {script.revision for script in scripts.walk_revisions()}
    if current not in known:
        raise StateError(
            f"the database {where} has schema {current}, which this program does not know: "
            "it was written by a newer version; update this one, or restore an older backup"
        )


def _backUp(path: Path, revision: str) -> None:
    """
    Copy the database beside itself with SQLite's backup API, 0600.
    """
    target = path.with_name(f"{path.name}.{revision}.{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.backup")
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with (
            contextlib.closing(_readOnly(path)) as source,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
        _sync(target)
        _sync(path.parent)
    except BaseException:
        target.unlink()
        raise


def _engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        return sa.create_engine(url, pool_size=1, max_overflow=1, pool_pre_ping=True)
    engine = sa.create_engine(url, connect_args={"timeout": _BUSY, "check_same_thread": False})

    @sa.event.listens_for(engine, "connect")
    def connected(connection: sqlite3.Connection, record: Any) -> None:
        # SQLAlchemy begins the transactions itself, below; sqlite3 would begin them too late.
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "trusted_schema=OFF"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _migrate(engine: Engine) -> None:
    config = _scripts()
    scripts = ScriptDirectory.from_config(config)
    with engine.begin() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
        if current is not None:
            _refuseNewer(engine.url.render_as_string(hide_password=True), current, scripts)
        if current != scripts.get_current_head():
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        if connection.execute(sa.select(tables.mediator.c.id)).first() is None:
            connection.execute(
                tables.mediator.insert().values(
                    id=1, realm=secrets.token_bytes(16), prefix6=b"\xfd" + secrets.token_bytes(5), starts=0
                )
            )


def _countStart(connection: Connection) -> None:
    """
    Write something, so that a database that cannot be written is found now.
    """
    changed = connection.execute(tables.mediator.update().values(starts=tables.mediator.c.starts + 1))
    if changed.rowcount != 1:
        raise ConfigurationError("the database holds no mediator")
