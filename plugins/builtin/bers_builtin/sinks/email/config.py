"""What an operator says about e-mail."""

from __future__ import annotations

import re
from email.errors import MessageError
from email.headerregistry import Address
from typing import Annotated, Literal

from msgspec import Meta

from bers import Channel, Channels, Secret

_ADDRESS = re.compile(r"[^@\s<>\"(),:;\[\]\\]+@[A-Za-z0-9.-]+")


class Mailbox(Channel, frozen=True, kw_only=True):
    """Some people who are told."""

    host: Annotated[str, Meta(min_length=1, description="The mail server that takes messages.")]
    port: Annotated[int, Meta(ge=1, le=65535, description="Its port: 587 for `starttls`, 465 for `tls`.")] = 587
    encryption: Annotated[
        Literal["starttls", "tls", "none"],
        Meta(
            description="How the connection is encrypted; the server's certificate is verified. `none` is for servers "
            "inside alone, with `allow_internal`."
        ),
    ] = "starttls"
    authority: Annotated[
        str, Meta(description="A file with certificates to believe, in PEM; without, those that this machine believes.")
    ] = ""
    username: Annotated[str, Meta(description="Who we are to the server; empty: it does not ask.")] = ""
    password: Annotated[Secret, Meta(description="What proves it; never sent unencrypted.")] = Secret("")
    sender: Annotated[
        str, Meta(description="The address that messages come from, as `monitoring@example.org`.", min_length=3)
    ]
    to: Annotated[tuple[str, ...], Meta(description="The addresses that are told.", min_length=1, max_length=100)]
    subject: Annotated[
        str,
        Meta(description="A Jinja template of the subject, out of `headline`, `event`, `events` and `notice`."),
    ] = "[{{ event.environment or 'bers' }}] {{ headline }}"
    allow_internal: Annotated[bool, Meta(description="Whether the server may be loopback or in a private network.")] = (
        False
    )

    def __post_init__(self) -> None:
        for name, address in (("sender", self.sender), *((f"to[{n}]", one) for n, one in enumerate(self.to))):
            if not is_address(address):
                raise ValueError(f"{name}: {address!r} is no address; write it as in 'team@example.org'")
        if self.encryption == "none" and not self.allow_internal:
            raise ValueError("encryption: 'none' can be read on the way; use starttls, or set allow_internal inside")
        if self.encryption == "none" and self.username:
            raise ValueError("username: a password must not travel unencrypted; use starttls or tls")


class EmailConfig(Channels, frozen=True, kw_only=True):
    """Tell others of alerts by e-mail, until their mail server has taken it."""

    channels: Annotated[tuple[Mailbox, ...], Meta(description="The people who are told.")] = ()


def is_address(text: str) -> bool:
    """Whether a text is one address and nothing else."""
    if not (_ADDRESS.fullmatch(text) and text.isascii()):
        return False
    try:
        Address(addr_spec=text)
    except (MessageError, ValueError, IndexError):
        return False
    return True
