"""A stop signal between the arrival of keys and their reading loses no key."""

import shlex
import sys
from pathlib import Path

import pytest
from support.console import Console

# A Ctrl-Z arrives just after select has said that keys are there.
PROGRAM = """
import os, select, signal
from aiml_cli.system.terminal import ANSWER_MODE, modes

wait_for_input = select.select

def stop_after_select(*arguments):
    ready = wait_for_input(*arguments)
    if ready[0]:
        select.select = wait_for_input
        os.kill(os.getpid(), signal.SIGTSTP)
    return ready

with modes.use(ANSWER_MODE):
    print("rea" + "dy", flush=True)
    wait_for_input([0], [], [])
    select.select = stop_after_select
    print("typed:", modes.take_typed(), flush=True)
"""

pytestmark = pytest.mark.promise("job-control")


@pytest.mark.parametrize("continue_with", ["fg", "bg; fg"])
def test_a_stop_between_select_and_read_loses_no_key(continue_with: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with Console.start_shell() as shell:
        shell.wait_until("$")
        shell.type_line(shlex.join([sys.executable, str(program)]))
        shell.wait_until("ready")
        shell.press("ahead")
        shell.wait_until("Stopped")
        shell.type_line(continue_with)
        shell.wait_until("typed: (b'ahead', True)")
