"""Signatures of what is sent, as Standard Webhooks has them: one for each key, over id, time and body."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence

from bers import Secret

_PREFIX = "whsec_"


class Keys:
    """The keys of a channel. Raise ValueError, which does not say it, where one cannot be used."""

    def __init__(self, secrets: Sequence[Secret]) -> None:
        self._keys = [_key(secret.reveal(), number) for number, secret in enumerate(secrets)]

    def headers(self, id: str, seconds: int, body: bytes) -> dict[str, str]:
        """What a receiver needs to know who sent it, and when; without a key, when alone."""
        signed = f"{id}.{seconds}.".encode() + body
        found = {"webhook-id": id, "webhook-timestamp": str(seconds)}
        if self._keys:
            found["webhook-signature"] = " ".join(f"v1,{_signature(key, signed)}" for key in self._keys)
        return found


def _signature(key: bytes, signed: bytes) -> str:
    return base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


def _key(secret: str, number: int) -> bytes:
    remedy = f"make one with `echo {_PREFIX}$(openssl rand -base64 32)`"
    if not secret.startswith(_PREFIX):
        raise ValueError(f"secrets[{number}] does not begin with {_PREFIX!r}; {remedy}")
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"what follows {_PREFIX!r} in secrets[{number}] is no base64; {remedy}") from None
    if not 24 <= len(key) <= 64:
        raise ValueError(f"secrets[{number}] has {len(key)} bytes, and not 24 to 64; {remedy}")
    return key
