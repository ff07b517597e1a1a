"""The page for plugin authors: the hooks, and every public name."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping

import bers
from bers import hookspecs, testing
from tests.docs.writers import markdown, source


def page() -> str:
    parts: list[str] = []
    for home, names in homes().items():
        module = source.module(f"bers.{home}")
        parts += [f"### {home}", markdown.first_line(ast.get_docstring(module))]
        parts += [_name(module, name) for name in names]
    return markdown.page(
        "Hooks and public names",
        _OPENING,
        "## Hooks",
        markdown.table(["hook", "what it does"], [[f"`{name}()`", text] for name, text in hooks().items()]),
        "They are called once, at start-up, without arguments, and return lists. A plugin is a module that an entry "
        "point of the group `bers` names; its functions carry `@bers.hookimpl`. A command is no hook: an entry point "
        "of the group `bers.commands` names a `click` command, which is imported when it is used.",
        "## Public names of `bers`",
        "A plugin imports from `bers` alone. What is not listed here may change with any version.",
        *parts,
        "## The test kit, `bers.testing`",
        markdown.table(["name", "what it does"], [[f"`{name}`", _testing(name)] for name in testing.__all__]),
        "`bers.testing.server.serving` runs a whole server in a test, with real sockets and files; "
        "`bers.testing.endpoint.Endpoint` is a place that is asked over HTTP.",
    )


def hooks() -> dict[str, str]:
    """Every hook with what it says of itself."""
    found = inspect.getmembers(hookspecs, inspect.isfunction)
    return {name: markdown.first_paragraph(one.__doc__) for name, one in found if name.startswith("bers_")}


def homes() -> Mapping[str, list[str]]:
    """The public names by the module in which they live, as the package imports them."""
    found: dict[str, list[str]] = {}
    for node in ast.walk(ast.parse(inspect.getsource(bers))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("bers."):
            found.setdefault(node.module.removeprefix("bers."), []).extend(one.name for one in node.names)
    return {home: sorted(found[home]) for home in sorted(found)}


def _name(module: ast.Module, name: str) -> str:
    defined = source.kind(module, name)
    text = markdown.prose(source.docstring(module, name))
    head = f"#### `{name}`"
    if isinstance(defined, (ast.FunctionDef, ast.AsyncFunctionDef)):
        head = f"#### `{name}({', '.join(one.arg for one in (*defined.args.args, *defined.args.kwonlyargs))})`"
    elif not isinstance(defined, ast.ClassDef):
        text = f"{text} It is `{source.definition(module, name)}`.".strip()
    rows = [[markdown.code(one.name), one.type, one.text] for one in source.members(module, name)]
    return "\n\n".join(part for part in (head, text, markdown.table(["member", "type", "meaning"], rows)) if part)


def _testing(name: str) -> str:
    return markdown.first_line(getattr(testing, name).__doc__)


_OPENING = """
What a plugin implements, and what it may import. [How to write a plugin](../how-to/write-a-plugin.md) shows the use of
it.
"""
