"""The fault driver: random billing years on real processes while these are killed, stalled, cut off and lied to.

`python -m tests.faults.driver --seed N` plays one run; what becomes of it is compared with `billing/simulation`.
"""
