"""A request finds the stage that answers it, by its path, its method and its fields."""

from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from bers import Caller, Interval, Nothing, Operation, Outlet, Refused, Reply, Stream
from bers.directory import Directory, Route


class Ask(msgspec.Struct, forbid_unknown_fields=True):
    """A question."""

    type: str
    limit: Annotated[int, Meta(ge=1, description="How many there are at most.")] = 5
    share: float = 0.5
    open: bool = False
    every: Interval = Interval("1s")
    order: Annotated[Literal["newest", "oldest"] | None, Meta(description="Which comes first.")] = None


class Answer(msgspec.Struct, rename="camel"):
    """An answer."""

    asked_for: str
    limit: int
    every: Interval


class Stage:
    async def one(self, ask: Ask, caller: Caller) -> Answer:
        return Answer(f"{ask.type} by {caller.principal}", ask.limit, ask.every)

    async def report(self, ask: Nothing, caller: Caller) -> Reply[str]:
        return Reply("the report", {"beside": 1}, healthy=False)

    async def stream(self, ask: Nothing, outlet: Outlet) -> None:
        await outlet.send(b"x")


def route(method: Any, path: str, handler: Any = Stage.one, request: Any = Ask, stage: Stage | None = Stage()) -> Route:  # noqa: B008
    return Route(Operation(method, path, handler, request, Answer, "Answer."), "answering", lambda: stage)


def directory() -> Directory:
    found = Directory()
    found.add(route("GET", "metrics/{type}"))
    found.add(route("DELETE", "metrics/{type}"))
    found.add(route("POST", "metrics/restart"))
    found.add(route("GET", "metrics/report", Stage.report, Nothing))
    found.add(route("GET", "/", Stage.report, Nothing))
    found.add(route("GET", "gone", Stage.report, Nothing, None))
    found.add(Route(Stream("events", Stage.stream, Nothing, "Stream."), "sse", lambda: None))
    return found


@pytest.mark.parametrize(
    ("path", "methods", "values"),
    [
        ("/api/monitoring/metrics/build", {"GET", "DELETE"}, {"type": "build"}),
        ("/api/monitoring/metrics/report", {"GET"}, {}),
        ("/api/monitoring/metrics/restart", {"POST"}, {}),
        ("/api/monitoring/events", {"GET"}, {}),
        ("/", {"GET"}, {}),
        ("/api/monitoring/metrics", set[str](), {}),
        ("/api/monitoring/metrics/", set[str](), {}),
        ("/api/monitoring/metrics/a/b", set[str](), {}),
        ("/metrics/build", set[str](), {}),
        ("", set[str](), {}),
    ],
)
def test_a_path_that_is_spelled_out_comes_before_one_with_a_parameter(
    path: str, methods: set[str], values: dict[str, str]
) -> None:
    routes, found = directory().match(path)
    assert (set(routes), found) == (methods, values)


async def test_fields_that_arrive_as_text_are_what_the_request_says_they_are() -> None:
    ask = route("GET", "x").read({"type": "a", "limit": "7", "share": "0.25", "open": "true", "every": "5m"})
    assert ask == Ask("a", 7, 0.25, True, Interval("5m"))
    assert route("GET", "x").read({"type": "a", "open": "0"}).open is False


@pytest.mark.parametrize(
    ("fields", "path", "message", "words"),
    [
        ({}, "type", "Object missing required field `type`", "it is missing"),
        (
            {"type": "a", "limit": "many"}, "limit", "Expected `int`, got `str`",
            "'many' is not understood; expected a whole number",
        ),
        ({"type": "a", "limit": 0}, "limit", "Expected `int` >= 1", "expected a whole number >= 1"),
        (
            {"type": "a", "every": "5"}, "every", "'5' has no unit; expected a duration such as 100ms, 5s, 5m or 7d",
            "'5' has no unit; expected a duration such as 100ms, 5s, 5m or 7d",
        ),
        (
            {"type": "a", "colour": 1}, "colour", "Object contains unknown field `colour`",
            "nothing of that name is known here",
        ),
        ({"type": []}, "type", "Expected `str`, got `array`", "expected text"),
        ({"type": "a", "order": "up"}, "order", "Invalid enum value 'up'", "'up' is not one of those that there are"),
    ],
)  # fmt: skip
def test_a_request_that_does_not_fit_names_the_field_the_fault_and_what_would_be_right(
    fields: dict[str, Any], path: str, message: str, words: str
) -> None:
    with pytest.raises(Refused) as info:
        route("GET", "x").read(fields)
    assert (info.value.reason, info.value.details) == ("invalid", [(path, message)])
    assert str(info.value) == f"{path}: {words}"
    described = {"limit": "How many there are at most.", "order": "Which comes first. One of: newest, oldest."}
    assert info.value.hint == described.get(path, "")


async def test_a_stage_can_be_asked_from_within_and_answers_as_over_rest() -> None:
    found = await directory().call("GET", "metrics/build", {"limit": 2})
    assert found == {"askedFor": "build by bers", "limit": 2, "every": "1s"}
    assert await directory().call("GET", "/api/monitoring/metrics/report", {}) == "the report"


async def test_an_answer_may_have_more_to_it_than_its_data() -> None:
    routes, _ = directory().match("/api/monitoring/metrics/report")
    reply = await directory().ask(routes["GET"], {}, Caller())
    assert (reply.data, reply.beside, reply.healthy) == ("the report", {"beside": 1}, False)


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "metrics/build"), ("GET", "nowhere"), ("GET", "metrics/restart")]
)
async def test_what_nobody_answers_is_not_found(method: str, path: str) -> None:
    with pytest.raises(Refused) as info:
        await directory().call(method, path, {})
    assert (info.value.reason, str(info.value)) == ("not_found", f"nobody answers {method} {path}")


async def test_a_stage_that_does_not_run_is_unavailable_with_the_remedy() -> None:
    with pytest.raises(Refused) as info:
        await directory().call("GET", "gone", {})
    assert (info.value.reason, str(info.value)) == ("unavailable", "'answering' is not running")
    assert info.value.hint == ("declare 'answering' in pipelines.yaml, or see `bers status` for why it does not run")
