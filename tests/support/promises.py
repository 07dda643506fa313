"""What aiml promises when things go wrong: each key, its section, its sentence."""

from typing import NamedTuple


class Promise(NamedTuple):
    """A promise: its section of docs/development/reliability.md, and its sentence."""

    section: str
    sentence: str


ANSWER, PROCESS, DISK, TERMINAL, GUARD = (
    "The answer",
    "The process",
    "The key and the disk",
    "The terminal",
    "What goes out",
)

PROMISES = {
    "shortened": Promise(
        GUARD,
        "A conversation that is shortened says so and stays whole in the history: a call is never sent without its "
        "result, the system text and the last turn stay, and only a complete summary replaces anything.",
    ),
    "whole-or-told": Promise(
        ANSWER,
        "An answer that was cut, capped, filtered or failed ends with an exit code of its own, what came of it on "
        "standard output and one line why on standard error.",
    ),
    "kept": Promise(
        ANSWER,
        "Every piece of an answer is in the history half a second after it came, however the program ends; "
        "an interrupted answer is marked as such and never sent on as if whole.",
    ),
    "sent-once": Promise(ANSWER, "After the first word was shown nothing is ever sent a second time."),
    "retries": Promise(
        ANSWER,
        "What may pass is tried again, announced on standard error, at the pace that the server asks for; "
        "what will not change is not.",
    ),
    "timeouts": Promise(
        ANSWER,
        "No wait is endless: not for a connection, not for headers that drip, not between two bytes; "
        "a comment that keeps a stream alive counts as life.",
    ),
    "servers-words": Promise(
        ANSWER,
        "What the server says of a failure is shown in its own words, shortened and harmless, whatever form "
        "they come in; standard output stays empty.",
    ),
    "error-kinds": Promise(
        ANSWER,
        "An error means the same under an error status, under 200 and in a stream: its code and type decide, then its "
        "status, then its text. A word that only looks like credit, a limit or a key changes nothing.",
    ),
    "any-legal-stream": Promise(
        ANSWER, "Any legal form of a stream is read alike, wherever the network cuts it, and JSON in its place too."
    ),
    "broken-event": Promise(ANSWER, "An event that makes no sense is told as an error: no traceback, no silent gap."),
    "shown-once": Promise(
        ANSWER,
        "Text, reasoning, refusals and tool-call arguments that a server sends twice (pieces, then the whole; `.done` "
        "events; items; final objects) appear once; what it sends only as a whole appears too.",
    ),
    "failed-ending": Promise(
        ANSWER,
        "A finish reason that means failure, in any case, the worst of several, or an error in a choice, in an event or "
        "outside of the events makes the answer incomplete: exit code 6, 8 or that of the error.",
    ),
    "empty": Promise(
        ANSWER, "An answer without text, tool call or refusal gets a notice, and never replaces a file (exit code 9)."
    ),
    "metadata": Promise(
        ANSWER,
        "Counts, ids, sources, log probabilities, heartbeats and unknown events never fail an answer, whatever their "
        "type or size; a number that fits neither 64 bits nor a float counts as absent.",
    ),
    "terminal-event": Promise(
        ANSWER,
        "A stream ends at its terminal event; on chat, 2 seconds without an event after the last finish reason. "
        "What follows is not shown, and a connection that stays open is closed.",
    ),
    "memory": Promise(ANSWER, "Nothing that a server sends takes memory without bound."),
    "answer-first": Promise(
        ANSWER, "The answer goes out before anything is saved: a disk or a home that refuses costs a notice."
    ),
    "signals": Promise(
        PROCESS,
        "Ctrl-C, SIGTERM and SIGHUP keep what came, end with 130, 143 and 129 at the first try, and leave the "
        "terminal as it was.",
    ),
    "job-control": Promise(
        PROCESS,
        "Ctrl-Z, `bg`, `fg` and a start in the background leave the terminal right for the shell and for aiml, in every "
        "state.",
    ),
    "typed-keys": Promise(
        PROCESS,
        "What is typed while an answer arrives is neither lost nor shown twice: the next prompt has it as a draft. No "
        "line is shortened, and lines that arrive at once are one draft.",
    ),
    "row-retries": Promise(
        ANSWER,
        "A row is tried up to nine times, also if its answer breaks off, because nobody has seen it; what broken tries "
        "cost is counted. What will not pass is not tried again, and a refused key or missing credit ends the run.",
    ),
    "pace": Promise(
        PROCESS,
        "All workers of a run keep one pace: the limits that the user sets, what the server's headers still allow, and "
        "the pauses that it asks for, which several processes do not end at the same moment.",
    ),
    "rows-end": Promise(
        PROCESS,
        "After SIGTERM a run begins no row, and lets those that are being asked end for `--grace` seconds; a second "
        "signal stops it at once, and no wait for a limit or a retry holds it up.",
    ),
    "few-files": Promise(
        PROCESS,
        "Where the system allows few open files or threads, a run has fewer workers, and no row that was paid is lost.",
    ),
    "reader-gone": Promise(
        PROCESS, "When the reader goes away the program ends without a word, with 141, and closes the request."
    ),
    "stdout-fails": Promise(PROCESS, "A standard output that is full, closed or read-only is told, with exit code 1."),
    "output-names": Promise(
        PROCESS,
        "An output is written to whatever its name is (`-` is standard output, /dev/shm is a folder, a name may be as "
        "long as the disk allows), or is refused before anything is sent; what was there before is never destroyed.",
    ),
    "stopped-runs": Promise(
        PROCESS,
        "A run over rows that ends early, by kill -9 too, leaves its results under a name that is told, and "
        "`--resume-from` goes on with it; a file with the results of another run is never overwritten.",
    ),
    "failed-rows": Promise(
        PROCESS,
        "Each row that failed has an error, whatever the reason; `--resume-from` asks for the rows that failed or are "
        "missing, and for no other. A file with anything but results is refused, and stays as it is.",
    ),
    "csv": Promise(
        PROCESS, "Any text of the input or of a model comes back from results in CSV as it was, and no column is lost."
    ),
    "linear": Promise(
        PROCESS,
        "No text of a model, a server or a file makes the program slow: work grows with the length of the text, "
        "and each regular expression of the package is tried with texts that are made to slow it down.",
    ),
    "tools-contained": Promise(
        PROCESS,
        "A tool that fails, hangs, floods, forks or crashes is an error result for the model, within bounded time and "
        "memory; it is killed with all processes of its group, and cannot reach the terminal.",
    ),
    "stdin": Promise(
        PROCESS,
        "Standard input is read when it can hold something, byte for byte, within memory of three times its size; "
        "what is too large is refused while it is read.",
    ),
    "odd-environment": Promise(
        PROCESS, "Whatever the environment holds or lacks, the outcome is the answer or one clear line."
    ),
    "key-secret": Promise(
        DISK, "The key's value stands in no output, error, log, list of processes, or file but its own."
    ),
    "headers": Promise(
        DISK,
        "A header of `--header` goes to the base URL and nowhere else; it can hold neither a credential nor the API key.",
    ),
    "loaders": Promise(
        DISK, "A loader runs without a shell and without the API key; if it fails or hangs, nothing is sent."
    ),
    "pages": Promise(
        DISK, "A hostile page ends with an error: it gets a process with limits of time, memory and size, and no key."
    ),
    "ignored-files": Promise(
        DISK, "A folder sends no file that Git ignores, no hidden one, none through a link, and none twice."
    ),
    "key-not-for-tools": Promise(
        DISK,
        "No tool gets the API key: not in its environment under any name, and not through the `env` of its file.",
    ),
    "tool-arguments": Promise(
        DISK,
        "A command runs without a shell; an argument of the model is one word as it is, never expanded, never an "
        "option, and never the program, which is found without the current directory.",
    ),
    "tool-approval": Promise(
        DISK,
        "No tool runs unless `--allow` names it or the user said yes to the whole call, shown to its last line; what the "
        "call contains cannot imitate the question, and keys typed before it do not answer it.",
    ),
    "early-connection": Promise(
        DISK,
        "A connection is opened early only when flags, settings and key are valid, and not while a pipe has sent nothing; "
        "what fails after that closes it without a byte of a request.",
    ),
    "key-bound": Promise(
        DISK,
        "A key goes to the host that it was stored for, over TLS that is checked, and follows no redirect elsewhere; "
        "nor does the prompt.",
    ),
    "no-cwd": Promise(DISK, "The current directory has no say: nothing is read from it that was not named."),
    "templates-are-data": Promise(
        DISK,
        "A template, whoever wrote it, says what is asked and how the answer is shown: never where to send, or what "
        "to run, read, record or write, nor in tools that name another server.",
    ),
    "cases": Promise(
        DISK,
        "A case of a template that is not valid is told before anything is sent; it names no file to send, and no "
        "expression in it runs without end.",
    ),
    "trusted-files": Promise(
        DISK,
        "A config file, a key file, a template or a tool that everyone can change, or that belongs to somebody else, is not used; "
        "one that a group can change names no server and no command.",
    ),
    "private-files": Promise(
        DISK,
        "Files with keys or prompts are for their owner alone from the first byte on, whatever the umask; "
        "no link is followed out; a key that others can read is told.",
    ),
    "atomic-writes": Promise(
        DISK,
        "Whoever else writes, and whenever the writer dies or the disk is full, a file is the old one or the new one.",
    ),
    "damaged-config": Promise(
        DISK, "A damaged config or key file is told with its place, and neither overwritten nor passed over."
    ),
    "history-rows": Promise(DISK, "Many processes at once lose no row of the history."),
    "history-size": Promise(
        DISK,
        "Asking, listing and searching cost the same however large the history is; what takes long is done in slices, "
        "lets other processes write, and goes on after a kill.",
    ),
    "cache": Promise(
        DISK,
        "The second answer of --cache is the first one byte for byte; only complete answers are stored, in private files "
        "without locks. Of many processes at once none loses or tears one, and the oldest leave first.",
    ),
    "odd-keys": Promise(DISK, "A key that no server could have given is refused in words, and a placeholder is none."),
    "names": Promise(DISK, "The name of a profile, a template or a conversation is never a path."),
    "drawing": Promise(
        TERMINAL,
        "Nothing that happens while drawing costs text: every letter of an answer reaches the screen, a block that "
        "cannot be drawn is shown as it was written, and a paused terminal is waited for.",
    ),
    "unbroken": Promise(
        TERMINAL,
        "Addresses, code and formulas are shown whole, however narrow the terminal is; no flag, accent or family is "
        "torn, and a table too wide for its columns is shown as a list, without an ellipsis.",
    ),
    "markdown": Promise(
        TERMINAL, "Every example of the CommonMark specification is drawn with its structure and its text in order."
    ),
    "no-driving": Promise(
        TERMINAL,
        "Nothing that a model, a server or a stored conversation says drives the terminal; it is shown as "
        "visible escapes.",
    ),
    "pipe-bytes": Promise(TERMINAL, "In a pipe the same text arrives byte for byte."),
    "nothing-fetched": Promise(TERMINAL, "Images and links of an answer are not fetched."),
    "nothing-run": Promise(TERMINAL, "Nothing that a model proposes is run unless somebody says yes to what they see."),
    "risky-commands": Promise(
        TERMINAL,
        "A command of `aiml cmd` that deletes, overwrites, takes rights or runs foreign code needs the word `yes`, whatever "
        "the model says; one with characters that nobody can see is neither printed nor run.",
    ),
    "files-inside": Promise(
        GUARD, "A folder or a glob sends each file once, and none that only a link leads to outside of it; loops end."
    ),
    "words-kept": Promise(
        GUARD,
        "A flag between words, and what may be a word or a flag, is refused before anything is sent: no word of a "
        "prompt is lost or changes what is asked.",
    ),
    "mentions": Promise(
        GUARD,
        "A file or a URL is mentioned only in what the user typed, and looked for once: never in files, template "
        "values, rows or standard input, and in pasted text only after a yes. A path of no file is told.",
    ),
    "row-files": Promise(
        GUARD,
        "A row names a file only where the words of the command say so, and only a regular file; what cannot be sent of "
        "it is an error of this row alone.",
    ),
    "estimate": Promise(
        GUARD,
        "An estimate of a run sends nothing, needs no key, changes no file, and counts the tokens of the requests that "
        "the run would send.",
    ),
    "binary-refused": Promise(
        GUARD, "Binary data is refused as text, with its kind, before anything is sent; so it is as rows of --each."
    ),
    "placeholders": Promise(
        GUARD, "An unknown placeholder ends a run of rows before anything is sent; braces of code and JSON stay text."
    ),
    "secrets-linear": Promise(GUARD, "Looking for secrets takes time in proportion to the text, whatever is in it."),
    "secrets-held": Promise(
        GUARD,
        "What looks like a secret is not sent from a terminal before somebody says yes; a script is refused what is "
        "certain, and warned about guesses, unless it says --allow-secrets.",
    ),
}
