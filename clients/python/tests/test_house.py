"""The shape of the sources."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import keyfob

PACKAGE = Path(keyfob.__file__).parent


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports for types alone count too, and those inside of functions."""
    named: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        parts = ("keyfob", *path.relative_to(PACKAGE).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                package, names = parts[: -node.level], [node.module or name.name for name in node.names]
                named.setdefault(".".join(parts), set()).update(".".join((*package, name)) for name in names)
    assert "keyfob._http" in named["keyfob._loop"]
    list(TopologicalSorter(named).static_order())
