"""Shapes of requests and answers, one file a noun. They read and write the wire format and own no rule."""
