"""Simulations as commands and routes run them: here alone, or against a running stack.

Owns how a scenario is run and compared; what it comes to is billing.simulation's.
"""
