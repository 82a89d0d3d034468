"""
Runs the migrations on the connection that L{vnet.server.store.schema} gives, inside its transaction.
"""

from __future__ import annotations

from alembic import context

from vnet.server.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True
)
context.run_migrations()
