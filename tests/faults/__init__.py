"""Faults with real processes: what is killed, when, and the counts that show that nothing was lost or doubled."""
