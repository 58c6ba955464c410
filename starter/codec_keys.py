"""The keys of the payload codec as they are configured. Owns their text form and nothing of the encryption."""

from base64 import b64decode
from binascii import Error

KEY_BYTES = 32


def parse_keys(text: str) -> dict[str, bytes]:
    """`id:base64,id:base64` as keys by id, in that order: the first one encrypts, any of them decrypts.

    Raises ValueError that names the id and never shows a key.
    """
    keys: dict[str, bytes] = {}
    for place, part in enumerate((part.strip() for part in text.split(",")), start=1):
        key_id, colon, encoded = part.partition(":")
        if not (key_id and colon and encoded):
            raise ValueError(f"must be `id:key` pairs separated by commas; number {place} is not one")
        if key_id in keys:
            raise ValueError(f"key id {key_id!r} stands there twice; each key needs an id of its own")
        keys[key_id] = _key(key_id, encoded)
    return keys


def _key(key_id: str, encoded: str) -> bytes:
    try:
        key = b64decode(encoded, validate=True)
    except Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"key {key_id!r} must be 32 bytes in base64: the output of `openssl rand -base64 32`")
    return key
