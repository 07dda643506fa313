"""The package keeps its layout: few entries at the top, no import cycle, names that say what they are."""

from measure_layout import find_cycle, measure, read_imports
from support.paths import ROOT

LIMITS = {
    "top": 19,
    "files": 240,
    "small files": 15,
    "import cycle": 0,
    "participles": 20,
    "twins": 0,
    "old docstrings": 0,
}


def test_each_figure_stays_below_its_limit() -> None:
    figures = measure()
    assert [(name, *figures[name]) for name, limit in LIMITS.items() if figures[name][0] > limit] == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert find_cycle(read_imports(ROOT / "aiml_cli")) == []


def test_a_cycle_is_found() -> None:
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == ["b", "c"]
