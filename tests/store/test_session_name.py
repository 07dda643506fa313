"""What counts as one place to work in."""

import os
import subprocess
import sys

import pytest

from aiml_cli.errors import Misuse
from aiml_cli.store.paths import place

PANE = {"TMUX": "/run/tmux/default,7,0", "TMUX_PANE": "%1"}


def test_a_named_session_comes_first() -> None:
    assert place({"AIML_SESSION": "deploy-1", **PANE}) == "session deploy-1"


def test_a_pane_is_a_place_whatever_window_shows_it() -> None:
    assert place(PANE) == place({**PANE, "TMUX": "/run/tmux/default,7,3"})
    assert place(PANE) != place({**PANE, "TMUX_PANE": "%2"})
    assert place(PANE) != place({**PANE, "TMUX": "/run/tmux/other,8,0"})


def test_else_it_is_the_session_of_the_terminal() -> None:
    code = "import os; from aiml_cli.store.paths import place; print(place({}), end='')"
    told = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, start_new_session=new, timeout=60)
        for new in (False, True)
    ]
    assert told[0].stdout.decode() == place({})
    assert told[1].stdout.decode() != place({})
    assert place({}).startswith(f"terminal {os.getsid(0)}")


@pytest.mark.parametrize("name", ["../up", "a b", "-x", ".x", "a\n", "x" * 65, "é"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(Misuse, match="AIML_SESSION"):
        place({"AIML_SESSION": name})
