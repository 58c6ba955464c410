"""A fake payment company, as a process of its own with books of its own. It moves no money.

It stands in for what cannot run on a laptop: a card network. The engine talks to it over HTTP through
`activities/adapters/sandbox.py`, as it would to a real company, and the tests count successful charges in its books.
Nothing here imports the engine.
"""
