"""Convert a page to Markdown in a child process, which limits the time and memory that a hostile page can use."""

import re
import sys
from typing import Any

HTML_TYPES = ("text/html", "application/xhtml+xml")
UNKNOWN_TYPES = ("", "application/octet-stream", "application/xml", "text/xml")
_REACH = 1024  # bytes that are searched for the start of HTML and its encoding
_START = re.compile(
    rb"(?:<\?xml[^>]{0,200}>\s{0,20})?(?:<!--.{0,400}?-->\s{0,20})?<(?:!doctype\s{1,20}html|html|head|body)\b",
    re.IGNORECASE | re.DOTALL,
)
_META = re.compile(rb"""(?:charset|encoding)\s{0,20}=\s{0,20}["']?\s{0,20}([A-Za-z0-9_:.-]{1,40})""")
# The encodings that browsers use for these names, and Python codecs that are not encodings of pages.
_BROWSER_NAMES = {
    "iso-8859-1": "cp1252",
    "latin-1": "cp1252",
    "latin1": "cp1252",
    "ascii": "cp1252",
    "us-ascii": "cp1252",
}
_NO_ENCODINGS = frozenset(
    {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "utf-7", "mbcs", "oem"}
)
MAX_HTML_BYTES = 5 * 1024 * 1024
MAX_TEXT_BYTES = 10 * 1024 * 1024
SECONDS = 20.0
MAX_MEMORY_BYTES = 2 * 1024 * 1024 * 1024
MAX_DEPTH = 250
MIN_MAIN_SHARE = 0.2  # of the page's text; a smaller <main> is not the main content
_REMOVED = (
    "title", "script", "style", "noscript", "template", "svg", "math > annotation", "iframe", "object", "canvas", "nav",
    "footer", "button", "select", "input", "textarea", "[role=navigation]", "[role=banner]", "[role=contentinfo]",
    "[role=search]", "[hidden]", "[aria-hidden=true]",
)  # fmt: skip
_MARKS = {"¶", "#", "§", "🔗", ""}  # the text of a link from a heading to itself
# Which open elements each of these tags ends, up to the innermost of the borders.
_ENDS = {
    "li": {"li"}, "dt": {"dt", "dd"}, "dd": {"dt", "dd"}, "option": {"option"}, "tr": {"tr", "td", "th"},
    "td": {"td", "th"}, "th": {"td", "th"}, "tbody": {"tr", "td", "th", "thead", "tbody"},
}  # fmt: skip
_BORDERS = frozenset({"ul", "ol", "dl", "table", "select", "menu"})
_BLOCKS = frozenset({
    "p", "div", "ul", "ol", "dl", "li", "dt", "dd", "table", "pre", "blockquote", "section", "article", "main", "form",
    "h1", "h2", "h3", "h4", "h5", "h6", "hr", "header", "figure", "tr", "td", "th", "details", "address",
})  # fmt: skip


def is_html(data: bytes, media_type: str) -> bool:
    """True if a response is a page: by its media type or, without one, by its first bytes."""
    from aiml_cli.prompt.decode_text import detect_type  # the child process may not find the package

    plain = media_type.partition(";")[0].strip().lower()
    if plain in HTML_TYPES:
        return not detect_type(data)
    return plain in UNKNOWN_TYPES and bool(_START.match(data[:_REACH].lstrip(b"\xef\xbb\xbf \t\r\n\f")))


def convert_html(data: bytes, url: str, charset: str) -> bytes:
    """Return the page as Markdown in UTF-8; raise UsageError if that exceeds the limits of time and memory."""
    from subprocess import PIPE

    from aiml_cli.errors import UsageError  # as above
    from aiml_cli.system.child_process import ProcessGroup, ProgramFailed, collect_output, explain_failure

    def fail(reason: str) -> UsageError:
        return UsageError(f"{url}: the page cannot be converted to Markdown: {reason}", f"raw:{url} sends the HTML")

    if len(data) > MAX_HTML_BYTES:
        raise fail(f"it has more than {MAX_HTML_BYTES >> 20} MiB")
    try:
        command = [sys.executable, "-I", __file__, url, charset]
        group = ProcessGroup(command, {}, stdin=PIPE, stdout=PIPE, stderr=PIPE, cwd="/")
    except ProgramFailed as error:
        raise fail(f"Python {error.reason}") from None
    output = collect_output(group, data, seconds=SECONDS, limit=MAX_TEXT_BYTES)
    if output.has_timed_out:
        raise fail(f"the conversion takes longer than {SECONDS:g} s")
    if output.has_flooded or output.size > MAX_TEXT_BYTES:
        raise fail(f"the result would be more than {MAX_TEXT_BYTES >> 20} MiB")
    if output.exit_code:
        lines = output.err.decode("utf-8", "replace").strip().splitlines()
        raise fail(lines[-1] if lines else explain_failure(output, SECONDS))
    if not output.out.strip():
        raise fail("without its scripts it has no text")
    return output.out


def decode_html(data: bytes, charset: str) -> str:
    """Decode a page by its byte order mark, the server's charset, its own declaration, or a guess."""
    for mark, name in (
        (b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"),
    ):  # fmt: skip
        if data.startswith(mark):
            return data.decode(name, "replace")
    declared = _META.search(data[:_REACH])
    for name in (charset, declared[1].decode("ascii") if declared else ""):
        if encoding := _find_encoding(name):
            return data.decode(encoding, "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _find_encoding(name: str) -> str:
    """Return Python's name of an encoding, or "" for an unknown one or one that pages do not use."""
    import codecs

    plain = name.strip().lower()
    try:
        found = codecs.lookup(_BROWSER_NAMES.get(plain, plain))
    except (LookupError, ValueError):
        return ""
    is_text = getattr(found, "_is_text_encoding", True) and found.name.replace("_", "-") not in _NO_ENCODINGS
    return found.name if is_text else ""


def to_markdown(html: str, url: str) -> str:
    """Return the Markdown of a page; raise ValueError if it is nested too deeply."""
    from bs4 import BeautifulSoup
    from bs4.element import PreformattedString
    from markdownify import MarkdownConverter

    class Page(BeautifulSoup):
        """A page whose elements end where HTML requires it, even without an end tag."""

        def handle_starttag(self, name: str, *args: Any, **more: Any) -> Any:
            if ended := _list_ended(name, self.tagStack):
                self.endData()
            for tag in ended:
                self._popToTag(tag)
            if len(self.tagStack) > MAX_DEPTH:
                raise ValueError(f"its elements are nested more than {MAX_DEPTH} deep")
            return super().handle_starttag(name, *args, **more)

    class Converter(MarkdownConverter):
        """Writes Markdown for a model: only a | in a table is escaped, and code fences are long enough."""

        def convert_pre(self, element: Any, text: str, parent_tags: Any) -> str:  # noqa: ARG002 - the library passes it
            code = element.get_text().strip("\n")
            fence = "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))
            return f"\n\n{fence}{_find_language(element)}\n{code}\n{fence}\n\n" if code else ""

        def convert_td(self, element: Any, text: str, parent_tags: Any) -> str:
            return str(super().convert_td(element, _escape_bars(text), parent_tags))  # type: ignore[misc]

        def convert_th(self, element: Any, text: str, parent_tags: Any) -> str:
            return str(super().convert_th(element, _escape_bars(text), parent_tags))  # type: ignore[misc]

    page = Page(html, "html.parser")
    title = page.title.get_text(" ", strip=True) if page.title else ""
    for comment in page.find_all(string=lambda text: isinstance(text, PreformattedString)):
        comment.extract()  # also a doctype, and anything that begins with <?
    content = _select_content(page, url)
    converter = Converter(heading_style="atx", bullets="-", escape_asterisks=False, escape_underscores=False)
    text = converter.convert_soup(content)
    text = re.sub(r"\n{3,}", "\n\n", text).strip()
    return f"# {title}\n\n{text}\n" if title and not re.search(r"^# ", text, re.MULTILINE) else f"{text}\n"


def _list_ended(name: str, stack: Any) -> list[str]:
    """Return the names of the open elements that a new element ends, the innermost first."""
    ends: set[str] = _ENDS.get(name, set())
    found = list[str]()
    for tag in reversed(stack) if ends else ():
        if tag.name in _BORDERS:
            break
        if tag.name in ends:
            found.append(tag.name)
    if name in _BLOCKS and next((tag.name for tag in reversed(stack) if tag.name in _BLOCKS), "") == "p":
        return ["p", *found]
    return found


def _select_content(page: Any, url: str) -> Any:
    """Remove everything but content, make URLs absolute, and return the main part if the page has one."""
    base = page.find("base", href=True)
    for tag in page.select(", ".join(_REMOVED)):
        tag.decompose()
    _fix_links(page, _join(url, base["href"]) if base else url)
    body = page.body or page
    mains = page.select("main, [role=main]") or page.select("article")
    if len(mains) == 1 and len(mains[0].get_text()) >= MIN_MAIN_SHARE * len(body.get_text()):
        return mains[0]
    return body


def _fix_links(page: Any, base: str) -> None:
    """Make URLs absolute; keep only the text of links within the page, and of embedded images."""
    for link in page.find_all("a"):
        href = (link.get("href") or "").strip()
        is_inside = not href or href.startswith("#") or href.lower().startswith(("javascript:", "data:"))
        if is_inside and link.get_text(strip=True) in _MARKS and not link.find("img"):
            link.decompose()
        elif is_inside:
            link.unwrap()
        else:
            link["href"] = _join(base, href)
            del link["title"]
    for image in page.find_all("img"):
        source = (image.get("src") or "").strip()
        if not source or source.lower().startswith("data:"):
            image.replace_with(image.get("alt") or "")
        else:
            image["src"] = _join(base, source)


def _join(base: str, address: str) -> str:
    """Return the absolute URL without whitespace, which would end a Markdown link."""
    from contextlib import suppress
    from urllib.parse import urljoin

    with suppress(ValueError):
        address = urljoin(base, address)
    return re.sub(r"\s", "%20", address)


def _escape_bars(text: str) -> str:
    return text.replace("|", "\\|")


def _find_language(element: Any) -> str:
    """Return the language of a code block, from the classes that highlighters use."""
    tags = [element, *element.find_all("code", limit=1), *(element.parents if element.parent else ())][:4]
    names = " ".join(name for tag in tags for name in tag.get("class") or ())
    languages = re.findall(r"\b(?:language|lang|highlight|brush|sourceCode)[-:]([A-Za-z0-9+#]{1,20})", names)
    return next((word for word in languages if word not in ("default", "none", "source", "text")), "")


def _run() -> int:
    """Convert standard input in a child process; `python FILE URL CHARSET`."""
    import resource
    from contextlib import suppress

    with suppress(OSError, ValueError):  # not every system has this limit
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    url, charset = sys.argv[1:]
    try:
        text = to_markdown(decode_html(sys.stdin.buffer.read(), charset), url)
        sys.stdout.buffer.write(text.encode("utf-8", "replace"))
    except ImportError as error:
        sys.stderr.write(f"{error.name} is not installed\n")
        return 1
    except MemoryError:
        sys.stderr.write("it takes too much memory\n")
        return 1
    except (ValueError, AssertionError) as error:
        sys.stderr.write(f"{' '.join(str(error).split())[:200]}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_run())
