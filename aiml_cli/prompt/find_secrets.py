"""Find keys and passwords in a text that is about to be sent."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

CHUNK_CHARS = 1 << 20  # searched at a time, because each chunk is copied several times
REACH, STEP, BLOCK_REACH = 300, 150, 1200  # characters around a marker in which a secret is searched
MAX_FINDINGS = 20
MIN_PASSWORD_LENGTH, MIN_KEY_LENGTH, MIN_DIFFERENT_CHARS = 8, 16, 6
ASCII_END = 0x80


class SecretFinding(NamedTuple):
    """The place and the kind of a likely secret, without the secret."""

    name: str
    line: int
    kind: str

    def __str__(self) -> str:
        return f"{self.name}, line {self.line}: {self.kind}"


# A text is first searched for a few markers; every secret below contains one, and the patterns are tried only around
# them. This table turns letters and digits into "a", and separators into "-": tokens with a prefix share a marker then.
_CLASS_TABLE = bytes(
    0x61 if chr(code).isalnum() and code < ASCII_END else 0x2D if chr(code) in "-_." else 0x20 for code in range(256)
)
_CLASS_MARKERS = (b"-" + b"a" * 13,)
# The other tokens begin with AKIA, ASIA, AIza or glpat-, which this table turns into one marker, AKKA. It also makes
# the words of names independent of their case.
_FOLD_TABLE = bytes(
    ord({"S": "K", "I": "K", "Z": "K", "L": "K", "P": "K", "G": "A"}.get(letter, letter))
    for letter in (chr(code).upper() if code < ASCII_END else "?" for code in range(256))
)
_FOLDED_MARKERS = (b"AKKA",)
_RAW_MARKERS = (b"-----BEGIN ", b"hooks.slack.com", b"PuTTY-User")
_WORD_MARKERS = tuple(word.translate(_FOLD_TABLE) for word in (b"token", b"secret", b"passw", b"key"))

# The prefix of each token, its pattern, and its kind.
_TOKENS = tuple(
    (prefix, re.compile(rf"(?<![A-Za-z0-9]){pattern}"), kind)
    for prefix, pattern, kind in (
        ("sk-ant-", r"sk-ant-[\w-]{20,}", "an Anthropic key"),
        ("sk-", r"sk-(?!ant-)[\w-]{20,}", "an API key (sk-…)"),
        ("gh", r"gh[pousr]_[A-Za-z0-9]{30,}", "a GitHub token"),
        ("github_pat_", r"github_pat_\w{30,}", "a GitHub token"),
        ("glpat-", r"glpat-[\w-]{20,}", "a GitLab token"),
        ("IA", r"A[KS]IA[A-Z0-9]{16}(?![A-Za-z0-9])", "an AWS access key"),
        ("AIza", r"AIza[\w-]{35}(?![\w-])", "a Google API key"),
        ("xox", r"xox[abeoprs]-[A-Za-z0-9-]{20,}", "a Slack token"),
        ("hooks.", r"hooks\.slack\.com/services/T\w{5,}/B\w{5,}/\w{16,}", "a Slack webhook"),
        ("npm_", r"npm_[A-Za-z0-9]{36}(?![A-Za-z0-9])", "an npm token"),
        ("pypi-", r"pypi-[\w-]{50,}", "a PyPI token"),
        ("hf_", r"hf_[A-Za-z0-9]{30,}", "a Hugging Face token"),
        ("k_live_", r"[rs]k_live_[A-Za-z0-9]{20,}", "a Stripe key"),
        ("SG.", r"SG\.[\w-]{16,}\.[\w-]{30,}", "a SendGrid key"),
        ("eyJ", r"eyJ[\w-]{10,}\.eyJ[\w-]{20,}", "a JSON Web Token"),
        ("AGE-SECRET-KEY-", r"AGE-SECRET-KEY-1[A-Z0-9]{50,}", "an age key"),
    )
)
# A text about keys quotes only the first or last line; a real key has characters between them.
_PEM = re.compile(
    r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
    r"(?:\\[nr]|\s|[\"'+,]|(?:Proc-Type|DEK-Info|Version|Comment): [^\n]*\n)*[A-Za-z0-9+/=]{24}"
)
_PUTTY = re.compile(r"PuTTY-User-Key-File-\d:.{0,1000}?Private-Lines: \d", re.DOTALL)
_BLOCKS = (("-----BEGIN ", _PEM, "a private key"), ("PuTTY-", _PUTTY, "a private key (PuTTY)"))

_NAME = re.compile(r"[\w$.-]*$")
_ASSIGNMENT = re.compile(
    r"([\w$.-]+)[\"']?\]?[ \t]*(=>|:=|:|=)(?!=)[ \t]*(?:[rbuf]?([\"'`])([^\"'`\n]{0,300})\3|([^\n]{0,300}))"
)
# Most names are not followed by a value that could be secret; this quick check finds out first.
_HAS_VALUE = re.compile(r"[\w$.-]*[\"']?\]?[ \t]*[:=][=>]?[ \t]*[rbuf]?[\"'`]?[^\s\"'`<>()\[\]{}*$,;]{8}")
_NAME_PREFIXES = ("", "export", "set", "ENV", "ARG", "-", "$env:")
_ENV_NAME = re.compile(r"[A-Z][A-Z0-9_]*?(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD)(?:_BASE|_PROD|_LIVE|_?\d+)?|KEY|TOKEN")
_SECRET_NAME = re.compile(
    r"(?:.*[_.$-])?(?:token|secret|passwo?r?d"
    r"|(?:secret|api|access|auth|private|encryption|signing|master|service)[_.-]?(?:access[_.-]?)?key)(?:_base|_?\d+)?"
)
_HARMLESS_NAME = re.compile(
    r"public|publishable|primary|foreign|cache|sort|partition|max|num|count|hash|csrf|idempot", re.IGNORECASE
)
_CAMEL_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_PLACEHOLDER = re.compile(
    r"x{4}|\*{3}|\.{3}|…|[<>()\[\]{}\s]|^[$%/.~@&]|change.?me|replace|your|my[-_]|example|placeholder|dummy|sample|"
    r"redacted|insert|todo|fixme|fake|mock|^test|environ|getenv|process\.env|secrets?\.|vault|://|"
    r"^(?:none|null|nil|true|false|undefined|password|passwd|secret)|123456789|abcdefgh|(.)\1{5}",
    re.IGNORECASE,
)
_CODE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+|[a-z]+(?:_[a-z0-9]+)+")


def find_secrets(name: str, text: str, known: Sequence[str] = ()) -> list[SecretFinding]:
    """Return the first 20 likely secrets in a text, by line; `known` are the user's own keys.

    Placeholders, names of variables and texts about keys do not count.
    """
    findings: set[tuple[int, str]] = set()
    line, counted = 1, 0
    for position, kind in _search(text, known):
        if position > counted:
            line, counted = line + text.count("\n", counted, position), position
        findings.add((line if position == counted else text.count("\n", 0, position) + 1, kind))
        if len(findings) >= MAX_FINDINGS:
            break
    return [SecretFinding(name, line, kind) for line, kind in sorted(findings)]


def _search(text: str, known: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield the position and the kind of each secret, chunk by chunk; a secret may be yielded twice."""
    start = 0
    while start < len(text):
        limit = min(start + CHUNK_CHARS, len(text))
        end = limit if limit == len(text) else text.rfind("\n", start, limit) + 1 or limit
        # One byte per character, so that positions in data and text agree.
        data = text[start:end].encode("latin-1", "replace")
        yield from _search_chunk(data, text, start)
        yield from ((position, "your API key") for key in known if (position := text.find(key, start, end)) >= 0)
        start = end if end == len(text) or text[end - 1] == "\n" else end - REACH


def _search_chunk(data: bytes, text: str, start: int) -> Iterator[tuple[int, str]]:
    classes, folded = data.translate(_CLASS_TABLE), data.translate(_FOLD_TABLE)
    for searched, markers in ((classes, _CLASS_MARKERS), (folded, _FOLDED_MARKERS), (data, _RAW_MARKERS)):
        for position in _find_markers(searched, markers):
            yield from _match_tokens(text, start + position)
    for word in _WORD_MARKERS:
        yield from _match_assignments(folded, word, text, start)


def _find_markers(data: bytes, markers: Sequence[bytes]) -> Iterator[int]:
    """Yield the positions of the markers, but of those close together only the first."""
    for marker in markers:
        position = data.find(marker)
        while position >= 0:
            yield position
            position = data.find(marker, position + STEP)


def _match_tokens(text: str, position: int) -> Iterator[tuple[int, str]]:
    start = max(0, position - REACH)
    around = text[start : position + REACH]
    for prefix, pattern, kind in _TOKENS:
        if prefix in around:
            for match in pattern.finditer(around):
                if _is_random(match[0].removeprefix(prefix)):
                    yield start + match.start(), kind
    for prefix, pattern, kind in _BLOCKS:
        if prefix in around and (block := pattern.search(text, start, position + BLOCK_REACH)):
            yield block.start(), kind


def _is_random(value: str) -> bool:
    """True if the characters look random: many different ones, and of several kinds."""
    is_mixed = any(map(str.isdigit, value)) or (value.lower() != value and value.upper() != value)
    return is_mixed and len(set(value)) >= MIN_DIFFERENT_CHARS and not _PLACEHOLDER.search(value)


def _match_assignments(folded: bytes, word: bytes, text: str, start: int) -> Iterator[tuple[int, str]]:
    position = folded.find(word)
    while position >= 0:
        end = start + position + len(word)
        if _HAS_VALUE.match(text, end) and (kind := _classify_assignment(text, start + position)):
            yield start + position, kind
        position = folded.find(word, position + len(word))


def _classify_assignment(text: str, position: int) -> str:
    """Return the kind of secret that is assigned to the name at a position, "" if it is not secret."""
    line_start = text.rfind("\n", max(0, position - REACH), position) + 1 or max(0, position - REACH)
    before = text[line_start:position]
    match = _NAME.search(before)
    start = line_start + (match.start() if match else len(before))
    assignment = _ASSIGNMENT.match(text, start)
    if assignment is None or _HARMLESS_NAME.search(assignment[1]):
        return ""
    is_first = text[line_start:start].strip().strip("\"'") in _NAME_PREFIXES
    is_bare = assignment[3] is None
    value = assignment[5].partition(" ")[0].rstrip("\t\r,;") if is_bare else assignment[4]
    return _classify_value(
        assignment[1], value, is_bare=is_bare, is_first=is_first, has_equals_sign=assignment[2] == "="
    )


def _classify_value(name: str, value: str, *, is_bare: bool, is_first: bool, has_equals_sign: bool) -> str:
    """Judge a name and its value; without quotes, it counts as a setting only at the beginning of a line."""
    is_env = bool(_ENV_NAME.fullmatch(name))
    is_password = "passw" in name.lower()
    if not is_env and not _SECRET_NAME.fullmatch(_CAMEL_BOUNDARY.sub("_", name).lower()):
        return ""
    minimum = MIN_PASSWORD_LENGTH if is_password or is_env else MIN_KEY_LENGTH
    if len(value) < minimum or _PLACEHOLDER.search(value):
        return ""
    is_env_line = is_env and has_equals_sign
    is_chosen = (is_password or "SECRET" in name) and (not is_bare or (is_env_line and is_first))
    is_key = _is_random(value) and not _CODE.fullmatch(value) and (not is_bare or is_first or is_env_line)
    return (("a password" if is_password else "a secret") + f" ({name})") if is_chosen or is_key else ""
