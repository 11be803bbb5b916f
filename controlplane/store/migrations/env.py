"""Runs the migrations on the connection that `store.engine.migrate` opened, inside its
transaction."""

from __future__ import annotations

from alembic import context

from controlplane.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
context.run_migrations()
