"""Choose a code block of the last answer by its number."""

from aiml_cli.errors import Misuse
from aiml_cli.repl.session import Session
from aiml_cli.repl.words import number


def chosen(session: Session, words: str) -> str:
    """Give the last answer, or its code block of a number; raise Misuse where there is none."""
    if not session.exchanges:
        raise Misuse("there is no answer yet")
    answer = session.exchanges[-1].text
    if not words:
        return answer
    from aiml_cli.screen.markdown.codeblocks import blocks, counted, listed  # for few lines only

    found, wanted = blocks(answer), number(words)
    if not 1 <= wanted <= len(found):
        raise Misuse(f"the answer has {counted(found)}", listed(found))
    return found[wanted - 1].text
