"""A node's redactor masks by name, by shape and by the values of its secrets, and leaves the rest as it is."""

import base64
import html
import json
import time
from pathlib import Path
from urllib.parse import quote, quote_plus

import msgspec
import pytest

from bers import Event, Redactor, Run, Vcs
from bers.identity_key import KEY_FILE, identity_key
from bers.redaction import pieces
from bers.shapes import objection

SECRET = 'k3J9x Q2m"Z7/p+L&w8<Ty'
EVENT = Event("e-1", "/ci", "build.finished", 5.0, subject="b-1", reason="it took 5 s", labels={"phase": "link"})


def body(**fields: object) -> bytes:
    return msgspec.json.encode([{"id": "e-1", "source": "/ci", "type": "build.finished", **fields}])


@pytest.mark.parametrize(
    "spelled",
    [
        SECRET, quote(SECRET), quote(SECRET, safe=""), quote_plus(SECRET), html.escape(SECRET),
        json.dumps(SECRET)[1:-1],
        *(base64.b64encode(before + SECRET.encode() + b"tail").decode() for before in (b"", b"a", b"ab")),
        *(base64.urlsafe_b64encode(before + SECRET.encode()).decode() for before in (b"", b"a", b"ab")),
    ],
)  # fmt: skip
def test_the_value_of_a_secret_is_masked_however_it_is_written(spelled: str) -> None:
    redactor = Redactor([SECRET])
    text = redactor.text(f"<{spelled}>")
    assert "***" in text and "Q2m" not in text
    assert len(text) < 20, "nothing worth having is left of it"
    assert not redactor.is_clean(f"<{spelled}>".encode())


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("write to ada.lovelace+x@mail.example.org.", "write to ***."),
        ("<jürgen@müller.de>", "<***>"),
        ("clone git@github.com:ada/x.git", "clone git@github.com:ada/x.git"),
        ("lodash@4.17.21-beta.one and @scope/x@1.2.3", "lodash@4.17.21-beta.one and @scope/x@1.2.3"),
        ("image@sha256:abcdef", "image@sha256:abcdef"),
        ("https://ci@git.example/x", "https://***@git.example/x"),
        ("https://ada:p@ss@git.example/x", "https://***@git.example/x"),
        ("GET /x?page=2&access_token=abcdef12&b=c", "GET /x?page=2&access_token=***&b=c"),
        ("DB_PASSWORD=hunter2 make", "DB_PASSWORD=*** make"),
        ("jwt eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl end", "jwt *** end"),
        ("unexpected token: foo", "unexpected token: foo"),
        ("a=b, x==y", "a=b, x==y"),
    ],
)
def test_what_has_the_shape_of_a_secret_or_an_address_is_masked(text: str, masked: str) -> None:
    redactor = Redactor()
    assert redactor.text(text) == masked
    assert redactor.text(masked) == masked, "masking twice is masking once"
    assert redactor.is_clean(text.encode()) <= (text == masked), "what is called clean is left as it is"


def test_addresses_stay_where_the_configuration_says_so() -> None:
    assert Redactor(emails=False).text("ada@mail.example") == "ada@mail.example"


def test_names_and_patterns_of_an_operators_are_masked_too() -> None:
    redactor = Redactor(names=["iban", "case_id"], patterns=[r"CUST-\d+", r"order (\w+)"])
    assert redactor.value({"iban": "DE1", "customerIban": "DE2", "case-id": "5", "urban": "x"}) == {
        "iban": "***", "customerIban": "***", "case-id": "***", "urban": "x",
    }  # fmt: skip
    assert redactor.text("CUST-4711 sent order abc") == "*** sent order ***"
    event = redactor.events([msgspec.structs.replace(EVENT, reason="CUST-4711")], clean=redactor.is_clean(body()))[0]
    assert event.reason == "***"


def test_what_a_configuration_brings_later_is_masked_too() -> None:
    redactor = Redactor(["k3J9xQ2mZ7pLw8"])
    redactor.learn(Redactor(["hunter2hunter2"]))
    assert redactor.text("k3J9xQ2mZ7pLw8 hunter2hunter2") == "*** ***"
    assert not redactor.is_clean(b"hunter2hunter2")


def test_a_short_value_is_a_word_and_no_secret() -> None:
    assert Redactor(["3001", "true", "", "*" * 20]).text("port 3001 is true ****") == "port 3001 is true ****"


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        ("Bearer k3J9xQ2mZ7pLw8", {"Bearer k3J9xQ2mZ7pLw8", "k3J9xQ2mZ7pLw8"}),
        ("https://hooks.example/services/T0AB12CD34EF/xyz",
         {"https://hooks.example/services/T0AB12CD34EF/xyz", "", "T0AB12CD34EF"}),
        ("postgres://ada:hunter2@db/x", {"postgres://ada:hunter2@db/x", "hunter2"}),
    ],
)  # fmt: skip
def test_what_is_secret_about_a_secret(secret: str, expected: set[str]) -> None:
    assert set(pieces(secret)) == expected


def test_every_field_of_an_event_is_masked() -> None:
    token = "ghp_" + "a" * 36
    event = Event(
        f"id {token}", f"https://ada:{token}@ci/x", f"custom.{SECRET}", 5.0, subject=f"of {token}", environment=token,
        reason=token, service=token, version=token, artifact=token, vcs=Vcs(token, token, token, token, token),
        run=Run(token, token, token, token, 1, token), measures={token: 1.0}, labels={token: token, "os": "linux"},
        chain=token, traceparent=token, origin=token, data={token: [{"a": (token,)}], "password": "x", "n": 5},
    )  # fmt: skip
    masked = Redactor([SECRET]).event(event)
    text = msgspec.json.encode(masked).decode()
    assert token not in text and SECRET not in text
    assert masked.labels["os"] == "linux"
    assert (masked.data["password"], masked.data["n"]) == ("***", 5)
    assert (masked.time, masked.run and masked.run.attempt, list(masked.measures.values())) == (5.0, 1, [1.0])


def test_what_joins_events_keeps_joining_them_and_tells_nobody() -> None:
    redactor = Redactor(key=lambda: b"k" * 32)
    one, again, other = (redactor.event(msgspec.structs.replace(EVENT, subject=f"{name}@x.example")) for name in "aab")
    assert one.subject == again.subject != other.subject
    assert one.subject.startswith("***") and len(one.subject) == 11
    assert redactor.event(one) is one, "masking twice is masking once"
    elsewhere = Redactor(key=lambda: b"x" * 32).event(msgspec.structs.replace(EVENT, subject="a@x.example"))
    assert elsewhere.subject != one.subject


def test_the_key_of_a_node_is_made_once_and_is_its_own(tmp_path: Path) -> None:
    key = identity_key(tmp_path / "data")
    assert key == identity_key(tmp_path / "data") and len(key) == 32
    assert (tmp_path / "data" / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert key != identity_key(tmp_path / "other")
    (tmp_path / "data" / KEY_FILE).write_bytes(b"half")
    assert len(identity_key(tmp_path / "data")) == 32
    aside, report = sorted((tmp_path / "data").glob(f"{KEY_FILE}.damaged-*"))
    assert aside.read_bytes() == b"half" and f"is kept as {aside.name}" in report.read_text()


def test_a_clean_event_is_the_very_same() -> None:
    redactor = Redactor([SECRET])
    event = msgspec.structs.replace(EVENT, data={"nested": [{"a": "b"}], "cost": 1.5})
    assert redactor.event(event) is event
    assert redactor.events([event]) == [event]
    assert redactor.events([event], clean=True)[0] is event


def test_names_are_looked_at_even_where_the_bytes_are_clean() -> None:
    event = msgspec.structs.replace(EVENT, data={"a": [{"db_password": "x"}]}, labels={"token": "x"})
    (masked,) = Redactor().events([event], clean=True)
    assert (masked.data, masked.labels) == ({"a": [{"db_password": "***"}]}, {"token": "***"})


@pytest.mark.parametrize("reason", [r"ada@mail.example", r"ghp_" + "a" * 36, "k3J9xQ2mZ7pLw8"])
def test_nothing_hides_behind_an_escape(reason: str) -> None:
    redactor = Redactor(["k3J9xQ2mZ7pLw8"])
    escaped = "".join(f"\\u{ord(one):04x}" for one in reason).encode()
    whole = b'[{"reason":"' + escaped + b'"}]'
    assert not redactor.is_clean(whole, foreign=True)
    assert redactor.is_clean(body(reason="a plain reason"), foreign=True)


def test_an_answer_is_masked_and_the_names_of_its_fields_are_no_secrets() -> None:
    redactor = Redactor(["k3J9xQ2mZ7pLw8"])
    clean = msgspec.json.encode({"token": "a field of ours", "n": 5})
    assert redactor.encoded(clean) is clean
    dirty = msgspec.json.encode({"token": "ours", "said": "k3J9xQ2mZ7pLw8", "by": {"a@b.example": 1}})
    masked = json.loads(redactor.encoded(dirty))
    assert (masked["token"], masked["said"], list(masked["by"].values())) == ("ours", "***", [1])


def test_a_page_is_searched_for_values_alone() -> None:
    redactor = Redactor(["k3J9xQ2mZ7&Lw8"])
    assert redactor.page(b"@media { } <b>k3J9xQ2mZ7&amp;Lw8</b> a@b.example") == b"@media { } <b>***</b> a@b.example"


ADVERSARIAL = [
    "a" * 65_536, "a@" * 32_768, "@" * 65_536, "a@" + "b." * 32_768, "a@" + "b-" * 32_768 + ".1", "://" * 21_845,
    "://" + "a" * 65_533, "://a@" * 13_107, "eyJ-" * 16_384, "eyJ" + "a" * 40_000 + ".", "eyJaaaaaaaa." * 5_461,
    "glpat-" * 10_922, "xoxb-" * 13_107, "ghp_" * 16_384, "AKIA" * 16_384, "Bearer " * 9_362, "token=" * 10_922,
    "-----BEGIN " * 5_957, "-----BEGIN PRIVATE KEY-----" * 2_427, "-----BEGIN " + "A" * 65_525,
    "-----BEGIN PRIVATE KEY-----" + "-----END " * 7_000, "a.b-c_d%e+" * 6_553, "=" * 65_536, "password" * 8_192,
    "\\" * 65_536, "***@" * 16_384, "https://" + "a@" * 32_000,
]  # fmt: skip


@pytest.mark.parametrize("text", ADVERSARIAL, ids=lambda text: text[:12])
def test_no_text_takes_longer_than_in_proportion_to_its_length(text: str) -> None:
    redactor = Redactor(["k3J9xQ2mZ7pLw8"])

    def seconds(text: str) -> float:
        started = time.process_time()
        redactor.text(text)
        return time.process_time() - started

    # Four times the text: were it quadratic, it would take sixteen times as long.
    short = min(seconds(text) for _ in range(3))
    assert min(seconds(text * 4) for _ in range(3)) < 8 * short + 0.02


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("a(b", "is no pattern"),
        ("x*", "matches where nothing is"),
        ("", "matches where nothing is"),
        ("(a+)+b", "repeats what repeats itself"),
        ("((a|b)*c)*d", "repeats what repeats itself"),
        (r"(\w+\s?){2,}x", "repeats what repeats itself"),
        (r"\w+@corp", "begins with a repetition without end"),
        (r"(?:[^x\]]*)y", "begins with a repetition without end"),
        (r"(?P<a>.+):b", "begins with a repetition without end"),
        (r"(?<!\w)\w+@corp", ""),
        (r"\w{1,64}@corp", ""),
        (r"\d+", ""),
        (r"CUST-\d+", ""),
        (r"(?:ab){2,}c[+*]+", ""),
        (r"[(a+)+]b", ""),
        (r"\(a+\)+", ""),
        (r"(\d{3}-)+x", ""),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused(pattern: str, why: str) -> None:
    assert why in objection(pattern) if why else not objection(pattern)
