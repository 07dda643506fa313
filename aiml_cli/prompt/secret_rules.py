"""The formats of keys and passwords, and the checks that decide whether a match is a secret."""

import re
from base64 import b64decode
from collections.abc import Callable, Container, Iterator
from enum import Enum
from functools import cache
from typing import NamedTuple
from urllib.parse import unquote

MIN_PASSWORD_LENGTH, MIN_RANDOM_RUN, MIN_DIFFERENT_CHARS = 6, 8, 6
SHORT_PASSWORD = 4  # where only a password is possible

# Returns True for a certain secret, False for a guess, None if the match is not a secret.
_Judge = Callable[["re.Match[str]"], bool | None]


class Place(Enum):
    """Where the marker of a rule is: anywhere in a text, just before a long word, or in that word."""

    ANYWHERE, BEFORE_WORD, IN_WORD = range(3)


class Rule(NamedTuple):
    """A format of secrets. Each match begins with one of the markers; text without any of them is not searched.

    `rest` is the expression after the marker. Every repetition is bounded, and no two that can match the same
    characters are adjacent, so the search takes linear time for any text. `needs` are characters that are near the
    marker in each match; they must be in the text, too.
    """

    kind: str
    markers: tuple[str, ...]
    rest: str
    judge: _Judge
    is_certain: bool = True
    place: Place = Place.ANYWHERE
    needs: str = ""


# Never a secret: references to variables, and code that reads the value from somewhere.
_REFERENCE = re.compile(
    r"^[$#&@~%/.]|\$\{|\{\{|%\(|\w[(\[]|^[<(\[{*]|[>)\]}]$|\s|\.{3}|…|\*{3}|^%s$|"
    r"environ|getenv|process\.env|secrets?\.|vault|://",
    re.IGNORECASE,
)
_EXAMPLE = re.compile(
    r"x{4}|change.?(?:me|it)|replace|your|my[-_]|example|placeholder|dummy|sample|redacted|insert|todo|fixme|fake|mock|"
    r"^test|^(?:none|null|nil|true|false|undefined|passwo?r?d|pass(?:phrase)?$|secret(?!\d|\w*\d\w*\W))|(.)\1{5}",
    re.IGNORECASE,
)
SEQUENCE = re.compile(r"12345678|abcdefgh", re.IGNORECASE)
# The default passwords of containers and documentation.
DEFAULT_PASSWORD = re.compile(
    r"pass|passw(?:or)?d|pwd?|secret|root|admin|guest|user(?:name)?|postgres|mysql|redis|rabbitmq|mongo|token|key|example|"
    r"test|dev|local|docker|foo|bar|baz|toor|minio(?:admin)?|changeme|x-oauth-basic|required|optional|string|hidden|"
    r"default|private|public|enabled|disabled",
    re.IGNORECASE,
)
_WORD = re.compile(r"[A-Za-z]?[a-z]*\d{0,4}|[A-Z]{1,12}\d{0,4}|\d+")


def is_random(value: str) -> bool:
    """True if a part of the value mixes letters and digits, or upper and lower case, unlike a word."""
    runs = re.split(r"[^A-Za-z0-9]+", value)
    is_mixed = any(len(run) >= MIN_RANDOM_RUN and not _WORD.fullmatch(run) for run in runs)
    return is_mixed and len(set(value)) >= MIN_DIFFERENT_CHARS


def is_placeholder(value: str) -> bool:
    """True for a reference to a value, or an example."""
    return bool(_REFERENCE.search(value) or _EXAMPLE.search(value))


def _judge_token(match: "re.Match[str]") -> bool | None:
    value = match["value"]
    if is_placeholder(value) or not is_random(value):
        return None
    return not SEQUENCE.search(value)


def _judge_password(match: "re.Match[str]") -> bool | None:
    user = match.groupdict().get("user") or ""
    return _rate_password(match["value"], user)


def _rate_password(raw: str, user: str) -> bool | None:
    """Rate a value where only a password is possible: a word is a guess, a default or a reference is not a secret."""
    value = unquote(raw).strip("\"'")
    if len(value) < SHORT_PASSWORD or DEFAULT_PASSWORD.fullmatch(value) or value.lower() == unquote(user).lower():
        return None
    if value.isdigit() and len(value) < MIN_PASSWORD_LENGTH:
        return None
    if re.match(r"[$<{*#\[(]|%[s(]|\.{3}|…", raw) or "${" in raw or "{{" in raw or _EXAMPLE.search(value):
        return None
    return len(value) >= MIN_PASSWORD_LENGTH and not (value.isalpha() and value.islower())


def _judge_basic(match: "re.Match[str]") -> bool | None:
    """Judge base64 of a user and a password, with a colon between them."""
    user, colon, password = _decode_base64(match["value"]).partition(":")
    return _rate_password(password, user) if colon and password.isprintable() else None


def _judge_encoded_key(match: "re.Match[str]") -> bool | None:
    return "PRIVATE KEY" in _decode_base64(match[0]) or None


def _decode_base64(text: str) -> str:
    text = text.rstrip("=")
    text = text[: len(text) - (len(text) % 4 == 1)]
    return b64decode(text + "=" * (-len(text) % 4)).decode("utf-8", "replace")


def _judge_pgpass(match: "re.Match[str]") -> bool | None:
    """Judge a line of .pgpass: only the name of a host is before the port."""
    host = match.string[max(0, match.start() - 255) : match.start()].rpartition("\n")[2]
    return _judge_password(match) if re.fullmatch(r"(?:[^\s:\\]|\\:){1,255}", host) else None


def _judge_block(match: "re.Match[str]") -> bool | None:
    return len(set(match["value"])) >= MIN_DIFFERENT_CHARS or None


def _judge_any(_match: "re.Match[str]") -> bool:
    return True


_REST = r"[\w-]{20,300}"
_BASIC = r"[A-Za-z0-9+/]{8,2000}={0,2}"


def _token(
    kind: str, prefixes: str, rest: str = _REST, *, is_certain: bool = True, place: Place = Place.IN_WORD
) -> Rule:
    """Return the rule for random-looking tokens after a prefix; prefixes are separated by spaces."""
    return Rule(kind, tuple(prefixes.split(" ")), rest, _judge_token, is_certain, place)


# The first rule that matches in a line determines the kind.
RULES = (
    # Private keys. Text about keys quotes only the first or last line; a real key has characters between them.
    Rule(
        "a private key",
        ("-----BEGIN ", "---- BEGIN SSH2 "),
        r"(?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)? ?-{4,5}(?:\\{1,4}[nr]|[\s\"'+,>|#*-]|"
        r"(?:Proc-Type|DEK-Info|Version|Comment|Hash|Charset): [^\n\\]{0,200}+){0,80}+(?P<value>[A-Za-z0-9+/=]{24})",
        _judge_block,
    ),
    Rule("a private key", ("LS0tLS1CRUdJTi",), r"[A-Za-z0-9+/]{20,80}", _judge_encoded_key),  # -----BEGIN, in base64
    Rule("a private key (PuTTY)", ("PuTTY-User-Key-File-",), r"\d:[\s\S]{0,1000}?Private-Lines: \d", _judge_any),
    Rule(
        "a private key (JWK)",
        ('"d"',),
        r'\s{0,8}:\s{0,8}"(?P<value>[\w-]{42,1400})"',
        _judge_token,
        place=Place.BEFORE_WORD,
    ),
    _token("an age key", "AGE-SECRET-KEY-1", r"[A-Z0-9]{50,70}"),
    # AI services
    _token("an Anthropic key", "sk-ant-"),
    _token("an OpenRouter key", "sk-or-"),
    _token("a Langfuse key", "sk-lf-"),
    _token("an API key (sk-…)", "sk-"),
    _token("an ElevenLabs key", "sk_", r"[0-9a-f]{40,64}\b"),
    _token("a Groq key", "gsk_"),
    _token("an xAI key", "xai-", r"[A-Za-z0-9]{40,120}"),
    _token("a Perplexity key", "pplx-"),
    _token("a Replicate token", "r8_", r"[A-Za-z0-9]{30,60}"),
    _token("a Hugging Face token", "hf_ api_org_", r"[A-Za-z0-9]{30,60}"),
    _token("an NVIDIA key", "nvapi-"),
    _token("a Cerebras key", "csk-"),
    _token("a Fireworks key", "fw_", r"[A-Za-z0-9]{22,40}\b"),
    _token("a Together key", "tgp_v1_"),
    _token("a LangSmith key", "lsv2_pt_ lsv2_sk_"),
    _token("a Pinecone key", "pcsk_"),
    _token("a search key", "tvly- jina_"),
    _token("a Weights & Biases key", "wandb_v1_"),
    _token("an AI/ML API key", "aiml-"),
    # Code and packages
    _token("a GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_", r"\w{30,255}"),
    _token("a GitLab token", "glpat- gloas- gldt- glrt- glcbt- glptt- glft- glimt- glagent- glsoat- GR1348941"),
    _token("an Atlassian token", "ATATT3 ATCTT3 ATBB ATOA", r"[\w=-]{24,300}"),
    _token("an npm token", "npm_", r"[A-Za-z0-9]{30,60}"),
    _token("a PyPI token", "pypi-", r"[\w-]{50,300}"),
    _token("a RubyGems key", "rubygems_"),
    _token("a crates.io token", "cio", r"[A-Za-z0-9]{32}\b"),
    _token("a NuGet key", "oy2", r"[a-z0-9]{43}\b"),
    _token("a Docker token", "dckr_pat_ dckr_oat_"),
    _token("a JFrog token", "AKCp", r"[A-Za-z0-9]{60,100}"),
    _token("a SonarQube token", "sqp_ squ_ sqa_", r"[0-9a-f]{40}\b"),
    _token("a CI token", "CCIPAT_ bkua_ bkaj_"),
    _token("a Postman key", "PMAK-"),
    _token("a Sentry token", "sntrys_ sntryu_", r"[\w+/=-]{40,400}"),
    _token("a Sourcegraph token", "sgp_"),
    _token("a Linear key", "lin_api_ lin_oauth_"),
    _token("a Notion token", "ntn_ secret_", r"[A-Za-z0-9]{40,60}"),
    _token("a Figma token", "figd_ figo_"),
    _token("an Airtable token", "pat", r"[A-Za-z0-9]{14}\.[0-9a-f]{64}\b"),
    _token("a 1Password token", "ops_eyJ"),
    # Clouds
    _token("an AWS access key", "AKIA ASIA ABIA ACCA", r"[A-Z0-9]{16}\b"),
    _token("an AWS Bedrock key", "ABSK", r"[A-Za-z0-9+/]{100,200}"),
    _token("a Google API key", "AIza", r"[\w-]{35}(?![\w-])"),
    _token("a Google client secret", "GOCSPX-"),
    _token("a Google token", "ya29. 1//0 AQ.Ab", r"[\w-]{30,300}"),
    _token("an Azure secret", "Q~", r"(?<=[\w~.-]{3}\dQ~)(?P<value>[\w~.-]{31,37})"),
    _token("an Azure key", "AccountKey= SharedAccessKey= AccessKey=", r"[A-Za-z0-9+/]{40,90}={0,2}"),
    _token("an Azure DevOps token", "JQQJ9", r"[A-Za-z0-9]{20,60}"),
    _token("a signed URL", "sig=", r"(?<=[?&;]sig=)(?P<value>[A-Za-z0-9%+/_-]{40,120})"),
    _token("a signed URL", "X-Amz-Signature= X-Goog-Signature=", r"[0-9a-f]{64}", is_certain=False),
    _token("an Alibaba key", "LTAI", r"[A-Za-z0-9]{16,24}\b", is_certain=False),
    _token("a Tencent key", "AKID", r"[A-Za-z0-9]{32,40}\b"),
    _token("a Yandex key", "AQVN y0_Ag", r"[\w-]{35,70}"),
    _token("a DigitalOcean token", "dop_v1_ doo_v1_ dor_v1_"),
    _token("a Cloudflare token", "cfut_ cfat_ cfk_ v1.0-"),
    _token("a Fly token", "fo1_ fm1r_ fm1a_ fm2_", r"[\w+/=-]{30,300}"),
    _token("a Vercel token", "vercel_blob_rw_ vcp_ vci_ vca_ vcr_ vck_"),
    _token("a Netlify token", "nfp_"),
    _token("a Render key", "rnd_"),
    _token("a Heroku key", "HRKU-"),
    _token("a Supabase key", "sbp_ sb_secret_"),
    _token("a PlanetScale token", "pscale_tkn_ pscale_pw_ pscale_oauth_"),
    _token("a Neon key", "napi_", r"[a-z0-9]{50,70}\b"),
    _token("a Databricks token", "dapi", r"[0-9a-f]{32}(?:-\d)?\b"),
    _token("an OpenShift token", "sha256~"),
    _token("a Tailscale key", "tskey-"),
    # Secret stores, build tools, monitoring
    _token("a Vault token", "hvs. hvb. hvr."),
    _token("a Terraform token", ".atlasv1.", r"(?<=[A-Za-z0-9]{14}\.atlasv1\.)(?P<value>[\w-]{40,100})"),
    _token("a Doppler token", "dp.pt. dp.st. dp.ct. dp.sa. dp.scim. dp.audit.", r"[\w.-]{30,100}"),
    _token("a Pulumi token", "pul-", r"[0-9a-f]{40}\b"),
    _token("a Prefect key", "pnu_ pnb_"),
    _token("a Grafana token", "glsa_ glc_", r"[\w+/=-]{30,400}"),
    _token("a Datadog key", "ddapp_ ddapi_ ddpat_ ddpub_"),
    _token("a New Relic key", "NRAK- NRII- NRJS- NRRA- NRIQ-"),
    _token("a Dynatrace token", "dt0c01. dt0s01. dt0s02.", r"[A-Z0-9]{20,30}\.[A-Z0-9]{50,70}"),
    _token("a Honeycomb key", "hcaik_ hcbik_ hcamk_"),
    # Messaging, e-mail, shops, payment
    _token("a Slack token", "xoxa- xoxb- xoxe- xoxo- xoxp- xoxr- xoxs- xoxc- xoxd- xoxe.xox xapp-", r"[\w.%-]{20,300}"),
    _token("a Slack webhook", "hooks.slack.com/", r"(?:services|workflows|triggers)/[\w/-]{20,200}"),
    _token("a Discord webhook", "/api/webhooks/", r"(?<=\.com/api/webhooks/)\d{15,22}/(?P<value>[\w-]{40,100})"),
    _token(
        "a Discord token",
        ".",
        r"(?:(?<=\b[MNO][\w-]{23}\.)|(?<=\b[MNO][\w-]{25}\.)|(?<=\b[MNO][\w-]{24}\.)|(?<=\b[MNO][\w-]{27}\.))"
        r"(?P<value>[\w-]{6}\.[\w-]{25,45})",
    ),
    _token("a Telegram token", ":AA", r"(?<=\d{8}:AA)(?P<value>[\w-]{32,34})(?![\w-])"),
    _token("a Teams webhook", "webhook.office.com/webhookb2/", r"[\w@/-]{40,300}"),
    _token("a Zapier webhook", "hooks.zapier.com/hooks/catch/", r"\d{4,12}/\w{6,20}", is_certain=False),
    _token("a Twilio key", "SK", r"[0-9a-f]{32}\b"),
    _token("a Mailgun key", "key-", r"[0-9a-f]{32}\b"),
    _token("a SendGrid key", "SG.", r"[\w-]{16,30}\.[\w-]{30,60}"),
    _token("a Brevo key", "xkeysib- xsmtpsib-"),
    _token("a Resend key", "re_", r"[A-Za-z0-9]{8}_[A-Za-z0-9]{20,30}\b"),
    _token("a Stripe key", "sk_live_ rk_live_ whsec_ sk_org_live_", r"[A-Za-z0-9+/=_]{20,200}"),
    _token("a Stripe test key", "sk_test_ rk_test_", is_certain=False),
    _token("a Shopify token", "shpat_ shpca_ shppa_ shpss_ shpua_"),
    _token("a Square token", "sq0atp- sq0csp- sq0idp-"),
    _token("a Square token", "EAAA", r"[\w-]{60}(?![\w+/=-])"),
    _token("a Facebook token", "EAA", r"(?<![/+]EAA)[A-Za-z0-9]{80,300}"),
    _token("a Plaid token", "access-production- access-development-"),
    _token("a Shippo token", "shippo_live_"),
    _token("a Mapbox token", "sk.eyJ", r"[\w.-]{40,300}"),
    _token("a Contentful token", "CFPAT-"),
    _token("a JSON Web Token", "eyJ", r"[\w-]{10,600}+\.eyJ[\w-]{10,2000}+(?:\.[\w-]{0,700})?"),
    # Configuration files, URLs, headers and commands
    Rule(
        "a password in a URL",
        ("://",),
        r"(?P<user>[^\s:/?#@\"'<>`]{0,100}):(?P<value>[^\s:/?\"'<>`,]{1,200})@[\w\[.%$-]",
        _judge_password,
        needs="@",
    ),
    Rule(
        "a password (.netrc)",
        ("machine", "default"),
        r"(?:(?<=machine)\s{1,20}\S{1,255}\s{1,20}|(?<=default)\s{1,20}(?=login|account))"
        r"(?:(?:login|account|user)\s{1,20}\S{1,200}\s{1,20}){0,3}"
        r"passw(?:or)?d\s{1,20}(?P<value>\"[^\"\n]{1,200}\"|\S{1,200})",
        _judge_password,
        needs="passwd",
    ),
    Rule(
        "a password (.pgpass)",
        (":",),
        r"(?:[1-9]\d{2,4}|\*):[^\s:]{1,63}:(?P<user>[^\s:]{1,63}):(?P<value>(?:[^\s:\\]|\\[:\\]){1,200})(?=\s|\Z)",
        _judge_pgpass,
    ),
    Rule("a password (docker)", ('"auth"',), rf'\s{{0,8}}:\s{{0,8}}"(?P<value>{_BASIC})"', _judge_basic),
    _token("a password (docker)", "eyJhdXRocyI6", r"[A-Za-z0-9+/]{20,100}"),  # {"auths":
    Rule("a password (npm)", ("_auth",), rf"[ \t]{{0,4}}=[ \t]{{0,4}}\"?(?P<value>{_BASIC})", _judge_basic),
    Rule("a password (Basic)", ("Basic ", "basic ", "BASIC "), rf"[ \t]{{0,4}}(?P<value>{_BASIC})", _judge_basic),
    _token(
        "a token (Bearer)",
        "Bearer bearer BEARER",
        r"(?:[ \t]{1,4}|%20)(?P<value>[\w.~+/=-]{16,2000})",
        place=Place.BEFORE_WORD,
    ),
    _token(
        "a token (Authorization)",
        "Authorization authorization AUTHORIZATION",
        r"(?:[\"'\]]{0,2}[ \t]{0,4}[:=][ \t]{0,4}[\"']?|(?<=[\"']\w{13})[\"'],[ \t]{0,4}[\"'])(?![Bb]asic)"
        r"(?:[A-Za-z-]{3,20}[ \t]{1,4})?(?:token=\"?)?(?P<value>[\w.~+/=:-]{16,2000})",
        place=Place.BEFORE_WORD,
    ),
    Rule(
        "a password in a command",
        ("curl",),
        r"(?:[^\n\\]|\\[\s\S]){0,200}?\s(?:-[A-Za-z]{0,5}[uU]|--(?:proxy-)?user)[ \t=]{0,4}[\"']?"
        r"(?P<user>[^\s:\"']{1,100}):(?P<value>[^\s\"']{1,200})",
        _judge_password,
        needs="-:",
    ),
    Rule(
        "a password in a command",
        ("sshpass", "mysql", "redis-cli", "docker login", "mariadb"),
        r"(?:(?<=sshpass)[ \t]{1,4}-p[ \t]{0,4}|(?<=mysql)[^\n]{0,100}?[ \t]-p|(?<=mariadb)[^\n]{0,100}?[ \t]-p"
        r"|(?<=redis-cli)[^\n]{0,100}?[ \t]-a[ \t]{1,4}|(?<=docker login)[^\n]{0,100}?[ \t]-p[ \t=]{0,4})"
        r"[\"']?(?P<value>[^\s\"'-][^\s\"']{3,199})",
        _judge_password,
        is_certain=False,
        needs="-",
    ),
    _token(
        "a password hash",
        "$1$ $5$ $6$ $y$ $2a$ $2b$ $2y$ $apr1$ $argon2",
        r"(?P<value>[\w./$=,+-]{20,200})",
        is_certain=False,
    ),
)


@cache
def list_markers(place: Place) -> dict[str, str]:
    """Return the markers of one place, each with the characters that its rule needs."""
    return {marker: rule.needs for rule in RULES if rule.place is place for marker in rule.markers}


def apply_rules(text: str, present: Container[str]) -> Iterator[tuple[int, str, bool]]:
    """Yield the position, the kind and the certainty of each secret of a known form whose marker is present."""
    for rule in RULES:
        for marker in rule.markers:
            if marker in present:
                yield from apply_rule(rule, marker, text)


def apply_rule(rule: Rule, marker: str, text: str) -> Iterator[tuple[int, str, bool]]:
    """Yield the position, the kind and the certainty of each secret of one format."""
    for match in _compile(rule, marker).finditer(text):
        if (is_certain := rule.judge(match)) is not None:
            yield _find_value(match), rule.kind, is_certain and rule.is_certain


def _find_value(match: "re.Match[str]") -> int:
    """Return the position of the value if it may be on another line than its name, else the position of the match."""
    return match.start("value") if "machine" in match[0][:8] else match.start()


@cache
def _compile(rule: Rule, marker: str) -> "re.Pattern[str]":
    # The literal comes first, because the engine finds it fast; only then is the text before it checked.
    prefix = re.escape(marker)
    # Letters that are not ASCII cannot be part of a token, so one may come right before it, as in Chinese.
    flags = re.NOFLAG if rule.place is Place.ANYWHERE else re.ASCII
    if rule.judge is _judge_token and "(?P<value>" not in rule.rest:
        # No word may end right before it or before a hyphen in between: it would be a piece of longer base64.
        return re.compile(rf"{prefix}(?<!\w{prefix})(?<![\w-]-{prefix})(?P<value>{rule.rest})", flags)
    return re.compile(f"{prefix}{rule.rest}", flags)
