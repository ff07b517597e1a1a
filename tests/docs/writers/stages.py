"""One page for each builtin stage: what it does, its options, and what it offers."""

from __future__ import annotations

from bers.cli.plugins import describe
from bers.plugins import Kind, load
from bers.stages import AnySpec, DurableSpec
from bers.units import format_value
from tests.docs.writers import markdown

FOLDERS: dict[Kind, str] = {"source": "sources", "processor": "processors", "sink": "sinks"}


def pages() -> dict[str, str]:
    """The pages by their path below docs/reference/."""
    found = {f"plugins/{FOLDERS[kind]}/{spec.name}.md": _page(kind, spec) for kind, spec in own()}
    return found | {"plugins/index.md": _index()}


def own() -> list[tuple[Kind, AnySpec]]:
    """Every builtin stage once; a sink that is a source too is one stage, and its page stands with the sinks."""
    specs = load(installed=False).specs
    return [
        (kind, spec)
        for kind in FOLDERS
        for spec in specs[kind].values()
        if not (kind == "source" and spec.name in specs["sink"])
    ]


def _index() -> str:
    parts: list[str] = []
    for kind, folder in FOLDERS.items():
        rows = [[f"[{spec.name}]({folder}/{spec.name}.md)", spec.summary] for one, spec in own() if one == kind]
        parts += [f"## {folder.capitalize()}", markdown.table([kind, "what it does"], rows)]
    return markdown.page(
        "Builtin stages",
        "What `pipelines.yaml` may use without anything else being installed. `bers plugins list` prints the same, "
        "with the stages of installed plugins; `bers plugins show build` prints one of these pages.",
        *parts,
    )


def _page(kind: Kind, spec: AnySpec) -> str:
    described = describe(kind, spec)
    claims = [*described["claims"], *_claims_as_source(kind, spec)]
    options = markdown.option_rows(spec.config)
    return markdown.page(
        f"{spec.name} ({kind})",
        f"{spec.summary}",
        _delivery(kind, spec),
        "## Options",
        markdown.table(["option", "type", "default", "meaning"], options) or "It has none.",
        _claims(claims),
        _metrics(spec),
        _checks(spec),
        _operations(spec),
        f"## Log\n\nIts events and messages are in `logs/{spec.log}.log`." if spec.log and kind == "source" else "",
    )


def _delivery(kind: Kind, spec: AnySpec) -> str:
    if kind != "sink":
        return ""
    if isinstance(spec, DurableSpec):
        return (
            "It is durable: it gets every record, and commits what it makes of them together with its position. "
            "`delivery:` has no say in that."
        )
    return (
        "It gets what happens while it runs, through a bounded queue: nobody waits for it. See `delivery:` in "
        "[pipelines.yaml](../../pipelines.md)."
    )


def _claims_as_source(kind: Kind, spec: AnySpec) -> list[str]:
    source = load(installed=False).specs["source"].get(spec.name) if kind == "sink" else None
    return list(source.claims) if source else []


def _claims(claims: list[str]) -> str:
    if not claims:
        return ""
    return f"## Events\n\nThese types belong to it: {', '.join(map(markdown.code, claims))}."


def _metrics(spec: AnySpec) -> str:
    rows = [
        [
            markdown.code(one.name),
            markdown.code(one.unit),
            "" if one.target is None else f"{_side(one.better)} {format_value(one.target, one.unit)}",
            ", ".join(map(markdown.code, one.labels)),
            one.description,
        ]
        for one in spec.metrics
    ]
    return f"## Metrics\n\n{markdown.table(['metric', 'unit', 'target', 'labels', 'meaning'], rows)}" if rows else ""


def _side(better: str) -> str:
    return {"lower": "at most", "higher": "at least"}.get(better, "")


def _checks(spec: AnySpec) -> str:
    rows = [
        [
            markdown.code(one.name),
            str(one.interval),
            str(one.timeout),
            "yes" if one.critical else "no",
            one.description,
        ]
        for one in spec.checks
    ]
    heads = ["check", "every", "may take", "critical", "meaning"]
    return f"## Health checks\n\n{markdown.table(heads, rows)}" if rows else ""


def _operations(spec: AnySpec) -> str:
    rows = [
        [markdown.code(one["method"]), markdown.code(one["path"]), one["scope"], one["summary"]]
        for one in describe("", spec)["operations"]
    ]
    heads = ["method", "path", "scope", "what it answers"]
    if not rows:
        return ""
    note = "Paths are below `/api/monitoring/` unless they begin with a slash; see the [REST reference](../../rest.md)."
    return f"## REST\n\n{markdown.table(heads, rows)}\n\n{note}"
