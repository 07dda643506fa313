"""Fake clipboard programs, the only programs on PATH, for tests in process and for processes."""

from pathlib import Path

import pytest

SAVE_INPUT_SCRIPT = '#!/bin/sh\necho "$0 $@" >> "{folder}/calls"\nexec /bin/cat > "{folder}/{name}.got"\n'
FAILING_SCRIPT = "#!/bin/sh\nexit 3\n"


class Clipboard:
    """The only folder on PATH, and the input of its programs."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        monkeypatch.setenv("PATH", str(folder))
        for variable in ("TMUX", "WAYLAND_DISPLAY", "DISPLAY", "TERM_PROGRAM", "WSL_DISTRO_NAME"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv("TERM", "dumb")

    def add(self, name: str, script: str = SAVE_INPUT_SCRIPT) -> Path:
        """Add a program; {folder} and {name} in its script are replaced."""
        program = self.folder / name
        program.write_text(script.replace("{folder}", str(self.folder)).replace("{name}", name))
        program.chmod(0o700)
        return program

    def read(self, name: str) -> bytes | None:
        """Return the standard input of a program, None if it did not run."""
        path = self.folder / f"{name}.got"
        return path.read_bytes() if path.exists() else None
