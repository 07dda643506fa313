"""`@path` in typed text is a file, a missing file gives an error or a notice, and everything else is text."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiml_cli.errors import UsageError
from aiml_cli.prompt.compose import compose_prompt, extract_mentions
from aiml_cli.prompt.mentions import LiteralText, escape_name, join_typed, parse_mentions

CASES = [
    (["sum", "up", "@a.txt"], "sum up a.txt", ["a.txt"]),
    (["compare @a.txt with @b c.txt"], "compare a.txt with b c.txt", ["a.txt", "b c.txt"]),
    (["ask @b about c.txt", "@b\nc.txt"], "ask @b about c.txt @b\nc.txt", []),
    (["(@a.txt) [@a.txt] <@a.txt> (@dir, @a.txt)"], "(a.txt) [a.txt] <a.txt> (dir, a.txt)", ["a.txt", "dir"]),
    (["\"@a.txt\", '@a.txt'; “@a.txt”, ‘@a.txt’ «@a.txt» 「@a.txt」"], "\"a.txt\", 'a.txt'; “a.txt”, ‘a.txt’ «a.txt» 「a.txt」", ["a.txt"]),  # noqa: RUF001
    (["'@b c.txt', (\"@b c.txt\") @“b c.txt” (@\"b c.txt\")"], "'b c.txt', (\"b c.txt\") b c.txt (b c.txt)", ["b c.txt"]),
    (['["@a.txt","@dir"]'], '["a.txt","dir"]', ["a.txt", "dir"]),
    (["from '@babel/core' (@Body() x) {@link a.txt} \"@types/node\" <@U12>"], "from '@babel/core' (@Body() x) {@link a.txt} \"@types/node\" <@U12>", []),
    (["(@@a.txt) \"@@b c.txt\" (@@ROWCOUNT) '@@iterator'"], "(@a.txt) \"@b c.txt\" (@@ROWCOUNT) '@@iterator'", []),
    ([LiteralText("(@a.txt) (@@a.txt) (@@x) '@b c.txt' \"@x.py\"")], "(@a.txt) (@@a.txt) (@@x) '@b c.txt' \"@x.py\"", []),
    (["@a.txt→x, @a.txt|x @a.txt=1"], "a.txt→x, a.txt|x a.txt=1", ["a.txt"]),
    (["@b c.txt", "now"], "b c.txt now", ["b c.txt"]),
    (["@a.txt"], "", ["a.txt"]),
    (["@a.txt", "@dir"], "", ["a.txt", "dir"]),
    (["@a.txt\n@dir "], "", ["a.txt", "dir"]),
    (["@a.txt", "and", "@a.txt"], "a.txt and a.txt", ["a.txt"]),
    (["first\n@a.txt second\n\t@dir"], "first\na.txt second\n\tdir", ["a.txt", "dir"]),
    (["see @a.txt, @a.txt. @a.txt; @a.txt: @a.txt! @a.txt?"], "see a.txt, a.txt. a.txt; a.txt: a.txt! a.txt?", ["a.txt"]),
    (["(see @a.txt) [or @a.txt], <or @a.txt>..."], "(see a.txt) [or a.txt], <or a.txt>...", ["a.txt"]),
    (["@a.txt's end, @a.txt:12 and @a.txt—all"], "a.txt's end, a.txt:12 and a.txt—all", ["a.txt"]),
    (["读 @a.txt。@a.txt 和 @a.txt，好"], "读 a.txt。@a.txt 和 a.txt，好", ["a.txt"]),  # noqa: RUF001
    (['of @"b c.txt", @\'b c.txt\' or @b\\ c.txt.'], "of b c.txt, b c.txt or b c.txt.", ["b c.txt"]),
    (["what is in @odd.? now"], "what is in odd.? now", ["odd."]),
    (["all of @*.txt"], "all of *.txt", ["*.txt"]),
    (["none of @*.nothing"], "none of @*.nothing", []),
    (["@a.txt.old and @dir/none"], "@a.txt.old and @dir/none", []),
    (["ask", "@nobody"], "ask @nobody", []),
    (["me@a.txt", "(me@a.txt)", "me@example.org", "@me@example.org"], "me@a.txt (me@a.txt) me@example.org @me@example.org", []),
    (["@@a.txt"], "@a.txt", []),
    (["@@a.txt", "@a.txt"], "@a.txt a.txt", ["a.txt"]),
    (["so @@a.txt is text"], "so @a.txt is text", []),
    (["@", "@,", "@."], "@ @, .", ["."]),
    (["read", "@https://x.test/y"], "read https://x.test/y", ["https://x.test/y"]),
    (["(read @https://x.test/y_(z)), @HTTP://x.test."], "(read https://x.test/y_(z)), HTTP://x.test.",
     ["https://x.test/y_(z)", "HTTP://x.test"]),
    (["@https://"], "@https://", []),
    (["@" + "x" * 5000], "@" + "x" * 5000, []),
    (["@~no-such-user-here/x"], "@~no-such-user-here/x", []),
    (["why", "is  it\n?"], "why is  it\n?", []),
    ([LiteralText("@a.txt @@x @/etc/none"), "@a.txt"], "@a.txt @@x @/etc/none a.txt", ["a.txt"]),
]  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> None:
    for name in ("a.txt", "b c.txt", "odd."):
        (tmp_path / name).touch()
    (tmp_path / "dir").mkdir()


@pytest.mark.parametrize(("words", "text", "names"), CASES)
def test_a_word_with_an_at_sign_is_a_file_or_text(words: list[str], text: str, names: list[str]) -> None:
    assert extract_mentions(words) == (text, names)


@pytest.mark.parametrize("words", [words for words, *_ in CASES])
def test_a_mention_means_the_same_in_one_quoted_text(words: list[str]) -> None:
    assert extract_mentions([join_typed(words)]) == extract_mentions(words)


CLEAR_PATHS = [
    "@nowhere.txt", "see @nowhere.txt, please", "x\n@no.PY", "@./x", "@../x/y", "@/no/such/thing", "(in @~/none)",
    '@"no where.md"', "@'none.csv'", "@no\\ where.pdf?", "@dir/none.json.",
]  # fmt: skip


@pytest.mark.promise("mentions")
@pytest.mark.parametrize("text", CLEAR_PATHS)
def test_a_clear_path_of_a_missing_file_is_an_error(text: str) -> None:
    with pytest.raises(UsageError, match=r"@.*: no such file"):
        parse_mentions([text])


@pytest.mark.promise("mentions")
@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("use @types/node, @dir/none", ["types/node", "dir/none"]),
        ("@bob.smith. said", ["bob.smith"]),
        ('@"no where"', ["no where"]),
        ("in (@no.txt), \"@./x\" and '@/lib/x.ts'", ["no.txt", "./x", "/lib/x.ts"]),
        ("see @my nowhere.txt, please", ["my nowhere.txt"]),
        ("ask @bob about no.txt, or @bob a.txt", []),
        ("@someone @media @1 @param. @app.get('/') @{row}.txt @me@x.org", []),
    ],
)
def test_a_possible_path_of_a_missing_file_is_sent_as_text_with_a_notice(text: str, missing: list[str]) -> None:
    notices: list[str] = []
    prompt = compose_prompt([text], (), use_stdin=False, notify=notices.append, fetch=lambda _: (b"", ""))
    assert (parse_mentions([text]).missing, prompt.parts) == (missing, (text,))
    assert [name for name in missing if f"@{name}" not in "".join(notices)] == []
    assert len(notices) == bool(missing)


@pytest.mark.parametrize("words", [["see", "@no where.txt"], ["see", "@my notes/no.md", "now"]])
def test_a_word_that_was_quoted_in_the_shell_is_a_path_too(words: list[str]) -> None:
    with pytest.raises(UsageError, match="no such file"):
        parse_mentions(words)


NAMES = st.text(st.sampled_from("ab .,\\\"'()[]-_~@é猫"), min_size=1, max_size=12).filter(
    lambda name: not name.startswith(("@", "~")) and name not in (".", "..")
)


@given(NAMES)
def test_any_name_can_be_mentioned_in_escaped_form(name: str) -> None:
    path = Path(name)
    path.touch()
    try:
        assert parse_mentions([f"look at @{escape_name(name)} now"]).names == [name]
    finally:
        path.unlink()
