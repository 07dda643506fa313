"""The plain list of model ids that shell completions read."""

from stat import S_IMODE

import pytest

from aiml_cli.api.model_list import Model
from aiml_cli.store.model_cache import CachedModels, load_models, model_names_file, save_models


def save_and_read(*models: Model) -> list[str]:
    save_models(CachedModels("https://api.example/v1", "", 0, b'{"data": []}', list(models)))
    return model_names_file().read_text("utf-8").splitlines()


def test_the_list_has_the_models_that_answer_questions() -> None:
    models = [Model("a/chat", endpoints=("chat",)), Model("b/who-knows"), Model("c/both", endpoints=("x", "responses"))]
    assert save_and_read(*models, Model("d/pictures", endpoints=("image",))) == ["a/chat", "b/who-knows", "c/both"]


@pytest.mark.parametrize(
    "name",
    ["$(x)", "`x`", "a b", "a;b", "a\nb", "a\rb", "-m", "a'b", 'a"b', "a,b", "é", "\x1b[m", "a\u202eb", "*", "a" * 201],
)
def test_a_name_with_a_special_meaning_in_a_shell_is_left_out(name: str) -> None:
    assert save_and_read(Model("fine/one-1.5:free"), Model(name)) == ["fine/one-1.5:free"]


def test_the_list_is_private_and_has_the_models_of_the_last_request() -> None:
    assert [save_and_read(Model("one")), save_and_read(Model("two"))] == [["one"], ["two"]]
    assert S_IMODE(model_names_file().stat().st_mode) == 0o600


def test_the_catalog_is_stored_even_if_the_list_of_names_cannot_be_written() -> None:
    model_names_file().mkdir(parents=True)
    save_models(CachedModels("https://api.example/v1", "tag", 0, b'{"data": []}', []))
    assert (found := load_models("https://api.example/v1"))
    assert found.etag == "tag"
