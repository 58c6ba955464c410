"""Signed links to documents in the directory store; a bucket serves its own."""

from pathlib import PurePosixPath

from fastapi import APIRouter, Request
from starlette.responses import Response

from activities.adapters.directory_store import DirectoryStore, LinkRefused, content_type_of
from activities.ports import ObjectNotFound
from billing.errors import NotFound
from starter.api.context import Now, clients_of
from starter.api.errors import Refused

router = APIRouter(prefix="/documents", tags=["documents"])


@router.get("/{key:path}", summary="Fetch a document by its signed link")
async def get(
    key: str, request: Request, now: Now, expires: int = 0, signature: str = "", filename: str | None = None
) -> Response:
    """Needs no API key: the signature is the proof, until the link expires."""
    store = clients_of(request).object_store
    if not isinstance(store, DirectoryStore):
        raise NotFound("documents are served by the bucket that they lie in", field="key")
    try:
        content = await store.open_link(key, expires, signature, now, filename)
    except LinkRefused as refused:
        raise Refused(403, "permission_denied", str(refused)) from refused
    except ObjectNotFound as missing:
        raise NotFound("no document lies behind this link", field="key") from missing
    name = PurePosixPath(filename or key).name.replace('"', "")
    headers = {"Content-Disposition": f'inline; filename="{name}"'}
    return Response(content, headers=headers, media_type=content_type_of(key))
