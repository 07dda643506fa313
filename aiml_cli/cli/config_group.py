"""The commands of `aiml config`."""

from typing import Any

import typer

from aiml_cli.cli.flags import SERVER_OPTIONS, TYPER_SETTINGS, Command, Task, flag_value, with_options
from aiml_cli.errors import UsageError
from aiml_cli.settings.options import ROWS, Option
from aiml_cli.settings.resolve import Flags, RawValue
from aiml_cli.settings.value_types import PATH, SWITCH, choice

app = typer.Typer(help="Show and change settings, and store the API key.", **TYPER_SETTINGS)
NAME = typer.Argument(metavar="NAME", help="The name of a setting, such as model.")
PROFILE = typer.Option(
    None, "--profile", metavar="NAME", help="Change it in this profile, which is created if it does not exist."
)
IMPORT = Option(
    PATH, "Import templates of llm, mods, aichat, fabric or GitHub Models (.prompt.yml): a file, or a folder of them.",
    "Output", {}, per_call=True, attribute="import_",
)  # fmt: skip
TEST = Option(
    SWITCH, "Run the test cases of the template and check the answers; exit code 10 if one fails.", "Test", {},
    per_call=True, attribute="test",
)  # fmt: skip
ENDPOINT = Option(
    choice("chat", "respond"), "With --test: send the cases as aiml chat or as aiml respond.", "Test", {},
    default="chat", per_call=True, attribute="endpoint",
)  # fmt: skip
# The flags that only work with --test.
TEST_OPTIONS: list[Option[Any]] = [
    ENDPOINT,
    *(ROWS[name] for name in ("model", "jobs", "max_cost", "demo", "retries", "no_log", "debug", "timeout")),
    *(ROWS[name] for name in ("base_url", "headers", "ca_bundle", "record", "replay")),
]
TEMPLATES_OPTIONS: list[Option[Any]] = [
    IMPORT, TEST, *TEST_OPTIONS, *(ROWS[name] for name in ("profile", "template_path", "json", "yes", "quiet")),
]  # fmt: skip
TEMPLATES_HELP = "The template to show or test: NAME or @FILE. Without one, all are listed."


@app.command("show", cls=Command)
@with_options([*SERVER_OPTIONS, ROWS["json"]], "")
def config_show(_words: list[str], flags: Flags) -> Task:
    """Show the settings, their values, and where they were set."""
    from aiml_cli.cli.commands import config

    return lambda: config.show_all({**flags})


@app.command("get", cls=Command)
def config_get(
    name: str = NAME,
    profile: str | None = typer.Option(None, "--profile", metavar="NAME", help="Use the settings of this profile."),
) -> Task:
    """Print the value of one setting."""
    from aiml_cli.cli.commands import config

    flags = {"profile": RawValue((profile,), "--profile")} if profile is not None else {}
    return lambda: config.get_setting(name, flags)


@app.command("set", cls=Command)
def config_set(
    name: str = NAME,
    value: str = typer.Argument(metavar="VALUE", help="The value, in the form that the flag accepts."),
    profile: str | None = PROFILE,
) -> Task:
    """Set a setting in the config file."""
    from aiml_cli.cli.commands import config

    return lambda: config.set_setting(name, value, profile)


@app.command("unset", cls=Command)
def config_unset(
    name: str = NAME,
    profile: str | None = typer.Option(None, "--profile", metavar="NAME", help="Remove it from this profile."),
) -> Task:
    """Remove a setting from the config file."""
    from aiml_cli.cli.commands import config

    return lambda: config.unset_setting(name, profile)


@app.command("edit", cls=Command)
def config_edit() -> Task:
    """Open the config file in $VISUAL or $EDITOR."""
    from aiml_cli.cli.commands import config

    return config.edit_config


@app.command("path", cls=Command)
def config_path() -> Task:
    """Print the path of the config file."""
    from aiml_cli.cli.commands import config

    return config.print_path


@app.command("key", cls=Command)
def config_key(
    remove: bool = typer.Option(False, "--remove", help="Remove the stored key."),
    from_stdin: bool = typer.Option(False, "--stdin", help="Read the key from standard input."),
    base_url: str | None = typer.Option(None, "--base-url", metavar="URL", help="The server that the key is for."),
) -> Task:
    """Store the API key; it is not shown while you type it."""
    from aiml_cli.cli.commands import config

    flags = {"base_url": RawValue((base_url,), "--base-url")} if base_url else {}
    return lambda: config.change_key(remove, from_stdin, flags)


@app.command("check", cls=Command)
@with_options([*SERVER_OPTIONS, ROWS["debug"]], "")
def config_check(_words: list[str], flags: Flags) -> Task:
    """Check settings, key, file modes, server and balance."""
    from aiml_cli.cli.commands import config_check

    return lambda: config_check.check(flags)


@app.command("completions", cls=Command)
def config_completions(
    shell: str = typer.Argument(
        "", metavar="[SHELL]", show_default=False, help="bash, zsh or fish. Default: the shell in $SHELL."
    ),
    install: bool = typer.Option(
        False, "--install", help="Write the file where the shell finds it, and print what to do next."
    ),
    key: str | None = typer.Option(
        None,
        "--key",
        metavar="KEY",
        help="The key that turns the words on the command line into a command: alt-i, ctrl-g, 'ctrl-x i'. Its current "
        "function is replaced. Without --install: print the script that binds it.",
    ),
    yes: bool = typer.Option(False, "--yes", "-y", help="Replace a file that is not from aiml."),
) -> Task:
    """Print the completions for a shell, or install them."""
    from aiml_cli.cli.commands import shell_completions

    return lambda: shell_completions.show_or_install(shell, install=install, key=key, may_replace=yes)


@app.command("templates", cls=Command)
@with_options(TEMPLATES_OPTIONS, TEMPLATES_HELP)
def config_templates(words: list[str], flags: Flags) -> Task:
    """List the templates, show or test one, or import those of another program."""
    return run_templates(words, flags)


@app.command("skill", cls=Command)
def config_skill(
    folder: str = typer.Argument(
        metavar="DIR", help="The folder of an agent's skills, such as ~/.claude/skills, or a folder named aiml."
    ),
    yes: bool = typer.Option(False, "--yes", "-y", help="Replace the file without asking."),
) -> Task:
    """Write a SKILL.md that tells an agent how to call aiml."""
    from aiml_cli.cli.commands import skill

    return lambda: skill.write_skill(folder, may_replace=yes)


@app.command("profiles", cls=Command)
@with_options([ROWS["json"], ROWS["quiet"]], "The profile to show. Without one, all are listed.")
def config_profiles(words: list[str], flags: Flags) -> Task:
    """List the profiles of the config file, or show the settings of one."""
    from aiml_cli.cli.commands import config

    return lambda: config.show_profiles(_remove_verb(words), flags)


def _remove_verb(words: list[str]) -> list[str]:
    """Return the words without the verb of `templates list` and `templates show NAME`."""
    return words[1:] if words == ["list"] or (words[:1] == ["show"] and len(words) > 1) else words


def run_templates(words: list[str], flags: Flags) -> Task:
    """Return the task of `config templates` for these words and flags; raise UsageError."""
    words = _remove_verb(words)
    source = flag_value(IMPORT, flags)
    if "test" in flags:
        if source is not None:
            raise UsageError("--import cannot be used with --test")
        from aiml_cli.cli.commands import template_test

        endpoint = "responses" if flag_value(ENDPOINT, flags) == "respond" else "chat"
        return lambda: template_test.test_template(endpoint, words, flags)
    if misplaced := [row.flag for row in TEST_OPTIONS if row.name in flags]:
        raise UsageError(f"{misplaced[0]} only works with --test", "aiml config templates NAME --test")
    if source is not None:
        from aiml_cli.cli.commands import templates

        return lambda: templates.import_templates(source, words, flags)
    from aiml_cli.cli.commands import templates

    return lambda: templates.show_templates(words, flags)
