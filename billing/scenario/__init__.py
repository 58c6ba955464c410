"""Scenario documents: a customer's whole story as JSON, read into plain values, with errors that name the field.

Owns the document: its fields, its defaults, its checks. Playing it is billing.simulation.
"""
