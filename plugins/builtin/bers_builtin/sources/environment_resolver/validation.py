"""What is wrong with a resolved configuration. A fault names places and rules, never a value."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import urlsplit

import msgspec

from bers_builtin.sources.environment_resolver.config import EnvironmentResolverConfig
from bers_builtin.sources.environment_resolver.files import ProjectFolder, Unreadable

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

MAX_FAULTS = 100

_SECRET = re.compile(
    r"(?:^|[_.-])(?:token|secret|password|passwd|pwd|api[_-]?key|private[_-]?key|credential)s?(?:$|[_.-])",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r"(?:change|replace)[_ -]?me|to ?do|x{3,}|\*{3,}|secret|password|placeholder|example|your[_ -].*|<.*>|test",
    re.IGNORECASE,
)
_ADDRESS_KEY = re.compile(r"(?:url|uri|origin|endpoint)s?$|[_.-]host(?:name)?s?$", re.IGNORECASE)
_NO_ADDRESS = frozenset({"$schema", "$id", "xmlns"})


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong: how bad, where, and what."""

    severity: Literal["error", "warning"]
    path: str
    """A file, a variable, or a JSON pointer below the configuration file."""
    message: str


def validate(
    config: EnvironmentResolverConfig,
    folder: ProjectFolder,
    environment: str | None,
    document: Mapping[str, Any] | None,
    variables: Mapping[str, str],
) -> Sequence[Fault]:
    """Check the configuration file and the variables: schema, required keys, rules."""
    faults = list(_required(config, document, variables))
    if config.schema:
        faults += _schema(config, folder, document)
    if "environment" in config.rules and document is not None:
        faults += _same_environment(config, environment, document)
    if environment == "production":
        for path, name, text in _texts(config, document, variables):
            faults += _production(config, path, name, text)
    if len(faults) > MAX_FAULTS:
        rest = len(faults) - MAX_FAULTS
        faults = [*faults[:MAX_FAULTS], Fault("error", "", f"{rest} more faults are not listed")]
    return faults


def load_jsonschema() -> None:
    """Import it, if it is there, before anything is measured: that takes more than the whole resolution may."""
    with suppress(ImportError):
        import_module("jsonschema")


def pointer(parts: Sequence[str | int]) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def _required(
    config: EnvironmentResolverConfig, document: Mapping[str, Any] | None, variables: Mapping[str, str]
) -> Iterator[Fault]:
    for name in config.required:
        if not name.startswith("/"):
            if not variables.get(name):
                yield Fault("error", name, "it is required, and neither a file nor the process sets it")
        elif not _has(document, name):
            yield Fault("error", f"{config.config_file}#{name}", "it is required, and missing")


def _has(document: Any, path: str) -> bool:
    for part in path.split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        if isinstance(document, list):
            index = int(part) if part.isascii() and part.isdigit() else -1
            items: list[Any] = document  # pyright: ignore[reportUnknownVariableType]
            if not 0 <= index < len(items):
                return False
            document = items[index]
        elif isinstance(document, Mapping) and part in document:
            document = document[part]  # pyright: ignore[reportUnknownVariableType]
        else:
            return False
    return document is not None


def _same_environment(
    config: EnvironmentResolverConfig, environment: str | None, document: Mapping[str, Any]
) -> Iterator[Fault]:
    named = document.get("environment")
    if isinstance(named, str) and environment is not None:
        word = named.strip().lower()
        if config.aliases.get(word, word) != environment:
            yield Fault(
                "error", f"{config.config_file}#/environment", f"it is not the detected environment, {environment}"
            )


def _texts(
    config: EnvironmentResolverConfig, document: Mapping[str, Any] | None, variables: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
    """Every text there is: where it stands, what it is called, and the text."""
    for name, text in variables.items():
        yield name, name, text
    waiting: list[tuple[tuple[str | int, ...], str, Any]] = [((), "", document)]
    while waiting:
        path, name, value = waiting.pop()
        if isinstance(value, str):
            yield f"{config.config_file}#{pointer(path)}", name, value
        elif isinstance(value, dict):
            inner: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
            waiting += [((*path, key), key, inner[key]) for key in reversed(inner) if key not in _NO_ADDRESS]
        elif isinstance(value, list):
            items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
            waiting += [((*path, index), name, items[index]) for index in reversed(range(len(items)))]


def _production(config: EnvironmentResolverConfig, path: str, name: str, text: str) -> Iterator[Fault]:
    scheme, host = _address(name, text)
    if "localhost" in config.rules and _local(host):
        yield Fault("error", path, "it leads to this machine; production needs a public address")
    elif "https" in config.rules and scheme in ("http", "ws"):
        yield Fault("error", path, f"its address begins with {scheme}://; production needs {scheme}s://")
    if "placeholders" in config.rules and _SECRET.search(name) and _PLACEHOLDER.fullmatch(text.strip()):
        yield Fault("error", path, "it still holds a placeholder; production needs the secret itself")


def _address(name: str, text: str) -> tuple[str, str]:
    """The scheme and the host of what is an address, by its look or by its name."""
    text = text.strip()
    if "://" not in text:
        if not _ADDRESS_KEY.search(name):
            return "", ""
        text = f"//{text}"
    try:
        parts = urlsplit(text)
        return parts.scheme, parts.hostname or ""
    except ValueError:
        return "", ""


def _local(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback


def _schema(
    config: EnvironmentResolverConfig, folder: ProjectFolder, document: Mapping[str, Any] | None
) -> Iterator[Fault]:
    try:
        content = folder.read(config.schema, outside=True)
    except Unreadable as exc:
        yield Fault("error", config.schema, str(exc))
        return
    if content is None:
        yield Fault("error", config.schema, "there is no such schema; correct the option `schema`")
        return
    try:
        validator = _compile(content)
    except ImportError:
        message = "it cannot be checked without jsonschema; install the extra: pip install 'bers-monitoring[schema]'"
        yield Fault("error", config.schema, message)
        return
    except _BadSchema as exc:
        yield Fault("error", config.schema, str(exc))
        return
    if document is None:
        yield Fault("error", config.config_file, "there is no such file, or it cannot be read; the schema describes it")
        return
    yield from _violations(config, validator, document)


class _BadSchema(Exception):
    """The schema itself is wrong."""


def _compile(content: bytes) -> Validator:
    from jsonschema import Draft7Validator
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for
    from referencing import Registry

    try:
        schema = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _BadSchema("it is not JSON") from None
    if not isinstance(schema, dict):
        raise _BadSchema("it is not a JSON Schema, which is an object")
    schema = cast("dict[str, Any]", schema)
    kind = validator_for(schema, default=Draft7Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as exc:
        raise _BadSchema(f"it is not a JSON Schema; see {pointer(list(exc.path)) or '/'} in it") from None
    # The empty registry: a schema must not make us fetch others from the network.
    return kind(schema, registry=Registry())


def _violations(
    config: EnvironmentResolverConfig, validator: Validator, document: Mapping[str, Any]
) -> Iterator[Fault]:
    from referencing.exceptions import Unresolvable

    try:
        for error in validator.iter_errors(document):
            yield Fault("error", f"{config.config_file}#{pointer(list(error.absolute_path))}", _phrase(error))
    except Unresolvable as exc:
        yield Fault(
            "error", config.schema, f"it refers to {exc.ref!r}, which is not in it; other files are not fetched"
        )


def _phrase(error: ValidationError) -> str:
    """What the schema wants. The library's own message repeats the value, which may be a secret."""
    match error.validator:
        case "required":
            return error.message  # It names the property that is missing, and nothing else.
        case "additionalProperties" if isinstance(error.instance, Mapping):
            schema, instance = cast("dict[str, Any]", error.schema), cast("Mapping[str, Any]", error.instance)
            surplus = sorted(key for key in instance if key not in schema.get("properties", {}))
            return f"the schema knows no {', '.join(surplus)}"
        case keyword:
            wanted = msgspec.json.encode(error.validator_value).decode()
            return f"the schema wants {keyword} {wanted if len(wanted) <= 100 else wanted[:99] + '…'}"
