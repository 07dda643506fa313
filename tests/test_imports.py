"""The modules of the package import each other without a cycle."""

from support.import_graph import find_cycles, read_imports
from support.paths import ROOT


def test_no_import_cycle() -> None:
    assert find_cycles(read_imports(ROOT / "aiml_cli")) == []


def test_a_cycle_is_found() -> None:
    assert find_cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]
