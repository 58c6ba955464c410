"""The OpenAPI document: what FastAPI derives from the routes, and what it cannot know.

Added are the key, the error envelope, the `Idempotency-Key` header, and the ingest routes, which are raw ASGI.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from starter.api.gate import OPEN_PATHS
from starter.api.transactions import KEY_HEADER, KEY_LENGTH_MAX

Json = dict[str, Any]
MUTATING = ("post", "put", "delete", "patch")
ERROR: Json = {
    "type": "object",
    "required": ["code", "message", "http_status_code"],
    "properties": {
        "code": {"type": "string", "examples": ["validation_error"]},
        "message": {"type": "string", "examples": ["tiers[1].up_to must be greater than 1000"]},
        "http_status_code": {"type": "integer", "examples": [400]},
        "details": {"type": "object", "examples": [{"field": "tiers[1].up_to"}]},
        "success": {"type": "boolean", "const": False},
        "error": {
            "type": "object",
            "properties": {"message": {"type": "string"}, "details": {"type": "object"}},
        },
    },
}
EVENT: Json = {
    "type": "object",
    "required": ["event_name", "external_customer_id"],
    "properties": {
        "event_name": {"type": "string", "examples": ["voice_call"]},
        "external_customer_id": {"type": "string", "examples": ["kaveri-health"]},
        "event_id": {"type": "string", "description": "Counts once for ever; a fresh id where it is left out."},
        "timestamp": {"type": "string", "format": "date-time", "description": "Now where it is left out."},
        "source": {"type": "string"},
        "properties": {"type": "object", "examples": [{"duration_seconds": "120", "model": "sonic-large"}]},
    },
}
BULK: Json = {
    "type": "object",
    "required": ["events"],
    "properties": {"events": {"type": "array", "minItems": 1, "maxItems": 1000, "items": EVENT}},
}
REFUSALS = {
    "400": "The request is not valid; the message names the field and what would be right",
    "401": "No API key, or not a valid one",
    "403": "The key's roles do not allow this",
}


def add_openapi(app: FastAPI) -> None:
    """Makes the application answer with the completed document, built once."""

    def completed() -> Json:
        if app.openapi_schema is None:
            document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            app.openapi_schema = _completed(document)
        return app.openapi_schema

    app.openapi = completed  # type: ignore[method-assign]


def _completed(document: Json) -> Json:
    components = document.setdefault("components", {})
    components.setdefault("schemas", {})["Error"] = ERROR
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    components["securitySchemes"] = {"ApiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"}}
    document["paths"] |= {
        "/v1/events": {"post": _ingest("Ingest an event", EVENT, "It is stored and counts once.")},
        "/v1/events/bulk": {"post": _ingest("Ingest up to 1000 events", BULK, "All are accepted, or none.")},
    }
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            _complete(path, method, operation)
    return document


def _complete(path: str, method: str, operation: Json) -> None:
    """Key, refusals and the idempotency header of one operation."""
    responses = operation["responses"]
    responses.pop("422", None)
    if path in OPEN_PATHS:
        return
    is_open = path.startswith("/v1/documents/") or path == "/v1/webhooks/{provider}/{tenant_id}/{environment_id}"
    operation["security"] = [] if is_open else [{"ApiKey": []}]
    responses |= {status: _error(text) for status, text in REFUSALS.items() if status not in responses}
    if "{" in path:
        responses.setdefault("404", _error("Nothing has this id here"))
    if method in MUTATING and not is_open:
        responses.setdefault("409", _error("The state, a taken key or the Idempotency-Key does not allow it"))
        if not path.startswith("/v1/events"):
            operation.setdefault("parameters", []).append(_idempotency_key())


def _idempotency_key() -> Json:
    return {
        "name": KEY_HEADER.title(),
        "in": "header",
        "required": False,
        "description": "The same key with the same request gets the stored answer; with another request 409.",
        "schema": {"type": "string", "minLength": 1, "maxLength": KEY_LENGTH_MAX},
    }


def _error(text: str) -> Json:
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def _ingest(summary: str, schema: Json, text: str) -> Json:
    return {
        "tags": ["usage"],
        "summary": summary,
        "description": f"{text} 202 means that it is durable. Bodies may be gzip or zstd, up to 32 MiB.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {"202": {"description": "Accepted"}, "413": _error("The body is too large")},
    }
