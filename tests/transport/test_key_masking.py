"""The key is masked in texts, chunks and errors."""

import pytest

from aiml_cli.errors import RequestRejected
from aiml_cli.transport.key_masking import extract_key, mask_chunks, mask_errors, mask_text

KEY = "k-0123456789abcdef"


@pytest.mark.promise("key-secret")
def test_a_text_has_stars_for_the_key() -> None:
    assert mask_text(f"bad key {KEY}, {KEY}!", KEY) == "bad key ***, ***!"
    assert mask_text(KEY, "") == KEY


@pytest.mark.promise("key-secret")
def test_an_error_has_stars_for_the_key_in_every_part() -> None:
    with pytest.raises(RequestRejected) as caught, mask_errors(KEY):
        raise RequestRejected(f"no {KEY}", f"is {KEY} right?", status=400, code=f"bad {KEY}")
    assert (caught.value.message, caught.value.hint) == ("no ***", "is *** right?")
    assert caught.value.details == {"status": 400, "code": "bad ***"}


@pytest.mark.parametrize("size", range(1, len(KEY) + 3))
def test_chunks_of_any_size_have_stars_for_the_key(size: int) -> None:
    data = f"a {KEY} b {KEY[:-1]} c {KEY}".encode()
    chunks = (data[at : at + size] for at in range(0, len(data), size))
    assert b"".join(mask_chunks(KEY, chunks)) == f"a *** b {KEY[:-1]} c ***".encode()


def test_a_key_of_a_few_letters_is_not_masked() -> None:
    assert extract_key({"Authorization": "Bearer the"}) == ""
    assert extract_key({"Authorization": f"Bearer {KEY}"}) == KEY
