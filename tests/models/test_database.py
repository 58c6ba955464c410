"""The pool of connections: one that the server has ended is never handed to a transaction."""

import asyncio

from sqlalchemy import text

from models.database import Database

WHO = text("SELECT pg_backend_pid()")
END = text("SELECT pg_terminate_backend(:pid)")


async def test_a_connection_that_the_server_has_ended_is_replaced(own_dsn: str) -> None:
    database, other = Database(own_dsn, pool_size=1), Database(own_dsn, pool_size=1)
    ended = asyncio.Event()
    async with database.engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        driver.add_termination_listener(lambda _connection: ended.set())
        before = (await connection.execute(WHO)).scalar_one()
    async with other.engine.connect() as connection:
        assert (await connection.execute(END, {"pid": before})).scalar_one()
    await asyncio.wait_for(ended.wait(), 10)
    async with database.system_transaction() as session:
        assert (await session.execute(WHO)).scalar_one() != before
    await database.close()
    await other.close()
