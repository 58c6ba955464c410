"""Decisions over time: deterministic, readable as recipes. No arithmetic, no I/O."""
