"""What Alembic runs: the migrations, on the connection and in the transaction of `record.store.schema.migrate`."""

from alembic import context

from dermlens.record.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
context.run_migrations()
