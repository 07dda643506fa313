"""Run the GNU parallel example of docs/many-machines.md over ssh, to a sshd on the loopback address.

Debian: apt-get install parallel openssh-server
"""

import base64
import shutil
import subprocess
from pathlib import Path

from trial import KEY, Trial, find_block, read_commands, run_apart

SERVER = """\
Port 2222
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
PasswordAuthentication no
SetEnv PATH={path} HOME={home} AIML_BASE_URL={url} AIML_MODEL={model}
"""
CLIENT = """\
Host node*
  HostName 127.0.0.1
  Port 2222
  IdentityFile {folder}/user
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known
  StrictHostKeyChecking accept-new
  LogLevel ERROR
"""
FORMS = {KEY, KEY.encode().hex(), base64.b64encode(KEY.encode()).decode()}


def start_sshd(trial: Trial) -> None:
    """Start sshd with keys and settings of its own; store the key of the API as a user does."""
    folder, env = trial.scratch / "ssh", trial.env
    folder.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)  # only visible to this script
    Path("/run/sshd").mkdir(mode=0o755)
    for name in ("host", "user"):
        trial.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{folder}/{name}"])
    settings = {"path": env["PATH"], "home": env["HOME"], "url": env["AIML_BASE_URL"], "model": env["AIML_MODEL"]}
    (folder / "sshd_config").write_text(SERVER.format(folder=folder, **settings))
    (folder / "ssh_config").write_text(CLIENT.format(folder=folder))
    trial.run([shutil.which("sshd", path=env["PATH"]) or "sshd", "-f", f"{folder}/sshd_config"])
    env["PARALLEL_SSH"] = f"ssh -F {folder}/ssh_config"
    (folder / "key").write_text(env.pop("AIMLAPI_API_KEY"))
    trial.run(f"aiml config key --stdin --base-url {env['AIML_BASE_URL']} < {folder}/key")


def check_commands() -> None:
    """Raise SystemExit if the key of the API is in the command line of a process, as it is or encoded."""
    words = " ".join(word for command in read_commands().values() for word in command)
    if any(form.rstrip("=") in words for form in FORMS):
        raise SystemExit("the key is in a command line")


def main(trial: Trial) -> None:
    """Run the line; kill two tasks and a connection; run it again."""
    trial.begin("GNU parallel over ssh")
    trial.serve()
    start_sshd(trial)
    (trial.folder / "hosts").write_text("".join(f"2/node{number}\n" for number in range(1, 5)))
    line = find_block("sh", "parallel --sshloginfile")
    parallel = trial.start(line)
    trial.wait_for_rows(300)
    check_commands()
    trial.kill_tasks(2)
    trial.wait_for_rows(600)
    trial.kill([pid for pid, words in read_commands().items() if words[0].endswith("ssh")][:1])
    first = parallel.wait()
    last = trial.run(line)
    trial.check(f"exits {first} and {last}, the key in no command line")


if __name__ == "__main__":
    run_apart(main, "sshd", "ssh", "ssh-keygen", "parallel")
