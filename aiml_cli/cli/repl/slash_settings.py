"""Answer the slash command /set."""

import re
from difflib import get_close_matches
from typing import Any

from aiml_cli.cli.repl.session import Session
from aiml_cli.cli.repl.slash_commands import slash
from aiml_cli.errors import UsageError
from aiml_cli.prompt.compose import read_at_file
from aiml_cli.settings.options import ROWS, Option, value_of
from aiml_cli.settings.resolve import RawValue, parse_value, persistent_options
from aiml_cli.system.stdio import print_err

_VALUE = re.compile(r"([A-Za-z_]\w*)=(\"[^\"]*\"|'[^']*'|\S*)\s*")


@slash("[key=value]", completes="settings")
def set(session: Session, words: str) -> None:  # noqa: A001 - named after what is typed
    """Change a setting from now on, or show what is set here.

    Every setting that a config file can hold: /set temperature=0.2, /set effort=high, /set format=text. It counts
    for more than the flags typed at the start; /unset takes it back.
    """
    if not words:
        _show(session)
        return
    name, is_given, value = (part.strip() for part in words.partition("="))
    row = find_setting(session, name)
    if not is_given:
        raise UsageError(
            f"/set {row.name}: a value is missing", f"/set {row.name}=VALUE; /unset {row.name} takes it back"
        )
    said = RawValue((value,), f"/set {row.name}")
    parse_value(row, said, session.endpoint)
    earlier = session.set[row.name].texts if row.value_type.is_list and row.name in session.set else ()
    session.set[row.name] = RawValue((*earlier, value), said.source_name)
    session.without -= {row.name}
    _tell(row.name, session.set[row.name])


def find_setting(session: Session, name: str) -> Option[Any]:
    """Give the row of a name, with dashes or underscores; raise UsageError with the likely one for none."""
    rows = {row.name: row for row in persistent_options() if row.applies_to(session.endpoint)}
    spelled = name.removeprefix("--").replace("-", "_")
    if spelled in rows:
        return rows[spelled]
    if spelled in ROWS:
        raise UsageError(f"/set: {spelled} has no place here", _elsewhere(ROWS[spelled]))
    near = get_close_matches(spelled, rows, 1)
    raise UsageError(
        f"/set: unknown setting {name!r}", f"did you mean {near[0]}?" if near else "aiml config show lists them"
    )


def _elsewhere(row: Option[Any]) -> str:
    if row.secret:
        return "store the key with: aiml config key"
    return f"it is said with each call: {row.flag}" if row.per_call else "this endpoint does not know it"


def _show(session: Session) -> None:
    if not session.set:
        print_err("aiml: nothing is set here; /set key=value does, and aiml config show lists what holds elsewhere")
    for name in sorted(session.set):
        _tell(name, session.set[name])


def _tell(name: str, said: RawValue) -> None:
    print_err(f"aiml: {name} = {', '.join(said.texts)}")


@slash("[id]", completes="models")
def model(session: Session, words: str) -> None:
    """Show the model, or ask another one from now on.

    A name that the catalogue does not have, but has near ones of, is told; /set model=NAME takes it all the same.
    """
    if words:
        check_model(session, words)
        session.set["model"] = RawValue((words,), "/model")
        session.without -= {"model"}
    print_err(f"aiml: model = {session.settings().options.model}")


@slash("words", completes="models")
def models(session: Session, words: str) -> None:
    """Search the catalogue for models; an exact id shows all that is known of it."""
    from aiml_cli.catalog import model_table  # for few lines only

    model_table.show_models(words.split(), session.settings(), as_json=False)


@slash("[text]")
def system(session: Session, words: str) -> None:
    """Show the system text, or set it from now on.

    @FILE reads it from a file; - removes it, also one of the config file or of the conversation.
    """
    if words == "-":
        session.set.pop("system", None)
        session.without |= {"system"}
        session.system = None
    elif words:
        read_at_file(words)  # so that a file that is not there is told now
        session.set["system"] = RawValue((words,), "/system")
        session.without -= {"system"}
    text = session.settings().options.system or session.system
    print_err(f"aiml: system = {text}" if text else "aiml: there is no system text")


@slash("name [name=value …] [words]", completes="templates")
def template(session: Session, words: str) -> None:
    """Use a saved prompt: it is sent with the words behind its name, and its settings hold from now on.

    name=value fills a variable, in quotes where it has spaces. `aiml config templates` lists what is saved.
    """
    name, _, rest = words.partition(" ")
    if not name:
        raise UsageError("/template: which one?", _those_there_are())
    from aiml_cli.core import template_fill  # for few lines only

    values, typed = _parted(rest.strip())
    params = {"param": RawValue(tuple(values), "/template")} if values else {}
    asked, _flags, said = template_fill.prepare_prompt(
        session.endpoint, typed.split(" ") if typed else [], {"template": RawValue((name,), "/template"), **params}
    )
    session.set |= said
    session.without -= said.keys()
    if asked:
        session.ask(" ".join(asked))
    else:
        print_err(f"aiml: what {name} sets holds from now on: {', '.join(said) or 'nothing'}")


def _parted(text: str) -> tuple[list[str], str]:
    """Part the values that stand first from the words behind them."""
    values = []
    while found := _VALUE.match(text):
        value = found[2]
        is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
        values.append(f"{found[1]}={value[1:-1] if is_quoted else value}")
        text = text[found.end() :]
    return values, text


def _those_there_are() -> str:
    from aiml_cli.store.template_files import list_templates

    return (
        f"there are: {', '.join(list_templates())}"
        if list_templates()
        else "there are none yet: aiml chat --save NAME WORDS makes one"
    )


@slash("key", completes="set")
def unset(session: Session, words: str) -> None:
    """Take back what /set or a flag at the start said of a setting.

    What the environment or the config file says of it holds again.
    """
    if not words:
        raise UsageError("/unset: which setting?", "/set shows what is set here")
    row = find_setting(session, words)
    session.set.pop(row.name, None)
    session.flags = {name: said for name, said in session.flags.items() if name != row.name}
    session.template = {name: said for name, said in session.template.items() if name != row.name}
    session.without -= {row.name}
    settings = session.settings()
    value, source = value_of(settings.options, row), settings.sources.get(row.name)
    print_err(
        f"aiml: {row.name} = {value} ({source.value})"
        if source and value is not None
        else f"aiml: {row.name} is not set"
    )


def check_model(session: Session, name: str) -> None:
    """Raise UsageError with the near ones for a model that a catalogue at hand does not have."""
    if "," in name:
        from aiml_cli.core.model_fallback import split_models as in_turn  # as those below for who types a name only

        for each in in_turn(name):
            check_model(session, each)
        return
    from aiml_cli.api.model_list import find_model, suggest_models
    from aiml_cli.catalog.find_models import fetch_models, load_stored_models

    settings = session.settings()
    models = (load_stored_models(settings) if session.url is None else fetch_models(settings)) or []
    if models and find_model(models, name) is None and (near := suggest_models(models, name)):
        raise UsageError(
            f"the catalogue has no model {name!r}; the model stays as it was",
            f"did you mean {' or '.join(near)}? /set model={name} takes it all the same",
        )
