"""Answer the slash command /template."""

import re

from aiml_cli.errors import Misuse
from aiml_cli.repl.command import slash
from aiml_cli.repl.session import Session
from aiml_cli.screen.output import say
from aiml_cli.settings.resolve import Said

_VALUE = re.compile(r"([A-Za-z_]\w*)=(\"[^\"]*\"|'[^']*'|\S*)\s*")


@slash("name [name=value …] [words]", completes="templates")
def template(session: Session, words: str) -> None:
    """Use a saved prompt: it is sent with the words behind its name, and its settings hold from now on.

    name=value fills a variable, in quotes where it has spaces. `aiml config templates` lists what is saved.
    """
    name, _, rest = words.partition(" ")
    if not name:
        raise Misuse("/template: which one?", _those_there_are())
    from aiml_cli import template as templates  # for few lines only

    values, typed = _parted(rest.strip())
    params = {"param": Said(tuple(values), "/template")} if values else {}
    asked, _flags, said = templates.prepared(
        session.endpoint, typed.split(" ") if typed else [], {"template": Said((name,), "/template"), **params}
    )
    session.set |= said
    session.without -= said.keys()
    if asked:
        session.ask(" ".join(asked))
    else:
        say(f"aiml: what {name} sets holds from now on: {', '.join(said) or 'nothing'}")


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
    from aiml_cli.store.templates import names

    return (
        f"there are: {', '.join(names())}" if names() else "there are none yet: aiml chat --save NAME WORDS makes one"
    )
