"""Start the embedded server, for one call or until Ctrl-C."""

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
    """Start the embedded server when it is asked for by name, and address the settings to it.

    Its own models may be named anywhere; another model must be typed to be asked for here.
    """
    if not settings.options.demo:
        yield settings
        return
    if settings.options.replay:  # a recording answers in its place
        yield _at_no_server(settings)
        return
    from aiml_cli.demo.server import serve  # only --demo needs a server

    with serve() as url:
        if not settings.options.quiet:
            print_err("aiml: the embedded server answers; no model runs")
        settled = use_demo_model(settings)
        yield replace(settled, options=replace(settled.options, base_url=url))


def _at_no_server(settings: Settings) -> Settings:
    """Give an address as the embedded server has: another one each time, at which nothing is kept."""
    settled = use_demo_model(settings)
    url = f"http://127.0.0.1:{FIRST_PORT + os.getpid() % (LAST_PORT - FIRST_PORT)}/v1"
    return replace(settled, options=replace(settled.options, base_url=url))


def use_demo_model(settings: Settings) -> Settings:
    """Give the settings one of the embedded server's models, unless another was typed."""
    model = settings.options.model or DEMO_MODEL
    is_meant = settings.sources["model"] is Source.FLAG or model.startswith("demo/")
    return settings if is_meant else replace(settings, options=replace(settings.options, model=DEMO_MODEL))


def serve_demo(port: int) -> int:
    """Run the embedded server until Ctrl-C."""
    from threading import Event

    from aiml_cli.demo.server import serve

    with serve(port) as url:
        print_out(f"{url}\n")
        print_err(
            "aiml: the embedded server runs until Ctrl-C; no model runs. Ask it: aiml chat --base-url URL -m demo/echo"
        )
        try:
            Event().wait()
        except Stopped as stop:  # the usual end of a server needs no words
            return stop.error.exit_code
    return 0
