"""What the source code says of itself and no running object does: docstrings of fields and of aliases."""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from typing import NamedTuple

from tests.docs.writers import markdown


class Member(NamedTuple):
    """A public field or method of a class: how it is written, and the first line of what it says of itself."""

    name: str
    type: str
    text: str
    call: bool = False


def module(name: str) -> ast.Module:
    return ast.parse(inspect.getsource(import_module(name)))


def docstring(module: ast.Module, name: str) -> str:
    """What a class, a function or an alias of a module says of itself."""
    for node, text in _documented(module.body):
        if name in _names(node):
            return text
    return ""


def definition(module: ast.Module, name: str) -> str:
    """What an alias stands for."""
    for node in module.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and name in _names(node) and node.value:
            return ast.unparse(node.value)
    return ""


def kind(module: ast.Module, name: str) -> ast.stmt | None:
    """The statement that defines a name."""
    return next((node for node in module.body if name in _names(node)), None)


def members(module: ast.Module, name: str) -> list[Member]:
    """The public members of a class, in their order."""
    owner = kind(module, name)
    found: list[Member] = []
    for node, text in _documented(owner.body if isinstance(owner, ast.ClassDef) else []):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            type, said = _described(node.annotation)
            found.append(Member(node.target.id, _written(type), markdown.first_paragraph(text) or said))
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found.append(_method(node, text))
    return [member for member in found if not member.name.startswith("_")]


def _method(node: ast.FunctionDef | ast.AsyncFunctionDef, text: str) -> Member:
    if any(isinstance(one, ast.Name) and one.id == "property" for one in node.decorator_list):
        return Member(node.name, _written(node.returns), markdown.first_paragraph(text))
    args = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    waits = "async " if isinstance(node, ast.AsyncFunctionDef) else ""
    written = f"{waits}({', '.join(one for one in args if one not in ('self', 'cls'))})"
    return Member(node.name, written, markdown.first_paragraph(text), call=True)


def _documented(body: list[ast.stmt]) -> list[tuple[ast.stmt, str]]:
    """Each statement with its docstring: inside it, or, for assignments, behind it."""
    found: list[tuple[ast.stmt, str]] = []
    for number, node in enumerate(body):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            found.append((node, ast.get_docstring(node) or ""))
        else:
            found.append((node, _text(body[number + 1]) if number + 1 < len(body) else ""))
    return found


def _text(node: ast.stmt) -> str:
    value = node.value if isinstance(node, ast.Expr) else None
    return inspect.cleandoc(value.value) if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        return [node.name]
    if isinstance(node, ast.AnnAssign):
        return [node.target.id] if isinstance(node.target, ast.Name) else []
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return []


def _described(node: ast.expr) -> tuple[ast.expr, str]:
    """A type without what is said of it in a Meta, and the description there."""
    if not (
        isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple) and _is_named(node.value, "Annotated")
    ):
        return node, ""
    type, *metas = node.slice.elts
    for keyword in (word for meta in metas if isinstance(meta, ast.Call) for word in meta.keywords):
        if keyword.arg == "description" and isinstance(keyword.value, ast.Constant):
            return type, str(keyword.value.value)
    return type, ""


def _is_named(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _written(node: ast.expr | None) -> str:
    return f"`{ast.unparse(node)}`" if node else ""
