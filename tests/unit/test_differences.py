"""What differs between two configurations is exactly what is opened anew; what differs in nothing stays."""

from typing import Annotated

import pytest
from msgspec import Meta

from bers import Batch, Config, DurableSpec, Emit, Metric, ProcessorSpec, Secret, SinkSpec, SourceSpec, Stage
from bers.config import Plan, plan
from bers.config.located import parse
from bers.differences import Changes, Turnover, alone, compare, refused
from bers.plugins import Catalogue


class Options(Config, frozen=True):
    """Something to configure."""

    size: Annotated[int, Meta(description="A size.")] = 1
    token: Annotated[Secret | None, Meta(description="A secret.")] = None


class Everything(Stage[Options]):
    """A stage of every kind, which nobody opens."""

    async def run(self, emit: Emit) -> None: ...

    async def process(self, batch: Batch) -> Batch:
        return batch

    async def write(self, batch: Batch) -> None: ...

    async def position(self, reader: str, partition: int, *, begin: int) -> int:
        return begin


TIME = Metric("build_time", "ms", "How long it took.", 100.0)
CATALOGUE = Catalogue(
    {
        "source": {
            "build": SourceSpec("build", Options, Everything, claims=("build.*",), metrics=(TIME,)),
            "other": SourceSpec("other", Options, Everything),
            "listener": SourceSpec("listener", Options, Everything, alone=True),
        },
        "processor": {
            "trim": ProcessorSpec("trim", Options, Everything),
            "judge": ProcessorSpec("judge", Options, Everything, reads_targets=True),
        },
        "sink": {"page": SinkSpec("page", Options, Everything), "store": DurableSpec("store", Options, Everything)},
    }
)
TEXT = """
sources: {build: {}, other: {}}
processors: {trim: {}, judge: {}}
sinks: {page: {}, store: {token: "${env:TOKEN:-none}"}}
pipelines:
  keep: {sources: [build, other], processors: [trim], sinks: [store]}
  show: {sources: [build], processors: [judge], sinks: [page]}
"""


def read(text: str = TEXT, *replaced: tuple[str, str], **environ: str) -> Plan:
    for old, new in replaced:
        assert old in text
        text = text.replace(old, new)
    return plan(parse(text, "pipelines.yaml"), CATALOGUE, environ=environ)


@pytest.mark.parametrize(
    ("replaced", "expected"),
    [
        ((), Changes()),
        ((("build: {}, other: {}", "other: {}, build: {}"),), Changes()),
        ((("sources: [build, other]", "sources: [other, build]"),), Changes()),
        ((("page: {}", "page: {size: 1}"),), Changes()),  # The default, spelled out.
        ((("build: {}", "build: {size: 2}"),), Changes(sources=Turnover(changed=("build",)))),
        (
            (("trim: {}", "trim: {size: 2}"),),
            Changes(processors=Turnover(changed=("trim",)), pipelines=Turnover(changed=("keep",))),
        ),
        (
            (("page: {}", "page: {size: 2}"),),
            Changes(sinks=Turnover(changed=("page",)), pipelines=Turnover(changed=("show",))),
        ),
        (
            (("page: {}", "page: {delivery: {queue: 5}}"),),
            Changes(sinks=Turnover(changed=("page",)), pipelines=Turnover(changed=("show",))),
        ),
        (
            (("page: {}", "page: {}, more: {use: page}"), ("sinks: [page]", "sinks: [page, more]")),
            Changes(sinks=Turnover(added=("more",)), pipelines=Turnover(changed=("show",))),
        ),
        ((("  show:", "  shown:"),), Changes(pipelines=Turnover(added=("shown",), removed=("show",)))),
        (
            (("[build, other]", "[build]"), ("build: {}, other: {}", "build: {}")),
            Changes(sources=Turnover(removed=("other",)), pipelines=Turnover(changed=("keep",))),
        ),
        (
            (("sources: {build: {},", "log: {level: debug}\nsources: {build: {},"),),
            Changes(settings=("log.level",)),
        ),
        (
            (("sources: {build: {},", "metrics: {build_time: {target: 5s}}\nsources: {build: {},"),),
            Changes(
                processors=Turnover(changed=("judge",)),
                pipelines=Turnover(changed=("show",)),
                settings=("metrics.build_time",),
            ),
        ),
    ],
)
def test_exactly_what_differs_is_touched(replaced: tuple[tuple[str, str], ...], expected: Changes) -> None:
    assert compare(read(), read(TEXT, *replaced)) == expected


def test_the_other_way_round_what_came_goes() -> None:
    more = read(TEXT, ("other: {}}", "other: {}, third: {use: other}}"))
    assert compare(read(), more).sources == Turnover(added=("third",))
    assert compare(more, read()).sources == Turnover(removed=("third",))


def test_secrets_are_compared_by_what_they_are() -> None:
    assert compare(read(TOKEN="a"), read(TOKEN="a")).nothing
    changes = compare(read(TOKEN="a"), read(TOKEN="b"))
    assert (changes.sinks.changed, changes.pipelines.changed) == (("store",), ("keep",))


def test_another_type_under_the_same_key_is_a_change() -> None:
    changes = compare(read(), read(TEXT, ("other: {}", "other: {use: listener}")))
    assert changes == Changes(sources=Turnover(changed=("other",)))


def test_a_sink_that_is_opened_anyway_takes_its_pipelines_along() -> None:
    changes = compare(read(), read(), reopened={"store"})
    assert changes == Changes(sinks=Turnover(changed=("store",)), pipelines=Turnover(changed=("keep",)))


def test_what_is_durable_or_says_so_is_alone() -> None:
    stages = read(TEXT, ("other: {}", "other: {use: listener}")).stages
    assert {key: alone(stage) for key, stage in {**stages.sources, **stages.sinks}.items()} == {
        "build": False,
        "other": True,
        "page": False,
        "store": True,
    }


def test_what_a_running_node_cannot_change_is_refused_where_it_stands() -> None:
    text = "server: {control: 4003, host: 127.0.0.1}\nenvironment: staging\nstop_within: 3s\n" + TEXT
    changed = read(text)
    faults = refused(compare(read(), changed), read(), changed)
    assert [(fault.place, fault.path) for fault in faults] == [
        ("pipelines.yaml:2:1", "environment"),
        ("pipelines.yaml:1:10", "server.control"),
    ]
    assert faults[0].message == "cannot be changed while the server runs; change it back, or run `bers restart`"


def test_a_setting_that_was_taken_out_is_refused_at_the_file() -> None:
    before = read("data_dir: here\n" + TEXT)
    (fault,) = refused(compare(before, read()), before, read())
    assert (fault.path, fault.place) == ("data_dir", "pipelines.yaml:2:1")


def test_what_a_metric_of_ones_own_is_takes_a_restart_and_its_target_does_not() -> None:
    own = "metrics: {wait: {unit: ms, target: 5s}}\n"
    before, other = read(own + TEXT), read(own.replace("5s", "6s") + TEXT)
    assert refused(compare(before, other), before, other) == []
    for one, two in ((before, read()), (read(), before), (before, read(own.replace("ms", "s") + TEXT))):
        (fault,) = refused(compare(one, two), one, two)
        assert fault.path.startswith("metrics.wait") and "bers restart" in fault.message
