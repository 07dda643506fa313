"""The name of a session: from AIML_SESSION, the tmux pane, or the session of the terminal."""

import os
import subprocess
import sys

import pytest

from aiml_cli.core.history_journal import session_name
from aiml_cli.errors import UsageError

PANE = {"TMUX": "/run/tmux/default,7,0", "TMUX_PANE": "%1"}


def test_the_variable_takes_precedence_over_the_tmux_pane() -> None:
    assert session_name({"AIML_SESSION": "deploy-1", **PANE}) == "session deploy-1"


def test_a_tmux_pane_has_the_same_name_in_every_window() -> None:
    assert session_name(PANE) == session_name({**PANE, "TMUX": "/run/tmux/default,7,3"})
    assert session_name(PANE) != session_name({**PANE, "TMUX_PANE": "%2"})
    assert session_name(PANE) != session_name({**PANE, "TMUX": "/run/tmux/other,8,0"})


def test_without_variables_the_terminal_session_is_used() -> None:
    code = "import os; from aiml_cli.core.history_journal import session_name; print(session_name({}), end='')"
    told = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, start_new_session=new, timeout=60)
        for new in (False, True)
    ]
    assert told[0].stdout.decode() == session_name({})
    assert told[1].stdout.decode() != session_name({})
    assert session_name({}).startswith(f"terminal {os.getsid(0)}")


@pytest.mark.parametrize("name", ["../up", "a b", "-x", ".x", "a\n", "x" * 65, "é"])
def test_an_invalid_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="AIML_SESSION"):
        session_name({"AIML_SESSION": name})
