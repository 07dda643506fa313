"""Answer the slash command /system."""

from aiml_cli.prompt.compose import from_file
from aiml_cli.repl.command import slash
from aiml_cli.repl.session import Session
from aiml_cli.screen.output import say
from aiml_cli.settings.resolve import Said


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
        from_file(words)  # so that a file that is not there is told now
        session.set["system"] = Said((words,), "/system")
        session.without -= {"system"}
    text = session.settings().options.system or session.system
    say(f"aiml: system = {text}" if text else "aiml: there is no system text")
