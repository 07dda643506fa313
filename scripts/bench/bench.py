"""Measure an installed aiml against a bare interpreter, a raw socket and a minimal httpx script.

    python scripts/bench/bench.py --python .venv-bench/bin/python

The python is that of a clean venv with aiml's wheel in it: where click is installed too, httpx imports
its own command line. Figures are medians of several rounds in alternation; compare ratios, not times.
"""

import argparse
from collections.abc import Iterator, Mapping
from math import log
from pathlib import Path

from measure import HERE, MODELS, Bench, Cost, bench, text
from table import Row, Show, mb, ms, plain, table, thousands, us

SHORT, SOME, MANY, MOST = MODELS
ROUNDS = {SHORT: 15, SOME: 9, MANY: 5, MOST: 5}
STARTS = 15

Costs = Mapping[str, Cost]


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", type=Path, required=True, help="the python of a clean venv with the wheel")
    python = parser.parse_args().python.absolute()  # not resolved: a venv's python is a link
    aiml = str(python.with_name("aiml"))
    with bench() as running:
        starts = running.race(STARTS, start_commands(str(python), aiml))
        answers = {count: ask(running, str(python), aiml, count) for count in MODELS}
    print(table([*start_rows(starts), *answer_rows(answers)]))
    print(f"`python -c pass`: {ms(starts['python'].cpu)} of CPU, {mb(starts['python'].memory)}.")


def start_commands(python: str, aiml: str) -> dict[str, list[str]]:
    """List what needs no server."""
    return {"python": [python, "-c", "pass"], "--version": [aiml, "--version"], "--help": [aiml, "--help"]}


def ask(running: Bench, python: str, aiml: str, count: int) -> Costs:
    """Have each program ask for an answer of so many tokens."""
    commands = {
        "aiml": [aiml, "chat", "--base-url", running.url, "-m", MODELS[count], "hi"],
        "raw": [python, str(HERE / "raw_socket.py"), running.url, MODELS[count], "hi"],
        "httpx": [python, str(HERE / "httpx_minimal.py"), running.url, MODELS[count], "hi"],
    }
    return running.race(ROUNDS[count], commands, text(count))


def start_rows(starts: Costs) -> Iterator[Row]:
    """Compare starts with that of a bare interpreter."""
    bare = starts["python"]
    for flag, most in (("--version", 1.7), ("--help", 7)):
        yield Row(f"`{flag}`, CPU, against `python -c pass`", ms, starts[flag].cpu, base=bare.cpu, most=most)
        yield Row(f"`{flag}`, wall", ms, starts[flag].wall, base=bare.wall)


def answer_rows(answers: Mapping[int, Costs]) -> Iterator[Row]:
    """Compare answers with those of the raw socket."""
    short = answers[SHORT]
    yield ratio(
        "start to the request's arrival, wall", ms, {name: cost.request for name, cost in short.items()}, most=6.5
    )
    yield ratio("short answer, CPU", ms, cpu(short), most=6.5)
    yield ratio("short answer, wall", ms, {name: cost.wall for name, cost in short.items()})
    yield ratio(f"{SOME:,} tokens, CPU", ms, cpu(answers[SOME]))
    yield ratio(f"{MANY:,} tokens, CPU", ms, cpu(answers[MANY]))
    yield ratio(f"{MOST:,} tokens, CPU", ms, cpu(answers[MOST]), most=3.3)
    yield ratio("CPU a token, without the start", us, {name: a_token(answers, name) for name in short}, most=3.3)
    exponents = {name: growth(answers, name) for name in short}
    yield figures(f"growth from {MANY:,} to {MOST:,} tokens, exponent", plain, exponents, most=1.1)
    speed = {name: MOST / cost.wall for name, cost in answers[MOST].items()}
    yield ratio(f"tokens a second at {MOST:,}", thousands, speed)  # flat out this is the CPU a token once more
    yield figures("short answer, memory", mb, {name: cost.memory for name, cost in short.items()}, most=30e6)
    more = {name: answers[MOST][name].memory - short[name].memory for name in short}
    yield figures(f"growth to {MOST:,} tokens, memory", mb, more, most=3e6)


def ratio(measure: str, show: Show, values: Mapping[str, float], **aim: float) -> Row:
    """Make a row of ratios to the raw socket."""
    return Row(measure, show, **values, base=values["raw"], **aim)


def figures(measure: str, show: Show, values: Mapping[str, float], **aim: float) -> Row:
    """Make a row of plain figures."""
    return Row(measure, show, **values, **aim)


def cpu(costs: Costs) -> dict[str, float]:
    """Take the CPU seconds."""
    return {name: cost.cpu for name, cost in costs.items()}


def spent(answers: Mapping[int, Costs], count: int, name: str) -> float:
    """Give the CPU seconds of so many tokens, the short answer's share taken off."""
    return answers[count][name].cpu - answers[SHORT][name].cpu


def a_token(answers: Mapping[int, Costs], name: str) -> float:
    """Give the CPU seconds of one token."""
    return spent(answers, MOST, name) / (MOST - SHORT)


def growth(answers: Mapping[int, Costs], name: str) -> float:
    """Give the exponent with which the CPU grows: 1 is linear, 2 is quadratic."""
    return log(spent(answers, MOST, name) / spent(answers, MANY, name)) / log(MOST / MANY)


if __name__ == "__main__":
    main()
