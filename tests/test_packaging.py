"""The wheel and the source archive are complete, and work without the rest of the repository."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from support.paths import ROOT

from aiml_cli import __version__

WHEEL, SDIST = f"aiml_cli-{__version__}-py3-none-any.whl", f"aiml_cli-{__version__}.tar.gz"


def build_packages(root: Path, place: Path, *kinds: str) -> None:
    """Build from a folder as pip would, with the build backend that is installed for the tests."""
    targets = [word for kind in kinds for word in ("-t", kind)]
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", place, *targets],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build both; return the folder that they are in."""
    place = tmp_path_factory.mktemp("packages")
    build_packages(ROOT, place, "wheel", "sdist")
    return place


@pytest.fixture(scope="module")
def environment(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a new environment with the wheel in it; its dependencies are those of the tests."""
    place = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    install = ["-m", "pip", "-q", "--python", place / "bin/python", "install", "--no-deps", "--no-index"]
    subprocess.run([sys.executable, *install, packages / WHEEL], check=True)
    libraries = next(place.glob("lib/python*/site-packages"))
    (libraries / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place


def list_wheel_files(packages: Path) -> set[str]:
    return set(zipfile.ZipFile(packages / WHEEL).namelist())


def list_files(*folders: str) -> set[str]:
    """List the files in folders of the repository, without caches."""
    found = (path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in found if "__pycache__" not in path.parts}


def test_the_wheel_has_every_module_and_no_test(packages: Path) -> None:
    assert list_files("aiml_cli") - list_wheel_files(packages) == set()
    assert [
        name for name in list_wheel_files(packages) if not name.startswith(("aiml_cli/", f"aiml_cli-{__version__}."))
    ] == []


def test_the_wheel_installs_completions_and_the_manual_page(environment: Path) -> None:
    places = (
        "bash-completion/completions/aiml",
        "zsh/site-functions/_aiml",
        "fish/vendor_completions.d/aiml.fish",
        "man/man1/aiml.1",
    )
    assert [place for place in places if not (environment / "share" / place).is_file()] == []


def test_the_installed_command_works_in_any_folder(environment: Path, tmp_path: Path) -> None:
    def run_aiml(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [environment / "bin/aiml", *arguments],
            cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    assert run_aiml("--version").stdout == f"aiml {__version__}\n"
    answer = run_aiml("chat", "--demo", "What can you do?")
    assert (answer.returncode, answer.stdout[:20]) == (0, "[demo: no model ran]")
    assert run_aiml("config", "completions", "bash").stdout == (ROOT / "completions/aiml.bash").read_text("utf-8")


def test_the_source_archive_contains_everything_that_the_tests_need(packages: Path) -> None:
    with tarfile.open(packages / SDIST) as archive:
        archived = {name.partition("/")[2] for name in archive.getnames()}
    named = {"README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "pyproject.toml"}
    assert (list_files("aiml_cli", "tests", "completions", "docs", "scripts") | named) - archived == set()


def test_the_source_archive_builds_the_same_wheel(packages: Path, tmp_path: Path) -> None:
    with tarfile.open(packages / SDIST) as archive:
        archive.extractall(tmp_path, filter="data")
    build_packages(tmp_path / SDIST.removesuffix(".tar.gz"), tmp_path, "wheel")
    wheels = [zipfile.ZipFile(place / WHEEL) for place in (packages, tmp_path)]
    assert [file.CRC for file in wheels[0].infolist()] == [file.CRC for file in wheels[1].infolist()]


def test_no_package_contains_traces_of_the_machine_that_built_it(packages: Path) -> None:
    texts = [zipfile.ZipFile(packages / WHEEL).read(name) for name in list_wheel_files(packages)]
    root = os.fsencode(ROOT)
    assert [text[:80] for text in texts if root in text] == []
