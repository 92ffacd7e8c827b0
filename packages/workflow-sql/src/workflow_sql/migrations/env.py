"""What alembic runs: on the connection and in the transaction given to it, or as a text."""

from __future__ import annotations

from alembic import context

attributes = context.config.attributes
if context.is_offline_mode():
    context.configure(
        dialect_name=attributes["dialect"],
        version_table=attributes["version_table"],
        version_table_schema=attributes["schema"],
        transactional_ddl=attributes["transactional"],
        output_buffer=attributes["output"],
        literal_binds=True,
    )
    with context.begin_transaction():
        context.run_migrations()
else:
    context.configure(
        connection=attributes["connection"],
        version_table=attributes["version_table"],
        version_table_schema=attributes["schema"],
        transactional_ddl=attributes["transactional"],
    )
    context.run_migrations()
