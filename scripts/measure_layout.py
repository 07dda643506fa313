"""Print figures on the size and readability of the package, one per line, and how each is counted."""

import ast
import re
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).resolve().parent.parent / "aiml_cli"
FEW_LINES = 40
# Past participles that do not end in "ed".
IRREGULAR = {
    "said", "held", "kept", "written", "given", "gone", "shown", "told", "made", "begun", "meant", "chosen", "spoken",
    "heard", "found", "known", "lost", "drawn", "sent", "left",
}  # fmt: skip
# Words that end in "ed" but are not participles.
VERBS = {"bed", "embed", "exceed", "feed", "need", "proceed", "seed", "shed", "speed"}
Graph = Mapping[str, set[str]]


class Function(NamedTuple):
    """A function: its name, whether it is a property, and how many lines it has."""

    name: str
    is_property: bool
    lines: int


class Source(NamedTuple):
    """A source file and all nodes of its syntax tree."""

    path: Path
    nodes: list[ast.AST]
    lines: int


@cache
def read_sources(package: Path) -> list[Source]:
    """Return the source files of a package."""
    texts = {path: path.read_text("utf-8") for path in sorted(package.rglob("*.py"))}
    return [Source(path, list(ast.walk(ast.parse(text))), text.count("\n")) for path, text in texts.items()]


def read_imports(package: Path) -> dict[str, set[str]]:
    """Return the modules of the package that each of its modules imports, anywhere in its file."""
    sources = {_module_name(source.path, package): source for source in read_sources(package)}
    return {name: (set(_imports(source, sources)) & sources.keys()) - {name} for name, source in sources.items()}


def find_cycle(graph: Graph) -> list[str]:
    """Return the modules of one import cycle, sorted; [] if there is no cycle."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return sorted(set(error.args[1]))
    return []


def measure(package: Path = PACKAGE) -> dict[str, tuple[float, str]]:
    """Return the value of each figure, and how it is counted."""
    sources = read_sources(package)
    functions = [function for source in sources for function in _functions(source)]
    sizes = sorted(function.lines for function in functions)
    plain = [source for source in sources if source.path.name != "__init__.py"]
    classes = Counter(_class_names(sources))
    return {
        "top": (len(_entries(package)), "files and folders with Python files at the top of the package"),
        "files": (len(sources), "source files"),
        "small files": (sum(s.lines <= FEW_LINES for s in plain), f"of {FEW_LINES} lines or fewer, without __init__"),
        "import cycle": (len(find_cycle(read_imports(package))), "modules in an import cycle, TYPE_CHECKING included"),
        "participles": (sum(map(_is_participle, functions)), "functions named by a participle, without properties"),
        "twins": (sum(count > 1 for count in classes.values()), "class names that exist more than once"),
        "old docstrings": (
            sum(map(_is_old, _docstrings(sources))),
            'docstrings that start with Give, Hold, "Say whether"',
        ),
        "function median": (statistics.median(sizes), "lines of a function"),
        "function p90": (sizes[int(len(sizes) * 0.9)], "lines of a function"),
        "function max": (sizes[-1], "lines of a function"),
        "lines": (sum(source.lines for source in sources), "source lines, with comments and blank lines"),
    }


def _module_name(path: Path, package: Path) -> str:
    return ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")


def _imports(source: Source, modules: Mapping[str, object]) -> Iterator[str]:
    for node in source.nodes:
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in modules else str(node.module) for name in names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _entries(package: Path) -> list[Path]:
    return [path for path in package.iterdir() if path.suffix == ".py" or (path.is_dir() and any(path.glob("*.py")))]


def _class_names(sources: list[Source]) -> Iterator[str]:
    return (node.name for source in sources for node in source.nodes if isinstance(node, ast.ClassDef))


def _functions(source: Source) -> Iterator[Function]:
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            is_property = any("property" in ast.unparse(decorator) for decorator in node.decorator_list)
            yield Function(node.name, is_property, (node.end_lineno or node.lineno) - node.lineno + 1)


def _is_participle(function: Function) -> bool:
    word = function.name.strip("_").partition("_")[0]
    return not function.is_property and (
        word in IRREGULAR or (re.fullmatch("[a-z]{2,}ed", word) is not None and word not in VERBS)
    )


def _docstrings(sources: list[Source]) -> Iterator[str]:
    for node in (node for source in sources for node in source.nodes):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module):
            yield ast.get_docstring(node) or ""


def _is_old(docstring: str) -> bool:
    return re.match(r"(Give|Hold|Say whether)\b", docstring) is not None


if __name__ == "__main__":
    for name, (value, how) in measure().items():
        print(f"{name:16}{value:>8,g}  {how}")
