"""What may import what. The table is the rule; the test keeps it true."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = [
    {"errors"},
    {"plain", "programs", "shapes", "targets", "units"},
    {"disk", "sketch", "write_ahead"},
    {"checksums", "collector", "log_file", "metering", "records", "ward", "watchdog"},
    {"catalog", "clock", "copies", "counters", "redaction", "rescue", "schema_copy", "schemas", "sharing"},
    {"carry_over", "headers", "persisting", "soundness"},
    {"transplant"},
    {"salvage"},
    {"identity_key", "mendings", "position_rows"},
    {"beside", "opening"},
    {"database", "decoding", "frames", "memory", "patterns", "rates", "repeats", "series", "tables", "tail"},
    {"audit_chain", "segments"},
    {"audit_proof", "inspection", "journal", "positions", "snapshots"},
    {
        "all_positions",
        "bus",
        "checks",
        "claims",
        "filters",
        "formats",
        "log",
        "operations",
        "panels",
        "speedometer",
        "states",
        "timekeeping",
    },
    {"audit", "cloudevents", "recorded"},
    {"cdevents", "stages"},
    {"delivery", "hookspecs", "letters", "notifications", "receivers", "storage"},
    {"attempts", "letter_rows"},
    {"dead_letters", "in_hand"},
    {"burial", "replay"},
    {"courier"},
    {"queues"},
    {"availability", "directory", "health", "intake", "lock", "pipeline", "plugins", "tapping"},
    {"access", "telling"},
    {"backup"},
    {"config"},
    {"cells", "differences", "housekeeping", "logs", "offline", "pace"},
    {"collection", "guards", "integrity", "keepers"},
    {"pipeline_keeper", "rounds", "stage_keeper", "watches"},
    {"roster"},
    {"blame", "seats"},
    {"workshop"},
    {"changeover"},
    {"reloading"},
    {"news", "vitals"},
    {"supervisor"},
    {"explaining", "overview"},
    {"web"},
    {"production"},
    {"testing"},
    {"cli"},
    {"__main__"},
]
RANK = {module: rank for rank, layer in enumerate(LAYERS) for module in layer}
WITHIN = {("redaction", "schemas")}
"""Within one layer, who may import whom: schemas know secrets."""


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def at_run_time(tree: ast.Module) -> ast.Module:
    """Without what only type checkers see."""
    unseen = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    return ast.Module([node for node in tree.body if node not in unseen], tree.type_ignores)


@pytest.mark.parametrize("path", sorted((ROOT / "core/bers").rglob("*.py")), ids=lambda path: path.stem)
def test_core_imports_only_what_lies_below(path: Path) -> None:
    here = path.relative_to(ROOT / "core/bers").parts[0].removesuffix(".py")
    if here == "__init__":
        return
    assert here in RANK, f"{here} has no place in the table of layers"
    for name in imports(ast.parse(path.read_text(encoding="utf-8"))):
        top, _, rest = name.partition(".")
        assert top != "bers_builtin", f"{here} must not know the plugins"
        below = rest.split(".")[0]
        if top == "bers" and below in RANK and below != here and (below, here) not in WITHIN:
            assert RANK[below] < RANK[here], f"{here} imports {below}"


ENGINE = "bers_builtin.sinks.alert_engine."
HOME = ROOT / "plugins/builtin" / ENGINE.replace(".", "/")
ROOMS = [
    {"rules"},
    {"sliding", "slices"},
    {"alerts"},
    {"suppression"},
    {"config"},
    {"watches"},
    {"life"},
    {"written"},
    {"evaluator"},
    {"books"},
    {"rehearsal", "desk", "pulse"},
    {"engine"},
]
FLOOR = {room: rank for rank, layer in enumerate(ROOMS) for room in layer}


@pytest.mark.parametrize("path", sorted(HOME.rglob("*.py")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_rooms_of_the_alert_engine_import_only_what_lies_below(path: Path) -> None:
    here = path.relative_to(HOME).parts[0].removesuffix(".py")
    if here == "__init__":
        return
    assert here in FLOOR, f"{here} has no place in the table of rooms"
    for name in imports(at_run_time(ast.parse(path.read_text(encoding="utf-8")))):
        below = name.removeprefix(ENGINE).split(".")[0]
        if name.startswith(ENGINE) and below != here:
            assert FLOOR[below] < FLOOR[here], f"{here} imports {below}"


PLUGINS = sorted((ROOT / "plugins/builtin").rglob("*.py"))


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_plugins_use_only_the_public_names_and_never_each_other(path: Path) -> None:
    home = path.relative_to(ROOT / "plugins/builtin").with_suffix("").parts
    for name in imports(ast.parse(path.read_text(encoding="utf-8"))):
        assert not (name.startswith("bers.") and name.count(".") > 1), f"{name} is not public"
        if name.startswith("bers_builtin."):
            theirs = name.split(".")
            own = home[: min(len(home) - 1, 3)]  # A stage may have packages of its own.
            inside = theirs[: len(own)] == list(own) or theirs[2].startswith("_")
            assert inside, f"{'.'.join(home)} imports {name}, which is another plugin"


EMITTER = sorted((ROOT / "plugins/contrib/bers-emit/src").rglob("*.py"))


@pytest.mark.parametrize("path", EMITTER, ids=lambda path: path.stem)
def test_the_emitter_needs_nothing_but_the_standard_library(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    known = {*sys.stdlib_module_names, "bers_emit"}
    if path.parent.name == "pytest_plugin":  # Which is where pytest is, or nobody loads it.
        known.add("pytest")
    for name in imports(at_run_time(tree)):
        assert name.partition(".")[0] in known, f"{path.name} imports {name}"
