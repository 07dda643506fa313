"""Run the pods of the Kubernetes example of docs/many-machines.md, and let kubectl read the Job.

There is no cluster: each pod is its command with the variables that Kubernetes sets, started again as
`restartPolicy: OnFailure` says.
"""

import json
import shutil
from collections.abc import Iterator
from subprocess import Popen
from typing import Any

import yaml
from trial import KEY, Trial, find_block, run_apart


def read_leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value of a document with its path."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in items:
        yield from read_leaves(member, f"{path}/{name}")
    if not items:
        yield path, value


def check_manifest(trial: Trial, text: str) -> str:
    """Raise SystemExit if kubectl drops a field that it does not know; return what was done."""
    if not shutil.which("kubectl"):
        return "kubectl not installed"
    (trial.folder / "job.yaml").write_text(text)
    read = json.loads(trial.read("kubectl label --local -f job.yaml checked=yes -o json"))
    known = dict(read_leaves(read))
    if unknown := [path for path, value in read_leaves(yaml.safe_load(text)) if known.get(path) != value]:
        raise SystemExit(f"kubectl knows no {', '.join(unknown)}")
    return "kubectl knows each field"


def start_pod(trial: Trial, container: dict[str, Any], index: int) -> Popen[bytes]:
    """Start the command of a pod, in the folder instead of its volume."""
    words = [word.replace("/data/", "") for word in (*container["command"], *container["args"])]
    trial.env["JOB_COMPLETION_INDEX"] = str(index)
    return trial.start(words)


def main(trial: Trial) -> None:
    """Run all pods at once; kill three; start what failed again."""
    trial.serve()
    trial.begin("Kubernetes")
    text = find_block("yaml", "kind: Job")
    checked = check_manifest(trial, text)
    job = yaml.safe_load(text)["spec"]
    [container] = job["template"]["spec"]["containers"]
    trial.env["AIMLAPI_API_KEY"] = KEY  # what the Secret contains
    pods = {index: start_pod(trial, container, index) for index in range(job["completions"])}
    trial.wait_for_rows(300)
    trial.kill_tasks(3)
    restarts = 0
    while failed := [index for index, pod in pods.items() if pod.wait()]:
        restarts += len(failed)
        pods = {index: start_pod(trial, container, index) for index in failed}
    trial.check(f"{restarts} restarts, {checked}")


if __name__ == "__main__":
    run_apart(main)
