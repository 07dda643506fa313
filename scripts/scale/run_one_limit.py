"""Run eight tasks behind the LiteLLM proxy of docs/many-machines.md: pip install 'litellm[proxy]'.

One server counts what comes through: it takes minutes, because the limit is one of requests a minute.
"""

import re
import socket
import sys
import time
from collections import Counter
from pathlib import Path
from subprocess import Popen

from trial import ROOT, ROWS, Trial, find_block, read_results, run_apart

RPM, SLACK = 700, 1.02  # a request may arrive in the minute after the one in which it was counted
FEW_DOLLARS = 0.01
TASKS = "seq 8 | xargs -P 8 -n 1 sh classify.sh"
PROXY = ("127.0.0.1", 4000)


def start_server(trial: Trial) -> str:
    """Start the server that notes when each request arrives; return its URL."""
    log = trial.scratch / "server.log"
    trial.start(f"exec {sys.executable} {ROOT}/scripts/bench/server.py tokens-5 >{log}")
    trial.wait_until(lambda: log.exists() and "\n" in log.read_text())
    return log.read_text().split("\n", 1)[0]


def start_proxy(trial: Trial, url: str, **values: float) -> Popen[bytes]:
    """Start LiteLLM with the configuration of the page, in front of our server; return when it answers."""
    config = find_block("yaml", "# litellm.yaml").replace("openai/google/gemini-2.5-flash", "openai/tokens-5")
    config = config.replace("https://api.aimlapi.com/v1", url)
    for name, value in values.items():
        config = re.sub(rf"{name}: \S+", f"{name}: {value}", config)
    (trial.folder / "litellm.yaml").write_text(config)
    proxy = trial.start("exec " + find_block("sh", "litellm --config").strip() + " >litellm.log 2>&1")
    trial.wait_until(is_proxy_up)
    return proxy


def is_proxy_up() -> bool:
    """True if the proxy listens, which it does when it is ready."""
    with socket.socket() as connection:
        return connection.connect_ex(PROXY) == 0


def count_by_minute(log: Path) -> Counter[int]:
    """Return how many requests came to the server in each minute of the clock."""
    offset, digits = time.time() - time.monotonic(), len(str(time.monotonic_ns()))
    arrivals = re.findall(rf"\d{{{digits}}}", log.read_text())  # the server's threads may mix up lines, but not numbers
    return Counter(int((int(arrival) / 1e9 + offset) // 60) for arrival in arrivals)


def run_rate(trial: Trial, url: str) -> None:
    """Run all tasks, kill three, run them again; no minute has more requests than the limit."""
    trial.begin("One rate limit")
    proxy = start_proxy(trial, url, rpm=RPM)
    tasks = trial.start(TASKS)
    trial.wait_for_rows(300)
    trial.kill_tasks(3)
    tasks.wait()
    trial.run(TASKS)
    failed = sum(1 for result in read_results(trial.folder) if result["error"])
    most = max(count_by_minute(trial.scratch / "server.log").values())
    trial.check(f"{failed} failed, at most {most:,} requests in a minute of {RPM:,}")
    if most > RPM * SLACK:
        raise SystemExit("the limit was not kept")
    proxy.kill()
    proxy.wait()


def run_budget(trial: Trial, url: str) -> None:
    """Run all tasks with a budget for some of the rows; then with enough."""
    trial.begin("One budget")
    proxy = start_proxy(trial, url, rpm=10 * ROWS, max_budget=FEW_DOLLARS)
    codes = [task.wait() for task in [trial.start(["sh", "classify.sh", str(shard)]) for shard in range(1, 9)]]
    spent = sum(result["cost_usd"] or 0 for result in read_results(trial.folder))
    proxy.kill()
    proxy.wait()
    start_proxy(trial, url, rpm=10 * ROWS)
    trial.run(TASKS)
    trial.check(f"stopped at ${spent:.4f} of ${FEW_DOLLARS} with exits {codes}")
    if set(codes) != {3} or spent > 2 * FEW_DOLLARS:
        raise SystemExit("the budget was not kept")


def main(trial: Trial) -> None:
    """Run both."""
    url = start_server(trial)
    trial.env.update(LITELLM_MASTER_KEY="sk-of-the-proxy-0123456789", LITELLM_LOCAL_MODEL_COST_MAP="True")
    for name, value in re.findall(r"(\w+)=(\S+)", find_block("sh", "export AIML_BASE_URL")):
        trial.env[name] = value.replace("$LITELLM_MASTER_KEY", trial.env["LITELLM_MASTER_KEY"])
    run_rate(trial, url)
    run_budget(trial, url)


if __name__ == "__main__":
    run_apart(main, "litellm", engine="litellm")
