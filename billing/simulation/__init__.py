"""The simulator: plays a scenario in memory with the rules of billing, and tells what came of it.

Owns the order of events in a story. Owns no rule: every sum, period and decision is billing's own, as in production.
"""
