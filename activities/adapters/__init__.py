"""The implementations of `activities/ports.py`, and the only place with vendor imports."""
