"""Each part starts over an empty folder, answers, and survives kill -9 and a restart over the same data and port."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import boto3
import httpx
import psutil
import pytest
from botocore.config import Config
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client

from deploy.embedded import postgres, temporal
from deploy.embedded.errors import EmbeddedError
from deploy.embedded.ports import free_port
from deploy.embedded.process import Spec, is_alive, launch
from tests.conftest import S3Server
from tests.parts import Parts
from workflows.search_attributes import TYPES


async def test_postgres_keeps_what_was_committed(parts: Parts) -> None:
    part = parts.start("postgres")
    before = part.running
    connection = await asyncpg.connect(before.url)
    await connection.execute("CREATE TABLE facts (id int); INSERT INTO facts VALUES (1)")
    part.kill()
    await connection.close()
    after = part.restart()
    assert after.url == before.url
    connection = await asyncpg.connect(after.url)
    role, superuser, zone, encoding = await connection.fetchrow(
        "SELECT current_user, rolsuper, current_setting('timezone'), current_setting('server_encoding')"
        " FROM pg_roles WHERE rolname = current_user"
    )
    assert await connection.fetchval("SELECT count(*) FROM facts") == 1
    await connection.close()
    assert (role, superuser, zone, encoding) == ("durabill", False, "UTC", "UTF8")


async def test_postgres_wants_the_password(postgres_dsn: str) -> None:
    wrong = postgres_dsn.replace(postgres_dsn.split(":")[2].split("@")[0], "guess")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(wrong)


def test_postgres_after_a_pid_file_that_now_names_another_program(tmp_path: Path) -> None:
    data, port, log = tmp_path / "postgres", free_port(), tmp_path / "log"
    part = postgres.start(data, port, log)
    psutil.Process(part.pid).kill()
    psutil.wait_procs([psutil.Process(part.pid)] if psutil.pid_exists(part.pid) else [], timeout=10)
    pid_file = data / "cluster" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    again = postgres.start(data, port, log)
    os.kill(again.pid, signal.SIGINT)
    psutil.wait_procs([psutil.Process(again.pid)], timeout=20)


async def test_temporal_serves_with_ui_attributes_and_retention(parts: Parts) -> None:
    part = parts.start("temporal", ("limit.historyCount.suggestContinueAsNew=50",))
    async with httpx.AsyncClient() as web:
        assert (await web.get(part.running.extra["ui_url"])).status_code == 200
    client = await Client.connect(part.running.url)
    await client.start_workflow("Unknown", id="kept", task_queue="nobody")
    part.kill()
    part.restart()
    client = await Client.connect(part.running.url)
    assert (await client.get_workflow_handle("kept").describe()).id == "kept"
    described = subprocess.run(
        [temporal.executable(), "operator", "namespace", "describe", "-n", "default", "--address", part.running.url],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "2160h0m0s" in described
    listed = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace="default"))
    assert set(TYPES) <= set(listed.custom_attributes)


def test_kafka_keeps_what_was_acknowledged(parts: Parts) -> None:
    part = parts.start("kafka")
    quiet: dict[str, str | int | float | bool] = {"bootstrap.servers": part.running.url, "log_level": 0}
    admin = AdminClient(quiet)
    for future in admin.create_topics([NewTopic("facts", 2)]).values():
        future.result(30)
    producer = Producer({**quiet, "acks": "all", "enable.idempotence": True})
    for number in range(1000):
        producer.produce("facts", str(number))
    assert producer.flush(30) == 0
    part.kill()
    part.restart()
    consumer = Consumer({**quiet, "group.id": "readers", "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition("facts", partition, OFFSET_BEGINNING) for partition in range(2)])
    seen: set[bytes | str | None] = set()
    until = time.monotonic() + 60
    while len(seen) < 1000 and time.monotonic() < until:
        seen |= {message.value() for message in consumer.consume(1000, timeout=1) if not message.error()}
    consumer.close()
    assert len(seen) == 1000


def test_s3_stores_and_signs(s3_server: S3Server) -> None:
    store = boto3.client(
        "s3",
        endpoint_url=s3_server.endpoint,
        region_name=s3_server.region,
        aws_access_key_id=s3_server.access_key,
        aws_secret_access_key=s3_server.secret_key,
        config=Config(signature_version="s3v4"),
    )
    store.put_object(Bucket=s3_server.bucket, Key="a/b.pdf", Body=b"%PDF", ContentType="application/pdf")
    place = {"Bucket": s3_server.bucket, "Key": "a/b.pdf"}
    fetched = httpx.get(store.generate_presigned_url("get_object", Params=place, ExpiresIn=60))
    assert (fetched.status_code, fetched.content, fetched.headers["content-type"]) == (200, b"%PDF", "application/pdf")
    assert httpx.get(f"{s3_server.endpoint}/{s3_server.bucket}/a/b.pdf").status_code == 403


def test_a_process_that_dies_at_once_says_why(tmp_path: Path) -> None:
    spec = Spec("The part", [sys.executable, "-c", "raise SystemExit('no such luck')"], tmp_path / "log")
    with pytest.raises(EmbeddedError, match=r"The part stopped at once with code 1; its log .* no such luck"):
        launch(spec, lambda: False)


def test_a_process_that_never_answers_is_ended(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    spec = Spec("The part", [sys.executable, "-c", code], tmp_path / "log")
    with pytest.raises(EmbeddedError, match="did not answer within 2 s"):
        launch(spec, lambda: False, seconds=2)
    assert not psutil.pid_exists(int(note.read_text()))


def test_a_reused_pid_is_another_process() -> None:
    myself = psutil.Process()
    assert is_alive(myself.pid, myself.create_time())
    assert not is_alive(myself.pid, myself.create_time() - 3600)
