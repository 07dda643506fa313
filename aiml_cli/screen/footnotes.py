"""Number the sources of an answer, each once."""

from collections.abc import Iterator

from aiml_cli.api.completion import Completion


def footnotes(completion: Completion) -> list[str]:
    """Give a line for each source: pages by their address, files by their id."""
    titles: dict[str, str] = {}
    for address, title in _sources(completion):
        titles[address] = titles.get(address) or title
    return [
        f"[{number}] {title}  {address}" if title else f"[{number}] {address}"
        for number, (address, title) in enumerate(titles.items(), 1)
    ]


def _sources(completion: Completion) -> Iterator[tuple[str, str]]:
    for citation in completion.citations:
        yield _in_a_line(citation.url), _in_a_line(citation.title or "")
    for file in completion.files:
        yield _in_a_line(file.id), _in_a_line(file.name or "")


def _in_a_line(text: str) -> str:
    return " ".join(text.split())
