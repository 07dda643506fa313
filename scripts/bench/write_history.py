"""Write answers to the history until standard input is closed; print the seconds that each took.

The argument is the pause between them, in seconds.
"""

import select
import sys
from time import monotonic

from aiml_cli.store.history import database, writer
from aiml_cli.store.history.writer import AnswerEnd, NewExchange, NewMessage


def main(pause: float) -> None:
    """Write and measure."""
    history, waits = database.open_history(), []
    print("ready", flush=True)
    while not waits or not select.select([sys.stdin], [], [], pause)[0]:
        started = monotonic()
        message = NewMessage("user", "written meanwhile", [])
        exchange = NewExchange(None, "meanwhile", "p", None, [message], "chat", "h", "m", {})
        answer = writer.begin_exchange(history, exchange)
        writer.finish_answer(history, answer, AnswerEnd(writer.COMPLETE, "an answer"))
        writer.release_conversation(history, answer.conversation)
        waits.append(monotonic() - started)
    print("\n".join(map(str, waits)))


if __name__ == "__main__":
    main(float(sys.argv[1]))
