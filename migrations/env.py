"""Runs migrations over the connection that `app.db.migrate` hands in, or over `alembic -x url=…` by hand."""

import asyncio

from alembic import context
from sqlalchemy import Connection

from app.db.online import prepare
from app.db.tables import metadata


def _run(connection: Connection) -> None:
    prepare(connection)
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=metadata,
        transaction_per_migration=True,
        on_version_apply=context.config.attributes.get("on_version_apply"),
    )
    with context.begin_transaction():
        context.run_migrations()


def _by_hand() -> None:
    from app.db.migrate import owner_engine

    url = context.get_x_argument(as_dictionary=True).get("url")
    if not url:
        raise SystemExit("alembic by hand needs -x url=postgresql://…; `crm-kassa migrate` takes it from the settings")

    async def go() -> None:
        engine = owner_engine(url)
        async with engine.connect() as connection:
            await connection.run_sync(_run)
        await engine.dispose()

    asyncio.run(go())


connection = context.config.attributes.get("connection")
if connection is None:
    _by_hand()
else:
    _run(connection)
