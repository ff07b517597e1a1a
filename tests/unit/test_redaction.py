"""What looks like a secret is seen by nobody, and what does not is left alone."""

import copy
import json
import logging
import pickle

import msgspec
import pytest

from bers import Secret, redact, redact_text
from bers.redaction import is_secret_name, is_secret_variable
from bers.schemas import encode

KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----"


def test_a_secret_gives_itself_away_only_when_asked() -> None:
    secret = Secret("hunter2")
    shown = [str(secret), repr(secret), f"{secret}", f"{secret:>3}", "".join([secret]), ascii(secret)]
    shown.append(msgspec.json.encode({"key": secret}, enc_hook=encode).decode())
    shown.append(json.dumps(secret))
    shown.append(logging.makeLogRecord({"msg": "%s", "args": (secret,)}).getMessage())
    assert not any("hunter2" in text for text in shown)
    assert secret.reveal() == "hunter2"


def test_a_secret_is_not_written_anywhere() -> None:
    with pytest.raises(TypeError, match="a secret is not written anywhere"):
        pickle.dumps(Secret("hunter2"))


def test_a_secret_is_equal_to_itself_and_to_no_other() -> None:
    assert Secret("hunter2") == copy.deepcopy(Secret("hunter2")) != Secret("hunter3")
    assert Secret("hunter2") != "hunter2"
    assert len({Secret("a"), Secret("b"), Secret("a")}) == 2


@pytest.mark.parametrize(
    "name",
    [
        "token", "api_key", "api-key", "apikey", "apiKey", "GITHUB_TOKEN", "db.password", "PASSWD", "clientSecret",
        "accessToken", "private_key", "Authorization", "Set-Cookie", "cookies", "credentials", "passwordHash",
    ],
)  # fmt: skip
def test_a_name_that_tells_of_a_secret_is_recognised(name: str) -> None:
    assert is_secret_name(name)
    assert redact({name: "hunter2", "other": "x"}) == {name: "***", "other": "x"}


@pytest.mark.parametrize("name", ["tokenizer", "TOKENIZER", "secretary", "keyboard", "monkey", "passport", "author"])
def test_a_name_that_only_resembles_one_is_not(name: str) -> None:
    assert redact({name: "open"}) == {name: "open"}


def test_what_lies_inside_a_secret_is_one_too() -> None:
    value = {"credentials": {"user": "ada", "keys": ["a", "b"]}, "list": [{"token": "x"}], "tokens": 5}
    assert redact(value) == {
        "credentials": {"user": "***", "keys": ["***", "***"]},
        "list": [{"token": "***"}],
        "tokens": 5,
    }


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("git clone https://ada:hunter2@example.com/x", "git clone https://***@example.com/x"),
        ("ghp_" + "a" * 36, "***"),
        ("glpat-" + "a" * 20, "***"),
        ("xoxb-1234567890-abc", "***"),
        ("key AKIA" + "A" * 16 + " used", "key *** used"),
        ("Authorization: Bearer abcdefgh1234==", "Authorization: Bearer ***"),
        (f"before {KEY} after", "before *** after"),
        ("before -----BEGIN PRIVATE KEY-----\nMIIE", "before ***"),
        ("https://example.com:8080/a@b", "https://example.com:8080/a@b"),
        ("a build took 5 s", "a build took 5 s"),
    ],
)
def test_what_looks_like_a_credential_is_masked_in_text(text: str, masked: str) -> None:
    assert redact_text(text) == masked


@pytest.mark.parametrize(
    "value",
    [
        {"url": "https://host:8080", "mail": "ada@example.com"},
        {"pem": "-----BEGIN PRIVATE KEY-----\nMIIE", "after": "kept"},
        {"url": "https://ada:hunter2@example.com", "after": "kept"},
        {"pem": KEY, "after": "kept"},
    ],
)
def test_a_masked_line_of_json_is_still_a_line_of_json(value: dict[str, str]) -> None:
    line = redact_text(msgspec.json.encode(value).decode())
    assert list(json.loads(line)) == list(value)
    assert json.loads(line).get("after", "kept") == "kept"
    assert "hunter2" not in line
    assert "MIIE" not in line


def test_the_folder_that_a_shell_is_in_is_no_secret() -> None:
    assert is_secret_name("PWD"), "in what somebody sends it may be a password"
    assert [name for name in ("PWD", "OLDPWD", "DB_PWD", "API_TOKEN") if is_secret_variable(name)] == [
        "DB_PWD", "API_TOKEN",
    ]  # fmt: skip
