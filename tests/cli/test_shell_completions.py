"""The completion scripts, asked through the real shells on a path without programs."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
from support.paths import ROOT

from aiml_cli.api.model_list import Model
from aiml_cli.cli.commands.shell_completions import SHELLS
from aiml_cli.settings.options import ROWS
from aiml_cli.store import config_edit, model_cache, template_files

SCRIPTS = ROOT / "completions"
BASH_COMPLETION = Path("/usr/share/bash-completion/bash_completion")
# Where no program is found, none can be started.
ENVIRONMENT: Any = {"PATH": "/nonexistent", "TERM": "dumb", "LC_ALL": "C.UTF-8"}
LIST_KEY, COMPLETE_KEY, END_KEY = "\t", "\x07", "\x14"

ListOffers = Callable[[str], set[str]]
EFFORTS, FORMATS, COLORS = (" ".join(ROWS[name].value_type.choices) for name in ("effort", "format", "color"))
FILES = "letter.txt list/ long.json"
NAMES = ["acme/one", "acme/two:free", "other-model"]
# What a server could call a model, and somebody a template or a profile; >pwned needs no program.
HOSTILE = [
    "$(>pwned)", "`>pwned`", "a;>pwned", "x'y", 'x"y', "a b", "-rf", "\x1b[31mred", "return\r", "bell\x07", "caf\u00e9", "a*",
    "~", "", "a\\b", "${HOME}", "a|b", "!!", "a,b", "=x", "#x", "a(b", "a[b]", "a>b", "a&b", "%s", "\u202e",
]  # fmt: skip

# What is typed before Tab, and all that is offered then.
EXPECTED_OFFERS = {
    "aiml m": "models",
    "aiml --v": "--version",
    "aiml config un": "unset",
    "aiml chat --form": "--format",
    "aiml chat --inc": "--include-usage",
    "aiml respond --inc": "--include",
    "aiml respond chat --see": "",
    "aiml chat --no-str": "--no-stream",
    "aiml chat --format ": FORMATS,
    "aiml chat --format=": FORMATS,
    "aiml chat --format=json": "json jsonl",
    "aiml chat --effort ": EFFORTS,
    "aiml chat hello --effort=": EFFORTS,
    "aiml chat -m config --effort m": "minimal medium max",
    "aiml chat --format nonsense": "",
    "aiml respond --include reasoning": "reasoning.encrypted_content",
    "aiml chat -f l": FILES,
    "aiml chat -o le": "letter.txt",
    "aiml chat --attach=le": "letter.txt",
    "aiml models --ca-bundle li": "list/",
    "aiml chat --tools @l": FILES,
    "aiml chat --tools=@lo": "long.json",
    "aiml chat --tools @list/": "inside",
    "aiml chat --tools l": "",
    "aiml chat --temperature ": "",
    "aiml chat ": "",
    "aiml chat l": "",
    "aiml chat see @le": "letter.txt",
    "aiml chat -m ": "one two:free other-model",
    "aiml chat -m one -m oth": "other-model",
    "aiml respond --model=oth": "other-model",
    "aiml chat -m acme/one,oth": "other-model",
    "aiml chat --model=a,b,acme/o": "one",
    "aiml chat --demo -m demo/e": "echo error",
    "aiml chat -m zz": "",
    "aiml models oth": "other-model",
    "aiml models one oth": "",
    "aiml config set model oth": "other-model",
    "aiml chat -t ": "review weekly",
    "aiml chat -t @l": FILES,
    "aiml respond --template=@lo": "long.json",
    "aiml chat -t @list/": "inside",
    "aiml config templates @le": "letter.txt",
    "aiml chat --save=re": "review",
    "aiml config templates re": "review",
    "aiml chat -T ": "mcp:docs mcp:fs sums weather",
    "aiml chat -T w": "weather",
    "aiml respond --run-tool=s": "sums",
    "aiml chat -T l": FILES,
    "aiml tools show we": "weather",
    "aiml tools call su": "sums",
    "aiml tools remove w": "weather",
    "aiml tools imp": "import",
    "aiml tools import l": FILES,
    "aiml chat --profile ": "home work-2",
    "aiml config set --profile wo": "work-2",
    "aiml config set profile ho": "home",
    "aiml chat -x p": "perl php powershell py python",
    "aiml chat -x --form": "--format",
    "aiml respond --web-search --form": "--format",
    "aiml respond --web-search ": "low medium high",
    "aiml config completions ": " ".join(SHELLS),
    "aiml chat why config ": "",
    "aiml chat -- --form": "",
    "aiml config get max_t": "max_tokens",
    "aiml config set --profile work tem": "temperature template_path",
    "aiml config unset key_": "key_command",
    "aiml config get zz": "",
    "aiml config set color ": COLORS,
    "aiml config set no-stdin ": "on off",
    "aiml config set quiet o": "on off",
    "aiml config set temperature ": "",
    "aiml config set ca_bundle l": FILES,
    "aiml config unset color a": "",
}
# What is typed before Tab, and what the line is then, in a shell that completes a common beginning.
EXPECTED_LINES = {
    "aiml chat --form": "aiml chat --format ",
    "aiml chat --format=js": "aiml chat --format=json",
    "aiml chat --effort=no": "aiml chat --effort=none ",
    "aiml chat --tools=@lo": "aiml chat --tools=@long.json ",
    "aiml chat --tools @li": "aiml chat --tools @list/",
    "aiml chat --output=le": "aiml chat --output=letter.txt ",
    "aiml chat -f 'sp": "aiml chat -f 'sp ace' ",
    "aiml chat -m acme/two:f": "aiml chat -m acme/two:free ",
    "aiml chat -m acme/two:free,oth": "aiml chat -m acme/two:free,other-model ",
    "aiml chat --model=acme/two:free,oth": "aiml chat --model=acme/two:free,other-model ",
}
# The words that bash cut a line into, and what the function puts into COMPREPLY.
EXPECTED_REPLIES = {
    ("aiml", "mod"): ["models"],
    ("aiml", "chat", "--effort", "=", ""): EFFORTS.split(),
    ("aiml", "chat", "--effort", "=", "x"): ["xhigh"],
    ("aiml", "chat", "--effort=x"): ["--effort=xhigh"],
    ("aiml", "chat", "--tools", "=@", "lo"): ["@long.json"],
    ("aiml", "config", "set", "truncation", ""): ["auto", "disabled"],
    ("aiml", "chat", "hello", ""): [],
    ("aiml", "chat", "-m", "acme/two", ":", "f"): ["free"],
    ("aiml", "chat", "-T", "mcp", ":", "f"): ["fs"],
}


def find_shell(shell: str) -> str:
    """Find a shell, or skip the test."""
    path = shutil.which(shell)
    if not path:
        pytest.skip(f"{shell} is not installed")
    return path


def find_bash() -> str:
    bash = find_shell("bash")
    if int(subprocess.check_output([bash, "-c", "echo $BASH_VERSINFO"])) < 4:
        pytest.skip("this bash is older than 4")
    return bash


def strip_word(word: str) -> str:
    """Cut off what only some shells repeat: the flag, the @, the models before a comma, the directory."""
    return re.sub(r"^(.*[=@,])?(.*/(?=.))?", "", word)


def build_environment(work_folder: Path) -> dict[str, str]:
    """Return the environment of a shell; its home is next to `work_folder`."""
    return {**ENVIRONMENT, "HOME": str(work_folder.parent / "home")}


class Session:
    """A shell on a terminal, with a key that lists, a key that completes, and one that ends the line."""

    def __init__(self, command: list[str], setup: str, work_folder: Path) -> None:
        size = (100, 400)
        self.shell: Any = pexpect.spawn(
            command[0],
            command[1:],
            cwd=work_folder,
            env=build_environment(work_folder),
            encoding="utf-8",
            echo=False,
            dimensions=size,
        )
        self.shell.delaybeforesend = None
        self.shell.sendline(f"PS1=; {setup}; echo REA''DY")
        self.shell.expect("READY\r\n")
        self.shell.send(END_KEY)  # what is typed before the shell edits the line is echoed by the terminal
        self.shell.expect("<LINE:>")

    def press(self, line: str, key: str) -> tuple[str, str]:
        """Type a line and a key; return what was shown, and the line afterwards."""
        self.shell.send(line + key + END_KEY)
        self.shell.expect(r"<LINE:([^>]*)>")
        shown = self.shell.before.replace("\r", "")
        assert "not found" not in shown
        return shown, self.shell.match[1]

    def list_offers(self, line: str) -> set[str]:
        """List what is offered; zsh shows the meaning of a word after it, and the line again.

        The terminal may echo the line, with `^T` after it, when it arrives before zsh is back in its line editor.
        """
        rows = [row for row in self.press(line, LIST_KEY)[0].splitlines() if not row.strip().startswith(line.strip())]
        return {strip_word(word) for row in rows for word in row.split(" -- ")[0].split()}


def start_bash(script: Path, work_folder: Path, before: str = ":") -> Session:
    keys = [
        "set enable-bracketed-paste off",
        "set page-completions off",
        r'"\t": possible-completions',
        r'"\C-g": complete',
    ]
    done = r"""bind -x '"\C-t": printf "<LINE:%s>" "$READLINE_LINE"; READLINE_LINE='"""
    setup = "; ".join([before, f"source {script}", *(f"bind '{key}'" for key in keys), done])
    return Session([find_bash(), "--norc", "--noprofile", "-i"], setup, work_folder)


def complete_before_each_line(session: Session) -> ListOffers:
    """Complete something before each line, because after a failed completion bash treats the list key differently."""

    def list_offers(line: str) -> set[str]:
        assert len(session.list_offers("aiml c")) > 1
        return session.list_offers(line)

    return list_offers


def start_zsh(script: Path, work_folder: Path, *, is_sourced: bool = True) -> Session:
    done = "done-here() { zle -I; print -r -- \"<LINE:$BUFFER>\"; BUFFER=; }; zle -N done-here; bindkey '^T' done-here"
    keys = "unsetopt BEEP PROMPT_SP; unset zle_bracketed_paste; bindkey '^I' list-choices; bindkey '^G' complete-word; LISTMAX=9999"
    path = "" if is_sourced else f"fpath=({script.parent} $fpath);"
    load = f"source {script}" if is_sourced else ":"
    setup = f"stty -echo; {path} autoload -Uz compinit; compinit -D -u; {load}; {keys}; {done}"
    return Session([find_shell("zsh"), "-f"], setup, work_folder)


def start_fish(script: Path, work_folder: Path) -> ListOffers:
    shell = find_shell("fish")

    def list_offers(line: str) -> set[str]:
        program = f"source {script}; complete -C '{line}'"
        done = subprocess.run(
            [shell, "--no-config", "-c", program],
            cwd=work_folder,
            env=build_environment(work_folder),
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == ""
        return {strip_word(row.split("\t")[0]) for row in done.stdout.splitlines()}

    return list_offers


def start_shell(shell: str, work_folder: Path) -> ListOffers:
    match shell:
        case "bash":
            return complete_before_each_line(start_bash(SCRIPTS / "aiml.bash", work_folder))
        case "zsh":
            return start_zsh(SCRIPTS / "aiml.zsh", work_folder).list_offers
    return start_fish(SCRIPTS / "aiml.fish", work_folder)


@pytest.fixture(scope="module")
def work_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with a few files, and next to it a home with hostile names among good ones."""
    folder = tmp_path_factory.mktemp("shell") / "place"
    write_names(folder.parent / "home/.cache/aiml", folder.parent / "home/.config/aiml")
    (folder / "list").mkdir(parents=True)
    for name in ("letter.txt", "long.json", "list/inside", "sp ace"):
        (folder / name).touch()
    return folder


def write_names(cache: Path, settings: Path) -> None:
    """Write the names that a shell reads: models, templates, profiles."""
    (settings / "templates").mkdir(parents=True)
    cache.mkdir(parents=True)
    (cache / "models.txt").write_text("".join(f"{name}\n" for name in [*NAMES, *HOSTILE]), "utf-8", newline="")
    for name in ("review", "weekly", *(name for name in HOSTILE if name)):
        (settings / "templates" / f"{name}.toml").touch()
    (settings / "tools").mkdir()
    for name in ("sums", "weather", *(name for name in HOSTILE if name)):
        (settings / "tools" / f"{name}.toml").touch()
    servers = {name: {"command": "a", "env": {"NAME": "b"}} for name in ("docs", "fs", *HOSTILE)}
    (settings / "mcp.json").write_text(json.dumps({"mcpServers": servers}, indent=2, ensure_ascii=False), "utf-8")
    tables = "".join(f"[profiles.{name}]\n" for name in ("home", "work-2", *HOSTILE))
    (settings / "config.toml").write_text(f'model = "a"\n{tables}', "utf-8", newline="")


@pytest.fixture(scope="module", params=["bash", "bash-completion", "zsh", "zsh autoloaded", "fish"])
def list_offers(
    request: pytest.FixtureRequest, work_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> ListOffers:
    """Start a shell that has read the script; return a function that completes a line in it."""
    match request.param:
        case "bash-completion":
            if not BASH_COMPLETION.exists():
                pytest.skip("bash-completion is not installed")
            return complete_before_each_line(
                start_bash(SCRIPTS / "aiml.bash", work_folder, f"source {BASH_COMPLETION}")
            )
        case "zsh autoloaded":
            script = tmp_path_factory.mktemp("functions") / "_aiml"
            shutil.copy(SCRIPTS / "aiml.zsh", script)
            return start_zsh(script, work_folder, is_sourced=False).list_offers
    return start_shell(request.param, work_folder)


@pytest.mark.parametrize("line", EXPECTED_OFFERS)
def test_tab_offers_exactly_what_fits(list_offers: ListOffers, line: str) -> None:
    assert list_offers(line) == set(EXPECTED_OFFERS[line].split())


def test_neither_a_completion_nor_typed_text_is_executed(list_offers: ListOffers, work_folder: Path) -> None:
    for line in (
        "aiml chat -m ",
        "aiml chat -m $(>pwned)",
        "aiml chat -t ",
        "aiml chat --profile `>pwned`",
        "aiml models ",
    ):
        list_offers(line)
    assert not [*work_folder.parent.rglob("pwned")]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_scripts_find_the_names_where_aiml_stores_them(
    shell: str, empty_home: Path, work_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_cache.save_models(
        model_cache.CachedModels("https://api.example/v1", "", 0, b"[]", [Model(name) for name in NAMES + HOSTILE])
    )
    template_files.save_template("mine", {"prompt": "hi"}, lambda _: True)
    config_edit.set_value("color", "never", "night")
    for folder in (empty_home / "team", work_folder / "beside"):
        folder.mkdir(exist_ok=True)
        (folder / f"{folder.name}.toml").touch()
    monkeypatch.setitem(ENVIRONMENT, "AIML_TEMPLATE_PATH", f"{empty_home}/team:beside::/nowhere")
    for variable in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setitem(ENVIRONMENT, variable, os.environ[variable])
    ask = start_shell(shell, work_folder)
    assert ask("aiml chat -m ") == {strip_word(name) for name in NAMES}
    assert ask("aiml chat -t ") == {"mine", "team"}
    assert ask("aiml chat --profile ") == {"night"}


@pytest.fixture(scope="module")
def complete_line(work_folder: Path) -> Iterator[Callable[[str], str]]:
    """Yield a function that completes a line in bash."""
    session = start_bash(SCRIPTS / "aiml.bash", work_folder)
    yield lambda line: session.press(line, COMPLETE_KEY)[1]
    session.shell.close()


@pytest.mark.parametrize("line", EXPECTED_LINES)
def test_bash_inserts_what_fits_into_the_line(complete_line: Callable[[str], str], line: str) -> None:
    assert complete_line(line) == EXPECTED_LINES[line]


@pytest.mark.parametrize("words", EXPECTED_REPLIES)
def test_the_bash_function_fills_compreply_for_every_way_of_splitting_words(
    words: tuple[str, ...], work_folder: Path
) -> None:
    line = re.sub(r" (=@?|:) ?", r"\1", " ".join(words))
    last = f"@{words[-1]}" if words[-2].endswith("@") else words[-1]
    program = (
        f'source {SCRIPTS / "aiml.bash"}; COMP_LINE=$1 COMP_POINT=${{#1}} last=$2; shift 2; COMP_WORDS=("$@");'
        'COMP_CWORD=$(($# - 1)); _aiml aiml "$last"; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    command = [find_bash(), "-c", program, "bash", line, last, *words]
    done = subprocess.run(
        command, cwd=work_folder, env=build_environment(work_folder), capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert done.stdout.split() == EXPECTED_REPLIES[words]


@pytest.mark.parametrize(("shell", "name"), [("bash", "aiml.bash"), ("zsh", "aiml.zsh"), ("fish", "aiml.fish")])
def test_the_shell_accepts_the_syntax_of_its_script(shell: str, name: str) -> None:
    done = subprocess.run([find_shell(shell), "-n", SCRIPTS / name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["aiml.bash", "aiml.zsh", "aiml.fish"])
def test_no_script_runs_the_program(name: str) -> None:
    code = [line for line in (SCRIPTS / name).read_text("utf-8").splitlines() if not line.lstrip().startswith("#")]
    assert not [line for line in code if re.search(r"(^|[;&|(`] *)(command +)?(python3?|aiml) ", line.strip())]
