"""Expressions of meters: one exact number from the properties of an event, written in CEL.

Owns the language: which part of CEL has an exact result (parsing), its tree (tree), and its values (evaluation).
Rules: billing-rules.md section 2, usage.md section 4.
"""
