"""Start the demo server, for one call or until Ctrl-C."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from aiml_cli.settings.resolve import Settings, Source
from aiml_cli.system.signals import Stopped
from aiml_cli.system.stdio import print_err, print_out

DEMO_MODEL = "demo/echo"
FIRST_PORT, LAST_PORT = 1024, 65535


@contextmanager
def start_demo_if_asked(settings: Settings) -> Iterator[Settings]:
    """Start the demo server if --demo is set, and yield the settings with its URL and one of its models."""
    if not settings.options.demo:
        yield settings
        return
    if settings.options.replay:  # the recording answers; its URL differs between processes, like the server's
        port = FIRST_PORT + os.getpid() % (LAST_PORT - FIRST_PORT)
        yield _use_url(settings, f"http://127.0.0.1:{port}/v1")
        return
    from aiml_cli.demo.server import serve  # only --demo needs a server

    with serve() as url:
        if not settings.options.quiet:
            print_err("aiml: answers come from the demo server; no model runs")
        yield _use_url(settings, url)


def _use_url(settings: Settings, url: str) -> Settings:
    settings = use_demo_model(settings)
    return replace(settings, options=replace(settings.options, base_url=url))


def use_demo_model(settings: Settings) -> Settings:
    """Return the settings with a model of the demo server, unless another one was typed."""
    model = settings.options.model or DEMO_MODEL
    is_chosen = settings.sources["model"] is Source.FLAG or model.startswith("demo/")
    return settings if is_chosen else replace(settings, options=replace(settings.options, model=DEMO_MODEL))


def serve_demo(port: int) -> int:
    """Run the demo server until Ctrl-C; return the exit code."""
    from threading import Event

    from aiml_cli.demo.server import serve  # only this command needs a server

    with serve(port) as url:
        print_out(f"{url}\n")
        print_err(
            "aiml: the demo server runs until Ctrl-C; no model runs. Try it: aiml chat --base-url URL -m demo/echo"
        )
        try:
            Event().wait()
        except Stopped as stop:  # the usual end of a server needs no message
            return stop.error.exit_code
    return 0
