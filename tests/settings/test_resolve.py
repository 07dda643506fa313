"""Each setting comes from the source with the highest priority, and errors name that source."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiml_cli.errors import UsageError
from aiml_cli.settings.options import ROWS, Option, Options, value_of
from aiml_cli.settings.resolve import RawValue, Settings, Source, read_environment, read_table, resolve

SOURCES = [source for source in Source if source is not Source.DEFAULT]


def make_values(source_name: str = "somebody", /, **texts: str) -> dict[str, RawValue]:
    return {name: RawValue((text,), source_name) for name, text in texts.items()}


def resolve_table(table: Mapping[str, object], endpoint: str = "") -> Options:
    return resolve({Source.FILE: read_table(table, "config.toml")}, endpoint).options


@settings(deadline=None)
@given(st.sets(st.sampled_from(SOURCES), min_size=1))
def test_the_source_with_the_highest_priority_wins(sources: set[Source]) -> None:
    layers = {
        source: make_values(temperature=f"0.{number}") for number, source in enumerate(Source) if source in sources
    }
    resolved = resolve(layers)
    strongest = max(sources, key=list(Source).index)
    assert resolved.sources["temperature"] is strongest
    assert resolved.options.temperature == float(f"0.{list(Source).index(strongest)}")


def test_the_order_is_the_documented_one() -> None:
    names = ["default", "config file", "profile", "environment", "/set", "template", "flag"]
    assert [source.value for source in Source] == names


def test_without_a_source_the_value_is_none_or_a_marked_default() -> None:
    resolved = resolve({})
    assert resolved.options.temperature is None
    assert "temperature" not in resolved.sources
    assert resolved.options.model == "openai/gpt-5-1"
    assert resolved.sources["model"] is Source.DEFAULT


@pytest.mark.parametrize(
    ("name", "text", "value"), [("temperature", "0", 0), ("stream", "off", False), ("retries", "0", 0)]
)
def test_zero_and_false_are_values(name: str, text: str, value: object) -> None:
    layers = {
        Source.FILE: make_values(temperature="1", stream="on", retries="3"),
        Source.FLAG: make_values(**{name: text}),
    }
    assert getattr(resolve(layers).options, name) == value


def test_a_value_knows_its_source_and_the_sources_it_hides() -> None:
    resolved = resolve(
        {
            Source.FILE: make_values("config.toml: seed", seed="1"),
            Source.ENVIRONMENT: make_values("AIML_SEED", seed="2"),
            Source.FLAG: make_values("--seed", seed="3"),
        }
    )
    assert resolved.source_names["seed"] == "--seed"
    assert resolved.overrides["seed"] == ("config.toml: seed", "AIML_SEED")


@pytest.mark.parametrize("source", SOURCES)
def test_an_invalid_value_gives_the_same_message_for_every_source(source: Source) -> None:
    with pytest.raises(UsageError) as refused:
        resolve({source: make_values("the speaker", temperature="3")})
    assert refused.value.message == "the speaker: '3' is not a number from 0 to 2"


def test_a_mistyped_choice_gives_a_suggestion() -> None:
    with pytest.raises(UsageError) as refused:
        resolve({Source.FLAG: make_values("--format", format="jason")})
    assert "json" in refused.value.hint


def test_only_the_value_that_is_used_is_checked() -> None:
    layers = {Source.FILE: make_values(seed="none"), Source.FLAG: make_values(seed="7")}
    assert resolve(layers).options.seed == 7


def test_options_of_another_endpoint_are_not_checked() -> None:
    layers = {Source.FILE: make_values(truncation="nonsense")}
    assert resolve(layers, "chat").options.truncation is None
    with pytest.raises(UsageError):
        resolve(layers, "responses")


def test_an_endpoint_may_be_stricter() -> None:
    layers = {Source.FLAG: make_values("--max-tokens", max_tokens="5")}
    assert resolve(layers, "chat").options.max_tokens == 5
    with pytest.raises(UsageError, match="at least 16"):
        resolve(layers, "responses")


def test_repeated_flags_are_joined_and_replace_the_value_of_the_file() -> None:
    layers = {
        Source.FILE: {"include": RawValue(("a",), "config.toml")},
        Source.FLAG: {"include": RawValue(("b,c", "d"), "--include"), "option": RawValue(("x=1", "y=2", "x=3"), "-O")},
    }
    resolved = resolve(layers).options
    assert resolved.include == ("b", "c", "d")
    assert resolved.option_ == {"x": 3, "y": 2}


def test_the_last_of_a_flag_that_takes_one_value_wins() -> None:
    assert resolve({Source.FLAG: {"seed": RawValue(("1", "2"), "--seed")}}).options.seed == 2


# ---- the environment


@pytest.mark.parametrize("row", [row for row in ROWS.values() if row.variables], ids=lambda row: row.name)
def test_each_variable_sets_its_row_and_the_first_is_the_strongest(row: Option[Any]) -> None:
    for number, variable in enumerate(row.variables):
        environ = {other: f"value of {other}" for other in row.variables[number:]}
        assert read_environment(environ) == {row.name: RawValue((f"value of {variable}",), variable)}


def test_an_empty_variable_is_ignored() -> None:
    assert read_environment({"AIML_MODEL": "", "AIMLAPI_API_KEY": "", "AIML_API_KEY": "made up"}) == {
        "api_key": RawValue(("made up",), "AIML_API_KEY")
    }


def test_a_placeholder_does_not_hide_a_key() -> None:
    environ = {"AIMLAPI_API_KEY": "<YOUR_AIMLAPI_KEY>", "AIMLAPI_KEY": "made up"}
    assert read_environment(environ) == {"api_key": RawValue(("made up",), "AIMLAPI_KEY")}
    assert read_environment({**environ, "AIML_API_KEY": "<odd"}) == {"api_key": RawValue(("<odd",), "AIML_API_KEY")}


def test_an_unknown_variable_is_ignored() -> None:
    assert read_environment({"AIML_PREVIOUS_RESPONSE_ID": "resp_1", "AIML_OUTPUT": "x", "PATH": "/bin"}) == {}


@pytest.mark.parametrize(("text", "value"), [("1", True), ("true", True), ("0", False)])
def test_a_variable_can_leave_standard_input_unread(text: str, *, value: bool) -> None:
    layers = {Source.ENVIRONMENT: read_environment({"AIML_NO_STDIN": text})}
    assert resolve(layers).options.no_stdin is value


# ---- the config file


@pytest.mark.parametrize(
    ("table", "name", "value"),
    [
        ({"model": "a/b"}, "model", "a/b"),
        ({"temperature": 0.5}, "temperature", 0.5),
        ({"temperature": 0}, "temperature", 0),
        ({"stream": False}, "stream", False),
        ({"stream": "off"}, "stream", False),
        ({"max_tokens": 100}, "max_tokens", 100),
        ({"include": ["a", "b"]}, "include", ("a", "b")),
        ({"include": "a,b"}, "include", ("a", "b")),
        ({"tools": [{"type": "function", "name": "f"}]}, "tools", [{"type": "function", "name": "f"}]),
        ({"tool_choice": {"type": "mcp"}}, "tool_choice", {"type": "mcp"}),
        ({"response_format": {"type": "text"}}, "response_format", {"type": "text"}),
        ({"option": {"stop": ["a"], "top_k": 3, "user": "you"}}, "option_", {"stop": ["a"], "top_k": 3, "user": "you"}),
        (
            {"option": {"user": "5", "logit_bias": {"50256": -100}}},
            "option_",
            {"user": "5", "logit_bias": {"50256": -100}},
        ),
        ({"model": "@cf/meta/llama"}, "model", "@cf/meta/llama"),
        ({"system": "@~/system.txt"}, "system", "@~/system.txt"),
        ({"system": "Write to me@example.org."}, "system", "Write to me@example.org."),
        ({"ca_bundle": "/etc/ca.pem"}, "ca_bundle", "/etc/ca.pem"),
        ({"prompt_var": {"year": "2026", "city": "München"}}, "prompt_var", {"year": "2026", "city": "München"}),
    ],
)
def test_a_value_of_the_file_is_taken_in_its_own_type(table: dict[str, object], name: str, value: object) -> None:
    assert getattr(resolve_table(table), name) == value


@pytest.mark.parametrize(
    "table",
    [
        {"temperature": "hot"},
        {"temperature": True},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"temperature": [1]},
        {"seed": 1.5},
        {"stream": 2},
        {"format": "yaml"},
        {"tools": 5},
        {"model": ""},
    ],
    ids=repr,
)
def test_an_invalid_value_in_the_file_is_an_error_that_names_its_place(table: dict[str, object]) -> None:
    with pytest.raises(UsageError) as refused:
        resolve_table(table)
    assert refused.value.message.startswith(f"config.toml: {next(iter(table))}: ")


@pytest.mark.parametrize("table", [{"include": []}, {"prompt_var": {}}, {"option": {}}], ids=repr)
def test_an_empty_list_in_the_file_is_ignored(table: dict[str, object]) -> None:
    assert not getattr(resolve_table(table), ROWS[next(iter(table))].attribute)


@pytest.mark.parametrize(
    "table",
    [{"tools": "@tools.json"}, {"tools": "tools.json"}, {"system": "@system.txt"}, {"ca_bundle": "./ca.pem"}],
    ids=repr,
)
def test_a_relative_path_in_the_config_file_does_not_depend_on_the_current_folder(table: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(table))):
        resolve_table(table)


def test_an_unknown_setting_gives_a_suggestion() -> None:
    with pytest.raises(UsageError) as refused:
        read_table({"temprature": 1}, "config.toml")
    assert "temprature" in refused.value.message
    assert "temperature" in refused.value.hint


@pytest.mark.parametrize("name", ["api_key", "file", "output", "previous_response_id", "dry_run"])
def test_settings_of_one_call_and_secrets_are_refused_in_the_file(name: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_table({name: "x"}, "config.toml")
    assert name in refused.value.message
    assert refused.value.hint


def test_settings_without_sources_are_the_defaults() -> None:
    resolved = resolve({}).options
    assert all(value_of(resolved, row) == row.default for row in ROWS.values())
    assert isinstance(resolve({}), Settings)


@pytest.mark.parametrize(
    "table", [{"system": "@style.txt"}, {"ca_bundle": "ca.pem"}, {"tools": "tools.json"}, {"schema": "s.json"}]
)
def test_a_file_named_in_the_config_has_its_whole_path(table: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="not an absolute path"):
        read_table(table, "config.toml")


def test_a_placeholder_hides_no_key_of_another_variable() -> None:
    values = read_environment({"AIMLAPI_API_KEY": "<YOUR_KEY>", "AIML_API_KEY": "real"})
    assert values["api_key"].texts == ("real",)
    assert read_environment({"AIMLAPI_API_KEY": "<YOUR_KEY>"})["api_key"].texts == ("<YOUR_KEY>",)
