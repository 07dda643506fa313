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
        "A conversation that is shortened says so and stays complete in the history. A call is never sent without "
        "its result; the system text and the last turn stay; only a complete summary replaces turns.",
    ),
    "incomplete-answers": Promise(
        ANSWER,
        "An answer that was cut, capped, filtered or failed has its own exit code. The text so far is on standard "
        "output, and a line on standard error says why.",
    ),
    "stored-while-arriving": Promise(
        ANSWER,
        "Every part of an answer is in the history half a second after it arrived, however the program ends. An "
        "interrupted answer is marked as such and never sent as if it were complete.",
    ),
    "sent-once": Promise(ANSWER, "After the first text was shown, no request is sent a second time."),
    "retries": Promise(
        ANSWER,
        "Failures that may pass are retried at the pace that the server asks for, with a notice on standard error; "
        "other failures are not.",
    ),
    "timeouts": Promise(
        ANSWER,
        "Every wait has a limit: for a connection, for headers that arrive slowly, and between two bytes. A comment "
        "in a stream counts as activity.",
    ),
    "server-messages": Promise(
        ANSWER,
        "The server's own error text is shown, shortened and without control characters, whatever form it has; "
        "standard output stays empty.",
    ),
    "error-kinds": Promise(
        ANSWER,
        "An error means the same under an error status, under status 200 and in a stream: its code and type decide, "
        "then its status, then its text. A word that only looks like credit, a limit or a key changes nothing.",
    ),
    "legal-streams": Promise(
        ANSWER,
        "Every valid form of a stream gives the same answer, wherever the network splits it, and so does plain JSON.",
    ),
    "malformed-events": Promise(
        ANSWER,
        "An invalid event is reported as an error: there is no traceback and no silent gap.",
    ),
    "shown-once": Promise(
        ANSWER,
        "Text, reasoning, refusals and tool-call arguments that a server sends twice (deltas and then the full "
        "text; `.done` events; items; final objects) appear once. What it sends only as a whole appears too.",
    ),
    "failed-endings": Promise(
        ANSWER,
        "A finish reason that means failure (in upper or lower case, the worst of several), or an error in a choice, "
        "in an event or outside of the events, makes the answer incomplete: exit code 6, 8 or that of the error.",
    ),
    "empty-answers": Promise(
        ANSWER,
        "An answer without text, tool call or refusal gets a notice, and never replaces a file (exit code 9).",
    ),
    "metadata": Promise(
        ANSWER,
        "Counts, ids, sources, log probabilities, heartbeats and unknown events never fail an answer, whatever "
        "their type or size. A number that fits neither 64 bits nor a float counts as absent.",
    ),
    "terminal-event": Promise(
        ANSWER,
        "A stream ends at its terminal event; on chat, also after 2 seconds without an event after the last finish "
        "reason. Data after that is not shown, and a connection that stays open is closed.",
    ),
    "memory": Promise(ANSWER, "Nothing that a server sends takes unlimited memory."),
    "answer-before-storage": Promise(
        ANSWER,
        "The answer is written before anything is saved: a disk that cannot be written to costs only a notice.",
    ),
    "signals": Promise(
        PROCESS,
        "Ctrl-C, SIGTERM and SIGHUP keep the text so far, end the program with 130, 143 and 129 at the first "
        "signal, and restore the terminal.",
    ),
    "job-control": Promise(
        PROCESS,
        "Ctrl-Z, `bg`, `fg` and a start in the background leave the terminal in the right state for the shell and "
        "for aiml.",
    ),
    "typed-ahead": Promise(
        PROCESS,
        "Keys typed while an answer arrives are neither lost nor shown twice: they are a draft in the next prompt. "
        "No line is shortened, and lines that arrive at once are one draft.",
    ),
    "row-retries": Promise(
        ANSWER,
        "A row is tried up to nine times, also if its answer breaks off, because nobody has seen it; the cost of "
        "such attempts is counted. Permanent failures are not retried, and a rejected key or missing credit ends "
        "the run.",
    ),
    "rate-limits": Promise(
        PROCESS,
        "All workers of a run keep one pace: the limits that the user sets, those in the server's headers, and the "
        "pauses that the server asks for, after which several processes resume at different moments.",
    ),
    "graceful-end": Promise(
        PROCESS,
        "After SIGTERM a run starts no row, and running requests get `--grace` seconds to finish. A second signal "
        "stops it at once; waits for a limit or a retry are cancelled.",
    ),
    "open-file-limit": Promise(
        PROCESS,
        "If the system allows few open files or threads, a run has fewer workers, and no row that was paid for is "
        "lost.",
    ),
    "closed-pipe": Promise(
        PROCESS,
        "If the reader of the pipe closes it, the program ends silently with 141 and cancels the request.",
    ),
    "failed-stdout": Promise(
        PROCESS,
        "If standard output is full, closed or read-only, a message says so, and the exit code is 1.",
    ),
    "output-names": Promise(
        PROCESS,
        "An output is written whatever its name is (`-` is standard output, /dev/shm is a folder, a name may be as "
        "long as the disk allows), or is rejected before anything is sent. Existing content is never destroyed.",
    ),
    "stopped-runs": Promise(
        PROCESS,
        "A run over rows that ends early, also by kill -9, leaves its results in a file that a message names, and "
        "`--resume-from` continues it. A file with the results of another run is never overwritten.",
    ),
    "failed-rows": Promise(
        PROCESS,
        "Each row that failed has an error, whatever the reason. `--resume-from` sends the rows that failed or are "
        "missing, and no others. A file with anything but results is rejected and not changed.",
    ),
    "csv": Promise(
        PROCESS,
        "Any text of the input or of a model can be read back unchanged from results in CSV, and no column is lost.",
    ),
    "linear-time": Promise(
        PROCESS,
        "No text of a model, a server or a file makes the program slow: the time is proportional to the length of "
        "the text, and each regular expression of the package is tested with texts made to slow it down.",
    ),
    "misbehaving-tools": Promise(
        PROCESS,
        "If a tool fails, hangs, prints without end, forks or crashes, the model gets an error, within limited time "
        "and memory. The tool is killed with all processes of its group and cannot reach the terminal.",
    ),
    "stdin": Promise(
        PROCESS,
        "Standard input is read byte for byte whenever it can have data, in memory of three times its size. Input "
        "that is too large is rejected while it is read.",
    ),
    "odd-environment": Promise(
        PROCESS,
        "Whatever the environment contains or lacks, the result is the answer or one clear line.",
    ),
    "key-masked": Promise(
        DISK,
        "The key appears in no output, error, log or list of processes, and in no file but its own.",
    ),
    "headers": Promise(
        DISK,
        "A header of `--header` goes to the base URL and nowhere else; it can contain neither a credential nor the "
        "API key.",
    ),
    "template-loaders": Promise(
        DISK,
        "A loader runs without a shell and without the API key; if it fails or hangs, nothing is sent.",
    ),
    "web-pages": Promise(
        DISK,
        "A hostile web page ends with an error: it is converted in a process without the key and with limits of "
        "time, memory and size.",
    ),
    "ignored-files": Promise(
        DISK,
        "A folder sends no file that Git ignores, no hidden file, no file through a link, and no file twice.",
    ),
    "key-not-for-tools": Promise(
        DISK,
        "No tool gets the API key: not in its environment under any name, and not through the `env` of its file.",
    ),
    "tool-arguments": Promise(
        DISK,
        "A command runs without a shell. An argument of the model is one word, unchanged: never expanded, never an "
        "option, and never the program, which is not searched for in the current directory.",
    ),
    "tool-approval": Promise(
        DISK,
        "No tool runs unless `--allow` names it or the user said yes after seeing the whole call. The call cannot "
        "imitate the question, and keys typed before the question do not answer it.",
    ),
    "early-connection": Promise(
        DISK,
        "A connection is opened early only if flags, settings and key are valid, and not while a pipe has sent "
        "nothing. A failure after that closes it without a byte of a request.",
    ),
    "key-per-server": Promise(
        DISK,
        "A key goes only to the host that it was stored for, over verified TLS, and follows no redirect to another "
        "host; nor does the prompt.",
    ),
    "current-directory": Promise(DISK, "Nothing is read from the current directory unless the user names it."),
    "templates-are-data": Promise(
        DISK,
        "A template, whoever wrote it, says only what is sent to the model and how the answer is shown: never where "
        "to send, or what to run, read, record or write, and no tools that name another server.",
    ),
    "template-cases": Promise(
        DISK,
        "An invalid test case of a template is an error before anything is sent. A case names no file to send, and "
        "no expression in it runs without end.",
    ),
    "trusted-files": Promise(
        DISK,
        "A config file, a key file, a template or a tool that everyone can change, or that belongs to another user, "
        "is not used. One that a group can change cannot name a server or a command.",
    ),
    "private-files": Promise(
        DISK,
        "Files with keys or prompts are readable only by their owner from the first byte, whatever the umask. No "
        "link is followed to write them. A key file that others can read gets a warning.",
    ),
    "atomic-writes": Promise(
        DISK,
        "Whoever else writes, and whenever the writer dies or the disk is full, a file has its old or its new content.",
    ),
    "damaged-config": Promise(
        DISK,
        "A damaged config or key file is an error that names the place; it is neither overwritten nor ignored.",
    ),
    "history-rows": Promise(DISK, "Many processes at the same time lose no row of the history."),
    "history-size": Promise(
        DISK,
        "Prompts, lists and searches take the same time however large the history is. Long work is done in slices, "
        "lets other processes write, and continues after a kill.",
    ),
    "cache": Promise(
        DISK,
        "The second answer of `--cache` is the first one, byte for byte. Only complete answers are stored, in "
        "private files without locks. Many processes at the same time lose or damage none, and the oldest are "
        "deleted first.",
    ),
    "implausible-keys": Promise(
        DISK, "A key that no server could have given, or a placeholder, is rejected with a message."
    ),
    "names-are-not-paths": Promise(DISK, "The name of a profile, a template or a conversation is never a path."),
    "drawing-errors": Promise(
        TERMINAL,
        "No failure while drawing costs text: every letter of an answer reaches the screen, a block that cannot be "
        "drawn is shown as it was written, and aiml waits for a paused terminal.",
    ),
    "nothing-shortened": Promise(
        TERMINAL,
        "URLs, code and formulas are shown in full, however narrow the terminal is. No flag, accent or emoji "
        "family is split, and a table too wide for its columns is shown as a list, without an ellipsis.",
    ),
    "markdown": Promise(
        TERMINAL,
        "Every example of the CommonMark specification is drawn with its structure and its text in order.",
    ),
    "terminal-control": Promise(
        TERMINAL,
        "Nothing that a model, a server or a stored conversation sends controls the terminal; it is shown as "
        "visible escapes.",
    ),
    "pipe-bytes": Promise(TERMINAL, "In a pipe the text of the model arrives byte for byte."),
    "nothing-fetched": Promise(TERMINAL, "Images and links of an answer are not fetched."),
    "nothing-runs-unasked": Promise(
        TERMINAL, "Nothing that a model proposes runs unless the user says yes to what is shown."
    ),
    "risky-commands": Promise(
        TERMINAL,
        "A command of `aiml cmd` that deletes, overwrites, gains privileges or runs downloaded code needs the word "
        "`yes`, whatever the model says. One with invisible characters is neither printed nor run.",
    ),
    "folders": Promise(
        GUARD,
        "A folder or a glob sends each file once, and none outside of it through a link; loops of links end.",
    ),
    "flags-between-words": Promise(
        GUARD,
        "A flag between words, and what may be a word or a flag, is an error before anything is sent: no word of a "
        "prompt is lost or changes its meaning.",
    ),
    "mentions": Promise(
        GUARD,
        "A file or a URL is mentioned only in what the user types, and looked for once: never in files, template "
        "values, rows or standard input, and in pasted text only after a yes. A path that does not exist is "
        "reported.",
    ),
    "row-files": Promise(
        GUARD,
        "A row names a file only if the prompt of the command says so, and only a regular file. A file that cannot "
        "be sent is an error of this row alone.",
    ),
    "estimate": Promise(
        GUARD,
        "An estimate of a run sends nothing, needs no key, changes no file, and counts the tokens of the requests "
        "that the run would send.",
    ),
    "binary-rows": Promise(
        GUARD,
        "Binary data is never sent as text: it is rejected with its type before anything is sent, also as rows of "
        "`--each`.",
    ),
    "placeholders": Promise(
        GUARD,
        "An unknown placeholder ends a run of rows before anything is sent; braces in code and JSON stay text.",
    ),
    "secret-search-time": Promise(
        GUARD, "The search for secrets takes time in proportion to the text, whatever is in it."
    ),
    "secrets-confirmed": Promise(
        GUARD,
        "On a terminal, what looks like a secret is not sent before the user says yes. In a script, what is "
        "certainly a secret is an error and what may be one gets a warning, unless `--allow-secrets` is given.",
    ),
}
