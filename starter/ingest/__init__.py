"""The ingest routes: raw ASGI, msgspec, no framework. Owns the wire of POST /v1/events and /v1/events/bulk."""
