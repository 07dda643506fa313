"""Run the Slurm examples of docs/many-machines.md on a Slurm of four nodes, all on this machine.

Debian: apt-get install slurmctld slurmd slurm-client munge
"""

import getpass
import os
import subprocess
from pathlib import Path

from trial import Trial, find_block, read_results, run_apart

# Slurm rejects 127.0.0.1 if the machine has no other address. This one is reserved for documentation.
ADDRESS = "198.51.100.1/32"
CONFIG = """\
ClusterName=trial
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=6817
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,sched_min_interval=0
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ReturnToService=2
MpiDefault=none
NodeName=n[1-4] NodeHostname=localhost NodeAddr=127.0.0.1 Port=[17001-17004] CPUs=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
"""
AUTO = "aiml chat --each line -f reviews.txt --shard {} -q --resume-from out.%a.jsonl 'Classify: {{row}}'"
REFUSED = (("1-4", "auto/8"), ("5-8", "auto/8"), ("3,5", "auto"))


def start_slurm(trial: Trial) -> None:
    """Start munge, the controller and four nodes; return when they take jobs."""
    subprocess.run(["ip", "address", "add", ADDRESS, "dev", "lo"], check=True)
    folder = trial.scratch / "slurm"
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir(mode=0o700, parents=True)
    (folder / "munge/key").write_bytes(os.urandom(1024))
    (folder / "munge/key").chmod(0o400)
    files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    trial.run(["munged", "--force", *(f"--{option}={folder}/munge/{name}" for option, name in files.items())])
    (folder / "slurm.conf").write_text(CONFIG.format(user=getpass.getuser(), folder=folder))
    trial.env["SLURM_CONF"] = f"{folder}/slurm.conf"
    for command in (["slurmctld"], *(["slurmd", "-N", f"n{number}"] for number in range(1, 5))):
        trial.run(command)
    trial.wait_until(lambda: trial.read("sinfo -h -o %T 2>/dev/null || true").split() == ["idle"])


def submit(trial: Trial, line: str) -> None:
    """Submit a job and return when it runs."""
    trial.run(line)
    trial.wait_until(lambda: "R" in trial.read("squeue -h -o %t").split())


def wait_for_end(trial: Trial) -> None:
    """Wait until no job is left."""
    trial.wait_until(lambda: not trial.read("squeue -h").strip())


def run_array(trial: Trial) -> None:
    """Run the array; kill tasks, let Slurm start one again itself, and submit the array again."""
    trial.begin("Slurm array")
    line = find_block("sh", "sbatch --array=1-8")
    submit(trial, line)
    trial.wait_for_rows(200)
    trial.kill_tasks(3)
    trial.wait_for_rows(500)
    requeue(trial, trial.read("squeue -h -t R -o %F_%K").split()[-1])
    trial.kills += 1
    wait_for_end(trial)
    submit(trial, line)
    wait_for_end(trial)
    trial.check()


def requeue(trial: Trial, job: str) -> None:
    """Let Slurm end a job and start it again, at once instead of two minutes later."""
    trial.run(["scontrol", "requeue", job])
    trial.wait_until(lambda: trial.read(f"squeue -h -j {job} -o %t").split() == ["PD"])
    trial.run(["scontrol", "update", f"JobId={job}", "StartTime=now"])


def run_steps(trial: Trial) -> None:
    """Run srun with four tasks, kill two, and run it again."""
    trial.begin("Slurm srun")
    line = find_block("sh", "srun -n 4")
    srun = trial.start(line)
    trial.wait_for_rows(300)
    trial.kill_tasks(2)
    srun.wait()
    trial.run(line)
    trial.check()


def run_misfits(trial: Trial) -> None:
    """Check that each task refuses an invalid array, and that no row is sent."""
    for array, shard in REFUSED:
        trial.begin(f"Slurm {array} {shard}".replace("/", " of "))
        words = AUTO.format(shard).replace("%a", "$SLURM_ARRAY_TASK_ID")
        trial.run(["sbatch", "-W", f"--array={array}", "-o", "log.%a", "--wrap", words + "; echo exit $?"])
        logs = [path.read_text() for path in Path(trial.folder).glob("log.*")]
        if not logs or not all(log.endswith("exit 2\n") for log in logs) or list(read_results(trial.folder)):
            raise SystemExit(f"--array={array} with --shard {shard} was not refused: {logs}")
        print(f"Slurm --array={array} with --shard {shard}: refused by {len(logs)} of {len(logs)} tasks", flush=True)


def main(trial: Trial) -> None:
    """Run all of them."""
    trial.serve()
    start_slurm(trial)
    run_array(trial)
    run_steps(trial)
    run_misfits(trial)


if __name__ == "__main__":
    run_apart(main, "slurmctld", "slurmd", "munged", "sbatch", "srun")
