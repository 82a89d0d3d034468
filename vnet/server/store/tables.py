"""
The tables of the mediator's database.

An address is given once and for ever, so a row of C{nodes} is never deleted: the unique constraints on it
are what binds an address to a key.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

__all__ = ["lans", "mediator", "members", "metadata", "networks", "nodes"]

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite counts its rows by itself only where the type is INTEGER.
_identifier = BigInteger().with_variant(Integer(), "sqlite")

mediator = Table(
    "mediator",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("realm", LargeBinary(16), nullable=False),
    Column("prefix6", LargeBinary(6), nullable=False),
    Column("starts", BigInteger, nullable=False),
)
"""One row: the 16 bytes that name this mediator, the 48 bits of its unique local prefix, and how often it
started."""

nodes = Table(
    "nodes",
    metadata,
    Column("id", _identifier, primary_key=True),
    Column("key", LargeBinary(32), nullable=False),
    Column("address", BigInteger, nullable=False),
    Column("address6", LargeBinary(16), nullable=False),
    Column("nick", String(64), nullable=False),
    Column("present", Boolean, nullable=False),
    UniqueConstraint("key"),
    UniqueConstraint("address"),
    UniqueConstraint("address6"),
)
"""Every key that ever logged in; C{present}: it has not logged out since."""

networks = Table(
    "networks",
    metadata,
    Column("id", LargeBinary(16), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("folded", String(256), nullable=False),
    Column("salt", LargeBinary(16), nullable=False),
    Column("verifier", LargeBinary(32), nullable=True),
    Column("owner", _identifier, ForeignKey("nodes.id"), nullable=False),
    UniqueConstraint("name"),
    UniqueConstraint("folded"),
)
"""C{verifier} is NULL for a network without a password."""

members = Table(
    "members",
    metadata,
    Column("id", _identifier, primary_key=True),
    Column("network", LargeBinary(16), ForeignKey("networks.id", ondelete="CASCADE"), nullable=False),
    Column("node", _identifier, ForeignKey("nodes.id"), nullable=False, index=True),
    Column("online", Boolean, nullable=False),
    UniqueConstraint("network", "node"),
)
"""Who is a member of what, the longest member first; C{online}: as the node chose for this network."""

lans = Table(
    "lans",
    metadata,
    Column("id", _identifier, primary_key=True),
    Column("member", _identifier, ForeignKey("members.id", ondelete="CASCADE"), nullable=False),
    Column("prefix", String(43), nullable=False),
    Column("accepted", Boolean, nullable=False),
    UniqueConstraint("member", "prefix"),
)
"""The LANs that members offer in their networks; C{accepted}: by the network's owner."""
