"""Fixtures of the payment providers' tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from . import counterparts
from .counterparts import Counterpart, RazorpayCounterpart, StripeCounterpart


@pytest.fixture(params=sorted(counterparts.ALL))
async def counterpart(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Counterpart]:
    """Each provider in turn, with a fresh company."""
    async with counterparts.ALL[request.param](tmp_path) as opened:
        yield opened


@pytest.fixture
async def stripe(tmp_path: Path) -> AsyncIterator[StripeCounterpart]:
    """Stripe alone."""
    async with counterparts.stripe(tmp_path) as opened:
        yield opened


@pytest.fixture
async def razorpay(tmp_path: Path) -> AsyncIterator[RazorpayCounterpart]:
    """Razorpay alone."""
    async with counterparts.razorpay(tmp_path) as opened:
        yield opened
