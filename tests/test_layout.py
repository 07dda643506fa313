"""The package keeps its layout: few entries at the top, no import cycle, names that say what they are."""

import pytest
from measure_layout import find_cycle, measure, read_imports
from support.paths import ROOT

LIMITS = {
    "top": 18,
    "files": 200,
    "small files": 15,
    "import cycle": 0,
    "participles": 20,
    "twins": 0,
    "old docstrings": 0,
}


@pytest.mark.parametrize(("name", "limit"), LIMITS.items())
def test_a_figure_stays_below_its_limit(name: str, limit: int) -> None:
    value, how = measure()[name]
    assert value <= limit, how


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert find_cycle(read_imports(ROOT / "aiml_cli")) == []


def test_a_cycle_is_found() -> None:
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == ["b", "c"]
