"""The caller's tenant and environments, and API keys."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from activities.api_keys import create_api_key, delete_api_key
from billing.errors import NotFound
from models.queries.api_keys import get_tenant, list_api_keys, list_environments
from starter.api.authentication import Authenticator
from starter.api.context import CallerNow, Now, Session, after_commit, clients_of
from starter.api.transactions import CommandRoute, TransactionRoute
from starter.schemas.tenants import (
    CreateApiKeyAnswer,
    CreateApiKeyRequest,
    EnvironmentAnswer,
    SecretAnswer,
    TenantAnswer,
)
from starter.schemas.wire import ListParams, json_answer, list_answer

keys = APIRouter(prefix="/secrets/api/keys", tags=["API keys"], route_class=TransactionRoute)
tenants = APIRouter(tags=["tenants"], route_class=CommandRoute)


@keys.post("", status_code=201, response_model=CreateApiKeyAnswer, summary="Create an API key")
async def create(body: CreateApiKeyRequest, caller: CallerNow, session: Session, now: Now) -> Response:
    """For the caller's environment. The key is shown in this answer only: its hash is stored."""
    made = await create_api_key(
        session, caller.scope, body.name, now, tuple(body.roles), body.type, body.expires_at, caller.key_id
    )
    return json_answer(CreateApiKeyAnswer(api_key=made.api_key, secret=SecretAnswer.of(made.row)), 201)


@keys.get("", summary="List API keys")
async def list_all(params: Annotated[ListParams, Query()], caller: CallerNow, session: Session) -> Response:
    """Newest first, without their secret parts."""
    rows, total = await list_api_keys(session, caller.scope, params.page())
    return list_answer(map(SecretAnswer.of, rows), total, params)


@keys.delete("/{key_id}", status_code=204, summary="Delete an API key")
async def delete(key_id: str, caller: CallerNow, session: Session, now: Now, request: Request) -> Response:
    """At once in this process, within seconds in others."""
    await delete_api_key(session, caller.scope, key_id, now, caller.key_id)
    authenticator: Authenticator = request.app.state.authenticator

    async def forget() -> None:
        authenticator.forget()

    after_commit(request, forget)
    return Response(status_code=204)


@tenants.get("/tenants/{tenant_id}", response_model=TenantAnswer, summary="Get the caller's tenant")
async def get(tenant_id: str, caller: CallerNow, request: Request) -> Response:
    """The tenant that the key belongs to; any other is not found."""
    if tenant_id != caller.scope.tenant_id:
        raise NotFound(f"no tenant has the id {tenant_id!r}", field="id")
    async with clients_of(request).database.system_transaction() as session:
        return json_answer(TenantAnswer.of(await get_tenant(session, tenant_id)))


@tenants.get("/environments", summary="List the environments of the caller's tenant")
async def list_all_environments(caller: CallerNow, request: Request) -> Response:
    """Oldest first; a key works in its own environment only."""
    async with clients_of(request).database.system_transaction() as session:
        rows = await list_environments(session, caller.scope.tenant_id)
    items = [EnvironmentAnswer.of(row).wire() for row in rows]
    pagination = {"total": len(rows), "limit": len(rows), "offset": 0}
    return json_answer({"environments": items, "items": items, "pagination": pagination, "total": len(rows)})


@tenants.get("/environments/{environment_id}", response_model=EnvironmentAnswer, summary="Get an environment")
async def get_environment(environment_id: str, caller: CallerNow, request: Request) -> Response:
    """One of the caller's tenant."""
    async with clients_of(request).database.system_transaction() as session:
        rows = await list_environments(session, caller.scope.tenant_id)
    found = next((row for row in rows if row.id == environment_id), None)
    if found is None:
        raise NotFound(f"no environment has the id {environment_id!r}", field="id")
    return json_answer(EnvironmentAnswer.of(found))
