"""Merge a million results as docs/many-machines.md does with DuckDB, and read Parquet: pip install duckdb-cli."""

import json
import resource
import time
from pathlib import Path

from trial import Trial, find_block, run_apart

RESULTS, SHARDS = 1_000_000, 8
FAILED, DEAD, TWICE = 100, 1_000, 50_000  # of this many rows, one failed first, one has no good result, one has two
ERROR = {"message": "the server answered 500", "type": "server", "status": 500, "hint": None, "exit_code": 6}
PEOPLE, TEXT = 200, "An answer of about the length that a few words to each row have. " * 2


def write_results(folder: Path, sample: dict[str, object]) -> None:
    """Write a million results: some rows failed at first, some always failed, and some have two good results."""
    files = [(folder / f"out.{shard}.jsonl").open("w") for shard in range(1, SHARDS + 1)]
    for row in range(1, RESULTS + 1):
        file = files[(row - 1) % SHARDS]
        line = {**sample, "row": row, "hash": f"{row:024x}", "input": f"review number {row}", "text": TEXT}
        if row % TWICE == 0:
            file.write(json.dumps({**line, "text": "an older one"}) + "\n")
        if row % FAILED == 0:
            file.write(json.dumps({**line, "text": None, "error": ERROR}) + "\n")
        if row % DEAD or row % TWICE == 0:
            file.write(json.dumps(line) + "\n")
    for file in files:
        file.close()


def count_dead() -> int:
    """Return how many rows have no good result."""
    return RESULTS // DEAD - RESULTS // TWICE


def merge(trial: Trial) -> None:
    """Merge them; print the time, the CPU time of all threads and the memory."""
    trial.run("head -1 reviews.txt | aiml chat -q --each line --resume-from sample.jsonl")
    write_results(trial.folder, json.loads((trial.folder / "sample.jsonl").read_text()))
    size = sum(path.stat().st_size for path in trial.folder.glob("out.*.jsonl"))
    (trial.folder / "merge.sql").write_text(find_block("sql", "-- merge.sql"))
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    trial.run(find_block("sh", "duckdb -f"))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"Merge: {RESULTS:,} rows, {size / 1e6:.0f} MB: {time.monotonic() - began:.1f} s, {cpu:.1f} s of CPU, "
        f"{used.ru_maxrss / 1e6:.2f} GB",
        flush=True,
    )
    query = "SELECT count(*), count(DISTINCT row), count(*) FILTER (text <> 'an older one') FROM 'results.parquet'"
    counts = trial.read(["duckdb", "-csv", "-noheader", "-c", query]).strip()
    dead = (trial.folder / "dead.jsonl").read_text().count("\n")
    if counts != ",".join([str(RESULTS - count_dead())] * 3) or dead != count_dead():
        raise SystemExit(f"wrong: {counts} good, {dead} dead")


def read_parquet(trial: Trial) -> None:
    """Ask for the rows of a Parquet file."""
    trial.begin("Parquet")
    columns = "SELECT 'Name ' || i AS name, 'a \"hobby\"' AS hobby"
    trial.run(["duckdb", "-c", f"COPY ({columns} FROM range({PEOPLE}) t(i)) TO 'people.parquet'"])
    trial.run(find_block("sh", "people.parquet"))
    results = [json.loads(line) for line in (trial.folder / "out.1.jsonl").read_text().splitlines()]
    names = {result["input"]["name"] for result in results if result["error"] is None}
    if len(names) != PEOPLE or len(results) != PEOPLE:
        raise SystemExit(f"wrong: {len(results)} results with {len(names)} names")
    print(f"Parquet in: {PEOPLE} rows, each once", flush=True)


def main(trial: Trial) -> None:
    """Run both."""
    trial.serve()
    trial.begin("Merge")
    merge(trial)
    read_parquet(trial)


if __name__ == "__main__":
    run_apart(main, "duckdb", engine="duckdb")
