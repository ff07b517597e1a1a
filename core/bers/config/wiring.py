"""Which stage feeds which: the `pipelines:` of the file, checked as a graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from bers.claims import UNMAPPED
from bers.config.located import Document
from bers.delivery import Delivery
from bers.errors import unknown
from bers.plain import as_object
from bers.stages import AnySpec, Config, DurableSpec


class PipelineSettings(Config, frozen=True):
    """One pipeline: where its events come from, what is done to them, where they go. Every entry is a stage's key."""

    sources: Annotated[list[str], Meta(min_length=1, description="Sources, or sinks that are sources too.")]
    sinks: Annotated[list[str], Meta(min_length=1, description="Sinks.")]
    processors: Annotated[list[str], Meta(description="Processors, in their order.")] = []


@dataclass(frozen=True)
class Declared:
    """A stage as the file declares it: under a key, with a validated config."""

    key: str
    spec: AnySpec
    config: Config
    delivery: Delivery = Delivery()
    primary: bool = False
    source: AnySpec | None = None
    """For a sink that is a source too, its spec as a source."""

    @property
    def claims(self) -> Sequence[str]:
        return (self.source or self.spec).claims


@dataclass(frozen=True)
class Stages:
    """Every stage of a file, by kind and key."""

    sources: Mapping[str, Declared]
    processors: Mapping[str, Declared]
    sinks: Mapping[str, Declared]

    @property
    def emitting(self) -> Mapping[str, Declared]:
        """What a pipeline may name as a source."""
        both = {key: sink for key, sink in self.sinks.items() if sink.source}
        return {**self.sources, **both}


def check(document: Document, stages: Stages, pipelines: Mapping[str, PipelineSettings]) -> list[str]:
    """Note every fault of the wiring in the document, and return what is allowed and probably not meant."""
    _check_names(document, stages, pipelines)
    if document.faults:
        return []
    _check_claims(document, stages)
    _check_cycles(document, pipelines)
    _check_counted_twice(document, stages, pipelines)
    return [*_warn_order(stages, pipelines), *_warn_unused(stages, pipelines)]


def _check_names(document: Document, stages: Stages, pipelines: Mapping[str, PipelineSettings]) -> None:
    # A stage that is declared and wrong has its own fault; that it is named is none.
    wrong = {
        kind: _declared(document, kind) - getattr(stages, kind).keys() for kind in ("sources", "processors", "sinks")
    }
    known = {
        "sources": ("source", [*stages.emitting, UNMAPPED, *wrong["sources"], *wrong["sinks"]]),
        "processors": ("processor", [*stages.processors, *wrong["processors"]]),
        "sinks": ("sink", [*stages.sinks, *wrong["sinks"]]),
    }
    for name, pipeline in pipelines.items():
        for kind, (word, keys) in known.items():
            named: list[str] = getattr(pipeline, kind)
            for n, key in enumerate(named):
                steps = ("pipelines", name, kind, n)
                if key not in keys:
                    elsewhere = [other for other in ("sources", "processors", "sinks") if key in getattr(stages, other)]
                    hint = f"it is declared under `{elsewhere[0]}:`" if elsewhere else f"declare it under `{kind}:`"
                    document.faults.append(document.fault(steps, f"{unknown(word, key, keys)}; {hint}"))
                elif key in named[:n]:
                    document.faults.append(document.fault(steps, f"{key!r} is named twice; remove one of them"))


def _declared(document: Document, kind: str) -> set[str]:
    return set(as_object(document.value.get(kind)) or {})


def _check_claims(document: Document, stages: Stages) -> None:
    owners: dict[str, str] = {}
    for key, stage in stages.emitting.items():
        for claim in stage.claims:
            owner = owners.setdefault(claim, key)
            if owner != key:
                message = f"{owner!r} and {key!r} both claim events of type {claim!r}; declare only one of them"
                document.faults.append(document.fault(("sources" if key in stages.sources else "sinks", key), message))
                break


def _check_cycles(document: Document, pipelines: Mapping[str, PipelineSettings]) -> None:
    after = {
        name: [other for other, next in pipelines.items() if set(pipeline.sinks) & set(next.sources)]
        for name, pipeline in pipelines.items()
    }
    for name in pipelines:
        path = _path_back(name, after)
        if path and name == min(path):
            way = " -> ".join([*path, name])
            message = f"the pipelines form a cycle: {way}; take a source out of one of them"
            document.faults.append(document.fault(("pipelines", name), message))


def _path_back(start: str, after: Mapping[str, Sequence[str]]) -> list[str]:
    """A way from a pipeline back to itself, if there is one."""
    ways = [[start]]
    seen: set[str] = set()
    while ways:
        way = ways.pop()
        for next in after[way[-1]]:
            if next == start:
                return way
            if next not in seen:
                seen.add(next)
                ways.append([*way, next])
    return []


def _check_counted_twice(document: Document, stages: Stages, pipelines: Mapping[str, PipelineSettings]) -> None:
    folding = {
        name: pipeline
        for name, pipeline in pipelines.items()
        if any(stages.processors[key].spec.name == "aggregation" for key in pipeline.processors)
    }
    for name, pipeline in folding.items():
        for other in list(folding)[: list(folding).index(name)]:
            sinks = [key for key in pipeline.sinks if key in folding[other].sinks and _durable(stages, key)]
            sources = [key for key in pipeline.sources if key in folding[other].sources]
            if sinks and sources:
                message = (
                    f"source {sources[0]!r} reaches sink {sinks[0]!r} through {other!r} and {name!r}, "
                    f"and both aggregate: it would be counted twice; take it out of one of them"
                )
                document.faults.append(document.fault(("pipelines", name, "sources"), message))


def _durable(stages: Stages, key: str) -> bool:
    return isinstance(stages.sinks[key].spec, DurableSpec)


def _warn_order(stages: Stages, pipelines: Mapping[str, PipelineSettings]) -> Iterator[str]:
    for name, pipeline in pipelines.items():
        kinds = [stages.processors[key].spec.name for key in pipeline.processors]
        if "aggregation" in kinds and "sampling" in kinds[: kinds.index("aggregation")]:
            place = f"pipelines.{name}.processors"
            yield f"{place}: sampling stands before aggregation; put it behind, so that figures see all"


def _warn_unused(stages: Stages, pipelines: Mapping[str, PipelineSettings]) -> Iterator[str]:
    for kind in ("sources", "processors", "sinks"):
        used = {key for pipeline in pipelines.values() for key in getattr(pipeline, kind)}
        for key, stage in getattr(stages, kind).items():
            # What a source brings, or reads of a format, belongs to whoever claims it.
            if key not in used and (stage.claims or not (stage.spec.formats or stage.spec.brings)):
                yield f"{kind}.{key}: no pipeline names it"
