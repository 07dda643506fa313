"""The catalog of models is read in both of its formats and searched."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiml_cli.api.model_list import Model, Price, build_models, parse_models
from aiml_cli.catalog.find_models import find_model, search_models, suggest_models
from aiml_cli.errors import AimlError, ServerError

CURRENT_FORMAT = b"""{"object":"list","data":[
 {"id":"vendor/talker-2","type":"openai/responses/submit","tags":["playground:chat"],
  "info":{"name":"Talker Two","developer":"Vendor"},
  "pricing":{"kind":"fixed","currency":"USD","units":[
   {"name":"token","content":"text","origin":"provided","price":9.9,"per":1000000}]}},
 {"id":"vendor/talker-2","aliases":["talker-2"],"type":"openai/chat-completions","tags":["tier:tier_2"],
  "info":{"name":"Talker 2","developer":"Vendor","description":"It talks.","releasedAt":"2026-03-01",
   "contextLength":400000,"outputMax":128000,"cutoffAt":"2025-09-30","url":"",
   "docsUrl":"https://docs.example/talker-2"},
  "modalities":{"input":["image","text"],"output":["text"]},
  "capabilities":["streaming","tools"],
  "pricing":{"kind":"fixed","currency":"USD","units":[
   {"type":"charge","name":"token","content":"text","origin":"provided","price":0.0013,"per":1000},
   {"type":"charge","name":"token","content":"text","origin":"generated","price":10,"per":1000000},
   {"type":"charge","name":"token","content":"text","origin":"cached","price":0.13,"per":1000000},
   {"type":"charge","name":"token","content":"audio","origin":"provided","price":32,"per":1000000}]}},
 {"id":"vendor/film","aliases":null,"type":"internal/video-generations/submit","tags":[],
  "info":{"name":"Film","developer":"Vendor"},
  "pricing":{"kind":"variants","dimensions":["resolution"],"variants":[
   {"when":{"resolution":"720p"},"price":0.39,"unit":"second","per":1},
   {"when":{"resolution":1080},"price":0.65,"unit":"second","per":1}]}}]}"""

OLDER_FORMAT = b"""[{"id":"reasoner-mini","type":"chat-completion",
 "info":{"name":"reasoner mini","developer":"Open Vendor","description":"It reasons.","contextLength":200000,
  "maxTokens":100000,"url":"https://example/reasoner","docs_url":"https://docs.example/reasoner"},
 "features":["openai/chat-completion","openai/response-api","openai/chat-completion.stream"],
 "endpoints":["/v1/chat/completions","/v1/responses"]}]"""


def test_the_current_format_is_read() -> None:
    film, talker = parse_models(CURRENT_FORMAT)
    assert (talker.id, talker.aliases, talker.name) == ("vendor/talker-2", ("talker-2",), "Talker 2")
    assert (talker.developer, talker.description) == ("Vendor", "It talks.")
    assert (talker.context, talker.output_limit) == (400000, 128000)
    assert (talker.released, talker.cutoff, talker.url) == (
        "2026-03-01",
        "2025-09-30",
        "https://docs.example/talker-2",
    )
    assert (talker.inputs, talker.outputs) == (("image", "text"), ("text",))
    assert talker.capabilities == ("streaming", "tools")
    assert (film.id, film.context, film.aliases) == ("vendor/film", None, ())


def test_the_older_format_is_read() -> None:
    (model,) = parse_models(OLDER_FORMAT)
    assert (model.id, model.name, model.developer) == ("reasoner-mini", "reasoner mini", "Open Vendor")
    assert (model.context, model.output_limit) == (200000, 100000)
    assert model.url == "https://docs.example/reasoner"
    assert model.endpoints == ("chat", "responses")
    assert "openai/chat-completion.stream" in model.capabilities


def test_entries_with_the_same_id_become_one_model() -> None:
    talker = parse_models(CURRENT_FORMAT)[1]
    assert talker.endpoints == ("chat", "responses")
    assert talker.type == "openai/chat-completions"
    assert talker.tags == ("tier:tier_2", "playground:chat")


def test_the_price_is_that_of_the_chat_entry_per_million_text_tokens() -> None:
    talker = parse_models(CURRENT_FORMAT)[1]
    assert [talker.price_per_million(kind) for kind in ("input", "output", "cached", "cache_write")] == [
        1.3,
        10,
        0.13,
        None,
    ]


def test_a_price_with_conditions_is_shown_with_all_variants() -> None:
    film = parse_models(CURRENT_FORMAT)[0]
    assert film.prices == (
        Price("", "second", "", 0.39, 1, (("resolution", "720p"),)),
        Price("", "second", "", 0.65, 1, (("resolution", "1080"),)),
    )
    tiers = [
        {"when": {"context": tier}, "units": [{"name": "token", "origin": "provided", "price": usd, "per": 1000000}]}
        for tier, usd in (("short", 1), ("long", 2))
    ]
    (model,) = build_models([{"id": "a", "pricing": {"kind": "variants", "variants": tiers}}])
    assert [price.usd for price in model.prices] == [1, 2]
    assert model.price_per_million("input") is None


@pytest.mark.parametrize(
    ("unit", "price"),
    [
        ({"name": "token", "measure": "output", "price": 3.25, "per": 1000000}, 3.25),
        ({"name": "token", "origin": "generated", "price": 0, "per": 1}, 0),
        ({"name": "token", "origin": "generated", "price": 1}, None),
        ({"name": "token", "origin": "generated", "price": 1, "per": 0}, None),
        ({"name": "token", "origin": "generated", "price": "1", "per": 1}, None),
        ({"name": "token", "origin": "generated", "price": True, "per": 1}, None),
        ({"name": "token", "origin": "generated", "price": 10**400, "per": 1}, None),
        ({"name": "token", "origin": "generated", "price": 1e308, "per": 1e-300}, None),
        ({"name": "token", "origin": "generated", "price": 1e305, "per": 1}, None),
        ({"name": "token", "origin": "generated", "price": -1, "per": 1}, None),
        ({"name": "token", "origin": "generated", "price": 1, "per": -1}, None),
        ({"name": "image", "origin": "generated", "price": 1, "per": 1}, None),
    ],
)
def test_a_price_without_an_amount_or_a_unit_is_ignored(unit: dict[str, Any], price: float | None) -> None:
    (model,) = build_models([{"id": "a", "pricing": {"kind": "fixed", "units": [unit]}}])
    assert model.price_per_million("output") == price


def test_prices_in_another_currency_are_ignored() -> None:
    units = [{"name": "token", "origin": "provided", "price": 1, "per": 1}]
    assert build_models([{"id": "a", "pricing": {"currency": "EUR", "units": units}}])[0].prices == ()


@pytest.mark.parametrize(
    ("entry", "endpoints"),
    [
        ({"type": "openai/chat-completions"}, ("chat",)),
        ({"type": "openai/responses/submit"}, ("responses",)),
        ({"type": "openai/embeddings"}, ("openai/embeddings",)),
        ({"type": "chat-completion", "features": ["openai/response-api"]}, ("chat", "responses")),
        ({"type": "responses", "features": ["openai/chat-completion.reasoning"]}, ("responses",)),
        ({"type": "chat-completion", "endpoints": ["/v1/responses"]}, ("responses",)),
        ({}, ()),
    ],
)
def test_the_endpoints_of_a_model_are_read(entry: dict[str, Any], endpoints: tuple[str, ...]) -> None:
    assert build_models([{"id": "a", **entry}])[0].endpoints == endpoints


def test_malformed_entries_are_left_out_and_malformed_fields_are_ignored() -> None:
    body: list[Any] = [
        None,
        1,
        "a",
        [],
        {},
        {"id": 5},
        {"id": ""},
        {"id": "b", "info": [], "aliases": "x", "type": 3},
        {"id": "a"},
    ]
    assert build_models({"data": body}) == [Model("a"), Model("b")]


@pytest.mark.parametrize("data", [b"", b"<html>", b"{", b"5", b"{}", b'{"data":{}}', b"\xff\xfe", b"[" * 100_000])
def test_a_response_that_is_not_a_catalog_is_a_server_error(data: bytes) -> None:
    with pytest.raises(ServerError):
        parse_models(data)


def test_an_error_under_200_is_shown_with_the_message_of_the_server() -> None:
    with pytest.raises(ServerError, match="the shelf is bare"):
        parse_models(b'{"error":{"message":"the shelf is bare"}}')


KEYS = ("id", "aliases", "type", "info", "name", "contextLength", "pricing", "units", "variants", "when", "price")
MORE_KEYS = ("per", "origin", "data", "endpoints", "features", "modalities", "input", "capabilities", "tags", "error")
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(KEYS)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS + MORE_KEYS), inner, max_size=6)
        | st.fixed_dictionaries({"id": st.text(max_size=3), "info": inner, "pricing": inner, "aliases": inner})
    ),
    max_leaves=40,
)


@given(JSON)
def test_any_json_is_read_or_refused(body: Any) -> None:
    try:
        models = build_models(body)
    except AimlError:
        return
    for model in models:
        assert model.id
        assert json.dumps([model.price_per_million("input"), model.context], allow_nan=False)


@given(st.lists(st.fixed_dictionaries({"id": st.text(max_size=3), "pricing": JSON, "info": JSON, "type": JSON})))
def test_each_id_is_listed_once_in_sorted_order(entries: list[dict[str, Any]]) -> None:
    ids = [model.id for model in build_models(entries)]
    assert set(ids) == {entry["id"] for entry in entries} - {""}
    assert ids == sorted(set(ids), key=lambda name: (name.casefold(), name))


MODELS = [
    Model("alpha/talker-2", aliases=("talker-2",), name="Talker Two", developer="Alpha"),
    Model("alpha/talker-2-mini", name="Talker Two Mini", developer="Alpha"),
    Model("beta/Film", aliases=("film", "shared"), name="Film", developer="Beta Labs"),
    Model("film", aliases=("shared",), developer="Gamma"),
]


@pytest.mark.parametrize(
    ("words", "count"),
    [([], 4), (["TALKER"], 2), (["talker", "mini"], 1), (["labs"], 1), (["two", "alpha"], 2), (["talker", "beta"], 0)],
)
def test_every_search_word_must_match(words: list[str], count: int) -> None:
    assert len(search_models(MODELS, words)) == count


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("alpha/talker-2", "alpha/talker-2"),
        ("ALPHA/Talker-2", "alpha/talker-2"),
        ("Talker-2", "alpha/talker-2"),
        ("film", "film"),
        ("beta/film", "beta/Film"),
        ("shared", None),
        ("talker", None),
        ("", None),
    ],
)
def test_a_single_match_is_recognized_by_its_id_or_alias(word: str, name: str | None) -> None:
    found = find_model(MODELS, word)
    assert (found and found.id) == name


@pytest.mark.parametrize("word", ["talker.2", "alpha/talker_2", "talkr-2", "Alpha/Talker-2x"])
def test_a_mistyped_id_suggests_the_right_one(word: str) -> None:
    assert suggest_models(MODELS, word)[0] == "alpha/talker-2"


def test_without_a_similar_id_nothing_is_suggested() -> None:
    assert suggest_models(MODELS, "zzzzzz") == []
