"""Compose the next message from words, standard input and files."""

import os
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from aiml_cli.api.messages import Part
from aiml_cli.errors import UsageError
from aiml_cli.prompt import stdin
from aiml_cli.prompt.decode_text import SizeLimit, decode_any_text

if TYPE_CHECKING:
    from aiml_cli.prompt.file_sources import Fetch, FileContent, Notify
    from aiml_cli.prompt.loaders import Loaders
    from aiml_cli.prompt.message_parts import Attachment, CheckText, FitInputs

# A placeholder is `{name}` on one line, without inner braces; `{{name}}` is the literal text `{name}`. The caller
# defines the names: columns, variables or stdin.
_BRACES = r"\{\{([^{}\n]+)\}\}|\{([^{}\n]+)\}"
_CODE_BEFORE = r"\b(?:import|export|const|let|var)(?:[ \t]+type|[ \t]+\w+,)?[ \t]*$"
_CODE_REACH = 64


class Prompt(NamedTuple):
    """The parts of a message, with adjacent texts joined, and the attachments among them."""

    parts: tuple[Part, ...]
    attachments: "tuple[Attachment, ...]" = ()


def compose_prompt(
    words: Sequence[str],
    files: Sequence[str],
    *,
    use_stdin: bool,
    notify: "Notify",
    fetch: "Fetch",
    check_text: "CheckText | None" = None,
    detail: str | None = None,
    texts: "Sequence[FileContent]" = (),
    may_be_empty: bool = False,
    fit_inputs: "FitInputs | None" = None,
    stdin_wait_s: float | None = None,
    loaders: "Loaders | None" = None,
) -> Prompt:
    """Compose the prompt: files first, then standard input, the instruction last.

    Without words, standard input is the prompt; with words, wait up to `stdin_wait_s` seconds for it (0: without a
    limit). `notify` prints a notice. `fetch` returns the bytes and the media type of a URL; `loaders` convert files to
    text. `check_text` is called with each text that was not typed; `fit_inputs` selects what to send of these texts.
    Raises UsageError if the prompt is empty or something in it cannot be sent.
    """
    text, names = extract_mentions(words, notify)
    if unsent := _list_file_words(words, files):
        notify(f"{', '.join(unsent)} {'is a file; send it' if len(unsent) == 1 else 'are files; send them'} with -f")
    # Command-line bytes that are not UTF-8 are decoded like those of a file.
    typed, notice = decode_any_text(os.fsencode(text), "the prompt")
    if notice:
        notify(notice)
    files = [*files, *(name for name in names if name not in files)]
    is_piped = use_stdin and stdin.has_stdin()
    segments = _split_at_stdin(typed)
    if len(segments) > 1 and not is_piped and use_stdin:
        hint = f"write {{{stdin.PLACEHOLDER}}} to send it as text, or use --no-stdin"
        raise UsageError(f"the prompt contains {stdin.PLACEHOLDER}, but nothing is piped in", hint)
    if not is_piped:
        segments = [stdin.PLACEHOLDER.join(segments)]
    typed = stdin.PLACEHOLDER.join(segments)
    if is_piped or files or texts or typed.strip() == "-":
        from aiml_cli.prompt.file_sources import FileFinder  # most prompts are typed words only
        from aiml_cli.prompt.message_parts import PartReader, read_parts

        size_limit = SizeLimit()
        finder = FileFinder(size_limit, fetch, notify, loaders)
        reader = PartReader(finder, notify, check_text, detail, size_limit, stdin.StdinTimeout(stdin_wait_s))
        prompt = Prompt(*read_parts(segments, files, texts, reader, is_piped=is_piped, fit_inputs=fit_inputs))
    else:
        prompt = Prompt((typed,) if typed and not typed.isspace() else ())
    if not prompt.parts and not may_be_empty:
        raise UsageError("the prompt is empty", "write it after the command, or pipe it in")
    return prompt


def _list_file_words(words: Sequence[str], files: Sequence[str]) -> list[str]:
    """Return the words that are names of files but are sent as text, such as those that a shell expands from `*.py`.

    A single name in a sentence may be meant as a word, unless other files are sent.
    """
    paths = [word for word in words if type(word) is str and {".", "/"} & {*word} and word not in files]
    names = [path for path in paths if os.path.isfile(path)]  # noqa: PTH113 - pathlib raises for a long text
    return names if files or len(names) > 1 or len(words) == 1 else []


def replace_placeholders(text: str, replace: Callable[[str, str], str | None], *, keeps_escapes: bool = False) -> str:
    """Replace each `{name}` by the result of `replace`, unless that is None, and `{{x}}` by `{x}`, in one pass.

    `replace` receives the text inside the braces, and the end of the text before them.

    In `import {name} from`, `export`, `const`, `let` and `var` the braces are code and are kept.
    """

    def substitute(match: "re.Match[str]") -> str:
        if match[1]:
            return match[0] if keeps_escapes else f"{{{match[1]}}}"
        before = text[max(0, match.start() - _CODE_REACH) : match.start()]
        value = None if re.search(_CODE_BEFORE, before) else replace(match[2], before)
        return match[0] if value is None else value

    return re.sub(_BRACES, substitute, text)


def escape_placeholders(text: str, name: str = "") -> str:
    """Escape text so that `replace_placeholders` restores it; with a name, escape only that placeholder."""
    if name:
        return text.replace(f"{{{name}}}", f"{{{{{name}}}}}")
    return re.sub(r"\{([^{}\n]+)\}", r"{{\1}}", text)


def _split_at_stdin(text: str) -> list[str]:
    """Split text at the placeholders for standard input; all other braces are kept."""
    segments, position = [""], 0
    for match in re.finditer(_BRACES, text):
        if match[0] not in (stdin.PLACEHOLDER, f"{{{stdin.PLACEHOLDER}}}"):
            continue
        segments[-1] += text[position : match.start()]
        position = match.end()
        if match[1] or re.search(_CODE_BEFORE, text[max(0, match.start() - _CODE_REACH) : match.start()]):
            segments[-1] += stdin.PLACEHOLDER
        else:
            segments.append("")
    segments[-1] += text[position:]
    return segments


def extract_mentions(words: Sequence[str], notify: "Notify | None" = None) -> tuple[str, list[str]]:
    """Return the words as text, in which mentions lose their @, and the names of the mentioned files.

    `notify` prints a notice about a possible path without a file. Raises UsageError for a clear path without a file.
    """
    if not any("@" in word or type(word) is not str for word in words):
        return " ".join(words), []
    from aiml_cli.prompt.mentions import describe_missing, parse_mentions  # few prompts have a mention

    parsed = parse_mentions(words)
    if parsed.missing and notify:
        notify(describe_missing(parsed.missing))
    return parsed.text, parsed.names
