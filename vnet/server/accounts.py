# -*- test-case-name: vnet.test.test_accounts -*-
"""
The nodes in the database.  Each function runs inside a transaction of L{vnet.server.store.worker.Store}.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address

from attrs import frozen
from sqlalchemy import select
from sqlalchemy.engine import Connection
from sqlalchemy.engine.row import Row

from vnet.protocols import control
from vnet.protocols.codec.address6 import address6Of
from vnet.server.addresses import Pool, dotted
from vnet.server.store.tables import mediator, nodes

__all__ = ["Account", "Realm", "admit", "allAccounts", "readRealm", "setNick", "setPresent"]


@frozen
class Realm:
    """
    What is this mediator's for ever.

    @ivar realm: 16 bytes that name it; C{prefix6} the first 6 bytes of its IPv6 addresses.
    """

    realm: bytes
    prefix6: bytes


@frozen
class Account:
    """
    A node.

    @ivar number: its row in the database; C{key} its Ed25519 public key.
    @ivar present: whether it has not logged out since its last login.
    """

    number: int
    key: bytes
    address: str
    address6: str
    nick: str
    present: bool


def readRealm(connection: Connection) -> Realm:
    """
    Read what L{vnet.server.store.schema} drew when it made the database.
    """
    row = connection.execute(select(mediator.c.realm, mediator.c.prefix6)).one()
    return Realm(row.realm, row.prefix6)


def allAccounts(connection: Connection) -> list[Account]:
    """
    Read all nodes.
    """
    return [_account(row) for row in connection.execute(select(nodes).order_by(nodes.c.id))]


def admit(
    connection: Connection, key: bytes, nick: str, pool: Pool, prefix6: bytes, draw: Callable[[int], int]
) -> Account:
    """
    A node logs in: it gets its addresses at the first time, and keeps them.

    @raise control.LoginFailed: the pool is full.
    """
    row = connection.execute(select(nodes).where(nodes.c.key == key)).one_or_none()
    if row is not None:
        connection.execute(nodes.update().where(nodes.c.id == row.id).values(nick=nick, present=True))
    else:
        address = _choose(connection, pool, draw)
        address6 = address6Of(prefix6, key).packed
        connection.execute(
            nodes.insert().values(key=key, address=address, address6=address6, nick=nick, present=True)
        )
    return _account(connection.execute(select(nodes).where(nodes.c.key == key)).one())


def setPresent(connection: Connection, key: bytes, present: bool) -> None:
    """
    Keep whether a node is logged in.
    """
    connection.execute(nodes.update().where(nodes.c.key == key).values(present=present))


def setNick(connection: Connection, key: bytes, nick: str) -> None:
    """
    Change a node's nickname.
    """
    connection.execute(nodes.update().where(nodes.c.key == key).values(nick=nick))


def _choose(connection: Connection, pool: Pool, draw: Callable[[int], int]) -> int:
    def isGiven(address: int) -> bool:
        return connection.execute(select(nodes.c.id).where(nodes.c.address == address)).first() is not None

    def given(first: int, last: int) -> list[int]:
        inside = select(nodes.c.address).where(nodes.c.address.between(first, last))
        return list(connection.execute(inside.order_by(nodes.c.address)).scalars())

    address = pool.choose(draw, isGiven, given)
    if address is None:
        raise control.LoginFailed(
            f"all addresses of the mediator's pool {pool.network} are given: "
            "its operator has to choose a larger --pool"
        )
    return address


def _account(row: Row[tuple[object, ...]]) -> Account:
    return Account(
        row.id, row.key, dotted(row.address), str(IPv6Address(row.address6)), row.nick, row.present
    )
