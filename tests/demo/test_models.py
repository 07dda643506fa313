"""The demo's list of models: its shape, its filters, its ETag."""

import pytest
from support.demo_client import DemoClient

MODEL_NAMES = [
    "echo",
    "markdown",
    "small",
    "slow",
    "tool",
    "tools",
    "reasoning",
    "refusal",
    "cut",
    "length",
    "filter",
    "error",
]
ERROR_STATUSES = [400, 401, 402, 403, 404, 413, 422, 429, 500, 502, 503, 504]
MODEL_IDS = [f"demo/{name}" for name in MODEL_NAMES] + [f"demo/status-{status}" for status in ERROR_STATUSES]
SECTIONS = {"modalities", "capabilities", "pricing"}


def list_ids(demo: DemoClient, query: str) -> list[str]:
    return sorted({row["id"] for row in demo.get(f"/v1/models?{query}").json["data"]})


def test_every_model_is_listed_once_for_each_endpoint(demo: DemoClient) -> None:
    listed = demo.get("/v1/models").json
    assert listed["object"] == "list"
    rows = [(row["id"], row["type"]) for row in listed["data"]]
    assert rows == [
        (each, kind) for each in MODEL_IDS for kind in ("openai/chat-completions", "openai/responses/submit")
    ]


def test_every_listed_model_answers_with_its_status(demo: DemoClient) -> None:
    for row in demo.get("/v1/models?type=openai/chat-completions").json["data"]:
        if row["id"] not in {"demo/cut", "demo/slow"}:  # tested as streams: they end, or end late
            expected = int(row["id"].rpartition("-")[2]) if "status" in row["id"] else 200
            assert demo.chat(row["id"]).status == expected


@pytest.mark.parametrize("count", [1, 2])
def test_demo_small_answers_with_a_page_and_refuses_input_beyond_its_context(demo: DemoClient, count: int) -> None:
    stored = demo.respond("demo/small", "word " * 1700, store=True).json
    more = {"previous_response_id": stored["id"]} if count > 1 else {}
    answer = demo.respond("demo/small", "word " * 1700, **more)
    assert answer.status == (400 if count > 1 else 200)
    assert ("maximum context length is 4000 tokens" in answer.json.get("message", "")) == (count > 1)
    assert demo.chat("demo/small", "word " * 3300).status == 400
    page = demo.chat("demo/small", previous_response_id={}).json["choices"][0]["message"]["content"]
    assert "# Ask from the shell" in page


def test_each_entry_has_the_documented_fields(demo: DemoClient) -> None:
    for row in demo.get("/v1/models").json["data"]:
        assert row.keys() == {"id", "aliases", "type", "info", "tags"}
        assert row["info"]["name"]
        assert row["info"]["developer"]
        assert len(row["info"]["description"]) > 40
        assert "No model runs behind it" in row["info"]["description"]
        assert row["info"]["contextLength"] > row["info"]["outputMax"] > 0


@pytest.mark.parametrize(
    ("query", "sections"),
    [
        ("include=pricing", {"pricing"}),
        ("include=pricing,capabilities", {"pricing", "capabilities"}),
        ("include=pricing&include=modalities", {"pricing", "modalities"}),
        ("include=all", SECTIONS),
        ("details=true", SECTIONS),
        ("include=nonsense", set()),
    ],
)
def test_optional_sections_are_included_on_request(demo: DemoClient, query: str, sections: set[str]) -> None:
    assert {frozenset(row.keys() & SECTIONS) for row in demo.get(f"/v1/models?{query}").json["data"]} == {
        frozenset(sections)
    }


def test_the_prices_are_those_that_are_charged(demo: DemoClient) -> None:
    row = demo.get("/v1/models?id=demo/echo&include=pricing").json["data"][0]
    prices = {unit["origin"]: unit["price"] / unit["per"] for unit in row["pricing"]["units"]}
    answer = demo.chat().json
    usage = answer["usage"]
    cost = usage["prompt_tokens"] * prices["provided"] + usage["completion_tokens"] * prices["generated"]
    assert answer["meta"]["usage"]["usd_spent"] == pytest.approx(cost)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("id=demo/echo", ["demo/echo"]),
        ("id=DEMO-ECHO", ["demo/echo"]),
        ("id=demo/echo,demo/slow", ["demo/echo", "demo/slow"]),
        ("id=demo/echo&id=demo/cut", ["demo/cut", "demo/echo"]),
        ("capabilities=Reasoning", ["demo/reasoning"]),
        ("capabilities=reasoning&id=demo/echo", []),
        ("output_modalities=video", []),
        ("input_modalities=image&tags=demo", sorted(MODEL_IDS)),
        ("modalities=text", sorted(MODEL_IDS)),
        ("unknown=filter", sorted(MODEL_IDS)),
    ],
)
def test_filters_narrow_the_list(demo: DemoClient, query: str, expected: list[str]) -> None:
    assert list_ids(demo, query) == expected


@pytest.mark.parametrize("path", ["/models", "/api/v1/models"])
def test_other_paths_give_the_same_list(demo: DemoClient, path: str) -> None:
    assert demo.get(path).json == demo.get("/v1/models").json


def test_a_matching_etag_gets_status_304(demo: DemoClient) -> None:
    first = demo.get("/v1/models")
    etag = first.headers["etag"]
    assert etag.startswith('W/"')
    assert first.headers["cache-control"] == "max-age=60"
    again = demo.get("/v1/models", If_None_Match=etag)
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", etag)
    assert demo.get("/v1/models", If_None_Match='W/"other"').status == 200
    assert demo.get("/v1/models?include=all", If_None_Match=etag).status == 200


def test_a_model_is_found_by_id_or_alias_in_any_case(demo: DemoClient) -> None:
    for name in ("demo/echo", "Demo/Echo", "demo-echo"):
        found = demo.get(f"/model/{name}?include=all").json
        assert (found["object"], found["data"]["id"]) == ("model", "demo/echo")
        assert found["data"].keys() >= SECTIONS
    assert demo.get("/model/nope").status == 404
    assert demo.get("/v1/model/demo/echo").status == 404


@pytest.mark.parametrize("path", ["/v1/models/", "/models/", "/api/v1/models/"])
@pytest.mark.parametrize("name", ["demo/echo", "demo%2Fecho", "demo-echo"])
def test_a_single_model_is_shown_in_the_format_of_the_api(demo: DemoClient, path: str, name: str) -> None:
    shown = demo.get(path + name)
    assert shown.status == 200
    assert (shown.json["id"], shown.json["object"], shown.json["owned_by"]) == ("demo/echo", "model", "aiml")
    assert isinstance(shown.json["created"], int)


@pytest.mark.parametrize("path", ["/v1/models/nobody/knows", "/v1/models/demo/echo2"])
def test_an_unknown_model_is_an_error(demo: DemoClient, path: str) -> None:
    missing = demo.get(path)
    assert (missing.status, missing.json["message"]) == (404, "Model not found")
