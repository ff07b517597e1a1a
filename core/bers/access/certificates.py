"""The certificate of the listeners: read, and held against its key."""

from __future__ import annotations

import ssl
from pathlib import Path

from bers.access.settings import TlsSettings
from bers.errors import ConfigError, Fault

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class Certificates:
    """What the listeners show. Raise ConfigError, with paths below ``server.tls``, where that cannot be used."""

    def __init__(self, settings: TlsSettings) -> None:
        self._settings = settings
        self.context = _read(settings)

    def reload(self) -> None:
        """Take what is in the files now, for connections from here on; if it cannot be used, the old one stays."""
        _read(self._settings)  # In a context of its own first: half of a new pair would shut everybody out.
        self.context.load_cert_chain(self._settings.certificate, self._settings.key, _no_passphrase)


def _read(settings: TlsSettings) -> ssl.SSLContext:
    faults = [fault for name in ("certificate", "key") if (fault := _unreadable(name, getattr(settings, name)))]
    if faults:
        raise ConfigError(faults)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[settings.minimum]
    try:
        context.load_cert_chain(settings.certificate, settings.key, _no_passphrase)
    except _Encrypted:
        message = f"the key in {settings.key!r} has a passphrase; write it without, readable by this user alone"
        raise ConfigError([Fault("server.tls.key", message)]) from None
    except ssl.SSLError as exc:
        raise ConfigError([_fault(settings, exc)]) from exc
    return context


def _unreadable(name: str, path: str) -> Fault | None:
    try:
        text = Path(path).read_bytes()
    except OSError as exc:
        return Fault(f"server.tls.{name}", f"{path!r} cannot be read: {exc.strerror}; name a file that is there")
    wanted = b"CERTIFICATE-----" if name == "certificate" else b"PRIVATE KEY-----"
    if wanted not in text:
        what = "certificate" if name == "certificate" else "private key"
        return Fault(f"server.tls.{name}", f"{path!r} has no {what} in PEM; name the file that has it")
    return None


def _fault(settings: TlsSettings, error: ssl.SSLError) -> Fault:
    if error.reason == "KEY_VALUES_MISMATCH":
        message = (
            f"the key in {settings.key!r} is not that of {settings.certificate!r}; name the two that belong together"
        )
        return Fault("server.tls.key", message)
    reason = (error.reason or str(error)).replace("_", " ").lower()
    return Fault("server.tls.certificate", f"{settings.certificate!r} cannot be used: {reason}; make it anew")


class _Encrypted(Exception):
    """The key asks for a passphrase, for which a server has nobody to ask."""


def _no_passphrase() -> str:
    raise _Encrypted
