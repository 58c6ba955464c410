"""The one error of the embedded stack."""


class EmbeddedError(Exception):
    """A part cannot be prepared, started or stopped; the text is one sentence that names the cause and what to do."""
