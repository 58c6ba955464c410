"""The first key of a tenant, written straight into Postgres."""

from datetime import UTC, datetime

from sqlalchemy.exc import DBAPIError

from activities.api_keys import bootstrap, create_api_key
from models.database import Database
from starter.cli.shared import CliError
from starter.settings import Settings


async def create_key(settings: Settings, tenant: str, environment: str, name: str) -> dict[str, str]:
    """Makes what is missing and a new key; returns `api_key`, `tenant_id`, `environment_id`.

    Raises CliError when Postgres does not answer or has not been migrated.
    """
    now = datetime.now(UTC)
    database = Database(settings.require("postgres_dsn"))
    try:
        async with database.system_transaction() as session:
            made = await bootstrap(session, tenant, environment, now)
            key = await create_api_key(session, made.scope, name, now, actor="cli")
    except OSError as problem:
        raise CliError(f"Postgres does not answer ({problem}). Check DURABILL_POSTGRES_DSN.") from problem
    except DBAPIError as problem:
        raise CliError(f"Postgres refused ({problem.orig}). Has `durabill migrate` run?") from problem
    finally:
        await database.close()
    return {"api_key": key.api_key, "tenant_id": made.tenant.id, "environment_id": made.environment.id}
