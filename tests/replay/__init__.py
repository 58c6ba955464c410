"""Workflows of earlier days, played again with today's code."""
