"""The application: the gate, the raw ingest routes, the routes, the error handlers, the OpenAPI document."""

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from activities.ingestion.ports import EventAcceptor
from billing.errors import BillingError
from models.clickhouse.client import ClickHouseTooMuch
from starter.api import errors, health
from starter.api.authentication import Authenticator
from starter.api.gate import Gate
from starter.api.ingestion import CustomerClocks, IngestAuthentication
from starter.api.openapi import add_openapi
from starter.api.routes import (
    credit_notes,
    customers,
    documents,
    event_corrections,
    event_reconciliation,
    features,
    invoices,
    meters,
    outside,
    payments,
    plans,
    prices,
    provider_webhooks,
    refunds,
    rejected_events,
    settings,
    simulations,
    subscriptions,
    tax_rates,
    tenants,
    test_clocks,
    usage,
    wallets,
    webhooks,
)
from starter.clients import Clients
from starter.commands import Unavailable
from starter.ingest.app import Ingest

DESCRIPTION = """
Usage-based billing. Send your API key as `x-api-key`. Amounts are decimal text, instants RFC 3339 in UTC.

Every call that changes something takes an `Idempotency-Key` header: the same key with the same request gets the stored
answer, with another request 409.
"""
ROUTERS = (
    tenants.tenants,
    tenants.keys,
    settings.router,
    subscriptions.customer_router,
    wallets.customer_router,
    customers.router,
    meters.router,
    features.router,
    plans.router,
    prices.router,
    tax_rates.router,
    usage.router,
    event_corrections.router,
    event_reconciliation.router,
    rejected_events.router,
    subscriptions.router,
    subscriptions.commands,
    invoices.router,
    invoices.commands,
    payments.router,
    payments.commands,
    wallets.balances,
    wallets.router,
    refunds.router,
    credit_notes.router,
    credit_notes.commands,
    webhooks.router,
    provider_webhooks.router,
    test_clocks.router,
    test_clocks.commands,
    documents.router,
    simulations.router,
    outside.router,  # last: it answers what no other does
)


def create_app(clients: Clients) -> ASGIApp:
    """The ASGI application over the clients of the process."""
    app = FastAPIOffline(  # FastAPI, with the scripts of `/docs` from here instead of from a stranger's server
        title="durabill",
        version="1",
        description=DESCRIPTION,
        openapi_url="/openapi.json",
        docs_url="/docs",
        redoc_url=None,
        static_url="/docs/static",
        redirect_slashes=False,
        strict_content_type=False,
    )
    app.state.clients = clients
    app.state.authenticator = Authenticator(clients.database)
    app.include_router(health.router)
    for router in ROUTERS:
        app.include_router(router, prefix="/v1")
    _add_error_handlers(app)
    add_openapi(app)
    gate = Gate(app, app.state.authenticator)
    return gate if clients.events is None else _with_ingest(gate, clients.events, app.state.authenticator, clients)


def _with_ingest(app: ASGIApp, events: EventAcceptor, authenticator: Authenticator, clients: Clients) -> ASGIApp:
    """The ingest routes stand in front of everything else: they are raw, for speed."""
    clocks = CustomerClocks(clients.database)
    months = clients.settings.event_retention_months
    return Ingest(app, events, IngestAuthentication(authenticator), clocks, months)


def _add_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(BillingError, errors.on_billing_error)
    app.add_exception_handler(Unavailable, errors.on_unavailable)
    for outage in errors.OUTAGES:
        app.add_exception_handler(outage, errors.on_outage)
    app.add_exception_handler(ClickHouseTooMuch, errors.on_too_much)
    app.add_exception_handler(errors.Refused, errors.on_refused)
    app.add_exception_handler(RequestValidationError, errors.on_invalid_request)
    app.add_exception_handler(HTTPException, errors.on_http_error)
    app.add_exception_handler(Exception, errors.on_unexpected)
