"""The commands of `aiml config`."""

import typer

from aiml_cli.cli.flags import SERVER_OPTIONS, TYPER_SETTINGS, Task, flag_value, with_options
from aiml_cli.settings.options import ROWS, Option
from aiml_cli.settings.resolve import Flags, RawValue
from aiml_cli.settings.value_types import PATH

app = typer.Typer(help="Show and change settings, and store the API key.", **TYPER_SETTINGS)
NAME = typer.Argument(metavar="NAME", help="The setting.")
PROFILE = typer.Option(None, "--profile", metavar="NAME", help="The profile instead of the whole file.")


@app.command("show")
@with_options([*SERVER_OPTIONS, ROWS["json"]], "")
def config_show(_words: list[str], flags: Flags) -> Task:
    """Show every setting, its value, and who said so."""
    from aiml_cli.cli.commands import config

    return lambda: config.show_all({**flags})


@app.command("get")
def config_get(
    name: str = NAME,
    profile: str | None = typer.Option(None, "--profile", metavar="NAME", help="With the settings of this profile."),
) -> Task:
    """Print the value of one setting."""
    from aiml_cli.cli.commands import config

    flags = {"profile": RawValue((profile,), "--profile")} if profile is not None else {}
    return lambda: config.get_setting(name, flags)


@app.command("set")
def config_set(
    name: str = NAME,
    value: str = typer.Argument(metavar="VALUE", help="Its value, as a flag would have it."),
    profile: str | None = PROFILE,
) -> Task:
    """Set a setting in the config file."""
    from aiml_cli.cli.commands import config

    return lambda: config.set_setting(name, value, profile)


@app.command("unset")
def config_unset(name: str = NAME, profile: str | None = PROFILE) -> Task:
    """Remove a setting from the config file."""
    from aiml_cli.cli.commands import config

    return lambda: config.unset_setting(name, profile)


@app.command("edit")
def config_edit() -> Task:
    """Open the config file in $VISUAL or $EDITOR."""
    from aiml_cli.cli.commands import config

    return config.edit_config


@app.command("path")
def config_path() -> Task:
    """Print where the config file is."""
    from aiml_cli.cli.commands import config

    return config.print_path


@app.command("key")
def config_key(
    remove: bool = typer.Option(False, "--remove", help="Remove the stored key."),
    from_stdin: bool = typer.Option(False, "--stdin", help="Read the key from standard input."),
    base_url: str | None = typer.Option(None, "--base-url", metavar="URL", help="The server that the key is for."),
) -> Task:
    """Store the API key of the server; it is asked for and not shown."""
    from aiml_cli.cli.commands import config

    flags = {"base_url": RawValue((base_url,), "--base-url")} if base_url else {}
    return lambda: config.change_key(remove, from_stdin, flags)


@app.command("check")
@with_options([*SERVER_OPTIONS, ROWS["debug"]], "")
def config_check(_words: list[str], flags: Flags) -> Task:
    """Check settings, key, file modes, server and balance."""
    from aiml_cli.cli.commands import config_check

    return lambda: config_check.check(flags)


@app.command("completions")
def config_completions(
    shell: str = typer.Argument(
        "", metavar="[SHELL]", show_default=False, help="bash, zsh or fish. Without it: what $SHELL names."
    ),
    install: bool = typer.Option(
        False, "--install", help="Put it where that shell finds it, and say what is left to do."
    ),
    yes: bool = typer.Option(False, "--yes", "-y", help="Replace a file that is not aiml's."),
) -> Task:
    """Print the completions for a shell, or install them."""
    from aiml_cli.cli.commands import shell_completions

    return lambda: shell_completions.show_or_install(shell, install=install, may_replace=yes)


IMPORT = Option(
    PATH, "Take over llm's templates, or roles of mods or aichat: a file or folder of them.", "Output", {},
    per_call=True, attribute="import_",
)  # fmt: skip


@app.command("templates")
@with_options([IMPORT, ROWS["json"], ROWS["yes"], ROWS["quiet"]], "The template to show. Without it all are listed.")
def config_templates(words: list[str], flags: Flags) -> Task:
    """List the templates, show one, or import those of another program."""
    source = flag_value(IMPORT, flags)
    if source is not None:
        from aiml_cli.cli.commands import template_import

        return lambda: template_import.import_templates(source, words, flags)
    from aiml_cli.cli.commands import templates

    return lambda: templates.show_templates(words, flags)
