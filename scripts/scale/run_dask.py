"""Run the Dask example of docs/many-machines.md with a scheduler and four workers: pip install 'dask[distributed]'."""

from trial import Trial, find_block, find_parent, find_tasks, run_apart

SCHEDULER = "tcp://127.0.0.1:8786"


def main(trial: Trial) -> None:
    """Kill two tasks and a worker; Dask starts their shards again."""
    trial.serve()
    trial.begin("Dask")
    (trial.folder / "dask_rows.py").write_text(find_block("python", "# dask_rows.py"))
    trial.start("exec dask scheduler --host 127.0.0.1 --port 8786 --no-dashboard 2>scheduler.log")
    worker = f"exec dask worker {SCHEDULER} --host 127.0.0.1 --nthreads 2 --no-dashboard"
    for number in range(4):
        trial.start(f"{worker} --local-directory worker{number} 2>worker{number}.log")
    line = find_block("sh", "python dask_rows.py").replace("tcp://scheduler:8786", SCHEDULER)
    client = trial.start(line)
    trial.wait_for_rows(300)
    trial.kill_tasks(2)
    trial.wait_for_rows(600)
    trial.kill([find_parent(find_tasks()[0])])
    trial.check(f"exit {client.wait()}")


if __name__ == "__main__":
    run_apart(main, "dask", engine="dask")
