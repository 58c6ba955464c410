"""One stack for this folder, since it takes its time to start; every test is a new tenant of it."""

import os
import random
from collections.abc import AsyncIterator, Iterator

import pytest

from tests import parts as engines
from tests.faults.stack import Stack, start_stack
from tests.faults.tenant import Tenant, open_tenant


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Engines and processes of these tests alone. A test that kills one brings it back."""
    folder = tmp_path_factory.mktemp("faults")
    parts = engines.Parts(folder)
    try:
        yield start_stack(parts, folder)
    finally:
        parts.close()


@pytest.fixture
async def tenant(stack: Stack) -> AsyncIterator[Tenant]:
    """A tenant of this test alone, with a catalogue and a webhook receiver."""
    stack.revive()
    opened = await open_tenant(stack)
    yield opened
    await opened.close()


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Chance by a seed that is printed: `FAULTS_SEED` plays the same kills again."""
    seed = int(os.environ.get("FAULTS_SEED") or random.SystemRandom().randrange(1_000_000))
    print(f"\nagain: FAULTS_SEED={seed} make test TESTS=tests/faults/{request.path.name}")
    return random.Random(seed)
