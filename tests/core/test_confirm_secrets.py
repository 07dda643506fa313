"""Secrets in files and standard input are not sent until the user agrees; little else is held back."""

import os
import random
import string
import subprocess
from pathlib import Path
from typing import Any

import pexpect
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.forked_process import run_process
from support.loopback import HELLO, HELLO_RESPONSE, Loopback
from support.run_cli import Aiml, build_command

from aiml_cli.prompt.find_secrets import find_secrets

CHUNK_CHARS = 1 << 20

RANDOM = random.Random(7)  # noqa: S311 - the tests are to be the same each time
BASE62 = string.ascii_letters + string.digits
BASE32 = string.ascii_uppercase + "234567"


def draw_letters(count: int, letters: str = BASE62) -> str:
    """Return random letters."""
    return "".join(RANDOM.choice(letters) for _ in range(count))


SECRETS = [
    ("sk-" + draw_letters(48), "an API key (sk-…)"),
    ("sk-proj-" + draw_letters(100), "an API key (sk-…)"),
    ("sk-ant-api03-" + draw_letters(90), "an Anthropic key"),
    ("ghp_" + draw_letters(36), "a GitHub token"),
    ("github_pat_" + draw_letters(22) + "_" + draw_letters(59), "a GitHub token"),
    ("glpat-" + draw_letters(20), "a GitLab token"),
    ("AKIA" + draw_letters(16, BASE32), "an AWS access key"),
    ("ASIA" + draw_letters(16, BASE32), "an AWS access key"),
    ("AIza" + draw_letters(35), "a Google API key"),
    ("xoxb-529384756102-529384756103-" + draw_letters(24), "a Slack token"),
    ("https://hooks.slack.com/services/T0A1B2C3D/B0A1B2C3D/" + draw_letters(24), "a Slack webhook"),
    ("npm_" + draw_letters(36), "an npm token"),
    ("pypi-AgEIcHlwaS5vcmc" + draw_letters(80), "a PyPI token"),
    ("hf_" + draw_letters(34, string.ascii_letters), "a Hugging Face token"),
    ("sk_live_" + draw_letters(24), "a Stripe key"),
    ("SG." + draw_letters(22) + "." + draw_letters(43), "a SendGrid key"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI4NjI1NzM5MTAiLCJuIjoxfQ.SflKxwRJSMeKKF2QT4fwpMeJf36P", "a JSON Web Token"),
    ("AGE-SECRET-KEY-1" + draw_letters(58, BASE32), "an age key"),
    ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAE\n", "a private key"),
    (
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,A1\n\n" + draw_letters(64),
        "a private key",
    ),
    ('"private_key": "-----BEGIN PRIVATE KEY-----\\nMIIEvQIBADANBgkqhkiG9w0BAQEF', "a private key"),
    ("PuTTY-User-Key-File-3: ssh-rsa\nEncryption: none\nPrivate-Lines: 14\n", "a private key (PuTTY)"),
    ("DB_PASSWORD=correct-horse", "a password (DB_PASSWORD)"),
    ("password: hunter2hunter2", "a password (password)"),
    (f"export API_TOKEN='{draw_letters(24)}7'", "a secret (API_TOKEN)"),
    (f"SECRET_KEY_BASE={draw_letters(64)}", "a secret (SECRET_KEY_BASE)"),
    (f"AWS_SECRET_ACCESS_KEY={draw_letters(40)}", "a secret (AWS_SECRET_ACCESS_KEY)"),
    (f'const apiKey = "{draw_letters(31)}7";', "a secret (apiKey)"),
    (f'{{"client_secret": "{draw_letters(31)}7"}}', "a secret (client_secret)"),
    (f"docker run -e API_KEY={draw_letters(31)}7 image", "a secret (API_KEY)"),
]
HARMLESS_TEXTS = [
    "keys look like `sk-...` or sk-ant-…",
    "sk-your-api-key-goes-here-12345",
    'api_key = os.environ["AIMLAPI_API_KEY"]',
    "api_key = os.getenv('AIMLAPI_API_KEY')",
    "apiKey: process.env.AIMLAPI_API_KEY,",
    "API_KEY=",
    "API_KEY=xxxxxxxxxxxxxxxxxxxx",
    "API_TOKEN=<your token here 123>",
    "PASSWORD=${DATABASE_PASSWORD}",
    "DB_PASSWORD=changeme",
    "password: Optional[str] = None",
    "password = getpass.getpass('Password: ')",
    "if password == 'correct horse battery':",
    "token = tokenizer.next_token(context2)",
    "access_token = response2.access_token",
    "max_tokens: 1234567890123456789",
    "primary_key = 'customer_id_2_and_more'",
    "PUBLIC_KEY=" + draw_letters(40),
    "AKIAIOSFODNN7EXAMPLE",
    "a file that begins with -----BEGIN PRIVATE KEY----- holds one",
    '"integrity": "sha512-' + draw_letters(86) + '=="',
    'checksum = "' + draw_letters(64, "0123456789abcdef") + '"',
    "commit " + draw_letters(40, "0123456789abcdef"),
    "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "id 3f2b8c1e-9d4a-4b7c-8e5f-1a2b3c4d5e6f",
    "![](data:image/png;base64," + draw_letters(4000, BASE62 + "+/") + ")",
    '<div class="sk-fading-circle sk-loading-spinner-container-1">',
    "token: ${{ secrets.GITHUB_TOKEN }}",
    "Authorization: Bearer $AIMLAPI_API_KEY",
    "KEYBOARD_LAYOUT_2=de-latin1-nodeadkeys",
    "secret: the thing that nobody knows, 12345678",
]


@pytest.mark.promise("secrets-confirmed")
@pytest.mark.parametrize(("text", "kind"), SECRETS)
def test_a_secret_is_found_with_its_line_and_kind(text: str, kind: str) -> None:
    found = find_secrets("notes", f"one\ntwo\n{text}\nfour\n")
    assert [each[:3] for each in found] == [("notes", 3, kind)]


@pytest.mark.parametrize("text", HARMLESS_TEXTS)
def test_text_about_secrets_is_not_a_secret(text: str) -> None:
    assert find_secrets("notes", f"one\n{text}\nthree\n") == []


@pytest.mark.parametrize(("text", "kind"), SECRETS[:2] + SECRETS[5:9] + SECRETS[18:19])
@pytest.mark.parametrize("end", ["\n", " "])
def test_a_secret_is_found_anywhere_in_a_long_text(text: str, kind: str, end: str) -> None:
    for before in (CHUNK_CHARS - 20, CHUNK_CHARS - len(text), CHUNK_CHARS, 2 * CHUNK_CHARS - 5):
        filler = ("word€ " * 12 + end) * (before // 73 + 1)
        assert kind in [each.kind for each in find_secrets("log", f"{filler[: before - 1]}{end}{text}{end}{filler}")]


@settings(deadline=None)
@given(st.text())
def test_any_text_can_be_searched(text: str) -> None:
    assert find_secrets("x", text) == [] or len(text) > 10


def test_the_users_own_key_is_found_in_any_format() -> None:
    assert [(each.line, each.kind) for each in find_secrets("x", "a\nplain-own-key", ["plain-own-key"])] == [
        (2, "your API key")
    ]


KEY = "sk-" + draw_letters(48)


@pytest.fixture(autouse=True)
def source_files(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "settings.py").write_text(f"x = 1\nkey = '{KEY}'\n")
    (tmp_path / "turns.json").write_text(f'[{{"role": "user", "content": "{KEY}"}}]')


@pytest.mark.promise("secrets-confirmed")
@pytest.mark.parametrize(
    ("arguments", "stdin", "location"),
    [
        (["chat", "x", "-f", "src/settings.py"], None, "src/settings.py, line 2"),
        (["chat", "x", "-f", "src"], None, "src/settings.py, line 2"),
        (["respond", "x", "@src/settings.py"], None, "src/settings.py, line 2"),
        (["chat", "x"], f"a\n{KEY}", "standard input, line 2"),
        (["chat"], KEY, "standard input, line 1"),
        (["chat", "say {stdin}"], KEY, "standard input, line 1"),
        (["chat", "-f", "-"], KEY, "standard input, line 1"),
        (["chat", "x", "--messages", "turns.json"], None, "turns.json, line 1"),
        (["chat", "x", "-s", "@src/settings.py"], None, "src/settings.py, line 2"),
        (["chat", "x", "-y"], KEY, "standard input, line 1"),
    ],
)
def test_a_script_sends_no_file_or_input_with_a_secret(
    arguments: list[str], stdin: str | None, location: str, server: Loopback, aiml: Aiml
) -> None:
    done = aiml(*arguments, stdin=stdin.encode() if stdin else None)
    assert (done.returncode, done.stdout, server.requests) == (2, b"", [])
    assert f"{location}: an API key (sk-…)" in done.stderr.decode()
    assert b"--allow-secrets" in done.stderr
    assert KEY.encode() not in done.stderr


POSSIBLE_SECRET = "DB_PASSWORD=correct" + "-horse"


@pytest.mark.promise("secrets-confirmed")
@pytest.mark.parametrize(
    ("arguments", "stdin", "location"),
    [
        (["chat", "x"], f"a\n{POSSIBLE_SECRET}\n", "standard input, line 2: a password (DB_PASSWORD)"),
        (["respond", "x", "-f", "guess.env"], None, "guess.env, line 1: a password (DB_PASSWORD)"),
    ],
)
def test_a_script_sends_a_possible_secret_with_one_notice(
    arguments: list[str], stdin: str | None, location: str, server: Loopback, aiml: Aiml, tmp_path: Path
) -> None:
    (tmp_path / "guess.env").write_text(POSSIBLE_SECRET)
    server.answer_with(HELLO if arguments[0] == "chat" else HELLO_RESPONSE)
    done = aiml(*arguments, stdin=stdin.encode() if stdin else None)
    assert (done.returncode, len(server.requests)) == (0, 1)
    lines = [line for line in done.stderr.decode().splitlines() if "secret" in line]
    assert lines == [f"aiml: sends what may be a secret: {location}"]
    assert "correct" not in done.stderr.decode()


def test_a_refusal_names_only_certain_secrets(server: Loopback, aiml: Aiml) -> None:
    done = aiml("chat", "x", stdin=f"{POSSIBLE_SECRET}\n{KEY}\n".encode())
    assert (done.returncode, server.requests) == (2, [])
    assert "line 2: an API key" in done.stderr.decode()
    assert "DB_PASSWORD" not in done.stderr.decode()


def test_a_terminal_asks_about_a_possible_secret_too(server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "guess.env").write_text(POSSIBLE_SECRET)
    child = start_on_terminal(server, "$AIML chat x -f guess.env")
    child.expect("this may be a secret: guess.env, line 1: a password")
    child.expect(r"send it anyway\? \[y/N\] ")
    child.sendline("")
    child.expect(pexpect.EOF)
    child.close()
    assert (child.exitstatus, server.requests) == (2, [])


def test_allow_secrets_sends_it_with_one_notice(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO_RESPONSE)
    done = aiml("respond", "x", "-f", "src", "--allow-secrets")
    assert (done.returncode, done.stdout) == (0, b"Hello\n")
    assert KEY in server.requests[0].body.decode()
    notice = "aiml: sends what looks like a secret: src/settings.py, line 2: an API key (sk-…)"
    assert done.stderr.decode().splitlines().count(notice) == 1
    assert aiml("respond", "x", "-f", "src", "--allow-secrets", "-q").stderr == b""


@pytest.mark.parametrize("flags", [["--dry-run"], ["--as", "curl"]])
def test_a_request_that_is_only_shown_gives_only_a_notice(flags: list[str], aiml: Aiml) -> None:
    done = aiml("chat", "x", "-f", "src/settings.py", *flags)
    assert done.returncode == 0
    assert "aiml: found what looks like a secret: src/settings.py, line 2" in done.stderr.decode()


def test_typed_words_are_not_checked(server: Loopback, aiml: Aiml) -> None:
    server.answer_with(HELLO)
    assert aiml("chat", "is", KEY, "valid?").returncode == 0
    assert KEY in server.requests[0].body.decode()


def test_the_key_in_use_is_recognized_in_the_input(server: Loopback, aiml: Aiml) -> None:
    done = aiml("chat", "x", stdin=b"odd.own.key.value", AIMLAPI_API_KEY="odd.own.key.value")
    assert (done.returncode, server.requests) == (2, [])
    assert "your API key" in done.stderr.decode()


def start_on_terminal(server: Loopback, line: str) -> "pexpect.spawn[str]":
    """Run a shell command on a pty, in which $AIML is the program."""
    environ: Any = {**os.environ, "AIML_BASE_URL": server.url, "AIML": " ".join(build_command()), "TERM": "xterm"}
    return pexpect.spawn("/bin/sh", ["-c", line], env=environ, timeout=60, encoding="utf-8", dimensions=(24, 200))


CONFIRMATIONS = [
    ("$AIML chat x -f src", "y", 0),
    ("$AIML chat x -f src", "", 2),
    ("$AIML chat x -f src", "n", 2),
    ("cat src/settings.py | $AIML chat x", "yes", 0),
    ("cat src/settings.py | $AIML chat x", "no", 2),
]


@pytest.mark.promise("secrets-confirmed")
@pytest.mark.parametrize(("line", "answer", "code"), CONFIRMATIONS)
def test_a_terminal_asks_before_a_secret_is_sent(line: str, answer: str, code: int, server: Loopback) -> None:
    server.answer_with(HELLO)
    child = start_on_terminal(server, line)
    child.expect("this looks like a secret: .*, line 2: an API key")
    child.expect(r"send it anyway\? \[y/N\] ")
    assert server.requests == []
    child.sendline(answer)
    child.expect(pexpect.EOF)
    child.close()
    assert (child.exitstatus, len(server.requests)) == (code, 1 if code == 0 else 0)


def test_yes_answers_the_question(server: Loopback) -> None:
    server.answer_with(HELLO)
    child = start_on_terminal(server, "$AIML chat x -f src -y")
    child.expect(pexpect.EOF)
    child.close()
    assert "this looks like a secret" in (child.before or "")
    assert (child.exitstatus, len(server.requests)) == (0, 1)


def test_without_a_controlling_terminal_the_answer_is_no(server: Loopback) -> None:
    """With standard error on a pty but no controlling terminal the answer is no."""
    leader, follower = os.openpty()
    done = run_process(
        build_command("chat", "x", "-f", "src"), env={**os.environ, "AIML_BASE_URL": server.url}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=follower, start_new_session=True, timeout=60, check=False,
    )  # fmt: skip
    os.close(leader)
    os.close(follower)
    assert (done.returncode, server.requests) == (2, [])
