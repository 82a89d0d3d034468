"""
Nodes, networks and members.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_identifier = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """
    Create the tables.
    """
    op.create_table(
        "mediator",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("realm", sa.LargeBinary(16), nullable=False),
        sa.Column("prefix6", sa.LargeBinary(6), nullable=False),
        sa.Column("starts", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "nodes",
        sa.Column("id", _identifier, primary_key=True),
        sa.Column("key", sa.LargeBinary(32), nullable=False),
        sa.Column("address", sa.BigInteger, nullable=False),
        sa.Column("address6", sa.LargeBinary(16), nullable=False),
        sa.Column("nick", sa.String(64), nullable=False),
        sa.Column("present", sa.Boolean, nullable=False),
        sa.UniqueConstraint("key", name="uq_nodes_key"),
        sa.UniqueConstraint("address", name="uq_nodes_address"),
        sa.UniqueConstraint("address6", name="uq_nodes_address6"),
    )
    op.create_table(
        "networks",
        sa.Column("id", sa.LargeBinary(16), primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("folded", sa.String(256), nullable=False),
        sa.Column("salt", sa.LargeBinary(16), nullable=False),
        sa.Column("verifier", sa.LargeBinary(32), nullable=True),
        sa.Column(
            "owner", _identifier, sa.ForeignKey("nodes.id", name="fk_networks_owner_nodes"), nullable=False
        ),
        sa.UniqueConstraint("name", name="uq_networks_name"),
        sa.UniqueConstraint("folded", name="uq_networks_folded"),
    )
    op.create_table(
        "members",
        sa.Column("id", _identifier, primary_key=True),
        sa.Column(
            "network",
            sa.LargeBinary(16),
            sa.ForeignKey("networks.id", name="fk_members_network_networks", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column(
            "node", _identifier, sa.ForeignKey("nodes.id", name="fk_members_node_nodes"), nullable=False
        ),
        sa.Column("online", sa.Boolean, nullable=False),
        sa.UniqueConstraint("network", "node", name="uq_members_network_node"),
    )
    op.create_index("ix_members_node", "members", ["node"])


def downgrade() -> None:
    """
    Drop them.
    """
    for table in ("members", "networks", "nodes", "mediator"):
        op.drop_table(table)
