"""Properties of every row of the table of options."""

import json
import re
from collections import Counter
from typing import Any

import pytest
from support.paths import SHARED

from aiml_cli.api.endpoints import ENDPOINT_NAMES
from aiml_cli.errors import UsageError
from aiml_cli.settings.options import ROWS, Option, flags_of
from aiml_cli.settings.resolve import read_table

PARAMETER_LIST = SHARED / "api" / "params.json"
PATHS_WITHOUT_OPTION = re.compile(r"messages|input$|input\[|tool_choice<")
EXTRA_PARAMETERS = [
    ("chat", "tools"),
    ("chat", "stream_options.include_usage"),
    ("responses", "tools"),
    ("responses", "reasoning.summary"),
    ("responses", "reasoning.effort"),
    ("responses", "include"),
    ("responses", "text.format"),
    ("responses", "prompt.id"),
    ("responses", "prompt.version"),
    ("responses", "prompt.variables"),
    ("responses", "instructions"),
    ("responses", "background"),
    ("responses", "temperature"),
    ("responses", "top_p"),
    ("responses", "parallel_tool_calls"),
]

every_row = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
every_endpoint = pytest.mark.parametrize("endpoint", ENDPOINT_NAMES)


def find_duplicates(values: list[str]) -> list[str]:
    return [value for value, count in Counter(values).items() if count > 1]


def find_option(endpoint: str, path: str) -> Option[Any]:
    return next(row for row in ROWS.values() if endpoint in row.body_paths and row.body_paths[endpoint].path == path)


def list_published() -> list[Any]:
    """List the properties that the vendor's page names, and those that must have an option too."""
    rows = json.loads(PARAMETER_LIST.read_text()) if PARAMETER_LIST.exists() else []
    named = [row for row in rows if row["in_seed"] or (row["endpoint"], row["path"]) in EXTRA_PARAMETERS]
    return [
        pytest.param(row, id=f"{row['endpoint']}-{row['path']}")
        for row in named
        if not PATHS_WITHOUT_OPTION.match(row["path"])
    ]


def test_no_short_flag_is_used_twice() -> None:
    assert not find_duplicates([row.short for row in ROWS.values() if row.short])
    assert all(re.fullmatch(r"-[A-Za-z]", row.short) for row in ROWS.values() if row.short)


def test_no_flag_is_spelled_twice() -> None:
    assert not find_duplicates([word for row in ROWS.values() for word in {row.flag, row.short, *row.aliases} - {""}])


def test_no_variable_sets_two_options() -> None:
    variables = [variable for row in ROWS.values() for variable in row.variables]
    assert not find_duplicates(variables)
    assert all(re.fullmatch(r"AIML(API)?_[A-Z][A-Z_]*", variable) for variable in variables)


@every_row
def test_help_is_a_sentence(row: Option[Any]) -> None:
    assert re.fullmatch(r"\S.*[^.\s]\.", row.help)


@every_row
def test_each_row_has_a_help_panel_and_a_flag(row: Option[Any]) -> None:
    assert row.panel
    assert re.fullmatch(r"--[a-z][a-z-]*", row.flag)
    assert row.flag[2:].replace("-", "_") in (row.name, row.name.removesuffix("s"))


@every_row
def test_a_default_is_a_value_that_a_user_could_have_typed(row: Option[Any]) -> None:
    if row.default is not None:
        typed = ("on" if row.default else "off") if row.value_type.is_switch else str(row.default)
        assert row.value_type.parse(typed) == row.default


@every_row
def test_every_suggested_value_is_valid(row: Option[Any]) -> None:
    for word in row.value_type.choices:
        assert row.value_type.parse(word) is not None


@pytest.mark.promise("key-masked")
@every_row
def test_a_secret_has_no_flag_and_no_place_in_the_config_file(row: Option[Any]) -> None:
    if row.secret:
        assert row not in [*flags_of("chat"), *flags_of("responses")]
        with pytest.raises(UsageError):
            read_table({row.name: "a made-up key"}, "config.toml")


def test_the_key_is_a_secret() -> None:
    assert [row.name for row in ROWS.values() if row.secret] == ["api_key"]
    assert ROWS["api_key"].variables == ("AIMLAPI_API_KEY", "AIML_API_KEY", "AIMLAPI_KEY")


@every_row
def test_rows_name_only_existing_endpoints(row: Option[Any]) -> None:
    assert set(row.body_paths) <= set(ENDPOINT_NAMES)
    assert all(
        re.fullmatch(r"[a-z_]+(\[[a-z_=]*\])?(\.[a-z_]+(\[[a-z_=]*\])?)*", place.path)
        for place in row.body_paths.values()
    )


@every_endpoint
def test_each_body_path_belongs_to_one_row(endpoint: str) -> None:
    places = [row.body_paths[endpoint].path for row in ROWS.values() if endpoint in row.body_paths]
    assert not find_duplicates(places)
    assert not [(outer, inner) for outer in places for inner in places if inner.startswith(f"{outer}.")]


@every_endpoint
def test_a_command_offers_what_its_endpoint_has(endpoint: str) -> None:
    offered = flags_of(endpoint)
    assert all(not row.body_paths or endpoint in row.body_paths for row in offered)
    assert {row.name for row in ROWS.values() if endpoint in row.body_paths} <= {row.name for row in offered}


def test_options_of_a_single_call_have_no_variable() -> None:
    assert not [row.name for row in ROWS.values() if row.per_call and row.variables]


@pytest.mark.skipif(not PARAMETER_LIST.exists(), reason="the vendor's parameters are no part of the repository")
@pytest.mark.parametrize("endpoint", ENDPOINT_NAMES)
def test_the_parameter_list_of_the_vendor_can_be_read(endpoint: str) -> None:
    assert {"model", "stream", "tool_choice"} <= {
        param.values[0]["path"] for param in list_published() if param.values[0]["endpoint"] == endpoint
    }


@pytest.mark.parametrize("parameter", list_published())
def test_each_published_parameter_has_its_row(parameter: dict[str, Any]) -> None:
    value_type = find_option(parameter["endpoint"], parameter["path"]).value_type_on(parameter["endpoint"])
    match parameter["type"]:
        case "boolean":
            assert value_type.is_switch
        case "number" | "integer":
            assert value_type.limits == (parameter["min"], parameter["max"])
            assert value_type.name.startswith("a whole number") == (parameter["type"] == "integer")
        case "string" if parameter["enum"] and parameter["path"] != "model":
            assert set(parameter["enum"]) <= set(value_type.choices)
        case "string":
            assert value_type.parse("a-text") == "a-text"
        case "object" if value_type.is_list:
            assert value_type.parse("name=value") == {"name": "value"}
        case "object":
            assert value_type.parse('{"type": "text"}') == {"type": "text"}
        case "array":
            assert value_type.parse("[]") in ([], ("[]",))
        case "string|object":
            assert [value_type.parse(word) for word in parameter["enum"]] == parameter["enum"]
            assert value_type.parse('{"type": "mcp"}') == {"type": "mcp"}
        case other:
            pytest.fail(f"a new type of parameter: {other}")


@pytest.mark.parametrize(("endpoint", "path"), EXTRA_PARAMETERS)
def test_each_documented_parameter_has_its_row(endpoint: str, path: str) -> None:
    assert find_option(endpoint, path).flag.startswith("--")


@pytest.mark.parametrize("word", ["none", "minimal", "low", "medium", "high", "xhigh", "max", "a new one"])
def test_any_effort_is_accepted_because_the_server_checks_it(word: str) -> None:
    assert ROWS["effort"].value_type.parse(word) == word
