"""Wallets: create, read, search, top up, debit, end; their transactions and their balance in real time."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.responses import Response

from activities.payloads import when
from activities.wallet_balances import RealTimeBalance, read_real_time_balance
from activities.wallet_books import Cause
from activities.wallet_payloads import customers_now, transaction_payload, wallet_payload
from activities.wallets import create_wallet, debit_wallet, terminate_wallet, top_up_wallet, update_wallet
from billing.errors import Invalid
from billing.money import decimal_text
from billing.wallets import credits_for
from models.conversions import wallet_from_rows
from models.queries.customers import get_customer, get_customer_by_external_id
from models.queries.paging import LIMIT_MAX, Page
from models.queries.wallets import (
    WalletFilter,
    get_wallet,
    list_lots,
    list_transactions,
    list_wallets,
    lots_of,
    wallets_by_id,
)
from models.scope import Scope
from models.tables import WalletRow, WalletTransactionRow
from starter.api.context import CallerNow, Now, Session, clients_of, utc_now
from starter.api.routes.shared import bodies_answer
from starter.api.transactions import CommandRoute, TransactionRoute
from starter.clients import required
from starter.schemas.wallets import (
    CreateWalletRequest,
    DebitWalletRequest,
    TopUpWalletRequest,
    TransactionListParams,
    TransactionSearch,
    UpdateWalletRequest,
    WalletSearch,
)
from starter.schemas.wire import json_answer

router = APIRouter(prefix="/wallets", tags=["wallets"], route_class=TransactionRoute)
balances = APIRouter(prefix="/wallets", tags=["wallets"], route_class=CommandRoute)
customer_router = APIRouter(prefix="/customers", tags=["wallets"], route_class=TransactionRoute)


@router.post("", summary="Create a wallet")
async def create(body: CreateWalletRequest, caller: CallerNow, session: Session, now: Now) -> Response:
    """Answers 200, as the reference. A PRE_PAID wallet lowers the usage lines of invoices when they are finalized."""
    customer_id = await _customer_id(session, caller.scope, body.customer_id, body.external_customer_id)
    row = await create_wallet(session, caller.scope, body.new_wallet(customer_id), now, caller.key_id)
    return json_answer(await _body(session, row))


@router.post("/search", summary="Search wallets")
async def search(body: WalletSearch, caller: CallerNow, session: Session) -> Response:
    """Newest first."""
    rows, total = await list_wallets(session, caller.scope, body.page(), body.wanted())
    return bodies_answer(await _bodies(session, rows), total, body)


@router.post("/transactions/search", summary="Search wallet transactions")
async def search_transactions(body: TransactionSearch, caller: CallerNow, session: Session) -> Response:
    """Newest first."""
    rows, total = await list_transactions(session, caller.scope, body.page(), body.wanted())
    return bodies_answer(await _transactions(session, caller.scope, rows), total, body)


@router.get("/{wallet_id}", summary="Get a wallet")
async def get(wallet_id: str, caller: CallerNow, session: Session) -> Response:
    """With its balance: in money, rounded down, and in credits."""
    return json_answer(await _body(session, await get_wallet(session, caller.scope, wallet_id)))


@router.put("/{wallet_id}", summary="Change a wallet")
async def update(wallet_id: str, body: UpdateWalletRequest, caller: CallerNow, session: Session, now: Now) -> Response:
    """Name, description, metadata and which lines it pays."""
    row = await update_wallet(session, caller.scope, wallet_id, body.changes(), now, caller.key_id)
    return json_answer(await _body(session, row))


@router.post("/{wallet_id}/top-up", summary="Top up a wallet")
async def top_up(wallet_id: str, body: TopUpWalletRequest, caller: CallerNow, session: Session, now: Now) -> Response:
    """Adds credits, given or paid for outside. The same `idempotency_key` again changes nothing."""
    transaction = await top_up_wallet(session, caller.scope, wallet_id, body.top_up(), now, caller.key_id)
    return json_answer(await _with_wallet(session, caller.scope, transaction))


@router.post("/{wallet_id}/debit", summary="Take credits out of a wallet")
async def debit(wallet_id: str, body: DebitWalletRequest, caller: CallerNow, session: Session, now: Now) -> Response:
    """In the order in which invoices draw. More than there is answers 409."""
    cause = Cause(
        description=body.description, idempotency_key=body.idempotency_key, metadata=body.metadata, actor=caller.key_id
    )
    transaction = await debit_wallet(session, caller.scope, wallet_id, body.credits, cause, now)
    return json_answer(await _with_wallet(session, caller.scope, transaction))


@router.post("/{wallet_id}/terminate", summary="End a wallet")
async def terminate(wallet_id: str, caller: CallerNow, session: Session, now: Now) -> Response:
    """Closes it for ever; what is left of its credits is gone."""
    return json_answer(
        await _body(session, await terminate_wallet(session, caller.scope, wallet_id, now, caller.key_id))
    )


@router.get("/{wallet_id}/transactions", summary="List a wallet's transactions")
async def transactions(
    wallet_id: str, params: Annotated[TransactionListParams, Query()], caller: CallerNow, session: Session
) -> Response:
    """Newest first; a credit shows what is left of it (`credits_available`)."""
    await get_wallet(session, caller.scope, wallet_id)
    rows, total = await list_transactions(session, caller.scope, params.page(), params.wanted([wallet_id]))
    return bodies_answer(await _transactions(session, caller.scope, rows), total, params)


@balances.get("/{wallet_id}/balance/real-time", summary="Get a wallet's balance in real time")
@balances.get("/{wallet_id}/balance/real-time-cached", include_in_schema=False)
async def real_time(wallet_id: str, caller: CallerNow, request: Request) -> Response:
    """The balance less unpaid invoices and less what the running periods have used; exact, never from a cache."""
    clients = clients_of(request)
    usage = required(clients.usage, "clickhouse")
    found = await read_real_time_balance(clients.database, usage, caller.scope, wallet_id, utc_now())
    return json_answer(_real_time_body(found))


@customer_router.get("/wallets", summary="Get a customer's wallets by id or external id")
async def of_customer_by_query(
    request: Request, caller: CallerNow, session: Session, id: str | None = None, lookup_key: str | None = None,
    include_real_time_balance: bool = False,
) -> Response:  # fmt: skip
    """A bare list, as in the reference. `lookup_key` is the external id."""
    return await _of_customer(request, caller.scope, session, id, lookup_key, include_real_time_balance)


@customer_router.get("/{customer_id}/wallets", summary="Get a customer's wallets")
async def of_customer(customer_id: str, request: Request, caller: CallerNow, session: Session) -> Response:
    """A bare list, as in the reference."""
    return await _of_customer(request, caller.scope, session, customer_id, None, False)


async def _of_customer(
    request: Request, scope: Scope, session: AsyncSession, customer_id: str | None, external_id: str | None,
    real_time: bool,
) -> Response:  # fmt: skip
    customer_id = await _customer_id(session, scope, customer_id, external_id, "lookup_key")
    rows, _ = await list_wallets(session, scope, Page(limit=LIMIT_MAX), WalletFilter(customer_ids=[customer_id]))
    if not real_time:
        return json_answer(await _bodies(session, rows))
    clients = clients_of(request)
    usage = required(clients.usage, "clickhouse")
    found = [await read_real_time_balance(clients.database, usage, scope, row.id, utc_now()) for row in rows]
    return json_answer([_real_time_body(each) for each in found])


async def _customer_id(
    session: AsyncSession, scope: Scope, customer_id: str | None, external_id: str | None,
    other: str = "external_customer_id",
) -> str:  # fmt: skip
    if (customer_id is None) == (external_id is None):
        raise Invalid(f"exactly one of customer_id and {other} must be given", field="customer_id")
    if external_id is not None:
        return (await get_customer_by_external_id(session, scope, external_id)).id
    return (await get_customer(session, scope, customer_id or "")).id


async def _body(session: AsyncSession, row: WalletRow) -> dict[str, Any]:
    return (await _bodies(session, [row]))[0]


async def _bodies(session: AsyncSession, rows: list[WalletRow]) -> list[dict[str, Any]]:
    lots = await list_lots(session, [row.id for row in rows])
    times = await customers_now(session, rows, utc_now())
    return [wallet_payload(row, lots[row.id], times[row.id]) for row in rows]


async def _with_wallet(session: AsyncSession, scope: Scope, row: WalletTransactionRow) -> dict[str, Any]:
    transaction = (await _transactions(session, scope, [row]))[0]
    wallet = await _body(session, await get_wallet(session, scope, row.wallet_id))
    return {"wallet_transaction": transaction, "wallet": wallet}


async def _transactions(session: AsyncSession, scope: Scope, rows: list[WalletTransactionRow]) -> list[dict[str, Any]]:
    wallets = await wallets_by_id(session, scope, [row.wallet_id for row in rows])
    lots = await lots_of(session, [row.lot_id for row in rows])
    return [transaction_payload(row, wallets[row.wallet_id], lots.get(row.lot_id)) for row in rows]


def _real_time_body(found: RealTimeBalance) -> dict[str, Any]:
    body = wallet_payload(found.row, found.lots, found.at)
    wallet = wallet_from_rows(found.row, found.lots)
    return {
        **body,
        "real_time_balance": decimal_text(found.real_time_balance),
        "real_time_credit_balance": decimal_text(credits_for(wallet, found.real_time_balance)),
        "current_period_usage": decimal_text(found.current_usage),
        "unpaid_invoices_amount": decimal_text(found.unpaid),
        "balance_updated_at": when(found.at),
        "is_cached_fallback": False,
    }
