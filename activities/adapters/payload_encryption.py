"""Encryption of what Temporal stores: AES-256-GCM around every payload and failure. Owns no keys and no HTTP.

Search attributes, workflow ids and type names are not payloads: they stay readable and carry no personal data.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes, PayloadCodec

ENCODING: Final = b"binary/encrypted"
NONCE_BYTES: Final = 12


class PayloadRefused(ValueError):
    """A payload cannot be decrypted: its key is not here, or it was changed on the way."""


class PayloadEncryption(PayloadCodec):
    """Encrypts with the first key, decrypts with whichever the payload names; what is not encrypted passes.

    So histories from before the first key stay readable, and keys can be rotated while workflows run.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """`keys` by id, 32 bytes each; raises ValueError for none."""
        if not keys:
            raise ValueError("payload encryption needs one key or more")
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._current = next(iter(keys))

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Each one encrypted as a whole, with its metadata."""
        return [self._encrypted(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Each one as it was; raises PayloadRefused for one that no key opens."""
        return [
            self._decrypted(payload) if payload.metadata.get("encoding") == ENCODING else payload
            for payload in payloads
        ]

    def _encrypted(self, payload: Payload) -> Payload:
        nonce = os.urandom(NONCE_BYTES)
        key_id = self._current.encode()
        sealed = self._ciphers[self._current].encrypt(nonce, payload.SerializeToString(), key_id)
        return Payload(metadata={"encoding": ENCODING, "encryption-key-id": key_id}, data=nonce + sealed)

    def _decrypted(self, payload: Payload) -> Payload:
        key_id = payload.metadata.get("encryption-key-id", b"")
        name = key_id.decode(errors="replace")
        cipher = self._ciphers.get(name)
        if cipher is None:
            raise PayloadRefused(f"a payload is encrypted with key {name!r}; DURABILL_CODEC_KEYS does not have it")
        nonce, sealed = payload.data[:NONCE_BYTES], payload.data[NONCE_BYTES:]
        try:
            return Payload.FromString(cipher.decrypt(nonce, sealed, key_id))
        except (InvalidTag, ValueError) as problem:
            raise PayloadRefused(
                f"a payload does not open with key {name!r}: it was changed, or the key under this id is another one"
            ) from problem


def data_converter(keys: Mapping[str, bytes]) -> DataConverter:
    """The converter of every Temporal client: encrypting when there are keys, messages of failures too."""
    if not keys:
        return pydantic_data_converter
    return replace(
        pydantic_data_converter,
        payload_codec=PayloadEncryption(keys),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )
