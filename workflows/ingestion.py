"""Keeps the consumers of one lane of usage events alive, and shows how fast they are and how far behind."""

import asyncio
from dataclasses import replace

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.ingestion.supervision import ConsumeEvents, SinkActivities, SinkReport
    from activities.options import SINK

from workflows.contracts import INGEST, IngestionInput
from workflows.wording import ingestion_details


@workflow.defn(name="IngestionWorkflow")
class IngestionWorkflow:
    """Never returns; cancelling it ends the consumers, each after its block in work."""

    @workflow.init
    def __init__(self, start: IngestionInput) -> None:
        self._done = start
        self._reports: dict[int, SinkReport] = {}

    @workflow.run
    async def run(self, start: IngestionInput) -> None:
        """One consumer after the other in each place; continues as new when its history is long."""
        self._describe()
        await asyncio.gather(*(self._keep_alive(number) for number in range(start.consumers)))
        await workflow.wait_condition(workflow.all_handlers_finished)
        workflow.continue_as_new(self._done)

    @workflow.signal(name="report", description="What a consumer has done in its stint so far.")
    def report(self, report: SinkReport) -> None:
        """Comes from the consumers themselves."""
        self._reports[report.number] = report
        self._describe()

    async def _keep_alive(self, number: int) -> None:
        while not workflow.info().is_continue_as_new_suggested():
            report = await workflow.execute_activity_method(
                SinkActivities.consume,
                ConsumeEvents(self._done.lane, number),
                task_queue=INGEST,
                summary=f"consumer {number + 1} of {self._done.consumers}",
                **SINK,
            )
            self._reports.pop(number, None)
            self._done = replace(
                self._done,
                stored=self._done.stored + report.stored,
                duplicates=self._done.duplicates + report.duplicates,
                dead_lettered=self._done.dead_lettered + report.dead_lettered,
            )
            self._describe()

    def _describe(self) -> None:
        workflow.set_current_details(ingestion_details(self._done, tuple(self._reports.values()), workflow.now()))
