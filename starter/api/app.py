"""The application: the gate, the raw ingest routes, the routes, the error handlers, the OpenAPI document."""

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from billing.errors import BillingError
from starter.api import errors, health
from starter.api.authentication import Authenticator
from starter.api.gate import Gate
from starter.api.routes import customers, features, meters, plans, prices, tax_rates
from starter.clients import Clients

DESCRIPTION = """
Usage-based billing. Send your API key as `x-api-key`. Amounts are decimal text, instants RFC 3339 in UTC.

Every call that changes something takes an `Idempotency-Key` header: the same key with the same request gets the stored
answer, with another request 409.
"""
ROUTERS = (
    customers.router,
    meters.router,
    features.router,
    plans.router,
    prices.router,
    tax_rates.router,
)


def create_app(clients: Clients) -> ASGIApp:
    """The ASGI application over the clients of the process ."""
    app = FastAPI(
        title="durabill",
        version="1",
        description=DESCRIPTION,
        openapi_url="/openapi.json",
        docs_url="/docs",
        redoc_url=None,
        redirect_slashes=False,
        strict_content_type=False,
    )
    app.state.clients = clients
    app.state.authenticator = Authenticator(clients.database)
    app.include_router(health.router)
    for router in ROUTERS:
        app.include_router(router, prefix="/v1")
    _add_error_handlers(app)
    return Gate(app, app.state.authenticator)


def _add_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(BillingError, errors.on_billing_error)
    app.add_exception_handler(errors.Unavailable, errors.on_unavailable)
    app.add_exception_handler(errors.Refused, errors.on_refused)
    app.add_exception_handler(RequestValidationError, errors.on_invalid_request)
    app.add_exception_handler(HTTPException, errors.on_http_error)
    app.add_exception_handler(Exception, errors.on_unexpected)
