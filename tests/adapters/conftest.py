"""Fixtures of the adapter tests."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from activities.adapters.sandbox import SandboxProvider
from activities.adapters.webhook_signature import new_secret

from .servers import ProviderProcess, Receiver, free_port


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A fresh receiver."""
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
async def provider_process(tmp_path: Path, receiver: Receiver) -> AsyncIterator[ProviderProcess]:
    """The fake payment company over new books, which sends its webhooks to `receiver`."""
    process = ProviderProcess(
        books=tmp_path / "books" / "books.sqlite",
        port=free_port(),
        webhook_url=f"{receiver.url}/v1/webhooks/sandbox/{{tenant}}/{{environment}}",
        webhook_secret=new_secret(),
    )
    process.start()
    try:
        await process.ready()
        yield process
    finally:
        process.kill()


@pytest.fixture
async def provider(provider_process: ProviderProcess) -> AsyncIterator[SandboxProvider]:
    """Our adapter, talking to that process."""
    provider = SandboxProvider(provider_process.url, [provider_process.webhook_secret])
    yield provider
    await provider.aclose()
