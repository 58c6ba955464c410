"""A billing period on a Temporal server that cannot read what it stores."""

import json
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from activities.adapters.payload_encryption import data_converter
from tests.parts import Parts
from tests.world import Servers, open_world, until

KEY = b"k" * 32


async def test_workers_with_the_codec_bill_and_the_history_is_unreadable_without_the_key(
    parts: Parts, new_postgres_dsn: str, new_clickhouse_dsn: str, tmp_path: Path
) -> None:
    address = parts.start("temporal").running.url
    keys = f"1:{b64encode(KEY).decode()}"
    async with open_world(Servers(new_postgres_dsn, new_clickhouse_dsn, address, tmp_path, keys)) as world:
        await world.start_workers()
        await world.sell()
        customer = await world.customer("acme")
        subscription = await world.subscribe(customer, datetime.now(UTC))
        (invoice,) = await world.invoices(subscription.id)

        async def is_paid() -> bool:
            return (await world.invoice(invoice.id)).payment_status == "SUCCEEDED"

        await until(is_paid)
        workflow_id = world.subscription_workflow(subscription.id).id

        outside = await Client.connect(address, data_converter=pydantic_data_converter)
        history = await outside.get_workflow_handle(workflow_id).fetch_history()
        (stored,) = history.events[0].workflow_execution_started_event_attributes.input.payloads
        assert stored.metadata["encoding"] == b"binary/encrypted"
        assert customer.id.encode() not in stored.data

        (opened,) = await data_converter({"1": KEY}).payload_codec.decode([stored])  # type: ignore[union-attr]
        assert customer.id in json.dumps(json.loads(opened.data))
