"""The pages of the documentation: links and names of files are right, each page is in the index and begins with an example."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
USER_PAGES = sorted(ROOT.glob("docs/*.md"))
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")
SOURCE = re.compile(r"`((?:[a-z_0-9]+/)+[a-z_0-9]+\.py)`")
CODE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def read_text(page: Path) -> str:
    """Return the text of a page without its code blocks."""
    return CODE.sub("", page.read_text("utf-8"))


def make_anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", read_text(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_lead_to_files_and_headings(page: Path) -> None:
    for name, anchor in LINK.findall(read_text(page)):
        target = page.parent / name if name else page
        assert target.exists(), name
        assert not anchor or anchor in make_anchors(target), f"{name}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_source_files_that_a_page_names_exist(page: Path) -> None:
    names = SOURCE.findall(page.read_text("utf-8"))
    assert [name for name in names if not (ROOT / name).exists() and not (ROOT / "aiml_cli" / name).exists()] == []


@pytest.mark.parametrize("page", USER_PAGES, ids=lambda page: page.name)
def test_a_page_for_users_begins_with_an_example(page: Path) -> None:
    lines = [line for line in page.read_text("utf-8").splitlines() if line and not line.startswith("<!--")]
    assert lines[0].startswith("# ")
    assert lines[1].startswith("```")


@pytest.mark.parametrize("page", [*USER_PAGES, *ROOT.glob("docs/development/*.md")], ids=lambda page: page.name)
def test_each_page_is_in_the_index(page: Path) -> None:
    index = ROOT / "docs/README.md"
    targets = {(index.parent / name).resolve() for name, _ in LINK.findall(index.read_text("utf-8")) if name}
    assert page == index or page in targets


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) < 120
