# -*- test-case-name: vnet.test.test_lans -*-
"""
The LANs that members share, in the database.  Each function runs inside a transaction of L{vnet.server.store.worker.Store}.

A prefix is offered by a member in one network, and may be used once the network's owner has accepted it.  Offers go with the
member.
"""

from __future__ import annotations

from ipaddress import ip_network

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from vnet.protocols import control
from vnet.protocols.codec.prefix import Prefix, overlapping
from vnet.server.store.tables import lans, members, networks, nodes

__all__ = ["accept", "offer", "withdraw"]


def offer(connection: Connection, identifier: bytes, key: bytes, prefix: Prefix) -> bool:
    """
    A member offers a prefix.

    @return: whether it is accepted, which is so for the owner at once.
    @raise control.Denied: the node is no member, offers it already, or is the owner and another member's overlaps.
    @raise control.TooMany: it or the network has too many.
    """
    member = _member(connection, identifier, key)
    mine = connection.execute(select(lans.c.prefix).where(lans.c.member == member)).scalars().all()
    if str(prefix) in mine:
        raise control.Denied(f"this node offers {prefix} in that network already")
    if len(mine) >= control.MAXIMUM_OFFERS:
        raise control.TooMany(
            f"a member offers at most {control.MAXIMUM_OFFERS} prefixes in a network: take one back"
        )
    inNetwork = select(func.count()).select_from(lans.join(members)).where(members.c.network == identifier)
    if connection.execute(inNetwork).scalar_one() >= control.MAXIMUM_NETWORK_OFFERS:
        raise control.TooMany(f"a network has at most {control.MAXIMUM_NETWORK_OFFERS} offered prefixes")
    accepted = _isOwner(connection, identifier, key)
    if accepted:
        _checkFree(connection, identifier, member, prefix)
    connection.execute(lans.insert().values(member=member, prefix=str(prefix), accepted=accepted))
    return accepted


def withdraw(connection: Connection, identifier: bytes, key: bytes, prefix: Prefix) -> None:
    """
    A member takes an offer back.

    @raise control.Denied: the node is no member, or does not offer this.
    """
    member = _member(connection, identifier, key)
    gone = connection.execute(lans.delete().where(lans.c.member == member, lans.c.prefix == str(prefix)))
    if gone.rowcount == 0:
        raise control.Denied(f"this node does not offer {prefix} in that network")


def accept(
    connection: Connection, identifier: bytes, owner: bytes, key: bytes, prefix: Prefix, accepted: bool
) -> None:
    """
    The owner accepts a member's offer, or accepts it no more.  Doing so again is no mistake.

    @raise control.Denied: who asks is not the owner, nobody offers this, or it overlaps what is accepted already.
    """
    _member(connection, identifier, owner)
    if not _isOwner(connection, identifier, owner):
        raise control.Denied("only the network's owner accepts what members offer")
    member = _numberOf(connection, identifier, key)
    chosen = lans.c.member == member, lans.c.prefix == str(prefix)
    if member is None or connection.execute(select(lans.c.id).where(*chosen)).first() is None:
        raise control.Denied(f"that member does not offer {prefix}")
    if accepted:
        _checkFree(connection, identifier, member, prefix)
    connection.execute(lans.update().where(*chosen).values(accepted=accepted))


def _checkFree(connection: Connection, identifier: bytes, member: int, prefix: Prefix) -> None:
    others = select(lans.c.prefix).select_from(lans.join(members))
    accepted = connection.execute(
        others.where(members.c.network == identifier, members.c.id != member, lans.c.accepted)
    ).scalars()
    taken = overlapping(prefix, map(ip_network, accepted))
    if taken is not None:
        raise control.Denied(
            f"{prefix} overlaps {taken}, which is accepted from another member of the network"
        )


def _member(connection: Connection, identifier: bytes, key: bytes) -> int:
    number = _numberOf(connection, identifier, key)
    if number is None:
        raise control.Denied("this node is no member of that network")
    return number


def _numberOf(connection: Connection, identifier: bytes, key: bytes) -> int | None:
    found = select(members.c.id).select_from(members.join(nodes))
    return connection.execute(
        found.where(members.c.network == identifier, nodes.c.key == key)
    ).scalar_one_or_none()


def _isOwner(connection: Connection, identifier: bytes, key: bytes) -> bool:
    owner = select(nodes.c.key).select_from(networks.join(nodes)).where(networks.c.id == identifier)
    return connection.execute(owner).scalar_one_or_none() == key
