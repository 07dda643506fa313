"""Pages from URLs become Markdown."""

import re
from pathlib import Path

import pytest
from support.loopback import HELLO, Loopback, http_response

from aiml_cli.__main__ import main
from aiml_cli.errors import UsageError
from aiml_cli.prompt import html_to_markdown
from aiml_cli.prompt.html_to_markdown import MAX_HTML_BYTES, convert_html, decode_html, is_html, to_markdown

URL = "https://x.test/docs/page.html"
PAGE = """<!DOCTYPE html><html><head><title>The title</title><style>p {color: red}</style><script>var evil = 1</script></head>
<body><nav><a href="/home">Home</a></nav><main><h1>Heading<a class="headerlink" href="#heading">¶</a></h1>
<p>Some <b>bold</b>, <em>slanted</em> and <code>co_de</code> text with_underscores*. <a href="other.html" title="t">other</a>
<a href="/root">root</a> <a href="#in">inside</a> <a href="javascript:x()">script</a> <img src="i.png" alt="picture">
<img src="data:image/png;base64,AAAA" alt="inline"></p>
<ul><li>one<li>two<ul><li>deep</ul></ul>
<table><tr><th>a<th>b<tr><td>1<td>2</table>
<pre class="highlight-python"><code><span>def</span> f():
    return "```"  # &lt;tag&gt;
</code></pre></main><footer>imprint</footer><noscript>no script</noscript><svg><text>drawn</text></svg></body></html>"""


def convert(html: str | bytes, charset: str = "", url: str = URL) -> str:
    return convert_html(html.encode() if isinstance(html, str) else html, url, charset).decode()


def convert_in_process(html: str | bytes, charset: str = "") -> str:
    """Convert a page as the child process does."""
    return to_markdown(decode_html(html.encode() if isinstance(html, str) else html, charset), URL)


def test_the_content_of_a_page_is_kept_and_its_navigation_and_scripts_are_not() -> None:
    text = convert(PAGE)
    wanted = [
        "# Heading\n", "Some **bold**, *slanted* and `co_de` text with_underscores*.", "[other](https://x.test/docs/other.html)",
        "[root](https://x.test/root)", " inside script ", "![picture](https://x.test/docs/i.png)", "inline",
        "- one\n- two\n  - deep", "| a | b |\n| --- | --- |\n| 1 | 2 |", '````python\ndef f():\n    return "```"  # <tag>\n````',
    ]  # fmt: skip
    assert [words for words in wanted if words not in text] == []
    left = ["Home", "evil", "color", "imprint", "no script", "drawn", "¶", "javascript", "base64", "(#"]
    assert [words for words in left if words in text] == []


def test_a_page_without_a_heading_begins_with_its_title() -> None:
    assert convert("<title>A &amp; B</title><p>text") == "# A & B\n\ntext\n"


@pytest.mark.parametrize(
    ("base", "href", "link"),
    [
        ('<base href="https://y.test/a/">', "b", "https://y.test/a/b"),
        ('<base href="/c/">', "b?x=1#f", "https://x.test/c/b?x=1#f"),
        ("", "../up", "https://x.test/up"),
        ("", "//z.test/p", "https://z.test/p"),
        ("", "mailto:a@b.test", "mailto:a@b.test"),
        ("", "https://[bad", "https://[bad"),
        ("", "a b (c).html", "https://x.test/docs/a%20b%20(c).html"),
    ],
)
def test_links_are_absolute(base: str, href: str, link: str) -> None:
    assert convert_in_process(f'<html><head>{base}</head><p><a href="{href}">x</a>') == f"[x]({link})\n"


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("a|b", "a\\|b"),
        ("<code>x || y</code>", "`x \\|\\| y`"),
        ("<ul><li>1|2<li>3</ul>", "- 1\\|2 - 3"),
        ("<b>|</b>", "**\\|**"),
    ],
)
def test_a_cell_of_a_table_stays_one_cell(cell: str, text: str) -> None:
    table = convert_in_process(f"<table><tr><th>{cell}<th>h<tr><td>{cell}<td>d</table><p>a|b")
    assert table == f"| {text} | h |\n| --- | --- |\n| {text} | d |\n\na|b\n"


@pytest.mark.parametrize(
    ("data", "charset", "text"),
    [
        ("<p>é☃".encode(), "", "é☃"),
        ("<p>é".encode("latin-1"), "", "é"),
        ("<p>é".encode("latin-1"), "ISO-8859-1", "é"),
        ("<p>“é”".encode("cp1252"), "iso-8859-1", "“é”"),
        ("<p>привет".encode("koi8-r"), "koi8-r", "привет"),
        ('<meta charset="koi8-r"><p>привет'.encode("koi8-r"), "", "привет"),
        ("<meta http-equiv=x content='text/html; charset=shift_jis'><p>日本".encode("shift_jis"), "", "日本"),
        ('<?xml version="1.0" encoding="koi8-r"?><html><p>привет'.encode("koi8-r"), "", "привет"),
        ('<meta charset="koi8-r"><p>é'.encode(), "utf-8", "é"),
        ("\ufeff<p>é".encode("utf-16-le"), "", "é"),
        ("\ufeff<p>é".encode(), "koi8-r", "é"),
        ("<p>é".encode(), "idna", "é"),
        ("<p>é".encode(), "rot13", "é"),
        ("<p>é".encode(), "no-such-charset", "é"),
        (b"<p>a\xff\xc3\xa9", "utf-8", "a\ufffdé"),
    ],
)
def test_the_encoding_is_found(data: bytes, charset: str, text: str) -> None:
    assert convert_in_process(data, charset) == f"{text}\n"


@pytest.mark.parametrize(
    ("media_type", "data", "is_page"),
    [
        ("text/html", b"x", True), ("TEXT/HTML; charset=utf-8", b"x", True), ("application/xhtml+xml", b"<html/>", True),
        ("", b"<!DOCTYPE html><p>", True), ("", b"\xef\xbb\xbf \n<html>", True), ("", b"<!-- c --><html lang=x>", True),
        ("application/octet-stream", b"<!doctype  html>", True), ("text/xml", b'<?xml version="1.0"?><html xmlns="x">', True),
        ("text/plain", b"<!DOCTYPE html><p>", False), ("application/json", b"<html>", False), ("", b"{}", False),
        ("", b"<htmlx>", False), ("", b"some <html>", False), ("text/html", b"\x89PNG\r\n\x1a\n", False),
        ("text/html", b"%PDF-1.7\n", False), ("text/markdown", b"<html>", False), ("", b"<svg>", False),
    ],
)  # fmt: skip
def test_a_page_is_recognized_by_its_type_or_its_beginning(media_type: str, data: bytes, *, is_page: bool) -> None:
    assert is_html(data, media_type) is is_page


def test_elements_without_an_end_tag_end_as_html_says() -> None:
    text = convert("<p>a<p>b<ul><li>c<p>d<li>e</ul><dl><dt>f<dd>g<dt>h</dl>")
    assert " ".join(text.split()) == "a b - c d - e f : g h"
    assert convert("<p>word " * 1000).count("word") == 1000
    assert convert("<table>" + "<tr><td>x<td>y" * 300).count("| x | y |") == 300


@pytest.mark.promise("web-pages")
@pytest.mark.parametrize(
    ("html", "reason"),
    [
        ("<html>" + "<div>" * 100_000, "nested more than 250 deep"),
        ("<html>" + "<b>" * 300 + "x", "nested more than 250 deep"),
        ("<html>" + "x" * MAX_HTML_BYTES, "more than 5 MiB"),
        ("<html><div id=root></div><script>draw()</script>", "without its scripts it has no text"),
        ("", "without its scripts it has no text"),
    ],
)
def test_a_page_that_cannot_be_converted_ends_with_an_error(html: str, reason: str) -> None:
    with pytest.raises(UsageError, match=re.escape(reason)) as raised:
        convert(html)
    assert raised.value.hint == f"raw:{URL} sends the HTML"


@pytest.mark.promise("web-pages")
def test_a_page_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html_to_markdown, "SECONDS", 0.5)
    with pytest.raises(UsageError, match=r"takes longer than 0\.5 s"):
        convert("<html>" + "<p>a <b>b</b>" * 100_000)


@pytest.fixture
def page_url(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of a page on the server, which answers the prompt after it."""
    monkeypatch.setenv("AIML_BASE_URL", server.url)
    server.answer_with(http_response(PAGE.encode(), "200 OK", "text/html; charset=utf-8"))
    server.answer_with(HELLO)
    return f"http://127.0.0.1:{server.port}/docs/page.html"


@pytest.mark.parametrize("command", ["chat", "respond"])
@pytest.mark.parametrize("source", ["flag", "mention"])
def test_a_page_is_sent_as_markdown_and_a_notice_says_so(
    source: str, command: str, page_url: str, server: Loopback, capfd: pytest.CaptureFixture[str]
) -> None:
    main([command, *(["-f", page_url, "hi"] if source == "flag" else [f"sum up @{page_url}, please"])])
    notice = (
        rf"aiml: {page_url}: sends [\d.]+ (kB|bytes) of HTML as \d+ bytes of Markdown; raw:{page_url} sends the HTML\n"
    )
    assert re.match(notice, capfd.readouterr().err)
    body = server.requests[1].body.decode()
    assert "# Heading" in body
    assert "<script>" not in body
    assert f'<file name=\\"{page_url}\\">' in body


@pytest.mark.parametrize("source", ["flag", "mention", "upper"])
def test_raw_sends_the_source(source: str, page_url: str, server: Loopback) -> None:
    name = f"{'RAW' if source == 'upper' else 'raw'}:{page_url}"
    assert main(["chat", *(["hi", f"@{name}"] if source == "mention" else ["-f", name, "hi"])]) == 0
    assert server.requests[0].request_line.startswith("GET /docs/page.html")
    assert "<script>var evil" in server.requests[1].json["messages"][0]["content"]


@pytest.mark.parametrize("second_suffix", ["", "#part", "#"])
def test_a_page_is_sent_once(
    second_suffix: str, page_url: str, server: Loopback, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["chat", "-f", f"{page_url}#top", "-f", page_url + second_suffix, "hi"]) == 0
    assert [request.request_line.split()[0] for request in server.requests] == ["GET", "POST"]
    assert f"{page_url}{second_suffix} is already sent, so it is left out here\n" in capfd.readouterr().err


def test_a_local_file_with_the_same_name_is_used(page_url: str, server: Loopback, empty_home: Path) -> None:
    path = empty_home / f"raw:{page_url}"
    path.parent.mkdir(parents=True)
    path.write_text("a file")
    server.scripts[:] = [[HELLO]]
    assert main(["chat", "-f", f"raw:{page_url}", "hi"]) == 0
    assert "a file" in server.requests[0].json["messages"][0]["content"]


@pytest.mark.parametrize(
    ("media_type", "data"),
    [("text/plain", "<html>plain</html>"), ("application/json", '{"html": "<p>"}'), ("text/markdown", "# <b>x</b>")],
)
def test_other_texts_are_sent_as_they_are(media_type: str, data: str, page_url: str, server: Loopback) -> None:
    server.scripts[0] = [http_response(data.encode(), "200 OK", media_type)]
    assert main(["chat", "-f", page_url, "hi"]) == 0
    assert data in server.requests[1].json["messages"][0]["content"]


def test_a_local_page_is_sent_as_it_is(server: Loopback, empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIML_BASE_URL", server.url)
    server.answer_with(HELLO)
    (empty_home / "page.html").write_text(PAGE)
    assert main(["chat", "-f", "page.html", "hi"]) == 0
    assert PAGE in server.requests[0].json["messages"][0]["content"]
