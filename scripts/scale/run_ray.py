"""Run the Ray example of docs/many-machines.md on a node of eight workers: pip install ray."""

from trial import Trial, find_block, find_parent, find_tasks, run_apart

START = "ray start --head --node-ip-address 127.0.0.1 --num-cpus 8 --include-dashboard false --disable-usage-stats"


def main(trial: Trial) -> None:
    """Kill two tasks and a worker; Ray starts their shards again."""
    trial.serve()
    trial.begin("Ray")
    (trial.folder / "ray_rows.py").write_text(find_block("python", "# ray_rows.py"))
    trial.run(f"{START} --temp-dir {trial.scratch}/ray >ray.log 2>&1")
    client = trial.start(find_block("sh", "python ray_rows.py"))
    trial.wait_for_rows(300)
    trial.kill_tasks(2)
    trial.wait_for_rows(600)
    trial.kill([find_parent(find_tasks()[0])])
    trial.check(f"exit {client.wait()}")


if __name__ == "__main__":
    run_apart(main, "ray", engine="ray")
