"""Find keys and passwords in a text that is about to be sent; pure."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

CHUNK = 1 << 20  # characters looked at in one go: what is searched is copied
AROUND, STEP, BEHIND = 300, 150, 1200  # how far around a first sign the rest of it is looked for
MOST_FINDINGS = 20
SHORTEST_PASSWORD, SHORTEST_KEY, FEWEST_LETTERS = 8, 16, 6
ASCII = 0x80


class SecretFinding(NamedTuple):
    """Say where something secret seems to stand, and of which kind it is; never what it is."""

    name: str
    line: int
    kind: str

    def __str__(self) -> str:
        return f"{self.name}, line {self.line}: {self.kind}"


# A long text is searched for a few signs that every form below has; only around them is a pattern tried. Letters
# and digits become "a", what joins the parts of a token "-": all tokens with a prefix have one sign then.
_CLASSES = bytes(
    0x61 if chr(code).isalnum() and code < ASCII else 0x2D if chr(code) in "-_." else 0x20 for code in range(256)
)
_CLASS_SIGNS = (b"-" + b"a" * 13,)
# The other tokens begin with AKIA, ASIA, AIza or glpat-, which this turns into one sign as well: AKKA. The words of
# names are found in it whatever their case.
_FOLDED = bytes(
    ord({"S": "K", "I": "K", "Z": "K", "L": "K", "P": "K", "G": "A"}.get(letter, letter))
    for letter in (chr(code).upper() if code < ASCII else "?" for code in range(256))
)
_FOLDED_SIGNS = (b"AKKA",)
_RAW_SIGNS = (b"-----BEGIN ", b"hooks.slack.com", b"PuTTY-User")
_WORD_SIGNS = tuple(word.translate(_FOLDED) for word in (b"token", b"secret", b"passw", b"key"))

# What each form begins with, the form, and what it is.
_TOKENS = tuple(
    (start, re.compile(rf"(?<![A-Za-z0-9]){form}"), kind)
    for start, form, kind in (
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
# Words about a key end with its first or last line; a key has its letters between them.
_PEM = re.compile(
    r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
    r"(?:\\[nr]|\s|[\"'+,]|(?:Proc-Type|DEK-Info|Version|Comment): [^\n]*\n)*[A-Za-z0-9+/=]{24}"
)
_PUTTY = re.compile(r"PuTTY-User-Key-File-\d:.{0,1000}?Private-Lines: \d", re.DOTALL)
_BLOCKS = (("-----BEGIN ", _PEM, "a private key"), ("PuTTY-", _PUTTY, "a private key (PuTTY)"))

_NAME = re.compile(r"[\w$.-]*$")
_ASSIGNED = re.compile(
    r"([\w$.-]+)[\"']?\]?[ \t]*(=>|:=|:|=)(?!=)[ \t]*(?:[rbuf]?([\"'`])([^\"'`\n]{0,300})\3|([^\n]{0,300}))"
)
# Most names are given nothing that could be secret: that is seen before anything else is looked at.
_GOES_ON = re.compile(r"[\w$.-]*[\"']?\]?[ \t]*[:=][=>]?[ \t]*[rbuf]?[\"'`]?[^\s\"'`<>()\[\]{}*$,;]{8}")
_BEFORE_NAME = ("", "export", "set", "ENV", "ARG", "-", "$env:")
_ENV_NAME = re.compile(r"[A-Z][A-Z0-9_]*?(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD)(?:_BASE|_PROD|_LIVE|_?\d+)?|KEY|TOKEN")
_SECRET_NAME = re.compile(
    r"(?:.*[_.$-])?(?:token|secret|passwo?r?d"
    r"|(?:secret|api|access|auth|private|encryption|signing|master|service)[_.-]?(?:access[_.-]?)?key)(?:_base|_?\d+)?"
)
_OPEN_NAME = re.compile(
    r"public|publishable|primary|foreign|cache|sort|partition|max|num|count|hash|csrf|idempot", re.IGNORECASE
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_PLACEHOLDER = re.compile(
    r"x{4}|\*{3}|\.{3}|…|[<>()\[\]{}\s]|^[$%/.~@&]|change.?me|replace|your|my[-_]|example|placeholder|dummy|sample|"
    r"redacted|insert|todo|fixme|fake|mock|^test|environ|getenv|process\.env|secrets?\.|vault|://|"
    r"^(?:none|null|nil|true|false|undefined|password|passwd|secret)|123456789|abcdefgh|(.)\1{5}",
    re.IGNORECASE,
)
_CODE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+|[a-z]+(?:_[a-z0-9]+)+")


def find_secrets(name: str, text: str, known: Sequence[str] = ()) -> list[SecretFinding]:
    """List what in a text seems secret, by line; `known` are secrets of the user's own.

    Placeholders, names of variables and words about keys are none. At most twenty are listed.
    """
    found: set[tuple[int, str]] = set()
    line, counted = 1, 0
    for place, kind in _found(text, known):
        if place > counted:
            line, counted = line + text.count("\n", counted, place), place
        found.add((line if place == counted else text.count("\n", 0, place) + 1, kind))
        if len(found) >= MOST_FINDINGS:
            break
    return [SecretFinding(name, line, kind) for line, kind in sorted(found)]


def _found(text: str, known: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Give the place and the kind of each, chunk by chunk; one may be given twice."""
    start = 0
    while start < len(text):
        end = min(start + CHUNK, len(text))
        cut = end if end == len(text) else text.rfind("\n", start, end) + 1 or end
        # One byte a character, whatever it is: a place in the one is the same place in the other.
        data = text[start:cut].encode("latin-1", "replace")
        yield from _in_chunk(data, text, start)
        yield from ((place, "your API key") for key in known if (place := text.find(key, start, cut)) >= 0)
        start = cut if cut == len(text) or text[cut - 1] == "\n" else cut - AROUND


def _in_chunk(data: bytes, text: str, start: int) -> Iterator[tuple[int, str]]:
    classes, folded = data.translate(_CLASSES), data.translate(_FOLDED)
    for place in [*_signs(classes, _CLASS_SIGNS), *_signs(folded, _FOLDED_SIGNS), *_signs(data, _RAW_SIGNS)]:
        yield from _tokens(text, start + place)
    for word in _WORD_SIGNS:
        yield from _assigned(folded, word, text, start)


def _signs(data: bytes, signs: Sequence[bytes]) -> Iterator[int]:
    """Find the signs; what is near one is looked at with it."""
    for sign in signs:
        place = data.find(sign)
        while place >= 0:
            yield place
            place = data.find(sign, place + STEP)


def _tokens(text: str, place: int) -> Iterator[tuple[int, str]]:
    """Try the forms around a sign."""
    begin = max(0, place - AROUND)
    around = text[begin : place + AROUND]
    for start, form, kind in _TOKENS:
        if start in around:
            for found in form.finditer(around):
                if _is_drawn(found[0].removeprefix(start)):
                    yield begin + found.start(), kind
    for start, form, kind in _BLOCKS:
        if start in around and (block := form.search(text, begin, place + BEHIND)):
            yield block.start(), kind


def _is_drawn(value: str) -> bool:
    """Say whether letters look as if drawn by lot: many different ones, and not of one kind only."""
    mixed = any(map(str.isdigit, value)) or (value.lower() != value and value.upper() != value)
    return mixed and len(set(value)) >= FEWEST_LETTERS and not _PLACEHOLDER.search(value)


def _assigned(folded: bytes, word: bytes, text: str, start: int) -> Iterator[tuple[int, str]]:
    """Find names with a word in them that are given a value."""
    place = folded.find(word)
    while place >= 0:
        behind = start + place + len(word)
        if _GOES_ON.match(text, behind) and (kind := _value_at(text, start + place)):
            yield start + place, kind
        place = folded.find(word, place + len(word))


def _value_at(text: str, place: int) -> str:
    """Say what kind of secret the name around a place is given; "" for none."""
    line = text.rfind("\n", max(0, place - AROUND), place) + 1 or max(0, place - AROUND)
    before = text[line:place]
    name_begins = _NAME.search(before)
    begin = line + (name_begins.start() if name_begins else len(before))
    found = _ASSIGNED.match(text, begin)
    if found is None or _OPEN_NAME.search(found[1]):
        return ""
    first = text[line:begin].strip().strip("\"'")
    is_bare = found[3] is None
    value = found[5].partition(" ")[0].rstrip("\t\r,;") if is_bare else found[4]
    return _kind(found[1], value, bare=is_bare, alone=first in _BEFORE_NAME, equals=found[2] == "=")


def _kind(name: str, value: str, *, bare: bool, alone: bool, equals: bool) -> str:
    """Judge a name and its value; one without quotes is a setting only where it stands in a line of its own."""
    is_env = bool(_ENV_NAME.fullmatch(name))
    is_password = "passw" in name.lower()
    if not is_env and not _SECRET_NAME.fullmatch(_CAMEL.sub("_", name).lower()):
        return ""
    if len(value) < (SHORTEST_PASSWORD if is_password or is_env else SHORTEST_KEY) or _PLACEHOLDER.search(value):
        return ""
    chosen = (is_password or "SECRET" in name) and (not bare or (is_env and equals and alone))
    drawn = _is_drawn(value) and not _CODE.fullmatch(value) and (not bare or alone or (is_env and equals))
    return (("a password" if is_password else "a secret") + f" ({name})") if chosen or drawn else ""
