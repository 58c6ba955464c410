"""Records that somebody else wrote to a topic of ours, and what stands in one."""

from collections.abc import Sequence

from confluent_kafka import Consumer, KafkaError, Message, Producer

from activities.adapters.kafka_settings import KafkaSettings


def put(
    settings: KafkaSettings,
    *values: bytes | None,
    topic: str | None = None,
    partition: int = 1,
    headers: Sequence[tuple[str, bytes]] = (),
) -> None:
    """Records of any size, each once and in this order also where the broker has a request repeated.

    They go to one `partition` of `topic`, the settings' own unless told.
    """
    refused: list[KafkaError] = []

    def told(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            refused.append(error)

    producer = Producer(settings.common(enable_idempotence=True, compression_type="lz4", message_max_bytes=50_000_000))
    for value in values:
        producer.produce(topic or settings.topic, value, partition=partition, headers=list(headers), on_delivery=told)
    assert (producer.flush(60), refused) == (0, [])


def letters_of(settings: KafkaSettings, count: int) -> list[Message]:
    """The first `count` dead letters."""
    reader = Consumer(settings.common(group_id="reader", auto_offset_reset="earliest"))
    reader.subscribe([settings.dead_letter_topic])
    found: list[Message] = reader.consume(count, 60)
    reader.close()
    return found
