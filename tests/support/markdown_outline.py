"""The structure of Markdown as a list of entries, by our parser, by markdown-it and by cmark-gfm.

An entry has a kind, the marks of the containers around it, and its text: for inline Markdown a list of texts, each with
the names of its styles.
"""

import re
import subprocess
from collections.abc import Iterable, Sequence
from typing import Any
from xml.etree import ElementTree as ET

from markdown_it import MarkdownIt
from markdown_it.token import Token

from aiml_cli.output.markdown.block_parser import BlockParser, MarkdownBlock
from aiml_cli.output.markdown.block_syntax import split_cells
from aiml_cli.output.markdown.inline import parse_spans
from aiml_cli.output.markdown.inline_syntax import Target, parse_definition

Entry = tuple[Any, ...]
Runs = list[tuple[str, frozenset[str]]]
STYLES = {"1": "strong", "3": "em", "32": "code", "9": "s", "4": "link"}
ADDRESS_STYLE = "2"
LEAVES = {"fence": "code", "code": "code", "html": "html"}


def read_outline(text: str, pieces: Sequence[str] = ()) -> list[Entry]:
    """Return the outline that our parser sees; all definitions apply to the complete text."""
    parser = BlockParser()
    blocks = [block for piece in pieces or [text] for block in parser.feed(piece)] + parser.finish()
    parsed = [parse_definition(block.text) for block in blocks if block.kind == "definition"]
    references: dict[str, Target] = {}
    for definition, _ in filter(None, parsed):
        references.setdefault(definition.label, definition.target)
    return [entry for block in _join_parts(blocks) for entry in _describe_block(block, references)]


def _join_parts(blocks: Iterable[MarkdownBlock]) -> list[MarkdownBlock]:
    joined: list[MarkdownBlock] = []
    for block in blocks:
        if block.part:
            joined[-1] = joined[-1]._replace(text=f"{joined[-1].text}\n{block.text}")
        else:
            joined.append(block)
    return [block for block in joined if block.kind != "definition"]


def _describe_block(block: MarkdownBlock, references: dict[str, Target]) -> list[Entry]:
    path = tuple("-" if container.mark in "-+*" else container.mark for container in block.containers)
    first_new = len(path) - block.new_containers
    entries: list[Entry] = [("container", path[: index + 1]) for index in range(first_new, len(path))]
    if block.kind in LEAVES:
        return [*entries, (LEAVES[block.kind], path, _normalize(block.text))]
    if block.kind == "table":
        header, _, *rows = [split_cells(row) for row in block.text.split("\n")]
        cells = [[*row, *[""] * len(header)][: len(header)] for row in [header, *rows]]
        return [*entries, *(("row", path, [_read_runs(cell, references) for cell in row]) for row in cells)]
    if block.kind == "rule":
        return [*entries, ("rule", path)]
    if block.kind == "paragraph" and not block.text:
        return entries
    kind = f"heading {block.level}" if block.level else block.kind
    return [*entries, (kind, path, _read_runs(block.text, references))]


def _read_runs(text: str, references: dict[str, Target]) -> Runs:
    spans = [span for span in parse_spans(text, references) if span.style != ADDRESS_STYLE]
    return _join_runs((span.text, frozenset(STYLES[name] for name in span.style.split(";") if name)) for span in spans)


def read_expected(text: str, parser: MarkdownIt) -> list[Entry]:
    """Return the outline that markdown-it sees."""
    entries: list[Entry] = []
    path: list[str] = []
    numbers: list[int | None] = []  # of the next items of the open lists; None has no numbers
    kind = ""
    for token in parser.parse(text):
        name, _, end = token.type.rpartition("_")
        if name in ("bullet_list", "ordered_list"):
            start = int(token.attrs.get("start", 1)) if name == "ordered_list" else None
            numbers = [*numbers, start] if end == "open" else numbers[:-1]
        elif name in ("blockquote", "list_item") and end == "close":
            path.pop()
        elif name in ("blockquote", "list_item"):
            path.append(">" if name == "blockquote" else _format_item(numbers, token.markup))
            entries.append(("container", tuple(path)))
        elif end == "open":
            kind = f"heading {token.tag[1]}" if name == "heading" else name
        else:
            entries += _read_leaf(token, kind, tuple(path))
    return entries


def _read_leaf(token: Token, kind: str, path: tuple[str, ...]) -> list[Entry]:
    match token.type:
        case "inline":
            return [(kind, path, _join_runs(_read_tokens(token.children or [], [])))]
        case "hr":
            return [("rule", path)]
        case "fence" | "code_block" | "html_block" as name:
            return [("html" if name == "html_block" else "code", path, _normalize(token.content))]
        case _:
            return []


def _format_item(numbers: list[int | None], delimiter: str) -> str:
    number = numbers[-1] if numbers else None
    if number is None:
        return "-"
    numbers[-1] = number + 1
    return f"{number}{delimiter}"


def _read_tokens(tokens: Iterable[Token], styles: list[str]) -> Iterable[tuple[str, frozenset[str]]]:
    for token in tokens:
        if token.type in ("softbreak", "hardbreak"):
            yield " ", frozenset(styles)
        elif token.type == "code_inline":
            yield token.content, frozenset([*styles, "code"])
        elif token.type == "image":
            yield f"[{_read_description(token.children or []) or 'image'}]", frozenset([*styles, "em"])
        elif token.type in ("text", "html_inline"):
            yield token.content, frozenset(styles)
        elif token.type.endswith("_open"):
            styles.append(token.type.removesuffix("_open"))
        else:
            styles.pop()


def _read_description(tokens: Iterable[Token]) -> str:
    texts = (_read_description(token.children or []) if token.type == "image" else token.content for token in tokens)
    return "".join(texts)


def read_gfm(text: str) -> list[Entry]:
    """Return the outline that cmark-gfm sees."""
    command = ["cmark-gfm", "--unsafe", "-t", "xml", "-e", "table", "-e", "strikethrough"]
    xml = subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout.decode()
    return list(_read_nodes(ET.fromstring(xml), ()))  # noqa: S314 - written by cmark-gfm


def _read_nodes(parent: ET.Element, path: tuple[str, ...]) -> Iterable[Entry]:
    for node in parent:
        match _name(node):
            case "block_quote":
                yield "container", (*path, ">")
                yield from _read_nodes(node, (*path, ">"))
            case "list":
                delimiter = "." if node.get("delim") == "period" else ")"
                for number, item in enumerate(node, int(node.get("start") or 0)):
                    inner = (*path, f"{number}{delimiter}" if node.get("type") == "ordered" else "-")
                    yield "container", inner
                    yield from _read_nodes(item, inner)
            case "thematic_break":
                yield "rule", path
            case "code_block" | "html_block" as name:
                yield name.removesuffix("_block"), path, _normalize(node.text or "")
            case "table":
                yield from (("row", path, [_join_runs(_read_inline(cell, [])) for cell in row]) for row in node)
            case name:
                kind = f"heading {node.get('level')}" if name == "heading" else name
                yield kind, path, _join_runs(_read_inline(node, []))


def _read_inline(parent: ET.Element, styles: list[str]) -> Iterable[tuple[str, frozenset[str]]]:
    names = {"emph": "em", "strong": "strong", "link": "link", "strikethrough": "s"}
    for node in parent:
        name = _name(node)
        if name in names:
            yield from _read_inline(node, [*styles, names[name]])
        elif name == "image":
            description = "".join(each.text or "" for each in node.iter() if each is not node)
            yield f"[{description or 'image'}]", frozenset([*styles, "em"])
        else:
            text = " " if "break" in name else node.text or ""
            yield text, frozenset([*styles, "code"] if name == "code" else styles)


def _name(node: ET.Element) -> str:
    return node.tag.rpartition("}")[2]


def _join_runs(runs: Iterable[tuple[str, frozenset[str]]]) -> Runs:
    joined: list[list[Any]] = []
    for text, styles in runs:
        if joined and joined[-1][1] == styles:
            joined[-1][0] += text
        elif text:
            joined.append([text, styles])
    runs = [(re.sub(r"\s+", " ", text), styles) for text, styles in joined]
    if runs:
        runs[0] = runs[0][0].lstrip(), runs[0][1]
        runs[-1] = runs[-1][0].rstrip(), runs[-1][1]
    return [run for run in runs if run[0].strip()]


def _normalize(text: str) -> str:
    """Return code or HTML with spaces in place of tabs and blank lines without blanks."""
    return re.sub(r"(?m)^[ ]+$", "", text.replace("\t", "    ")).rstrip()


def list_texts(entries: Iterable[Entry]) -> list[str]:
    """Return the texts of an outline in their order."""
    texts: list[str] = []
    for entry in entries:
        for text in entry[2:]:
            runs = text if isinstance(text, list) else [(text, None)]
            flat = [run for each in runs for run in (each if isinstance(each, list) else [each])]
            texts += " ".join(run[0] for run in flat).split()
    return texts
