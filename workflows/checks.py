"""How a pass over the books goes: one check after the other; one that fails does not keep the others back."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.findings import FindingActivities, Look, Looked
    from activities.invoice_documents import DocumentActivities, RenderInvoice
    from activities.options import DATABASE, RENDER

from workflows.contracts import DOCUMENTS
from workflows.search_attributes import NEEDS_ATTENTION
from workflows.wording import table

LONGEST_CHECK = timedelta(minutes=30)
LONGEST_DRAWING = timedelta(minutes=2)


@dataclass
class Pass:
    """What a pass has met, by the names of its checks."""

    found: dict[str, int] = field(default_factory=dict)
    repaired: dict[str, int] = field(default_factory=dict)


async def make_checks(names: Sequence[str], *, everything: bool = False, tell: bool = True) -> Pass:
    """Makes the checks; raises ApplicationError at the end that names those which could not be made.

    With `tell`, a pass whose findings wait for a person says so of itself, so that the workflow list shows it.
    """
    made, failed = Pass(), []
    for name in names:
        try:
            looked = await _look(Look(name, workflow.now(), everything))
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            failed.append(f"{name} ({error.cause or error})")
            continue
        if looked.found:
            made.found[name], made.repaired[name] = looked.found, looked.repaired
        for command in looked.to_draw:
            await _draw(command)
    if tell:
        _tell(made)
    if failed:
        raise ApplicationError(f"these checks could not be made: {'; '.join(failed)}", type="checks_failed")
    return made


def _tell(made: Pass) -> None:
    rows = [(name, f"{count}, of which mended {made.repaired[name]}") for name, count in made.found.items()]
    said = "`durabill findings` says what to do.\n\n" + table(rows) if rows else "Nothing was found."
    workflow.set_current_details(said)
    if any(count > made.repaired[name] for name, count in made.found.items()):
        workflow.upsert_search_attributes([NEEDS_ATTENTION.value_set(True)])


async def _look(look: Look) -> Looked:
    # Much to read takes long; a worker that has died is noticed by its heartbeat, an outage is waited out.
    timeouts = {"start_to_close_timeout": LONGEST_CHECK, "heartbeat_timeout": timedelta(minutes=1)}
    return await workflow.execute_activity_method(
        FindingActivities.look, look, summary=look.name, **{**DATABASE, **timeouts}
    )


async def _draw(command: RenderInvoice) -> None:
    try:
        await workflow.execute_activity_method(
            DocumentActivities.render,
            command,
            task_queue=DOCUMENTS,
            summary=f"PDF of {command.invoice_id}",
            **{**RENDER, "schedule_to_close_timeout": LONGEST_DRAWING},
        )
    except ActivityError as error:
        if is_cancelled_exception(error):
            raise
        workflow.logger.warning("the document of %s cannot be drawn: %s", command.invoice_id, error.cause or error)
