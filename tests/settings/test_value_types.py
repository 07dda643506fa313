"""Each type of value accepts what it should and refuses the rest with the same kind of error."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aiml_cli.errors import UsageError
from aiml_cli.settings.value_types import (
    JSON,
    JSON_OR_WORD,
    PATHS,
    PROPERTIES,
    SCHEMA,
    SWITCH,
    TEXT,
    TEXT_OR_FILE,
    VARIABLES,
    ValueType,
    choice,
    integer,
    names_file,
    number,
    text,
    text_list,
)

VALUE_TYPES = [
    number(),
    number(0, 2),
    integer(),
    integer(16),
    choice("auto", "disabled"),
    text("low", "high"),
    text_list("a"),
    SWITCH,
    TEXT,
    JSON,
    JSON_OR_WORD,
    PROPERTIES,
    VARIABLES,
    PATHS,
]


@pytest.mark.parametrize(
    ("value_type", "raw", "value"),
    [
        (number(0, 2), "0", 0),
        (number(0, 2), "2", 2),
        (number(0, 2), "0.7", 0.7),
        (number(), "-3.5", -3.5),
        (integer(16), "16", 16),
        (integer(1), "4096", 4096),
        (choice("auto", "disabled"), "disabled", "disabled"),
        (text("low"), "ultra", "ultra"),
        (text_list(), "a, b,,c", ("a", "b", "c")),
        (PATHS, "a,b", ("a,b",)),
        (JSON, '{"a": [1, null]}', {"a": [1, None]}),
        (JSON, "[]", []),
        (JSON_OR_WORD, "required", "required"),
        (JSON_OR_WORD, '{"type": "mcp"}', {"type": "mcp"}),
        (PROPERTIES, "stop=end", {"stop": "end"}),
        (PROPERTIES, "a.b=5", {"a.b": 5}),
        (PROPERTIES, 'a={"b": null}', {"a": {"b": None}}),
        (PROPERTIES, "a=b=c", {"a": "b=c"}),
        (PROPERTIES, "a=", {"a": ""}),
        (VARIABLES, "year=2026", {"year": "2026"}),
        (VARIABLES, 'who={"type": "input_text"}', {"who": {"type": "input_text"}}),
    ],
)
def test_a_good_value_is_read(value_type: ValueType[Any], raw: str, value: object) -> None:
    assert value_type.parse(raw) == value


@pytest.mark.parametrize(
    ("value_type", "raw"),
    [
        (number(0, 2), "2.01"),
        (number(0, 2), "-0.1"),
        (number(0.01, 1), "0"),
        (number(), "warm"),
        (number(), ""),
        (integer(16), "15"),
        (integer(1), "0"),
        (integer(1), "1.5"),
        (integer(), "1e3"),
        (choice("auto"), "Auto"),
        (choice("auto"), ""),
        (TEXT, ""),
        (SWITCH, "maybe"),
        (JSON, "5"),
        (JSON, "{"),
        (JSON_OR_WORD, ""),
        (JSON_OR_WORD, "{auto"),
        (PROPERTIES, "no equals sign"),
        (PROPERTIES, "=5"),
        (PROPERTIES, ".=5"),
        (VARIABLES, "name"),
        (PATHS, ""),
    ],
)
def test_a_bad_value_is_a_value_error(value_type: ValueType[Any], raw: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the sentence is made where the speaker is known
        value_type.parse(raw)


@pytest.mark.parametrize(
    "value_type", [number(), number(0), number(0, 2), integer(), integer(1)], ids=lambda value_type: value_type.name
)
@pytest.mark.parametrize("raw", ["nan", "inf", "-inf", "Infinity", "1e999", "-1e999", "9" * 5000])
def test_nan_and_infinity_are_outside_of_every_range(value_type: ValueType[Any], raw: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - as above
        value_type.parse(raw)


def test_a_whole_number_is_sent_as_an_integer() -> None:
    assert repr(number(1).parse("100")) == "100"
    assert repr(number(0, 2).parse("1.0")) == "1.0"


@pytest.mark.parametrize(("on", "off"), [("on", "off"), ("1", "0"), ("TRUE", "False"), ("yes", "no")])
def test_a_switch_accepts_the_usual_words(on: str, off: str) -> None:
    assert SWITCH.parse(on) is True
    assert SWITCH.parse(off) is False


@pytest.mark.parametrize("value_type", VALUE_TYPES, ids=lambda value_type: value_type.name)
@settings(deadline=None, max_examples=60)
@example("@")
@example("@no/such/file")
@example("no/such/file.json")
@example("a=[")
@given(raw=st.text())
def test_any_text_is_read_or_refused(value_type: ValueType[Any], raw: str) -> None:
    try:
        value_type.parse(raw)
    except (ValueError, UsageError):
        return


@pytest.mark.parametrize("value_type", VALUE_TYPES, ids=lambda value_type: value_type.name)
def test_each_type_has_a_name_for_errors_and_one_for_help(value_type: ValueType[Any]) -> None:
    assert value_type.name
    assert value_type.metavar
    assert value_type.name == value_type.name.strip(" .")


@pytest.mark.parametrize(
    ("value_type", "name"),
    [
        (number(), "a number"),
        (number(1), "a number of at least 1"),
        (number(0, 2), "a number from 0 to 2"),
        (integer(16), "a whole number of at least 16"),
        (choice("auto", "disabled"), "one of auto, disabled"),
    ],
)
def test_the_name_of_a_type_says_which_values_are_valid(value_type: ValueType[Any], name: str) -> None:
    assert value_type.name == name


def test_json_may_be_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "tools.json"
    path.write_bytes(b'\xef\xbb\xbf[{"type": "function"}]')
    assert JSON.parse(f"@{path}") == JSON.parse(str(path)) == [{"type": "function"}]
    assert JSON_OR_WORD.parse(f"@{path}") == [{"type": "function"}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1,\n "b": }', "line 2, column 7"),
        (b"", "line 1, column 1"),
        (b'{"a": "\xe9"}', "UTF-8"),
    ],
)
def test_an_invalid_json_file_is_named_with_the_place_of_its_error(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(UsageError) as refused:
        JSON.parse(f"@{path}")
    assert refused.value.message.startswith(f"{path}: ")
    assert message in refused.value.message


@pytest.mark.parametrize("name", ["absent.json", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=str(tmp_path)):
        JSON.parse(f"@{tmp_path / name}")


@pytest.mark.parametrize("content", ["5", "null", '"text"'])
def test_a_file_must_hold_an_object_or_a_list_too(tmp_path: Path, content: str) -> None:
    path = tmp_path / "scalar.json"
    path.write_text(content)
    with pytest.raises((ValueError, UsageError)):
        JSON.parse(f"@{path}")


@pytest.mark.promise("current-directory")
@pytest.mark.parametrize(
    ("value_type", "raw", "value"),
    [
        (JSON, '{"type": "json_object"}', {"type": "json_object"}),
        (JSON, ' {"type": "json_object"}', {"type": "json_object"}),
        (JSON, "[]", []),
        (JSON, '["a.json"]', ["a.json"]),
        (JSON, "5", None),
        (JSON, "null", None),
        (JSON, '"a.json"', None),
        (JSON, "[1", None),
        (JSON, '{"a.json', None),
        (JSON, '{"a": 1}.json', None),
        (JSON_OR_WORD, '{"type": "x"}', {"type": "x"}),
        (JSON_OR_WORD, "auto", "auto"),
        (JSON_OR_WORD, "tool.json", "tool.json"),
        (PROPERTIES, "a=5", {"a": 5}),
        (VARIABLES, 'a={"b": 1}', {"a": {"b": 1}}),
        (TEXT, "5", "5"),
    ],
)
def test_a_file_with_the_same_name_as_a_value_is_not_read(value_type: ValueType[Any], raw: str, value: object) -> None:
    for name in {raw, raw.partition("=")[2]} - {""}:
        Path(name).write_text('{"read": "from the file"}')
    try:
        assert value_type.parse(raw) == value
    except ValueError:
        assert value is None


@pytest.mark.parametrize(
    ("value_type", "argument", "is_file"),
    [
        (JSON, "@a", True),
        (JSON, "a", True),
        (JSON, "a.json", True),
        (JSON, "{}", False),
        (JSON, '["a.json"]', False),
        (JSON_OR_WORD, "@a", True),
        (JSON_OR_WORD, "a.json", False),
        (SCHEMA, "@a", True),
        (SCHEMA, "a.json", True),
        (SCHEMA, "./a", True),
        (SCHEMA, "../a", True),
        (SCHEMA, "~/a", True),
        (SCHEMA, "/a", True),
        (SCHEMA, "a, b.json", False),
        (SCHEMA, "a: see /b", False),
        (SCHEMA, '{"a": "b.json"}', False),
        (TEXT_OR_FILE, "@a", True),
        (TEXT_OR_FILE, "a.json", False),
        (TEXT, "@a", False),
        (PROPERTIES, "a=@b", False),
    ],
)
def test_values_that_name_a_file_are_recognized(value_type: ValueType[Any], argument: str, is_file: bool) -> None:
    assert names_file(value_type, argument) is is_file
