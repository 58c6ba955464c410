"""kill -9 and stalls of consumers exactly between two steps of the sink, under load, on a real broker and engine."""

import asyncio
import os
from pathlib import Path

from tests.parts import Parts
from tests.usage.kafka_path import begin
from tests.usage.load import Load
from tests.usage.pauses import STEPS
from tests.usage.test_kafka_faults import settles

KILLS = 10
STALLS = ("judged", "without ids") if os.environ.get("FAULTS_LONG") else ("judged",)


async def test_kill_9_at_each_point_between_the_steps(parts: Parts, tmp_path: Path) -> None:
    path = await begin(parts, tmp_path)
    load = Load(path.url, again=0.3)
    running = asyncio.create_task(load.run())
    steps = [STEPS[number % len(STEPS)] for number in range(KILLS)]
    for number, step in enumerate(steps):
        name = f"consumer-{number}"
        consumer = path.consumer(name, step)
        await path.reached(name, consumer)
        consumer.kill()
    await path.end(load, running, f"{KILLS} kills at {', '.join(steps)}", [path.consumer("last")])
    assert load.sent_again > 0


async def test_a_stalled_consumer_inserts_after_another_has_taken_its_place(parts: Parts, tmp_path: Path) -> None:
    path = await begin(parts, tmp_path)
    load = Load(path.url, again=0.3)
    running = asyncio.create_task(load.run())
    other = path.consumer("other")
    for step in STALLS:
        name = f"stalled at {step}"
        stalled = path.consumer(name, step)
        await path.reached(name, stalled)
        await settles(path.settings)  # the other one has read once more what the stalled one holds, and committed it
        await load.goes_on()
        stalled.go_on()
        await load.goes_on()
        await settles(path.settings)
        assert stalled.terminate() == 0
    await path.end(load, running, f"stalls of one of two consumers at {', '.join(STALLS)}", [other])
