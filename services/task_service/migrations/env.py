"""Alembic runs this file; `libs.database.migrations` hands it the connection, already inside a transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
