"""The generated files are up to date with the code, and complete."""

import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.paths import ROOT

from aiml_cli import errors
from aiml_cli.cli import app
from aiml_cli.cli.flags import with_options
from aiml_cli.settings.options import ROWS, BodyPath, Option, flags_of
from aiml_cli.settings.value_types import choice

SAMPLE_OPTION: Option[str] = Option(
    choice("plain", "it's", "a:b"),
    "It's [odd]: `100%` $HOME \\ done.",
    "Odd",
    {"chat": BodyPath("odd.one")},
    attribute="odd",
)
SHELLS = ["bash", "zsh", "fish"]
# How the flag of the made-up row is written in the files that list flags.
NAMES_OF_FLAG = {
    "docs/help.md": "--odd",
    "completions/aiml.bash": "--odd",
    "completions/aiml.zsh": "--odd",
    "completions/aiml.fish": "-l odd",
    "docs/aiml.1": r"\-\-odd",
}


@pytest.fixture(scope="module")
def generate() -> Iterator[Any]:
    """Import the script."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts")
        yield importlib.import_module("generate")


@pytest.fixture(scope="module")
def texts(generate: Any) -> dict[str, str]:
    """Make every file."""
    return {name: render() for name, render in generate.OUTPUTS.items()}


@pytest.fixture
def script_with_texts(generate: Any, texts: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the script with texts that are made already."""
    for name, text in texts.items():
        monkeypatch.setitem(generate.OUTPUTS, name, lambda text=text: text)
    return generate


@pytest.fixture(scope="module")
def commands(generate: Any) -> list[Any]:
    """List every command as the generators see it."""
    assert generate
    found = importlib.import_module("generators.commands")
    return list(found.walk(found.read_commands()))


@pytest.fixture
def sample_option(monkeypatch: pytest.MonkeyPatch) -> Option[str]:
    """Add a row to the table, and its flag to `aiml chat`."""
    monkeypatch.setitem(ROWS, SAMPLE_OPTION.name, SAMPLE_OPTION)  # type: ignore[arg-type]
    chat = next(each for each in app.app.registered_commands if each.name == "chat")
    monkeypatch.setattr(chat, "callback", with_options(flags_of("chat"), "Words.")(lambda _words, _flags: None))
    return SAMPLE_OPTION


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, ROOT / "scripts/generate.py", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_files_are_up_to_date(texts: dict[str, str]) -> None:
    assert [name for name, text in texts.items() if (ROOT / name).read_text("utf-8") != text] == []


def test_the_files_do_not_depend_on_the_hash_seed_or_the_terminal() -> None:
    done = run("--check", PYTHONHASHSEED="2", COLUMNS="40")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_unknown_argument_is_a_usage_error() -> None:
    assert run("--chekc").returncode == 2


def test_check_names_stale_files_and_writes_nothing(
    script_with_texts: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script_with_texts.main([], tmp_path) == 0
    assert capsys.readouterr().out.split() == [word for name in script_with_texts.OUTPUTS for word in ("wrote", name)]
    (tmp_path / "docs/help.md").write_text("by hand")
    (tmp_path / "completions/aiml.zsh").unlink()
    assert script_with_texts.main(["--check"], tmp_path) == 1
    told = capsys.readouterr().out
    assert [line.split()[0] for line in told.splitlines()] == ["docs/help.md", "completions/aiml.zsh"]
    assert (tmp_path / "docs/help.md").read_text() == "by hand"
    assert not (tmp_path / "completions/aiml.zsh").exists()
    assert script_with_texts.main([], tmp_path) == script_with_texts.main(["--check"], tmp_path) == 0


def test_a_new_row_is_in_each_file_that_lists_options(generate: Any, sample_option: Option[str]) -> None:
    texts = {name: generate.OUTPUTS[name]() for name in (*NAMES_OF_FLAG, "docs/options.md")}
    assert sample_option.help in texts["docs/options.md"]
    assert [name for name, flag in NAMES_OF_FLAG.items() if flag not in texts[name]] == []


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.usefixtures("sample_option")
def test_choices_with_special_characters_are_quoted(generate: Any, tmp_path: Path, shell: str) -> None:
    if not (program := shutil.which(shell)):
        pytest.skip(f"{shell} is not installed")
    script = tmp_path / f"aiml.{shell}"
    script.write_text(generate.OUTPUTS[f"completions/{script.name}"](), "utf-8")
    done = subprocess.run([program, "-n", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    if shell == "fish":
        asked = f"source {script}; complete -C 'aiml chat --odd '"
        offered = subprocess.check_output([program, "--no-config", "-c", asked], text=True).splitlines()
        assert sorted(offered) == [f"{word}\t{SAMPLE_OPTION.help}" for word in sorted(SAMPLE_OPTION.value_type.choices)]


def test_every_file_says_that_it_is_generated(texts: dict[str, str]) -> None:
    for name, text in texts.items():
        first = next(line for line in text.splitlines() if line != "#compdef aiml")
        assert "scripts/generate.py" in first, name


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_every_row_is_in_the_options_page(texts: dict[str, str], row: Option[Any]) -> None:
    text = texts["docs/options.md"]
    entry = next(part for part in text.split("\n### ") if row.help in part)
    named = [*row.variables, *(place.path for place in row.body_paths.values())]
    if not row.secret and not row.hidden:
        named += [row.flag, *([row.short] if row.short else []), *row.aliases]
    assert [word for word in named if f"`{word}`" not in entry] == []


def test_no_secret_has_a_flag_or_a_config_key(texts: dict[str, str], commands: list[Any]) -> None:
    flags = {spelling for each in commands for flag in each.flags for spelling in flag.all}
    scripts = "".join(text for name, text in texts.items() if "completions" in name)
    for row in ROWS.values():
        if row.secret:
            assert row.flag not in flags
            assert row.name not in scripts


def test_every_flag_is_in_the_help(texts: dict[str, str], commands: list[Any]) -> None:
    sections = texts["docs/help.md"].split("\n## ")[1:]
    for each, section in zip(commands, sections, strict=True):
        assert section.startswith(f"`{each.name} --help`")
        words = section.replace(",", " ").split()
        assert [spelling for flag in each.flags for spelling in flag.all if spelling not in words] == []


def test_help_fits_a_terminal_of_80_columns(texts: dict[str, str]) -> None:
    assert [line for line in texts["docs/help.md"].splitlines() if len(line) > 80] == []


def test_every_flag_is_in_the_bash_script(texts: dict[str, str], commands: list[Any]) -> None:
    script = texts["completions/aiml.bash"]
    for each in commands:
        flags = " ".join(spelling for flag in each.flags for spelling in flag.all)
        assert f"flags='{flags}'" in script, each.name


def test_every_flag_and_its_description_is_in_the_zsh_script(texts: dict[str, str], commands: list[Any]) -> None:
    script = texts["completions/aiml.zsh"]
    for each in commands:
        body = script.split(f"\n{'_'.join(('', *each.path))}() {{\n")[1].split("\n}\n")[0]
        assert [spelling for flag in each.flags for spelling in flag.all if not has_spelling(body, spelling)] == []


def has_spelling(body: str, spelling: str) -> bool:
    return any(f"{before}{spelling}{after}[" in body for before in ")*" for after in ("", "=", "+"))


def test_every_flag_and_its_description_is_in_the_fish_script(texts: dict[str, str], commands: list[Any]) -> None:
    lines = texts["completions/aiml.fish"].splitlines()
    for each in commands:
        own = [f"{line} " for line in lines if line.startswith(f'complete -c aiml -n \'__aiml_at "{each.name}"')]
        for spelling in (spelling for flag in each.flags for spelling in flag.all):
            written = f" {'-l' if spelling.startswith('--') else '-s'} {spelling.lstrip('-')} "
            assert [line for line in own if written in line and " -d '" in line], (each.name, spelling)


@pytest.mark.parametrize("shell", SHELLS)
def test_every_row_that_can_be_configured_is_offered_as_a_setting(texts: dict[str, str], shell: str) -> None:
    script = texts[f"completions/aiml.{shell}"]
    offers = {"bash": "_aiml_offer model ", "zsh": "settings=(", "fish": "function __aiml_settings"}
    names = script[script.index(offers[shell]) :].replace("'", " ").replace(":", " ").split()
    assert [row.name for row in ROWS.values() if not row.per_call and not row.secret and row.name not in names] == []


def test_every_flag_and_every_exit_code_is_on_the_manual_page(texts: dict[str, str], commands: list[Any]) -> None:
    page = texts["docs/aiml.1"].replace(r"\-", "-")
    for each in (each for each in commands if not each.commands):
        assert f"\\fB{each.name}\\fR" in page
        for spelling in (spelling for flag in each.flags for spelling in flag.all if "--help" not in flag.all):
            assert f"\\fB{spelling}\\fR" in page, (each.name, spelling)
    for kind in errors.AimlError.__subclasses__():
        assert f"\\fB{kind.exit_code}\\fR" in page


@pytest.mark.parametrize(
    "program",
    [["groff", "-man", "-ww", "-Tutf8"], ["man", "-l"], ["mandoc", "-Tlint", "-Wwarning"]],
    ids=lambda words: words[0],
)
@pytest.mark.usefixtures("sample_option")
def test_the_manual_page_is_shown_without_a_warning(generate: Any, tmp_path: Path, program: list[str]) -> None:
    if not shutil.which(program[0]):
        pytest.skip(f"{program[0]} is not installed")
    page = tmp_path / "aiml.1"
    page.write_text(generate.OUTPUTS["docs/aiml.1"](), "utf-8")
    done = subprocess.run(
        [*program, page],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MANWIDTH": "200", "LC_ALL": "C.UTF-8"},
    )
    shown = re.sub(r"\x1b\[[0-9;]*m|.\x08", "", done.stdout)
    if program[0] == "mandoc":
        assert [line for line in shown.splitlines() if "missing date" not in line] == []
    else:
        assert (done.returncode, done.stderr) == (0, "")
        assert SAMPLE_OPTION.help in " ".join(shown.split())
        assert "--max-tokens" in shown


def test_text_in_the_manual_page_is_never_a_troff_command(generate: Any) -> None:
    assert generate
    man = importlib.import_module("generators.man")
    assert man.escape(".TH is 'odd'\\n-x") == r"\&.TH is \(aqodd\(aq\(rsn\-x"
    assert man.escape("'quoted") == r"\(aqquoted"


def test_exit_codes_are_sorted_and_none_is_missing(texts: dict[str, str]) -> None:
    rows = [line.split(" | ") for line in texts["docs/exit-codes.md"].splitlines() if "| " in line][1:]
    codes = [int(row[0].strip("| ")) for row in rows]
    kinds = errors.AimlError.__subclasses__()
    assert codes == sorted(codes)
    assert codes[0] == 0
    assert {(kind.exit_code, f"`{kind.name}`") for kind in kinds if kind.__module__ == errors.__name__} <= {
        (code, row[1]) for code, row in zip(codes, rows, strict=True)
    }
