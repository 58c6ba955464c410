"""The HTTP API: parse, check who asks, call one query or command function, answer. Owns no rule."""
