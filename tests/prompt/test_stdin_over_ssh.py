"""Standard input of a program started by a real sshd is read when data or its end arrives; else the wait ends."""

import os
import shlex
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.loopback import HELLO, Loopback
from support.run_cli import build_command

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
SSH = shutil.which("ssh")
CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
UsePAM no
"""
Ssh = Callable[..., "subprocess.Popen[str]"]

pytestmark = pytest.mark.skipif(
    not (SSHD and SSH and os.getuid() == 0), reason="needs ssh and sshd, and root to start sshd"
)


@pytest.fixture
def start_over_ssh(tmp_path: Path, server: Loopback) -> Iterator[Ssh]:
    """Yield a function that starts the program through ssh, with these flags for ssh and for the program."""
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    Path("/run/sshd").mkdir(exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = tmp_path / "sshd_config"
    config.write_text(CONFIG.format(port=port, folder=tmp_path), encoding="utf-8")
    server.answer_with(HELLO)

    def start(*ssh_flags: str, stdin: int, flags: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
        names = ["HOME", "AIMLAPI_API_KEY", *(name for name in os.environ if name.startswith("XDG_"))]
        environ = [f"{name}={os.environ[name]}" for name in names if name in os.environ]
        remote = shlex.join(["env", *environ, f"AIML_BASE_URL={server.url}", *build_command("chat", "hi", *flags)])
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectionAttempts=20"]
        command = [str(SSH), "-q", "-F", "none", "-p", str(port), "-i", str(tmp_path / "user"), *ssh_flags]
        return subprocess.Popen(
            [*command, *(word for option in options for word in ("-o", option)), "root@127.0.0.1", f"cd {Path.cwd()} && {remote}"],
            stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    with subprocess.Popen([str(SSHD), "-D", "-q", "-f", str(config)]) as daemon:
        yield start
        daemon.terminate()


def test_waiting_for_input_that_never_arrives_ends(start_over_ssh: Ssh, server: Loopback) -> None:
    with start_over_ssh(stdin=subprocess.PIPE, flags=("--stdin-wait", "1")) as client:
        assert client.wait(60) == 2
        assert client.stderr
        assert "nothing arrived on standard input" in client.stderr.read()
    assert server.requests == []


@pytest.mark.parametrize("ssh_flags", [["-n"], []], ids=["ssh -n", "< /dev/null"])
def test_empty_standard_input_is_ignored(ssh_flags: list[str], start_over_ssh: Ssh, server: Loopback) -> None:
    with start_over_ssh(*ssh_flags, stdin=subprocess.DEVNULL) as client:
        assert client.wait(60) == 0
    assert len(server.requests) == 1


def test_piped_data_arrives(start_over_ssh: Ssh, server: Loopback) -> None:
    with start_over_ssh(stdin=subprocess.PIPE) as client:
        out, _ = client.communicate("data from afar\n", timeout=60)
        assert (client.returncode, out) == (0, "Hello\n")
    assert "data from afar" in server.requests[0].body.decode()
