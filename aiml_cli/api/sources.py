"""Read what an answer cites, pages and files, in the forms of both endpoints."""

from collections.abc import Iterator
from typing import Any

from aiml_cli.api.events import Citation, CitedFile, Source
from aiml_cli.api.loose import object_in
from aiml_cli.api.wire import a_count, a_text

FILES = ("file_citation", "container_file_citation", "file_path")


class Sources:
    """Give each source once: servers repeat them in the item, in the response, or in every chunk."""

    def __init__(self) -> None:
        self._given: set[Source] = set()

    def annotated(self, annotations: list[Any], choice: int = 0) -> list[Source]:
        """Read annotations; chat nests what responses says flat. Unknown kinds mean nothing."""
        return self._new(_annotated(map(object_in, annotations), choice))

    def listed(self, chunk: dict[str, Any]) -> list[Source]:
        """Read the lists that some chat answers have at their top: addresses, and results with titles."""
        results = [object_in(result) for result in _some_list(chunk.get("search_results"))]
        titles = {result["url"]: _words(result.get("title")) for result in results if _words(result.get("url"))}
        found = _some_list(chunk.get("citations")) or results
        return self._new(_listed(found, titles))

    def _new(self, sources: Iterator[Source]) -> list[Source]:
        new = [source for source in dict.fromkeys(sources) if source not in self._given]
        self._given.update(new)
        return new


def _annotated(annotations: Iterator[dict[str, Any]], choice: int) -> Iterator[Source]:
    for annotation in annotations:
        kind = _words(annotation.get("type")) or ""
        nested = annotation.get(kind)
        facts = nested if isinstance(nested, dict) else object_in(annotation.get("url_citation")) or annotation
        if kind in FILES and facts.get("file_id"):
            name, container = _words(facts.get("filename")), _words(facts.get("container_id"))
            yield CitedFile(kind, a_text(facts["file_id"]), name, container, choice)
        elif facts.get("url"):
            start, end = a_count(facts.get("start_index")), a_count(facts.get("end_index"))
            yield Citation(a_text(facts["url"]), _words(facts.get("title")), start, end, choice)


def _listed(found: list[Any], titles: dict[str, str | None]) -> Iterator[Citation]:
    for source in found:
        facts = {"url": source} if isinstance(source, str) else object_in(source)
        if facts.get("url"):
            url = a_text(facts["url"])
            yield Citation(url, _words(facts.get("title")) or titles.get(url))


def _some_list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else []


def _words(found: Any) -> str | None:
    return found if isinstance(found, str) and found else None
