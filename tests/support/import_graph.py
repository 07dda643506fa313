"""Which module of a package imports which, read from the sources, imports under TYPE_CHECKING included."""

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

Graph = Mapping[str, set[str]]


def read_imports(package: Path) -> dict[str, set[str]]:
    """Return for each module of a package the modules of it that it imports, anywhere in its file."""
    files = {_module_name(path, package): path for path in package.rglob("*.py")}
    return {name: (set(_imports(path, files)) & files.keys()) - {name} for name, path in files.items()}


def find_cycles(graph: Graph) -> list[list[str]]:
    """Return a cycle of the graph, sorted, in a list; an empty list if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [sorted(set(error.args[1]))]
    return []


def _module_name(path: Path, package: Path) -> str:
    return ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")


def _imports(path: Path, files: Mapping[str, Path]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in files else str(node.module) for name in names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
