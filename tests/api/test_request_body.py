"""Each option is sent in its property of the body, and -O overrides all others."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiml_cli.api.endpoints import ENDPOINT_NAMES, get_endpoint
from aiml_cli.api.messages import Conversation
from aiml_cli.api.request_body import apply_options, apply_overrides, set_path
from aiml_cli.errors import UsageError
from aiml_cli.settings.options import ROWS, Option, Options

PROPERTY_NAMES = st.text("abc", min_size=1, max_size=2)


def list_cases() -> list[Any]:
    return [
        pytest.param(endpoint, row, id=f"{endpoint}-{row.name}")
        for endpoint in ENDPOINT_NAMES
        for row in ROWS.values()
        if endpoint in row.body_paths and "[" not in row.body_paths[endpoint].path
    ]


def drop_types(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options untyped: where a value is sent does not depend on its type."""
    return options


def get_value(body: Any, path: str) -> Any:
    for name in path.split("."):
        body = body[name]
    return body


@pytest.mark.parametrize(("endpoint", "row"), list_cases())
def test_each_option_is_sent_in_its_place_and_nowhere_else(endpoint: str, row: Option[Any]) -> None:
    body = apply_options({}, endpoint, Options(**drop_types({row.attribute: ["a value"]})))
    assert get_value(body, row.body_paths[endpoint].path) == ["a value"]
    assert len(body) == 1


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_value_is_not_sent_to_an_endpoint_that_does_not_support_it(row: Option[Any]) -> None:
    for endpoint in set(ENDPOINT_NAMES) - set(row.body_paths):
        assert apply_options({}, endpoint, Options(**drop_types({row.attribute: "a value"}))) == {}


@pytest.mark.parametrize("endpoint", ENDPOINT_NAMES)
def test_options_that_are_not_set_are_not_sent(endpoint: str) -> None:
    assert apply_options({"model": "a/b"}, endpoint, Options()) == {"model": "a/b"}


@pytest.mark.parametrize("value", [0, False, "", 0.0])
def test_zero_false_and_empty_values_are_sent(value: object) -> None:
    assert apply_options({}, "chat", Options(**drop_types({"temperature": value}))) == {"temperature": value}


@pytest.mark.parametrize("endpoint", [*map(get_endpoint, ENDPOINT_NAMES)], ids=ENDPOINT_NAMES)
def test_secrets_and_local_settings_are_never_sent(endpoint: Any) -> None:
    local = {row.attribute: "a made-up value" for row in ROWS.values() if not row.body_paths and row.name != "option"}
    body = endpoint.build_body(
        Conversation().add_message("user", "Hi"), Options(**drop_types({**local, "model": "a/b"}))
    )
    assert "a made-up value" not in str(body)


def test_dots_in_a_path_nest_and_keep_other_properties() -> None:
    body: dict[str, Any] = {"reasoning": {"effort": "low"}}
    set_path(body, "reasoning.summary", "auto")
    set_path(body, "a.b.c", 1)
    set_path(body, "reasoning.effort", "high")
    assert body == {"reasoning": {"effort": "high", "summary": "auto"}, "a": {"b": {"c": 1}}}


@pytest.mark.parametrize("parent_value", ["text", 5, [1], None])
def test_a_path_through_a_value_that_is_not_an_object_is_an_error(parent_value: object) -> None:
    with pytest.raises(UsageError, match=r"-O model\.x"):
        apply_overrides({"model": parent_value}, {"model.x": 1})


def test_the_last_value_wins() -> None:
    assert apply_overrides({"a": 1}, {"a": 2, "b": None}) == {"a": 2, "b": None}
    assert apply_overrides({"a": 1}, None) == {"a": 1}


@settings(deadline=None)
@given(st.dictionaries(st.lists(PROPERTY_NAMES, min_size=1, max_size=3).map(".".join), st.integers(), max_size=5))
def test_any_properties_are_set_or_give_an_error(properties: dict[str, int]) -> None:
    try:
        body = apply_overrides({}, properties)
    except UsageError:
        return
    last = list(properties)[-1:]
    assert [get_value(body, path) for path in last] == [properties[path] for path in last]
