"""The HTTP face of the fake payment company: charges, lookups, the page of a needed action, and sums for the tests.

Owns the wire format. What a token does is in `behaviour.py`, what has happened in `books.py`.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from decimal import Decimal
from html import escape
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from starter.sandbox_provider.behaviour import TOKENS
from starter.sandbox_provider.books import OPEN, Books, Charge, KeyReused, Order, OutOfService, charge_json, stamp
from starter.sandbox_provider.callbacks import Callbacks, Target
from starter.sandbox_provider.connection import drop_connection
from starter.sandbox_provider.summary import summarize

KEY_REQUIRED = "the header Idempotency-Key is required: your id of this attempt, up to 255 characters"
Name = Annotated[str, Field(min_length=1, max_length=255)]


class ChargeBody(BaseModel):
    """The body of `POST /v1/charges`; the key is in the header `Idempotency-Key`."""

    model_config = ConfigDict(extra="forbid")

    invoice_id: Name
    customer_id: Name
    payment_method: Name
    amount: Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]
    currency: Annotated[str, Field(pattern="^[a-z]{3}$")]
    description: str = ""
    metadata: dict[str, str] = {}


class RefundBody(BaseModel):
    """The body of `POST /v1/refunds`; the key is in the header `Idempotency-Key`."""

    model_config = ConfigDict(extra="forbid")

    charge_id: Name
    amount: Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]


class ListParams(BaseModel):
    """The query of `GET /v1/charges?since=&until=`: instants in RFC 3339."""

    model_config = ConfigDict(extra="forbid")

    since: AwareDatetime
    until: AwareDatetime
    after: str = ""
    limit: Annotated[int, Field(ge=1, le=100)] = 100


class CancelBody(BaseModel):
    """The body of `POST /v1/charges/cancel`."""

    model_config = ConfigDict(extra="forbid")

    attempt_id: Name


class Desk:
    """The handlers and what they share."""

    def __init__(self, books: Books, callbacks: Callbacks | None) -> None:
        self._books = books
        self._callbacks = callbacks

    async def root(self, request: Request) -> Response:
        """A page that says what this is."""
        tokens = "".join(f"<li><code>{token}</code></li>" for token in [*TOKENS, "pm_script_ok_soft_ok"])
        return _page(
            "Sandbox payments",
            "<p>This is a <b>fake payment company</b>. It moves no money; it is for development and tests.</p>"
            f"<p>Payment methods it knows:</p><ul>{tokens}</ul>"
            '<p>Its books: <a href="/v1/charges">charges</a>, <a href="/books/summary">summary</a>.</p>',
        )

    async def health(self, request: Request) -> Response:
        """200 as soon as it listens."""
        return JSONResponse({"status": "ok"})

    async def create_charge(self, request: Request) -> Response:
        """Charge once per key; the same key and body again answers the stored result."""
        key = request.headers.get("idempotency-key", "")
        if not key or len(key) > 255:
            return _error(400, KEY_REQUIRED)
        raw = await request.body()
        try:
            body = ChargeBody.model_validate_json(raw)
        except ValidationError as invalid:
            return _invalid(invalid)
        try:
            charge, answer_gets_lost = self._books.charge(_order(key, body), self._report_to(body.metadata))
        except KeyReused:
            return _error(409, f"Idempotency-Key {key!r} was used before with another body")
        except OutOfService:
            return _error(503, "the sandbox is down for this request, as its payment method says; nothing was charged")
        if self._callbacks:
            self._callbacks.wake()
        if answer_gets_lost:
            return await drop_connection(request)
        return JSONResponse(self._json(request, charge))

    async def create_refund(self, request: Request) -> Response:
        """Give a charge back, in whole or in part, once per key."""
        key = request.headers.get("idempotency-key", "")
        if not key or len(key) > 255:
            return _error(400, KEY_REQUIRED)
        try:
            body = RefundBody.model_validate_json(await request.body())
            refund = self._books.refund(key, body.charge_id, body.amount)
        except ValidationError as invalid:
            return _invalid(invalid)
        except KeyReused:
            return _error(409, f"Idempotency-Key {key!r} was used before with another body")
        if refund is None:
            return _error(404, f"there is no charge {body.charge_id!r}")
        return JSONResponse(asdict(refund) | {"amount": f"{refund.amount:f}"})

    async def cancel_charge(self, request: Request) -> Response:
        """Take back the charge of an attempt, if it waits for the customer; answers it as it is then."""
        try:
            body = CancelBody.model_validate_json(await request.body())
        except ValidationError as invalid:
            return _invalid(invalid)
        charge = self._books.cancel(body.attempt_id)
        return JSONResponse({"items": [self._json(request, charge)] if charge else []})

    async def list_charges(self, request: Request) -> Response:
        """All charges, or those of `?attempt_id=` (one or none), `?invoice_id=` or `?since=` and `?until=`.

        The last come in pages of `?limit=` behind the id `?after=`, each with what of it was refunded.
        """
        if "since" in request.query_params:
            return self._list_made_between(request)
        attempt_id, invoice_id = request.query_params.get("attempt_id"), request.query_params.get("invoice_id")
        if attempt_id is not None:
            found = self._books.by_attempt(attempt_id)
            charges = [found] if found else []
        elif invoice_id is not None:
            charges = self._books.by_invoice(invoice_id)
        else:
            charges = self._books.all()
        return JSONResponse({"items": [self._json(request, charge) for charge in charges]})

    def _list_made_between(self, request: Request) -> Response:
        try:
            asked = ListParams.model_validate(dict(request.query_params))
        except ValidationError as invalid:
            return _invalid(invalid)
        charges = self._books.made_between(stamp(asked.since), stamp(asked.until), asked.after, asked.limit)
        items = [
            self._json(request, each) | {"amount_refunded": f"{self._books.given_back(each.id):f}"} for each in charges
        ]
        return JSONResponse({"items": items})

    async def show_action(self, request: Request) -> Response:
        """The page on which the customer confirms or refuses a payment."""
        charge = self._books.by_id(request.path_params["charge_id"])
        if charge is None:
            return _error(404, "there is no such charge")
        if charge.status not in OPEN:
            return _page("Payment", f"<p>Nothing to do: this payment is <b>{escape(charge.status)}</b>.</p>")
        button = '<button name="decision" value="{0}">{1}</button>'
        return _page(
            "Confirm your payment",
            f"<p>A fake payment company asks: pay {charge.amount:f} {escape(charge.currency)}"
            f" for {escape(charge.invoice_id)}?</p>"
            f'<form method="post">{button.format("approve", "Pay")} {button.format("refuse", "Refuse")}</form>',
        )

    async def complete_action(self, request: Request) -> Response:
        """What the page posts: `decision=approve` (also without a body) or `decision=refuse`."""
        decision = (await request.body()).decode(errors="replace").removeprefix("decision=") or "approve"
        if decision not in ("approve", "refuse"):
            return _error(400, "decision must be 'approve' or 'refuse'")
        charge_id = request.path_params["charge_id"]
        known = self._books.by_id(charge_id)
        if known is None:
            return _error(404, "there is no such charge")
        url = self._callbacks.url_for(known.metadata) if self._callbacks else None
        charge = self._books.complete_action(known.id, decision == "approve", url) or known
        if self._callbacks:
            self._callbacks.wake()
        return JSONResponse(self._json(request, charge))

    async def summary(self, request: Request) -> Response:
        """Successful charges by invoice, totals by currency."""
        return JSONResponse(summarize(self._books.all()))

    def _report_to(self, metadata: dict[str, str]) -> str | None:
        """Where charges that are answered at once are told as well."""
        return self._callbacks.url_for(metadata) if self._callbacks and self._callbacks.report_all else None

    def _json(self, request: Request, charge: Charge) -> dict[str, object]:
        waiting = charge.status == "requires_action"
        return charge_json(charge, f"{request.base_url}actions/{charge.id}" if waiting else None)


def build_app(books: Books, target: Target | None) -> Starlette:
    """The ASGI application over these books; without a target it sends no webhooks."""
    callbacks = Callbacks(books, target) if target else None
    desk = Desk(books, callbacks)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(callbacks.run()) if callbacks else None
        yield
        if task:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        books.close()

    return Starlette(
        routes=[
            Route("/", desk.root),
            Route("/healthz", desk.health),
            Route("/v1/charges", desk.create_charge, methods=["POST"]),
            Route("/v1/charges", desk.list_charges, methods=["GET"]),
            Route("/v1/charges/cancel", desk.cancel_charge, methods=["POST"]),
            Route("/v1/refunds", desk.create_refund, methods=["POST"]),
            Route("/actions/{charge_id}", desk.show_action, methods=["GET"]),
            Route("/actions/{charge_id}", desk.complete_action, methods=["POST"]),
            Route("/books/summary", desk.summary),
        ],
        lifespan=lifespan,
    )


def _order(key: str, body: ChargeBody) -> Order:
    return Order(
        attempt_id=key,
        invoice_id=body.invoice_id,
        customer_id=body.customer_id,
        payment_method=body.payment_method,
        amount=body.amount,
        currency=body.currency,
        metadata=body.metadata,
        request=json.dumps(body.model_dump(mode="json"), sort_keys=True, ensure_ascii=False),
    )


def _field(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "body"


def _invalid(invalid: ValidationError) -> Response:
    return _error(400, "; ".join(f"{_field(problem['loc'])}: {problem['msg']}" for problem in invalid.errors()))


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message}}, status_code=status)


def _page(title: str, body: str) -> Response:
    return HTMLResponse(f"<!doctype html><meta charset=utf-8><title>{title}</title><h1>{title}</h1>{body}")
