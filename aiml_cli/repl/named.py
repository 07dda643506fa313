"""Hold the name of a model against the stored catalogue; nobody is asked."""

from aiml_cli.errors import Misuse
from aiml_cli.repl.session import Session


def see_that_it_is_known(session: Session, name: str) -> None:
    """Raise Misuse with the near ones for a model that a catalogue at hand does not have."""
    if "," in name:
        from aiml_cli.fallback import models as in_turn  # as those below for who types a name only

        for each in in_turn(name):
            see_that_it_is_known(session, each)
        return
    from aiml_cli.api.models import exact, suggest
    from aiml_cli.browse import catalogue, known

    settings = session.settings()
    models = (known(settings) if session.url is None else catalogue(settings)) or []
    if models and exact(models, name) is None and (near := suggest(models, name)):
        raise Misuse(
            f"the catalogue has no model {name!r}; the model stays as it was",
            f"did you mean {' or '.join(near)}? /set model={name} takes it all the same",
        )
