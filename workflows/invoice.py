"""An invoice: grace for late usage, finalize, document and collection side by side, retries until it is paid."""

import asyncio
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.crediting import CreditNoteActivities, FinalizeCreditNote, VoidCreditNote
    from activities.invoice_documents import DocumentActivities, RenderInvoice
    from activities.invoices import FinalizeInvoice, InvoiceActivities, VoidInvoice
    from activities.options import DATABASE, RENDER, VENDOR
    from activities.payments import ApplyFacts, CollectPayment, PaymentActivities, WithdrawAttempt
    from activities.states import InvoiceState
    from billing.invoice_states import InvoiceStatus, PaymentStatus, possible_now

from workflows import search_attributes
from workflows.contracts import (
    BILLING,
    DOCUMENTS,
    AdvanceClock,
    CreditNoteCommand,
    InvoiceCommand,
    InvoiceInput,
    payments_queue,
)
from workflows.inbox import Delivery, Inbox
from workflows.perseverance import Perseverance, failure_of
from workflows.wording import instant, invoice_details


@workflow.defn(name="InvoiceWorkflow")
class InvoiceWorkflow:
    """Ends when nothing can happen any more: paid, voided or skipped. An unpaid invoice keeps listening."""

    @workflow.init
    def __init__(self, start: InvoiceInput) -> None:
        self._state = start.state
        self._clock = start.clock
        self._inbox: Inbox[InvoiceState] = Inbox()
        self._steps = Perseverance(self._describe)
        self._rendering: asyncio.Task[None] | None = None
        self._facts = False
        self._past_due_said = False

    @workflow.run
    async def run(self, start: InvoiceInput) -> InvoiceState:
        """From draft to paid, voided or skipped."""
        while True:
            while not self._run_is_over():
                self._describe()
                await self._something_to_do()
                if self._has_errand() or (self._due() and not self._told_by_the_clock()):
                    await self._do_what_is_due()
                elif self._inbox:
                    await self._act_on(self._inbox.take())
            await self._inbox.finish(self._act_on)
            if not self._has_errand():
                break  # news that come while the run ends are not left to nobody
        if not self._state.is_closed:
            workflow.continue_as_new(
                InvoiceInput(self._state, self._clock), search_attributes=search_attributes.of_invoice(self._state)
            )
        self._say_closed()
        return self._state

    @workflow.update(name="finalize", description="Finalize the draft now, without waiting for the end of its grace.")
    async def finalize(self, command: InvoiceCommand) -> InvoiceState:
        """Answers with the finalized invoice's state."""
        return await self._inbox.submit("finalize", command)

    @workflow.update(name="void", description="Void the invoice: nothing of it is owed any more.")
    async def void(self, command: InvoiceCommand) -> InvoiceState:
        """Answers with the voided invoice's state."""
        return await self._inbox.submit("void", command)

    @workflow.update(name="attempt_payment", description="Try to collect what remains, now.")
    async def attempt_payment(self, command: InvoiceCommand) -> InvoiceState:
        """Answers with the state after the attempt."""
        return await self._inbox.submit("attempt_payment", command)

    @workflow.update(name="finalize_credit_note", description="A credit note takes effect: less is left to pay.")
    async def finalize_credit_note(self, command: CreditNoteCommand) -> InvoiceState:
        """Answers with the credited invoice's state."""
        return await self._inbox.submit("finalize_credit_note", command)

    @workflow.update(name="void_credit_note", description="A credit note is void: what it took off is owed again.")
    async def void_credit_note(self, command: CreditNoteCommand) -> InvoiceState:
        """Answers with the invoice's state."""
        return await self._inbox.submit("void_credit_note", command)

    @workflow.update(name="advance_clock", description="The test clock has moved; catch up with it.")
    async def advance_clock(self, command: AdvanceClock) -> InvoiceState:
        """Answers once everything due at or before the clock's new time has been done."""
        return await self._inbox.submit("advance_clock", command)

    @finalize.validator
    def _check_finalize(self, command: InvoiceCommand) -> None:
        self._inbox.check(command)

    @void.validator
    def _check_void(self, command: InvoiceCommand) -> None:
        self._inbox.check(command)

    @attempt_payment.validator
    def _check_attempt_payment(self, command: InvoiceCommand) -> None:
        self._inbox.check(command)

    @finalize_credit_note.validator
    def _check_finalize_credit_note(self, command: CreditNoteCommand) -> None:
        self._inbox.check(command)

    @void_credit_note.validator
    def _check_void_credit_note(self, command: CreditNoteCommand) -> None:
        self._inbox.check(command)

    @advance_clock.validator
    def _check_advance_clock(self, command: AdvanceClock) -> None:
        self._inbox.check(command)

    @workflow.signal(name="facts_changed", description="Postgres knows something new about this invoice's payment.")
    def facts_changed(self) -> None:
        """A provider's webhook or a payment by hand has been stored: read it and go on."""
        self._facts = True

    @workflow.signal(name="retry", description="The cause of the problem is mended: try again now.")
    def retry(self) -> None:
        """Ends the hour's wait of a step that needed attention; with nothing amiss, Postgres is asked for the state."""
        self._facts = self._facts or self._steps.problem is None
        self._steps.retry_now()

    def _now(self) -> datetime:
        return self._clock or workflow.now()

    def _has_errand(self) -> bool:
        """News to take in, or an attempt to take back: these wait for no clock."""
        return self._facts or self._state.to_withdraw is not None

    def _due(self) -> bool:
        return self._state.next_action_at is not None and self._now() >= self._state.next_action_at

    def _run_is_over(self) -> bool:
        if self._has_errand() or (self._rendering is not None and not self._rendering.done()):
            return False
        return self._state.is_closed or workflow.info().is_continue_as_new_suggested()

    def _told_by_the_clock(self) -> bool:
        """Under a test clock whoever moves it waits for the step, and is told when it fails."""
        return self._clock is not None and bool(self._inbox)

    async def _something_to_do(self) -> None:
        """Waits for the next instant, a command or news of a payment; under a test clock only commands move time."""
        due = self._state.next_action_at
        timeout = None if self._clock or due is None else max(due - workflow.now(), timedelta())
        try:
            await workflow.wait_condition(
                lambda: bool(self._inbox) or self._has_errand() or self._due() or self._run_is_over(),
                timeout=timeout,
                timeout_summary=None if timeout is None else f"until {self._state.waiting_for} at {instant(due)}",
            )
        except TimeoutError:
            return  # the instant has come

    async def _do_what_is_due(self) -> None:
        try:
            if self._facts:
                await self._apply_facts()
            elif self._state.to_withdraw is not None:
                await self._withdraw(self._state.to_withdraw)
            else:
                await self._next_step()
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            await self._steps.pause(interrupted=lambda: self._facts or self._told_by_the_clock())

    async def _next_step(self) -> None:
        if self._state.is_draft:
            await self._finalize()
        else:
            await self._collect()

    async def _finalize(self, command_id: str | None = None) -> None:
        """Freezes the invoice; then its document is made while the money is collected, side by side."""
        by_command = command_id is not None
        command = FinalizeInvoice(
            self._state.scope, self._state.invoice_id, self._now(), workflow.now(), by_command, command_id or ""
        )
        self._state = await self._steps.once(
            "finalize the invoice",
            lambda: workflow.execute_activity_method(
                InvoiceActivities.finalize, command, summary="freeze usage, number, post", **DATABASE
            ),
        )
        if self._state.number is not None:
            self._rendering = asyncio.create_task(self._render())

    async def _render(self) -> None:
        command = RenderInvoice(self._state.scope, self._state.invoice_id)
        await self._steps.until_done(
            "make the invoice's document",
            lambda: workflow.execute_activity_method(
                DocumentActivities.render, command, task_queue=DOCUMENTS, summary=f"PDF {self._state.number}", **RENDER
            ),
        )

    async def _collect(self, command_id: str | None = None) -> None:
        """One attempt at the provider. The attempt's number makes a repeat of this step the same attempt."""
        number, by_hand = self._state.attempts + 1, command_id is not None
        command = CollectPayment(
            self._state.scope, self._state.invoice_id, number, self._now(), by_hand, command_id or ""
        )
        queue = payments_queue(self._state.provider) if self._state.provider else BILLING  # by a wallet alone
        self._state = await self._steps.once(
            "collect the payment",
            lambda: workflow.execute_activity_method(
                PaymentActivities.collect, command, task_queue=queue, summary=f"attempt {number}", **VENDOR
            ),
        )
        self._say_past_due()

    async def _apply_facts(self) -> None:
        command = ApplyFacts(self._state.scope, self._state.invoice_id, self._now())
        self._facts = False
        try:
            self._state = await self._steps.once(
                "apply what Postgres was told about the payment",
                lambda: workflow.execute_activity_method(
                    PaymentActivities.apply_facts, command, summary="what was told meanwhile", **DATABASE
                ),
            )
        except ActivityError:
            self._facts = True
            raise
        self._keep_up()

    async def _withdraw(self, provider: str) -> None:
        command = WithdrawAttempt(self._state.scope, self._state.invoice_id, self._now())
        self._state = await self._steps.once(
            "take back the payment that waits for the customer",
            lambda: workflow.execute_activity_method(
                PaymentActivities.withdraw,
                command,
                task_queue=payments_queue(provider),
                summary="take back what waits for the customer",
                **VENDOR,
            ),
        )
        self._keep_up()

    def _keep_up(self) -> None:
        """An attempt that falls due with the news is made now, wherever the clock was when it last told."""
        if self._clock is not None and self._state.as_of is not None:
            self._clock = max(self._clock, self._state.as_of)

    async def _act_on(self, delivery: Delivery[InvoiceState]) -> None:
        """One command, start to end; its failure is its sender's, never the invoice's."""
        command = delivery.command
        if command.command_id in self._state.seen_commands:
            delivery.answer = self._state
            return
        try:
            self._inbox.check_time(command)
            if isinstance(command, AdvanceClock):
                await self._catch_up(command)
            elif isinstance(command, InvoiceCommand):
                await self._obey(delivery.name, command)
            elif isinstance(command, CreditNoteCommand):
                await self._credit(delivery.name, command)
            delivery.answer = self._state
        except ActivityError as error:
            delivery.failure = failure_of(error)
        except ApplicationError as error:
            delivery.failure = error

    async def _obey(self, name: str, command: InvoiceCommand) -> None:
        if name == "void":
            self._state = await workflow.execute_activity_method(
                InvoiceActivities.void,
                VoidInvoice(self._state.scope, self._state.invoice_id, command.command_id, self._now(), command.reason),
                **DATABASE,
            )
        elif name == "finalize":
            self._require(self._state.is_draft, "finalize", "it is a draft")
            await self._finalize(command.command_id)
            self._catch_time()
        elif name == "attempt_payment":
            self._require(
                not self._state.is_draft and (self._state.provider is not None or self._state.by_wallet),
                "attempt_payment",
                "it is finalized, unpaid and has a payment method or a POST_PAID wallet",
            )
            await self._collect(command.command_id)

    async def _credit(self, name: str, command: CreditNoteCommand) -> None:
        """The note in Postgres takes effect, or has none any more; what is left to pay follows from it."""
        what = (self._state.scope, self._state.invoice_id, command.credit_note_id, command.command_id, self._now())
        if name == "finalize_credit_note":
            self._state = await workflow.execute_activity_method(
                CreditNoteActivities.finalize, FinalizeCreditNote(*what), summary="finalize a credit note", **DATABASE
            )
        else:
            self._state = await workflow.execute_activity_method(
                CreditNoteActivities.void, VoidCreditNote(*what), summary="void a credit note", **DATABASE
            )

    def _catch_time(self) -> None:
        """The first attempt falls due with the finalizing; the clock may stand later than this workflow was told."""
        if self._clock is not None and self._state.next_action_at is not None:
            self._clock = max(self._clock, self._state.next_action_at)

    def _require(self, possible: bool, command: str, when: str) -> None:
        if not possible:
            state = search_attributes.invoice_status(self._state)
            status, payment = InvoiceStatus(self._state.invoice_status), PaymentStatus(self._state.payment_status)
            raise ApplicationError(
                f"{command} is not possible: the invoice is {state}; it is possible while {when}",
                {"state": state, "possible": [each for each in possible_now(status, payment) if each != command]},
                type="conflict",
                non_retryable=True,
            )

    async def _catch_up(self, command: AdvanceClock) -> None:
        self._clock = max(command.to, self._clock or command.to)
        while self._due() and not self._state.is_closed:
            await self._next_step()
        if (rendering := self._rendering) is not None:
            # Its document is there when the clock moves on; one that cannot be made does not hold time up.
            await workflow.wait_condition(lambda: rendering.done() or self._steps.problem is not None)

    def _describe(self) -> None:
        workflow.set_current_details(invoice_details(self._state, self._clock, self._steps.problem, self._steps.paused))

    def _say_past_due(self) -> None:
        """Search attributes cost an action each time, so past due is said once."""
        if self._state.payment_status == "FAILED" and not self._past_due_said:
            self._past_due_said = True
            workflow.upsert_search_attributes(
                [
                    search_attributes.INVOICE_STATUS.value_set(search_attributes.invoice_status(self._state)),
                    search_attributes.PAST_DUE_SINCE.value_set(self._now()),
                ]
            )

    def _say_closed(self) -> None:
        workflow.upsert_search_attributes(
            [
                search_attributes.INVOICE_STATUS.value_set(search_attributes.invoice_status(self._state)),
                search_attributes.NEXT_ACTION_AT.value_unset(),
            ]
        )
        self._describe()
