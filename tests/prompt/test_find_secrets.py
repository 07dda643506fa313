"""Secrets of all common forms are found, examples are not, and a search takes linear time."""

import base64
import random
import string
import time
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiml_cli.prompt.find_secrets import NAME_WORDS, PIECE_CHARS, find_assignments, find_secrets, list_present
from aiml_cli.prompt.secret_rules import RULES, Rule, apply_rule, apply_rules

if TYPE_CHECKING:
    from collections.abc import Callable, Container

RANDOM = random.Random(11)  # noqa: S311 - the tests are to be the same each time
BASE62 = string.ascii_letters + string.digits
LOWER = string.ascii_lowercase + string.digits
UPPER = string.ascii_uppercase + "234567"
HEX = "0123456789abcdef"


def draw_letters(count: int, letters: str = BASE62) -> str:
    """Return random letters and digits, with at least one digit."""
    return "".join(RANDOM.choice(letters) for _ in range(count - 1)) + "7"


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


PASSWORD = "tr0ub4dor" + "&3"
PEM = "-----BEGIN {}PRIVATE KEY{}-----"
# Tokens are made of parts, so that no scanner takes this file for a leak.
TOKENS = [
    ("sk-" + draw_letters(48), "an API key"),
    ("sk-proj-" + draw_letters(120), "an API key"),
    ("sk-svcacct-" + draw_letters(60), "an API key"),
    ("sk-admin-" + draw_letters(60), "an API key"),
    ("sk-ant-" + "api03-" + draw_letters(93), "Anthropic"),
    ("sk-or-" + "v1-" + draw_letters(64, HEX), "OpenRouter"),
    ("gsk_" + draw_letters(52), "Groq"),
    ("xai-" + draw_letters(80), "xAI"),
    ("pplx-" + draw_letters(48), "Perplexity"),
    ("r8_" + draw_letters(37), "Replicate"),
    ("hf_" + draw_letters(34, string.ascii_letters), "Hugging Face"),
    ("nvapi-" + draw_letters(64), "NVIDIA"),
    *[(prefix + draw_letters(36), "GitHub") for prefix in ("gh" + letter + "_" for letter in "pousr")],
    ("github_" + "pat_" + draw_letters(22) + "_" + draw_letters(59), "GitHub"),
    ("glpat" + "-" + draw_letters(20), "GitLab"),
    ("gldt" + "-" + draw_letters(20), "GitLab"),
    ("ATATT3" + draw_letters(180), "Atlassian"),
    ("npm_" + draw_letters(36), "npm"),
    ("pypi-" + "AgEIcHlwaS5vcmc" + draw_letters(80), "PyPI"),
    ("dckr_" + "pat_" + draw_letters(27), "Docker"),
    ("lin_api_" + draw_letters(40), "Linear"),
    ("ntn_" + draw_letters(46), "Notion"),
    ("secret_" + draw_letters(43), "Notion"),
    ("figd_" + draw_letters(40), "Figma"),
    ("AKIA" + draw_letters(16, UPPER), "AWS"),
    ("ASIA" + draw_letters(16, UPPER), "AWS"),
    ("AIza" + draw_letters(35), "Google"),
    ("GOCSPX-" + draw_letters(28), "Google"),
    ("ya29." + draw_letters(120), "Google"),
    ("1//0" + draw_letters(60), "Google"),
    ("aB3" + "8Q~" + draw_letters(34), "Azure"),
    ("DefaultEndpointsProtocol=https;AccountName=a;AccountKey=" + draw_letters(86) + "==;", "Azure"),
    ("Endpoint=sb://x/;SharedAccessKeyName=n;SharedAccessKey=" + draw_letters(43) + "=", "Azure"),
    ("https://a.blob.core.windows.net/c?sv=2022-11-02&sig=" + draw_letters(43) + "%3D", "signed URL"),
    ("dop_v1_" + draw_letters(64, HEX), "DigitalOcean"),
    ("fo1_" + draw_letters(43), "Fly"),
    ("fm2_" + draw_letters(200), "Fly"),
    ("vcp_" + draw_letters(56), "Vercel"),
    ("cfut_" + draw_letters(48), "Cloudflare"),
    ("sbp_" + draw_letters(40, HEX), "Supabase"),
    ("sb_secret_" + draw_letters(31), "Supabase"),
    ("pscale_tkn_" + draw_letters(43), "PlanetScale"),
    ("pscale_pw_" + draw_letters(43), "PlanetScale"),
    ("dapi" + draw_letters(32, HEX), "Databricks"),
    ("hvs." + draw_letters(95), "Vault"),
    (draw_letters(14) + ".atlasv1." + draw_letters(67), "Terraform"),
    ("dp.pt." + draw_letters(43), "Doppler"),
    ("glsa_" + draw_letters(32) + "_" + draw_letters(8, HEX), "Grafana"),
    ("glc_" + draw_letters(80), "Grafana"),
    ("NRAK-" + draw_letters(27, UPPER), "New Relic"),
    ("sntrys_" + "eyJ" + draw_letters(120), "Sentry"),
    ("sntryu_" + draw_letters(64, HEX), "Sentry"),
    *[(f"xox{letter}-529384756102-" + draw_letters(24), "Slack") for letter in "abprse"],
    ("xapp-1-A0-529384756102-" + draw_letters(64, HEX), "Slack"),
    ("https://hooks.slack.com/" + "services/T0A1B2C3D/B0A1B2C3D/" + draw_letters(24), "Slack"),
    ("https://discord.com/" + "api/webhooks/112233445566778899/" + draw_letters(68), "Discord"),
    ("M" + draw_letters(23) + "." + draw_letters(6) + "." + draw_letters(38), "Discord"),
    ("5938271640:" + "AA" + draw_letters(33), "Telegram"),
    ("SK" + draw_letters(32, HEX), "Twilio"),
    ("key-" + draw_letters(32, HEX), "Mailgun"),
    ("SG." + draw_letters(22) + "." + draw_letters(43), "SendGrid"),
    ("xkeysib-" + draw_letters(64, HEX) + "-" + draw_letters(16), "Brevo"),
    ("sk_live_" + draw_letters(24), "Stripe"),
    ("rk_live_" + draw_letters(24), "Stripe"),
    ("whsec_" + draw_letters(32), "Stripe"),
    ("shpat_" + draw_letters(32, HEX), "Shopify"),
    ("sq0atp-" + draw_letters(22), "Square"),
    ("EAAA" + draw_letters(60), "Square"),
    ("eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiI4NjI1NzM5MTAiLCJuIjoxfQ." + draw_letters(43), "JSON Web Token"),
    ("AGE-SECRET-" + "KEY-1" + draw_letters(58, UPPER), "age"),
]
CERTAIN_SECRETS = [
    *TOKENS,
    *[
        (PEM.format(kind, "") + "\n" + draw_letters(64), "private key")
        for kind in ("", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED ")
    ],
    (PEM.format("PGP ", " BLOCK") + "\nVersion: 2\n\n" + draw_letters(64), "private key"),
    (f'{{"private_key": "{PEM.format("", "")}\\n{draw_letters(64)}\\n"}}', "private key"),
    (f"  key: |\n    {PEM.format('', '')}\n    {draw_letters(64)}", "private key"),
    ("client-key-data: " + encode(PEM.format("RSA ", "") + "\n" + draw_letters(64)), "private key"),
    (f"machine api.example.org login me password {PASSWORD}", ".netrc"),
    (f"machine api.example.org\n  login me\n  password {PASSWORD}", ".netrc"),
    (f"default login me password {PASSWORD}", ".netrc"),
    (f"machine h password {PASSWORD} login me", ".netrc"),
    (f"db.internal:5432:shop:app:{PASSWORD}", ".pgpass"),
    (f"*:*:*:app:{PASSWORD}", ".pgpass"),
    *[
        (f"{scheme}://app:{PASSWORD}@db.internal/shop", "URL")
        for scheme in ("postgres", "postgresql+asyncpg", "mysql", "mongodb+srv", "amqps", "https", "jdbc:mysql", "ftp")
    ],
    (f"redis://:{PASSWORD}@cache:6379/0", "URL"),
    ("postgres://app:tr0ub4dor%26%23%40@db.internal/shop", "URL"),
    (f"Authorization: Bearer {draw_letters(40)}", "Bearer"),
    (f'-H "authorization: bearer {draw_letters(40)}"', "Bearer"),
    (f"Authorization: token {draw_letters(40, HEX)}", "Authorization"),
    (f"Authorization: {draw_letters(40)}", "Authorization"),
    (f"Authorization: Basic {encode('me:' + PASSWORD)}", "Basic"),
    (f"{{'Authorization': 'Bearer {draw_letters(40)}'}}", "Bearer"),
    (f"curl -H 'X-Api-Key: {draw_letters(32)}' https://x.example", "X-Api-Key"),
    (f"curl -u me:{PASSWORD} https://x.example", "command"),
    (f"curl -sS --user 'me:{PASSWORD}' https://x.example", "command"),
    (f'{{"auths": {{"ghcr.io": {{"auth": "{encode("me:" + PASSWORD)}"}}}}}}', "docker"),
    (f"    token: {draw_letters(40)}", "token"),
    (f"//registry.npmjs.org/:_authToken={draw_letters(36)}", "_authToken"),
    (f"aws_secret_access_key = {draw_letters(40)}", "aws_secret_access_key"),
    (f"AWS_SECRET_ACCESS_KEY={draw_letters(40)}", "AWS_SECRET_ACCESS_KEY"),
    (f'api_key: "{draw_letters(32)}"', "api_key"),
    (f'{{"apiKey": "{draw_letters(32)}"}}', "apiKey"),
    (f"export DD_API_KEY={draw_letters(32, HEX)}", "DD_API_KEY"),
    (f"set STORE_TOKEN={draw_letters(32)}", "STORE_TOKEN"),
    (f"app.client-secret={draw_letters(32)}", "client-secret"),
    (f"  - SESSION_SECRET={draw_letters(32)}", "SESSION_SECRET"),
    (f"- name: STORE_TOKEN\n  value: {draw_letters(32)}", "STORE_TOKEN"),
    (f"<apiKey>{draw_letters(32)}</apiKey>", "apiKey"),
    (f'<add key="ApiKey" value="{draw_letters(32)}" />', "ApiKey"),
    (f"docker run -e STORE_TOKEN={draw_letters(32)} image", "STORE_TOKEN"),
    (f"tool --api-key {draw_letters(32)}", "api-key"),
    (f"Server=db;User Id=sa;Password={draw_letters(20)};", "Password"),
    (f"https://x.example/v1?id=3&access_token={draw_letters(32)}", "access_token"),
]
GUESSES = [
    f"PASSWORD={PASSWORD}",
    "DB_PASSWORD=correct-horse",
    "password = hunter2",
    "password: hunter2hunter2",
    '"password": "hunter2"',
    'password = "correcthorse"',
    f"spring.datasource.password={PASSWORD}",
    f"Server=db;User Id=sa;Password={PASSWORD};",
    f"Server=db;Uid=sa;Pwd={PASSWORD};",
    f"<password>{PASSWORD}</password>",
    "postgres://app:correcthorse@db/shop",
    f"mysql -u root -p{PASSWORD} shop",
    f"PGPASSWORD={PASSWORD} psql",
    f"tool --password {PASSWORD}",
    f"tool --password={PASSWORD}",
    "alice:$6$" + "Fq2vQ1xZ$" + draw_letters(86) + ":19000:0:99999:7:::",
]
HARMLESS = [
    "sk-...",
    "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "sk-ant-your-key-goes-here-0123456789",
    "ghp_" + "x" * 36,
    "AKIA" + "IOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCY" + "EXAMPLEKEY",
    "api_key: <your key>",
    "api_key = os.environ['STORE_KEY']",
    "api_key = os.getenv('STORE_KEY')",
    "API_KEY=${STORE_KEY}",
    "API_KEY=$STORE_KEY",
    "PASSWORD=changeme",
    "password: {{ vault_password }}",
    "password: !secret db_password",
    "postgres://user:password@host:5432/db",
    "postgres://postgres:postgres@localhost/db",
    "postgres://app:${DB_PASSWORD}@db/shop",
    "postgres://app:$DB_PASSWORD@db/shop",
    "f'postgres://{user}:{password}@{host}/db'",
    "postgres://<user>:<password>@<host>/db",
    "mysql://root:%s@host/db",
    "amqp://guest:guest@localhost:5672//",
    "https://example.org:8080/@someone",
    "https://example.org:8080?mail=a@b.example",
    "git clone ssh://git@example.org:22/repo.git",
    "machine HOST login USER password PASSWORD",
    "the machine was set up with a password of its own",
    "hostname:port:database:username:password",
    "a.py:1200:5: error: x",
    "root:x:0:0:root:/root:/bin/bash",
    "12:30:1999:aa:bb",
    "Authorization: Bearer <token>",
    "Authorization: Bearer $TOKEN",
    "Authorization: Bearer YOUR_API_KEY_GOES_HERE",
    "Authorization: Basic " + encode("user:password"),
    "Bearer authentication is described in the documentation",
    "curl -u user:password https://x.example",
    "docker run -u 1000:1000 image",
    '{"auth": "oauth2"}',
    '"auths": {"ghcr.io": {"auth": "<base64>"}}',
    "client-certificate-data: " + encode("-----BEGIN CERTIFICATE-----\n" + draw_letters(64)),
    PEM.format("", "") + "\n...\n",
    PEM.format("", "") + "\nMIIE...",
    "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQ" + draw_letters(200) + " me@here",
    "next_page_token = '" + draw_letters(40) + "'",
    "tokenizer = AutoTokenizer.from_pretrained('gpt2-medium-1234567')",
    "def f(password: str, token: str | None = None) -> None:",
    "password = form.password",
    "    password=hashed_password,",
    "accessToken = someVeryLongVariableName;",
    "if (key === 'ArrowLeftOrRight12') {",
    "the token: it is what the server sends after a login1234",
    "sha256:" + draw_letters(64, HEX),
    "uuid 3f2b8c1e-9d4a-4b7c-8e5f-1a2b3c4d5e6f",
    "key: value",
    "keyboard = 'QwertyLayout2000x9'",
]


@pytest.mark.promise("secrets-confirmed")
@pytest.mark.parametrize(("text", "kind"), CERTAIN_SECRETS)
def test_a_secret_of_a_known_form_is_certain(text: str, kind: str) -> None:
    found = find_secrets("notes", f"one\n{text}\nlast\n")
    assert [(each.is_certain, kind in each.kind) for each in found][:1] == [(True, True)], found


@pytest.mark.parametrize(("token", "kind"), TOKENS)
@pytest.mark.parametrize("surroundings", ['"{}"', "({})", "x={}", "see {}.", "https://h.example/?q={}&x", "\t{},\r"])
def test_a_token_is_found_in_any_surroundings(token: str, kind: str, surroundings: str) -> None:
    assert [each.is_certain for each in find_secrets("notes", surroundings.format(token))] == [True], kind


@pytest.mark.promise("secrets-confirmed")
@pytest.mark.parametrize("text", GUESSES)
def test_a_word_in_place_of_a_password_is_a_guess(text: str) -> None:
    found = find_secrets("notes", f"one\n{text}\nlast\n")
    assert [(each.line, each.is_certain) for each in found] == [(2, False)], found


@pytest.mark.parametrize("text", HARMLESS)
def test_an_example_or_a_reference_is_not_a_secret(text: str) -> None:
    assert find_secrets("notes", f"one\n{text}\nlast\n") == []


def test_a_finding_names_the_line_of_a_password_but_not_the_password() -> None:
    (found,) = find_secrets(".netrc", f"machine h\nlogin me\npassword {PASSWORD}\n")
    assert str(found) == ".netrc, line 3: a password (.netrc)"


def test_guesses_never_displace_certain_findings() -> None:
    found = find_secrets("x", "password = hunter2\n" * 50 + f"k = '{TOKENS[0][0]}'\n")
    assert (len(found), [each.line for each in found if each.is_certain]) == (20, [51])


SIZES = (3_000, 30_000)
# What nearly matches after a marker, beside what nearly matches after any.
NEAR_MATCHES = {
    "machine": (" a login ", " a login b "),
    "default": (" login ", " login a "),
    "curl": (" -", " -u a", " --user "),
    "mysql": (" -", " -pa "),
    "://": ("a:b", ":@", "a:@"),
    ":": ("1234:a", "1234:a:b:", "*:"),
    '"d"': (':"a',),
    "-----BEGIN ": ("PRIVATE KEY-----", "PRIVATE KEY-----\nVersion: ", "A ", "A B "),
    "PuTTY-User-Key-File-": ("1:",),
    "Basic ": ("AAAA",),
}


def is_linear(search: "Callable[[str], object]", unit: str, sizes: tuple[int, int] = SIZES) -> bool:
    """True if ten times the text takes at most forty times the CPU time."""
    short, long = (measure_seconds(search, unit, size) for size in sizes)
    return long < 40 * max(short, 0.0005)


def measure_seconds(search: "Callable[[str], object]", unit: str, size: int) -> float:
    """Return the CPU time of a search in a text that repeats a unit."""
    text = (unit * (size // len(unit) + 1))[:size]
    start = time.process_time()
    search(text)
    return time.process_time() - start


MARKERS = [marker for rule in RULES for marker in rule.markers]
NAME_VARIANTS = [variant for word in NAME_WORDS for variant in (word, word.capitalize(), word.upper())]
# What a marker needs may be far after it.
SECRETS_FAR_FROM_MARKERS = [
    f"machine {'h' * 250}\nlogin {'u' * 190}\naccount {'a' * 190}\npassword {PASSWORD}",
    f"curl {'-s ' * 60} --proxy-user {'u' * 90}:{PASSWORD} x",
    f"x://{'u' * 99}:{draw_letters(150)}{PASSWORD}@h",
    f"Authorization: {'Token-Of-The-Server'} token={draw_letters(40)}",
    f"ENV {'LONG_' * 8}API_KEY {draw_letters(30)}",
    f"--{'long-' * 8}api-key {draw_letters(30)}",
    f"setx {'LONG_' * 8}API_KEY {draw_letters(30)}",
    f"- name: {'LONG_' * 8}API_KEY    \n{' ' * 40}value: {draw_letters(30)}",
]
SECRET_TEXTS = [text for text, _ in CERTAIN_SECRETS] + GUESSES + SECRETS_FAR_FROM_MARKERS
FILLERS = ["plain words of a text\n", "x", "line = of_code(1)  # ", "日本語、", "é", "a-b_c.", " "]


def list_matches(text: str, present: "Container[str]") -> list[tuple[int, str, bool]]:
    """Return the matches of all rules and names whose marker counts as present."""
    names = (find_assignments(variant, text) for variant in NAME_VARIANTS if variant in present)
    return [*apply_rules(text, present), *chain.from_iterable(names)]


@pytest.mark.promise("secrets-confirmed")
@pytest.mark.parametrize("form", SECRET_TEXTS)
def test_a_secret_is_found_wherever_the_pieces_of_a_long_text_meet(form: str) -> None:
    needed = {marker for marker in [*MARKERS, *NAME_VARIANTS] if list_matches(form, [marker])}
    assert needed
    for cut in range(0, len(form) + 2, 1 + len(form) // 12):
        filler = "日本語。\n" if cut % 2 else "plain words of a text\n"
        before = (filler * PIECE_CHARS)[: PIECE_CHARS - cut]
        assert needed <= list_present(f"{before}{form}\n{filler * 20}"), cut


@settings(max_examples=20)
@given(
    st.lists(st.sampled_from([*SECRET_TEXTS, *MARKERS, *NAME_VARIANTS, *FILLERS]) | st.text(max_size=30), max_size=12)
)
def test_a_long_text_has_the_same_matches_as_a_search_for_every_marker(pieces: list[str]) -> None:
    text = ("word\n" * PIECE_CHARS)[: PIECE_CHARS - 100] + "".join(pieces) + "\n" + "end\n" * 50
    assert list_matches(text, list_present(text)) == list_matches(text, [*MARKERS, *NAME_VARIANTS])


def test_a_long_text_without_secrets_has_few_markers() -> None:
    assert list_present("word\n" * PIECE_CHARS) == set()
    assert list_present("a_long-word_that.is/no-token sk-short \n" * PIECE_CHARS) <= {".", "sk-"}


@pytest.mark.parametrize("prefix", ["密钥", "é", "«", "ключ:"])
def test_a_token_directly_after_other_letters_is_found(prefix: str) -> None:
    found = find_secrets("x", f"{prefix}{TOKENS[0][0]}。")
    assert [each.is_certain for each in found] == [True]


@pytest.mark.parametrize("filler", FILLERS[:4])
@pytest.mark.parametrize(("token", "kind"), TOKENS[:5])
def test_a_token_in_a_long_text_is_found(token: str, kind: str, filler: str) -> None:
    before = filler * (3 * PIECE_CHARS // len(filler))
    assert [kind in str(finding) for finding in find_secrets("f", f"{before} {token} {before}")] == [True]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.markers[0])
def test_no_rule_takes_more_than_linear_time(rule: Rule) -> None:
    """Ten times the text takes about ten times the time, whatever is repeated in it."""
    for marker in rule.markers if rule.markers[0] in NEAR_MATCHES else rule.markers[:1]:
        for unit in (f"{marker}{end}" for end in ("", "a", " ", ":", "\n", "A1-", "_", *NEAR_MATCHES.get(marker, ()))):
            assert is_linear(partial(search_rule, rule, marker), unit), unit


def search_rule(rule: Rule, marker: str, text: str) -> int:
    return len(list(apply_rule(rule, marker, text)))


@pytest.mark.promise("secret-search-time")
@pytest.mark.parametrize("word", NAME_WORDS)
def test_no_name_takes_more_than_linear_time(word: str) -> None:
    for unit in (f"{word}{end}" for end in ("", "_", "=", ": ", " ", "='", "=a1", " \n value:", ">", '" value=')):
        assert is_linear(partial(search_word, word), unit), unit


def search_word(word: str, text: str) -> int:
    return len(list(find_assignments(word, text)))


# The last two are secrets and guesses themselves, all in one line.
UNITS = [
    *("key", "password", "secret_", "a", "a1-", "sk-", "machine ", "://a:b", " = ", ":", "\n"),
    *(f"{'ghp_' + draw_letters(36)} ", "PASSWORD=" + "hunter22word "),
]


@pytest.mark.promise("secret-search-time")
@pytest.mark.parametrize("unit", UNITS)
def test_a_search_takes_linear_time(unit: str) -> None:
    assert is_linear(partial(find_secrets, "x"), unit, (20_000, 200_000))
