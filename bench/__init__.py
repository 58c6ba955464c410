"""Measurements of durabill on real servers: they print figures and judge nothing. Not part of the installed package."""
