"""
The LANs that members share.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_identifier = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """
    Create the table.
    """
    op.create_table(
        "lans",
        sa.Column("id", _identifier, primary_key=True),
        sa.Column(
            "member",
            _identifier,
            sa.ForeignKey("members.id", name="fk_lans_member_members", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("prefix", sa.String(43), nullable=False),
        sa.Column("accepted", sa.Boolean, nullable=False),
        sa.UniqueConstraint("member", "prefix", name="uq_lans_member_prefix"),
    )


def downgrade() -> None:
    """
    Drop it.
    """
    op.drop_table("lans")
