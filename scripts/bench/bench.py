"""Measure an installed aiml against a bare interpreter, a raw socket and a minimal httpx script.

    python scripts/bench/bench.py --python .venv-bench/bin/python

The python is that of a clean venv with aiml's wheel in it: where click is installed too, httpx imports
its own command line. Figures are medians of several alternating rounds; compare ratios, not times.
"""

import argparse
from collections.abc import Iterator, Mapping
from math import log
from pathlib import Path

from first_token import make_first_token_rows
from measure import HERE, MODELS, Bench, Cost, make_text, start_bench
from table import Format, Row, format_mb, format_ms, format_number, format_table, format_thousands, format_us

SHORT, MEDIUM, LONG, LONGEST = MODELS
ROUNDS = {SHORT: 15, MEDIUM: 9, LONG: 5, LONGEST: 5}
STARTS = 15
INPUT_BYTES, INPUT_ROUNDS = 50_000_000, 3

Costs = Mapping[str, Cost]


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", type=Path, required=True, help="the python of a clean venv with the wheel")
    python = parser.parse_args().python.absolute()  # not resolved: a venv's python is a link
    aiml = str(python.with_name("aiml"))
    with start_bench() as running:
        starts = running.measure(STARTS, list_start_commands(str(python), aiml))
        answers = {count: measure_answers(running, str(python), aiml, count) for count in MODELS}
        inputs = measure_input(running, str(python), aiml)
    first_token = make_first_token_rows(str(python), aiml)
    rows = [*make_start_rows(starts), *make_answer_rows(answers), *make_input_rows(inputs), *first_token]
    print(format_table(rows))
    print(f"`python -c pass`: {format_ms(starts['python'].cpu)} of CPU, {format_mb(starts['python'].memory)}.")


def list_start_commands(python: str, aiml: str) -> dict[str, list[str]]:
    """Return the commands that need no server."""
    return {"python": [python, "-c", "pass"], "--version": [aiml, "--version"], "--help": [aiml, "--help"]}


def measure_answers(running: Bench, python: str, aiml: str, count: int) -> Costs:
    """Measure each program with an answer of `count` tokens."""
    commands = {
        "aiml": [aiml, "chat", "--base-url", running.url, "-m", MODELS[count], "hi"],
        "raw": [python, str(HERE / "raw_socket.py"), running.url, MODELS[count], "hi"],
        "httpx": [python, str(HERE / "httpx_minimal.py"), running.url, MODELS[count], "hi"],
    }
    return running.measure(ROUNDS[count], commands, make_text(count))


def measure_input(running: Bench, python: str, aiml: str) -> Costs:
    """Measure the cost of a long input on standard input."""
    path = Path(running.env["HOME"]) / "input.txt"
    words = make_text(LONGEST)
    path.write_text((words * (INPUT_BYTES // len(words) + 1))[:INPUT_BYTES])
    commands = {
        "aiml": [aiml, "chat", "--base-url", running.url, "-m", MODELS[SHORT], "-"],
        "raw": [python, str(HERE / "raw_socket.py"), running.url, MODELS[SHORT], "-"],
    }
    return running.measure(INPUT_ROUNDS, commands, make_text(SHORT), path)


def make_input_rows(costs: Costs) -> Iterator[Row]:
    """Yield rows that compare the cost of a long input."""
    name = f"{INPUT_BYTES // 1_000_000} MB on stdin"
    arrivals = {program: cost.request for program, cost in costs.items()}
    yield make_ratio_row(f"{name}, start to the request's arrival, wall", format_ms, arrivals, limit=2)
    yield make_ratio_row(f"{name}, CPU", format_ms, get_cpu(costs))
    memory = {program: cost.memory for program, cost in costs.items()}
    yield make_figure_row(f"{name}, memory", format_mb, memory, limit=95e6)


def make_start_rows(starts: Costs) -> Iterator[Row]:
    """Yield rows that compare each start with that of a bare interpreter."""
    bare = starts["python"]
    for flag, limit in (("--version", 1.4), ("--help", 5.5)):
        yield Row(f"`{flag}`, CPU, against `python -c pass`", format_ms, starts[flag].cpu, base=bare.cpu, limit=limit)
        yield Row(f"`{flag}`, wall", format_ms, starts[flag].wall, base=bare.wall)


def make_answer_rows(answers: Mapping[int, Costs]) -> Iterator[Row]:
    """Yield rows that compare each program with the raw socket."""
    short = answers[SHORT]
    arrivals = {name: cost.request for name, cost in short.items()}
    yield make_ratio_row("start to the request's arrival, wall", format_ms, arrivals, limit=6.5)
    yield make_ratio_row("short answer, CPU", format_ms, get_cpu(short), limit=5.8)
    yield make_ratio_row("short answer, wall", format_ms, {name: cost.wall for name, cost in short.items()})
    yield make_ratio_row(f"{MEDIUM:,} tokens, CPU", format_ms, get_cpu(answers[MEDIUM]))
    yield make_ratio_row(f"{LONG:,} tokens, CPU", format_ms, get_cpu(answers[LONG]))
    yield make_ratio_row(f"{LONGEST:,} tokens, CPU", format_ms, get_cpu(answers[LONGEST]))
    per_token = {name: compute_cpu_per_token(answers, name) for name in short}
    yield make_ratio_row("CPU a token, without the start", format_us, per_token, limit=3)
    exponents = {name: compute_growth(answers, name) for name in short}
    yield make_figure_row(f"growth from {LONG:,} to {LONGEST:,} tokens, exponent", format_number, exponents, limit=1.1)
    # The server does not pause, so the speed follows from the CPU time of a token.
    speed = {name: LONGEST / cost.wall for name, cost in answers[LONGEST].items()}
    yield make_ratio_row(f"tokens a second at {LONGEST:,}", format_thousands, speed)
    memory = {name: cost.memory for name, cost in short.items()}
    yield make_figure_row("short answer, memory", format_mb, memory, limit=30e6)
    more = {name: answers[LONGEST][name].memory - short[name].memory for name in short}
    yield make_figure_row(f"growth to {LONGEST:,} tokens, memory", format_mb, more, limit=3e6)


def make_ratio_row(measure: str, format_value: Format, values: Mapping[str, float], **aim: float) -> Row:
    """Return a row of ratios to the raw socket."""
    return Row(measure, format_value, **values, base=values["raw"], **aim)


def make_figure_row(measure: str, format_value: Format, values: Mapping[str, float], **aim: float) -> Row:
    """Return a row of absolute figures."""
    return Row(measure, format_value, **values, **aim)


def get_cpu(costs: Costs) -> dict[str, float]:
    """Return the CPU seconds of each program."""
    return {name: cost.cpu for name, cost in costs.items()}


def compute_cpu(answers: Mapping[int, Costs], count: int, name: str) -> float:
    """Return the CPU seconds of an answer of `count` tokens beyond those of the short one."""
    return answers[count][name].cpu - answers[SHORT][name].cpu


def compute_cpu_per_token(answers: Mapping[int, Costs], name: str) -> float:
    """Return the CPU seconds of one token."""
    return compute_cpu(answers, LONGEST, name) / (LONGEST - SHORT)


def compute_growth(answers: Mapping[int, Costs], name: str) -> float:
    """Return the exponent of the growth of CPU time: 1 is linear, 2 is quadratic."""
    return log(compute_cpu(answers, LONGEST, name) / compute_cpu(answers, LONG, name)) / log(LONGEST / LONG)


if __name__ == "__main__":
    main()
