"""How often a process that makes many values looks for cycles among them."""

import gc
from typing import Final

THRESHOLDS: Final = (50_000, 20, 50)
"""A block of events makes many values and no cycles; with Python's 700 they would be gone through again and again."""


def collect_seldom() -> None:
    """To be called once everything is imported: what is there then stays, and is not gone through any more."""
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
