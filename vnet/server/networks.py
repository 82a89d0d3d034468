# -*- test-case-name: vnet.test.test_networks -*-
"""
The networks in the database.  Each function runs inside a transaction of L{vnet.server.store.worker.Store}.

Names are unique without regard to case, but a join has to write the name as its founder did: the name is in
what a password becomes.  Letters of different scripts that look alike are different.
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from collections.abc import Callable, Iterator

from attrs import define, field, frozen
from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from vnet.protocols import control
from vnet.protocols.machine.ratelimit import KeyedWindow
from vnet.server.store.tables import lans, members, networks, nodes

__all__ = [
    "MAXIMUM_NETWORKS",
    "Guesses",
    "Left",
    "StoredNetwork",
    "allNetworks",
    "create",
    "join",
    "leave",
    "setOnline",
]

MAXIMUM_NETWORKS = 256
"""Networks that one node is a member of."""

PROOF = 32
"""Bytes of a password's proof."""

# One text for both, so that nobody learns which networks there are.
_REFUSAL = "there is no such network, or the password is wrong"
_NO_SALT = bytes(16)


@frozen
class StoredNetwork:
    """
    A network as the database has it.

    @ivar members: key and whether it is online there, the longest member first.
    @ivar lans: key, prefix and whether it is accepted, the oldest offer first.
    """

    identifier: bytes
    name: str
    owner: bytes
    protected: bool
    members: tuple[tuple[bytes, bool], ...]
    lans: tuple[tuple[bytes, str, bool], ...] = ()


@frozen
class Left:
    """
    What became of a network that a member left.

    @ivar owner: its owner now; L{None}: the network has ended.
    """

    owner: bytes | None


@define
class Guesses:
    """
    Limits on wrong passwords, for each node and for each network's name, known or not: ten and sixty in any
    minute.
    """

    _clock: Callable[[], float]
    _byNode: KeyedWindow = field(factory=lambda: KeyedWindow(10, 60.0), init=False)
    _byName: KeyedWindow = field(factory=lambda: KeyedWindow(60, 60.0), init=False)

    def take(self, node: int, name: str) -> None:
        """
        Before a password is looked at: take what L{giveBack} returns if it is right.

        @raise control.TooMany: too many were wrong in the last minute.
        """
        now = self._clock()
        if not self._byNode.allow(node, now):
            raise control.TooMany("too many wrong passwords from this node: try again in a minute")
        if not self._byName.allow(name, now):
            self._byNode.giveBack(node)
            raise control.TooMany("too many wrong passwords for this network: try again in a minute")

    def giveBack(self, node: int, name: str) -> None:
        """
        The password was right.
        """
        self._byNode.giveBack(node)
        self._byName.giveBack(name)


def folded(name: str) -> str:
    """
    @return: what is equal for names that only differ in case.
    """
    return unicodedata.normalize("NFC", name.casefold())


def verifierOf(salt: bytes, proof: bytes) -> bytes:
    """
    What is stored of a password: the proof has Argon2id's cost in it already, so one SHA-256 is enough.
    """
    return hmac.digest(salt, b"vnet verifier 1\0" + proof, hashlib.sha256)


def create(
    connection: Connection, identifier: bytes, salt: bytes, name: str, proof: bytes, key: bytes
) -> None:
    """
    Found a network.

    @param proof: 32 bytes, or empty for no password.
    @param key: its owner and first member.
    @raise control.Denied: the name is taken.
    @raise control.TooMany: the node is in too many networks.
    """
    node = _number(connection, key)
    _checkCount(connection, node)
    taken = select(networks.c.id).where(networks.c.folded == folded(name))
    if connection.execute(taken).first() is not None:
        raise control.Denied("a network of this name exists already: choose another name")
    connection.execute(
        networks.insert().values(
            id=identifier,
            name=name,
            folded=folded(name),
            salt=salt,
            verifier=verifierOf(salt, proof) if proof else None,
            owner=node,
        )
    )
    connection.execute(members.insert().values(network=identifier, node=node, online=True))


def join(connection: Connection, name: str, proof: bytes, key: bytes, guesses: Guesses) -> bytes:
    """
    Become a member.  Joining again is no mistake.

    @return: the network's identifier.
    @raise control.Denied: there is no such network, or the proof is wrong.
    @raise control.TooMany: too many wrong proofs, or too many networks.
    """
    node = _number(connection, key)
    guesses.take(node, folded(name))
    row = connection.execute(select(networks).where(networks.c.name == name)).one_or_none()
    # The same work whether the network exists or not.
    given = verifierOf(row.salt if row is not None else _NO_SALT, proof)
    expected = row.verifier if row is not None and row.verifier is not None else bytes(PROOF)
    right = hmac.compare_digest(given, expected)
    if row is not None and row.verifier is None:
        right = not proof
    if row is None or not right:
        raise control.Denied(_REFUSAL)
    guesses.giveBack(node, folded(name))
    identifier: bytes = row.id
    known = select(members.c.id).where(members.c.network == identifier, members.c.node == node)
    if connection.execute(known).first() is None:
        _checkCount(connection, node)
        connection.execute(members.insert().values(network=identifier, node=node, online=True))
    return identifier


def leave(connection: Connection, identifier: bytes, key: bytes) -> Left:
    """
    Cease to be a member.  The longest member follows an owner who leaves; without members the network ends.

    @raise control.Denied: the node is no member.
    """
    node = _number(connection, key)
    gone = connection.execute(members.delete().where(members.c.network == identifier, members.c.node == node))
    if gone.rowcount == 0:
        raise control.Denied("this node is no member of that network")
    owner = connection.execute(select(networks.c.owner).where(networks.c.id == identifier)).scalar_one()
    if owner == node:
        heirs = select(members.c.node).where(members.c.network == identifier).order_by(members.c.id)
        owner = connection.execute(heirs).scalars().first()
        if owner is None:
            connection.execute(networks.delete().where(networks.c.id == identifier))
            return Left(None)
        connection.execute(networks.update().where(networks.c.id == identifier).values(owner=owner))
    return Left(connection.execute(select(nodes.c.key).where(nodes.c.id == owner)).scalar_one())


def setOnline(connection: Connection, identifier: bytes, key: bytes, online: bool) -> None:
    """
    Keep whether a member is online in one network.

    @raise control.Denied: the node is no member.
    """
    node = _number(connection, key)
    changed = connection.execute(
        members.update().where(members.c.network == identifier, members.c.node == node).values(online=online)
    )
    if changed.rowcount == 0:
        raise control.Denied("this node is no member of that network")


def allNetworks(connection: Connection) -> list[StoredNetwork]:
    """
    Read all networks with their members.
    """
    keys: dict[int, bytes] = {row.id: row.key for row in connection.execute(select(nodes.c.id, nodes.c.key))}
    byNetwork: dict[bytes, list[tuple[bytes, bool]]] = {}
    offers: dict[bytes, list[tuple[bytes, str, bool]]] = {}
    for row in connection.execute(select(members).order_by(members.c.id)):
        byNetwork.setdefault(row.network, []).append((keys[row.node], row.online))
    offered = select(members.c.network, members.c.node, lans.c.prefix, lans.c.accepted)
    for row in connection.execute(offered.select_from(lans.join(members)).order_by(lans.c.id)):
        offers.setdefault(row.network, []).append((keys[row.node], row.prefix, row.accepted))

    def stored() -> Iterator[StoredNetwork]:
        for row in connection.execute(select(networks)):
            yield StoredNetwork(
                row.id,
                row.name,
                keys[row.owner],
                row.verifier is not None,
                tuple(byNetwork.get(row.id, ())),
                tuple(offers.get(row.id, ())),
            )

    return list(stored())


def _number(connection: Connection, key: bytes) -> int:
    number: int = connection.execute(select(nodes.c.id).where(nodes.c.key == key)).scalar_one()
    return number


def _checkCount(connection: Connection, node: int) -> None:
    count = connection.execute(select(func.count()).where(members.c.node == node)).scalar_one()
    if count >= MAXIMUM_NETWORKS:
        raise control.TooMany(
            f"this node is a member of {MAXIMUM_NETWORKS} networks already: leave one first"
        )
