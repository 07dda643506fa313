"""Tools that flood, hang, fork, die, pry or lie give a result that says so, and affect nothing else."""

import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from support.loopback import Loopback
from support.processes import is_running
from support.run_cli import build_command

from aiml_cli.__main__ import main
from aiml_cli.errors import UsageError
from aiml_cli.store import api_keys
from aiml_cli.tools import tool_files
from aiml_cli.tools.command_source import CommandSource
from aiml_cli.tools.python_source import PythonSource
from aiml_cli.tools.tool import CallResult, ToolSource

KEY = "sk-made-up-0123456789abcdef"
MAX_RESULT_BYTES = 66_000  # the bytes of the longest result: 64 KiB, and a line about the rest


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Yield a stack that closes what a test has opened."""
    with ExitStack() as opened:
        yield opened


def open_command(stack: ExitStack, script: str, *, timeout: float = 20, **table: Any) -> CommandSource:
    table = {"run": ["sh", "-c", script], "timeout": timeout, **table}
    source = CommandSource.from_file(tool_files.parse_tool_file("sample", Path("/made/up.toml"), table))
    stack.callback(source.close)
    source.wait_until_ready()
    return source


def open_python(stack: ExitStack, text: str, *, report: Callable[[str], None] | None = None) -> PythonSource:
    Path("mine.py").write_text(textwrap.dedent(text))
    source = PythonSource("mine.py", report=report)
    stack.callback(source.close)
    source.wait_until_ready()
    return source


def call_tool(source: ToolSource, name: str = "", **arguments: Any) -> CallResult:
    [tool] = [tool for tool in source.list_tools() if name in ("", tool.definition.name)]
    return tool.call(arguments)


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")


def wait_until_gone(path: Path = Path("pid")) -> None:
    """Wait until the processes whose ids are in a file have ended, and been reaped if they were ours; fail in the end."""
    pids = [int(pid) for pid in path.read_text().split()]
    assert pids
    deadline = time.monotonic() + 20
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline, "a process is left"
        os.sched_yield()
    for pid in pids:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


@contextmanager
def limit_memory(extra: int) -> Iterator[None]:
    """Limit the memory that this process can add."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + extra, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


FLOODING_SCRIPTS = [
    ("yes", "wrote more than 16 MiB"),
    ("yes >&2", "wrote more than 16 MiB"),
    ("yes & yes >&2", "wrote more than 16 MiB"),
    ("cat /dev/zero", "wrote more than 16 MiB"),
    ("head -c 1000000000 /dev/zero", "wrote more than 16 MiB"),
    ("trap '' TERM PIPE INT HUP; yes", "wrote more than 16 MiB"),
]


@pytest.mark.promise("misbehaving-tools")
@pytest.mark.parametrize(("script", "reason"), FLOODING_SCRIPTS)
def test_a_command_with_endless_output_is_killed_and_the_beginning_is_kept(
    script: str, reason: str, stack: ExitStack
) -> None:
    source = open_command(stack, f"echo $$ > pid; {script}")
    result = call_tool(source)
    assert result.is_error
    assert reason in result.text
    assert len(result.text.encode()) < MAX_RESULT_BYTES
    wait_until_gone()


def test_a_command_with_much_output_can_finish(stack: ExitStack) -> None:
    result = call_tool(
        open_command(stack, "head -c 5000000 /dev/zero | tr '\\0' x; head -c 3000000 /dev/zero >&2; touch done")
    )
    assert result == ("x" * 65_536 + "\n[cut here: the first 64 KiB of 4882 KiB]", False, ())
    assert Path("done").exists()


HANGING_SCRIPTS = [
    "sleep 60",
    "trap '' TERM INT HUP QUIT; sleep 60; sleep 60",
    "exec >&- 2>&- <&-; sleep 60",
    "kill -STOP $$",
    "cat <&0 | cat; sleep 60",
    "echo begun; while :; do :; done",
    "read line < /dev/tty; sleep 60",
]


@pytest.mark.promise("misbehaving-tools")
@pytest.mark.parametrize("script", HANGING_SCRIPTS)
def test_a_command_that_times_out_is_killed_with_its_children(script: str, stack: ExitStack) -> None:
    source = open_command(stack, f"echo $$ > pid; sleep 60 & echo $! >> pid; {script}", timeout=0.4)
    result = call_tool(source)
    assert result.is_error
    assert result.text.startswith("the command did not end within 0.4 s, and was killed")
    wait_until_gone()


FORKING_SCRIPTS = [
    "sleep 60 & echo $! > pid; echo ok",
    "(sleep 60 & echo $! > pid) & wait; echo ok",
    "sh -c 'sleep 60 & echo $! > pid'; echo ok",
    "(trap '' TERM HUP; while :; do sleep 1; done) & echo $! > pid; echo ok",
    "for i in $(seq 100); do sleep 60 & echo $! >> pid; done; echo ok",
    "(while :; do echo noise; done) >/dev/null & echo $! > pid; echo ok",
]


@pytest.mark.promise("misbehaving-tools")
@pytest.mark.parametrize("script", FORKING_SCRIPTS)
def test_processes_left_behind_by_a_command_are_killed(script: str, stack: ExitStack) -> None:
    assert call_tool(open_command(stack, script)) == ("ok\n", False, ())
    wait_until_gone()


def test_a_daemon_that_keeps_the_pipes_open_is_not_waited_for(stack: ExitStack) -> None:
    script = "setsid sh -c 'echo $$ > pid; exec sleep 60' & while [ ! -s pid ]; do sleep 0.01; done; echo ok"
    assert call_tool(open_command(stack, script)) == ("ok\n", False, ())
    os.kill(int(Path("pid").read_text()), signal.SIGKILL)


@pytest.mark.promise("misbehaving-tools")
def test_endless_output_takes_bounded_memory(stack: ExitStack) -> None:
    source = open_command(stack, "cat /dev/zero")
    call_tool(source)  # whatever is imported late
    with limit_memory(8 * 1024 * 1024):
        assert "wrote more than 16 MiB" in call_tool(source).text


@pytest.mark.parametrize("end", ["close", "cancel_calls"])
def test_cancelling_ends_running_commands_at_once(end: str, stack: ExitStack) -> None:
    source = open_command(stack, "echo $$ >> pid; exec sleep 60")
    results: list[CallResult] = []
    threads = [Thread(target=lambda: results.append(call_tool(source))) for _ in range(5)]
    for thread in threads:
        thread.start()
    while not Path("pid").exists() or len(Path("pid").read_text().split()) < 5:
        os.sched_yield()
    getattr(source, end)()
    for thread in threads:
        thread.join()
    assert results == [("the call was stopped by the user", True, ())] * 5
    wait_until_gone()


@pytest.mark.parametrize("size", [140_000, 1_000_000, 3_000_000])
def test_an_argument_too_long_for_the_system_is_an_error(size: int, stack: ExitStack) -> None:
    source = open_command(stack, "true", params="a", run=["echo", "{a}"])
    assert call_tool(source, a="x" * size) == ("echo cannot be started: Argument list too long", True, ())


def test_control_characters_reach_the_model_unchanged(stack: ExitStack) -> None:
    text = "\x1b]0;title\x07\x1b[2J\u202egnp.exe\u2066 \u200b"
    source = open_command(stack, "cat; printf '%s' \"$1\"", params="a", run=["printf", "%s", "{a}"])
    assert call_tool(source, a=text).text == text


SECRET_VARIABLES = [
    "AIMLAPI_API_KEY",
    "AIML_API_KEY",
    "AIMLAPI_KEY",
    "aiml_api_key",
    "Aimlapi_Key",
    "OPENAI_API_KEY",
    "AUTH_HEADER",
]
ENVIRONMENT_PROBES = [
    "env",
    "cat /proc/self/environ",
    "sh -c 'cat /proc/$$/environ'",
    "export -p",
    "cat /proc/self/cmdline",
    "set",
]


@pytest.fixture
def key_in_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the key in all variables that could hold it, and store another one."""
    for name in SECRET_VARIABLES:
        monkeypatch.setenv(name, f"Bearer {KEY}" if name == "AUTH_HEADER" else KEY)
    monkeypatch.setenv("HARMLESS", "stays")
    api_keys.store_key("api.example.com", KEY[::-1])
    monkeypatch.setenv("COPY_OF_STORED", KEY[::-1])


@pytest.mark.promise("key-not-for-tools")
@pytest.mark.usefixtures("key_in_environment")
@pytest.mark.parametrize("probe", ENVIRONMENT_PROBES)
def test_a_command_does_not_get_the_key(probe: str, stack: ExitStack) -> None:
    text = call_tool(open_command(stack, f"{probe}; env", env={"ADDED": "yes"})).text
    assert KEY not in text
    assert KEY[::-1] not in text
    assert not [name for name in SECRET_VARIABLES if f"{name}=" in text]
    assert "HARMLESS=stays" in text
    assert "ADDED=yes" in text


@pytest.mark.promise("key-not-for-tools")
@pytest.mark.usefixtures("key_in_environment")
def test_a_python_file_does_not_get_the_key(stack: ExitStack) -> None:
    text = """
    import os, subprocess, sys
    at_import = dict(os.environ)
    def probe():
        child = subprocess.run(["env"], capture_output=True, text=True).stdout
        return [at_import, dict(os.environ), child, open("/proc/self/environ").read(), sys.argv,
            open("/proc/self/cmdline").read(), [str(each) for each in vars(sys.modules["__main__"]).values()]]
    """
    found = call_tool(open_python(stack, text), "probe").text
    assert KEY not in found
    assert KEY[::-1] not in found
    assert json.loads(found)[0]["HARMLESS"] == "stays"


@pytest.mark.promise("key-not-for-tools")
@pytest.mark.usefixtures("key_in_environment")
@pytest.mark.parametrize(
    "value", ["${AIMLAPI_API_KEY}", "x${AIML_API_KEY:-}", "${AIMLAPI_KEY}", "${OPENAI_API_KEY}", KEY, f"Bearer {KEY}"]
)
def test_a_tool_file_cannot_pass_the_key_on(value: str, stack: ExitStack) -> None:
    with pytest.raises(UsageError, match=r"never passed to a tool|is not set") as caught:
        open_command(stack, "true", env={"X": value})
    assert KEY not in f"{caught.value.message}{caught.value.hint}"


TERMINAL_PROBE = """
import os, sys
try:
    os.open("/dev/tty", os.O_RDWR)
    tty = "a terminal"
except OSError:
    tty = "no terminal"
print(os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid(), tty, *[os.isatty(fd) for fd in range(3)])
"""


@pytest.mark.promise("misbehaving-tools")
def test_a_tool_has_a_session_of_its_own_without_a_terminal(stack: ExitStack) -> None:
    expected = "True True no terminal False False False\n"
    assert call_tool(open_command(stack, "true", run=[sys.executable, "-c", TERMINAL_PROBE])).text == expected
    printed: list[str] = []
    source = open_python(stack, f"{TERMINAL_PROBE}\ndef f(): return sys.stdin.read()", report=printed.append)
    assert call_tool(source, "f").text == ""
    source.close()
    assert [f"mine.py: {expected.strip()}"] == printed


def test_other_file_descriptors_are_not_inherited(stack: ExitStack) -> None:
    secret = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(secret, True)
    stack.callback(os.close, secret)
    assert "passwd" not in call_tool(open_command(stack, "ls -l /proc/self/fd")).text
    text = "import os\ndef f(): return [os.readlink(f'/proc/self/fd/{fd}') for fd in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{fd}')]"
    assert "passwd" not in call_tool(open_python(stack, text), "f").text


HOSTILE_FUNCTIONS = """
import atexit, ctypes, gc, json, multiprocessing, os, resource, signal, subprocess, sys, threading, time
TIMEOUT = 3

def fine(): return "fine"
def remember():
    child = subprocess.Popen(["sleep", "60"])
    with open("pid", "a") as file: print(os.getpid(), child.pid, file=file)
def exit_now(): os._exit(0)
def sys_exit(): sys.exit()
def killed(): os.kill(os.getpid(), signal.SIGKILL); time.sleep(60)
def kill_group(): os.killpg(0, signal.SIGTERM); time.sleep(60)
def segfault(): ctypes.string_at(0)
def abort(): os.abort()
def stopped(): os.kill(os.getpid(), signal.SIGSTOP); time.sleep(60)
def no_gil():
    ctypes.PyDLL(None).pause()
def deaf():
    ctypes.PyDLL(None).sleep(60)
def closed(): os.closerange(0, 256); return "closed"
def _descriptors(): return [fd for fd in sorted(map(int, os.listdir("/proc/self/fd"))) if fd > 2 and _is_socket(fd)]
def _is_socket(fd):
    try: return os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
    except OSError: return False
def garbage():
    os.write(_descriptors()[0], b"garbage" + chr(10).encode())
    time.sleep(60)
def binary():
    os.write(_descriptors()[0], bytes(range(256)) * 10 + chr(10).encode())
    time.sleep(60)
def endless_line():
    while True: os.write(_descriptors()[0], b"x" * 65536)
def deep_json():
    os.write(_descriptors()[0], b"[" * 100_000 + chr(10).encode())
    time.sleep(60)
def wrong_types():
    os.write(_descriptors()[0], json.dumps({"id": [], "text": 5, "size": "x", "is_error": 1}).encode() + chr(10).encode())
    time.sleep(60)
def unknown_id():
    while True: os.write(_descriptors()[0], json.dumps({"id": 99, "text": "", "size": 0, "is_error": False}).encode() + chr(10).encode())
def replaced():
    [fd] = _descriptors()[:1]
    null = os.open("stolen", os.O_WRONLY | os.O_CREAT)
    os.dup2(null, fd)
    return "x" * 1000
def huge(): return "é" * 20_000_000
def huge_json(): return [["é" * 1000] * 1000] * 20
def huge_error(): raise ValueError("x" * 10_000_000)
def prints():
    while True: print("x" * 5000)
def prints_no_newline():
    while True: sys.stdout.write("x" * 5000)
def thread_left():
    threading.Thread(target=lambda: [None for _ in iter(int, 1)], daemon=False).start()
    return "left"
def fork_left():
    if os.fork() == 0:
        time.sleep(60)
    return "forked"
def fork_exit():
    pid = os.fork()
    if pid: os._exit(7)
    time.sleep(60)
def fork_many():
    for _ in range(100): subprocess.Popen(["sleep", "60"])
    return "many"
def bad_repr():
    class Bad:
        def __repr__(self): os.kill
        __str__ = __repr__
    return Bad()
def bad_json():
    class Bad(dict):
        def items(self): raise SystemExit
    return Bad(a=1)
def circular():
    a = []; a.append(a); return a
def no_modules(): sys.modules.clear(); return "cleared"
def broken_json(): json.dumps = None; return "broken"
def no_handlers():
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65)); time.sleep(60)
def no_stdout(): sys.stdout = sys.stderr = None; print("x"); return "quiet"
def chdir(): os.chdir("/"); return "moved"
def no_memory():
    resource.setrlimit(resource.RLIMIT_AS, (1, 1)); return "x" * 10_000_000
def at_exit():
    atexit.register(time.sleep, 60); return "registered"
"""  # fmt: skip
# The name of a hostile function, and the possible results; "" is any.
HOSTILE_CALLS = [
    ("exit_now", True, "ended with exit code 0"),
    ("sys_exit", True, "SystemExit"),
    ("killed", True, "ended by SIGKILL"),
    ("kill_group", True, "ended by SIGTERM"),
    ("segfault", True, "ended by SIGSEGV"),
    ("abort", True, "ended by SIGABRT"),
    ("closed", True, "ended with exit code 70"),
    ("garbage", True, "malformed result"),
    ("binary", True, "malformed result"),
    ("endless_line", True, "malformed result"),
    ("deep_json", True, "malformed result"),
    ("wrong_types", True, "malformed result"),
    ("unknown_id", True, "malformed result"),
    ("replaced", True, "ended with exit code 70"),
    ("huge", False, "[cut here: the first 64 KiB of 39062 KiB]"),
    ("huge_json", False, "[cut here: the first 64 KiB of"),
    ("huge_error", True, "[cut here: the first 64 KiB of"),
    ("thread_left", False, "left"),
    ("fork_left", False, "forked"),
    ("fork_exit", True, "ended with exit code 7"),
    ("fork_many", False, "many"),
    ("bad_repr", True, "TypeError"),
    ("bad_json", True, "SystemExit"),
    ("circular", False, "[[...]]"),
    ("no_modules", None, ""),
    ("broken_json", None, ""),
    ("no_stdout", False, "quiet"),
    ("chdir", False, "moved"),
    ("no_memory", None, ""),
    ("at_exit", False, "registered"),
]


@pytest.mark.promise("misbehaving-tools")
@pytest.mark.parametrize(("name", "is_error", "text"), HOSTILE_CALLS)
def test_a_hostile_function_affects_only_its_own_call(
    name: str, is_error: bool | None, text: str, stack: ExitStack
) -> None:
    source = open_python(stack, HOSTILE_FUNCTIONS)
    call_tool(source, "remember")
    result = call_tool(source, name)
    assert is_error in (None, result.is_error)
    assert text in result.text
    assert len(result.text.encode()) < MAX_RESULT_BYTES
    source.cancel_calls()
    if is_error is not None:
        assert call_tool(source, "fine") == ("fine", False, ())
    source.close()
    wait_until_gone()


HANGING_FUNCTIONS = ["stopped", "no_gil", "deaf", "prints", "prints_no_newline", "no_handlers"]


@pytest.mark.promise("misbehaving-tools")
@pytest.mark.parametrize("name", HANGING_FUNCTIONS)
def test_a_function_that_hangs_is_stopped_whatever_it_blocks(name: str, stack: ExitStack) -> None:
    source = open_python(stack, HOSTILE_FUNCTIONS.replace("TIMEOUT = 3", "TIMEOUT = 1"))
    call_tool(source, "remember")
    assert call_tool(source, name) == (f"{name} did not return within 1 s, and was stopped", True, ())
    assert call_tool(source, "fine").text == "fine"
    source.close()
    wait_until_gone()


def test_the_reported_output_of_a_file_is_bounded(stack: ExitStack) -> None:
    reported: list[str] = []
    source = open_python(stack, HOSTILE_FUNCTIONS.replace("TIMEOUT = 3", "TIMEOUT = 1"), report=reported.append)
    call_tool(source, "prints")
    source.close()
    assert sum(map(len, reported)) < 80_000
    assert "mine.py: the rest of its output is not shown" in reported
    assert max(map(len, reported)) < 1100


def test_a_file_that_never_finishes_loading_can_be_closed(stack: ExitStack) -> None:
    Path("mine.py").write_text("import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(60)")
    source = PythonSource("mine.py", report=None)
    source.start()
    errors: list[BaseException] = []

    def wait_until_ready() -> None:
        try:
            source.wait_until_ready()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test sees it
            errors.append(error)

    thread = Thread(target=wait_until_ready)
    thread.start()
    while not (Path("pid").exists() and Path("pid").read_text()):
        os.sched_yield()
    source.close()
    thread.join()
    assert [str(error) for error in errors] == ["the tools are closed"]
    wait_until_gone()


def test_a_function_that_does_not_read_its_arguments_does_not_block_others(stack: ExitStack) -> None:
    source = open_python(
        stack, HOSTILE_FUNCTIONS.replace("TIMEOUT = 3", "TIMEOUT = 1") + "\ndef take(a: str): return len(a)\n"
    )
    threads = [Thread(target=call_tool, args=(source, "deaf"))]
    threads += [Thread(target=call_tool, args=(source, "take"), kwargs={"a": "x" * 3_000_000}) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert call_tool(source, "take", a="x" * 3_000_000).text == "3000000"


PROGRAM_THAT_IS_KILLED = """
import os, sys
from aiml_cli.tools.python_source import PythonSource
source = PythonSource("mine.py", report=None)
source.start()
source.wait_until_ready()
{tool.definition.name: tool for tool in source.list_tools()}["remember"].call({})
os.kill(os.getpid(), 9)
"""


def test_a_python_process_ends_with_its_children_when_aiml_is_killed() -> None:
    Path("mine.py").write_text(HOSTILE_FUNCTIONS)
    subprocess.run([sys.executable, "-c", PROGRAM_THAT_IS_KILLED], check=False)
    wait_until_gone()


NAP_TOOL = """
import subprocess
def nap():
    child = subprocess.Popen(["sleep", "60"])
    with open("pid", "w") as file: file.write(str(child.pid))
    child.wait()
"""


@pytest.mark.promise("misbehaving-tools")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("tool", ["nap.py", "nap"])
def test_a_signal_ends_running_tools(tool: str, number: int, code: int) -> None:
    Path("nap.py").write_text(NAP_TOOL)
    tool_files.save_tool_file("nap", {"run": ["sh", "-c", "sleep 60 & echo $! > pid; sleep 60"]}, lambda _: True)
    command = build_command("chat", "--demo", "-m", "demo/tools", "-T", tool, "--allow", "*", "use nap")
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as aiml:
        while aiml.poll() is None and not (Path("pid").exists() and Path("pid").read_text()):
            os.sched_yield()
        aiml.send_signal(number)
        _, errors = aiml.communicate()
    assert aiml.returncode == code, errors
    wait_until_gone()


UNUSABLE_TOOLS = [
    ("none", "there is no tool 'none'"),
    ("no/such.py", "no/such.py: No such file or directory"),
    ("broken.py", "broken.py cannot be used: broken.py:1: SyntaxError"),
    ("open.py", "open.py is not used: everyone can change it"),
    ("lost", "the tool lost: no-such-program is not in PATH"),
    ("ours", "ours.toml is not used: its group can change it"),
]


@pytest.mark.parametrize(("tool", "message"), UNUSABLE_TOOLS)
def test_a_tool_that_cannot_start_is_an_error_before_anything_is_sent(
    tool: str, message: str, server: Loopback, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("broken.py").write_text("def f(:")
    Path("open.py").write_text("def f(): pass")
    Path("open.py").chmod(0o666)
    tool_files.save_tool_file("lost", {"run": ["no-such-program"]}, lambda _: True)
    tool_files.save_tool_file("ours", {"run": ["true"]}, lambda _: True).chmod(0o660)
    assert main(["chat", "--base-url", server.url, "-T", tool, "hi"]) == 2
    out, err = capfd.readouterr()
    assert message in err
    assert (out, server.requests) == ("", [])
