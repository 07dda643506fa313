"""The option table: one row for each thing that a user can set, with its path in each endpoint's request body."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from aiml_cli.settings.value_types import (
    BASE_URL,
    CACHE_AGE,
    CODE_BLOCK,
    CONVERSATION,
    FOLDERS,
    HEADERS,
    JSON,
    JSON_OR_WORD,
    LOADERS,
    LOCATION,
    MODELS,
    NAME,
    PATH,
    PATHS,
    PROPERTIES,
    SCHEMA,
    SHARD,
    SWITCH,
    TEMPLATE_VARIABLES,
    TEMPLATES,
    TEXT,
    TEXT_OR_FILE,
    TOOL_NAMES,
    TOOL_PATTERNS,
    TOOL_RESULTS,
    VARIABLES,
    Json,
    ValueType,
    choice,
    integer,
    number,
    text,
    text_list,
)

T = TypeVar("T")


class BodyPath(NamedTuple):
    """A property of a request body, nested at dots; `value_type` is set if the endpoint is stricter than the row."""

    path: str
    value_type: ValueType[Any] | None = None


class Conflict(NamedTuple):
    """Another option (NAME or NAME=VALUE), or a mode, that an option cannot be used with.

    `typed_only`: they only conflict if the option is set for this call. `values`: the values of the option that
    conflict; all if empty.
    """

    other: str
    hint: str = ""
    typed_only: bool = False
    values: tuple[str, ...] = ()


# Modes: kinds of calls that do not follow from a single option.
REPL, SEVERAL_MODELS, SIDE_BY_SIDE = "repl", "several models", "side by side"


class Option(NamedTuple, Generic[T]):
    """One thing that a user can set.

    An option without a body path is local and never sent. `attribute` is its name in `Options`, and `flag_name` the
    name of its flag, if different.

    - `per_call`: it has a flag, but no environment variable and no config key.
    - `no_env`: no environment variable sets it.
    - `only_endpoint`: the only endpoint that a local option applies to.
    - `common`: `-h` shows its flag.
    - `template`: a template can set it, even one from someone else. Such options say what is asked and how the answer
      is shown, but never where to send, or what to run, read, write or store.
    - `sensitive`: it names a server or a command; a config file that the members of a group can change cannot set it.
    - `requires`: one of these options must be set; with `requires_values`, only for these values of the option.
    """

    value_type: ValueType[T]
    help: str
    panel: str
    body_paths: Mapping[str, BodyPath]
    default: T | None = None
    short: str = ""
    aliases: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    secret: bool = False
    common: bool = False
    per_call: bool = False
    hidden: bool = False
    template: bool = False
    sensitive: bool = False
    no_env: bool = False
    only_endpoint: str = ""
    conflicts: tuple[Conflict, ...] = ()
    requires: tuple[str, ...] = ()
    requires_values: tuple[str, ...] = ()
    requires_hint: str = ""
    attribute: str = ""
    flag_name: str = ""

    @property
    def name(self) -> str:
        """Return the name in the config file, such as `max_tokens`."""
        return self.attribute.rstrip("_")

    @property
    def flag(self) -> str:
        """Return the long flag, such as `--max-tokens`."""
        return "--" + (self.flag_name or self.name.replace("_", "-"))

    @property
    def variables(self) -> tuple[str, ...]:
        """Return the environment variables that set the option, in order of precedence."""
        if self.per_call or self.no_env:
            return ()
        return self.env if self.secret else ("AIML_" + self.name.upper(), *self.env)

    def value_type_on(self, endpoint: str) -> ValueType[Any]:
        """Return the value type for an endpoint."""
        body_path = self.body_paths.get(endpoint)
        return (body_path and body_path.value_type) or self.value_type

    def applies_to(self, endpoint: str) -> bool:
        """True if the option has an effect on an endpoint."""
        return endpoint in self.body_paths if self.body_paths else self.only_endpoint in ("", endpoint)


def option(
    value_type: ValueType[T],
    help: str,  # noqa: A002 - the usual name in command-line libraries
    *,
    panel: str,
    chat: str | BodyPath = "",
    responses: str | BodyPath = "",
    **attributes: Any,
) -> T | None:
    """Define a row; `chat` and `responses` are its body paths, and `attributes` are other fields of `Option`."""
    paths = {"chat": chat, "responses": responses}
    body_paths = {name: path if isinstance(path, BodyPath) else BodyPath(path) for name, path in paths.items() if path}
    make_row = partial(Option, value_type, help, panel, body_paths, **attributes)
    value: T | None = field(default=None, metadata={"make_row": make_row})
    return value


MODEL, SAMPLING, TOOLS, FORMAT, RESPONSES = "Model", "Sampling", "Tools", "Answer format", "Stored responses"
PROMPT, EACH, OUTPUT, CONNECTION = "Prompt", "Many rows", "Output", "Connection"
INSTEAD_OF_ASKING, KEY = "Instead of asking", "Key"
# Reasons for conflicts that several rows share.
ONE_MODEL_ONLY = Conflict(SEVERAL_MODELS, "ask one model at a time")
NOT_SIDE_BY_SIDE = Conflict(SIDE_BY_SIDE, "ask one model at a time")
NOT_IN_REPL = Conflict(REPL, "")
NOT_WITH_EACH = Conflict("each", "each row is a separate request")
JSON_LINES = "results are JSON lines"
WHOLE_ROWS = "rows are always sent completely"
WHOLE_TEXT_FORMATS = ("format=json", "format=jsonl", "format=raw", "json")
NEEDS_EACH: Mapping[str, Any] = {"requires": ("each",), "requires_hint": "--each line sends a request for each line"}


# fmt: off
@dataclass(frozen=True, init=False, repr=False, eq=False)  # generated methods would slow down the start
class Options:
    """The value of each row; None means not set (0 and False are values). There is no repr, to hide the key."""

    def __init__(self, **values: Any) -> None:
        """Set the values of some rows; raise TypeError for an unknown attribute."""
        if unknown := values.keys() - self.__dataclass_fields__.keys():
            raise TypeError(f"unknown options: {', '.join(unknown)}")
        self.__dict__.update({name: value for name, value in values.items() if value is not None})

    model: str | None = option(
        MODELS, "The model. Repeat -m to ask several models; A,B falls back to B when A is unavailable.",
        panel=MODEL, common=True, template=True, short="-m", default="openai/gpt-5-1", chat="model", responses="model",
    )
    first: bool | None = option(
        SWITCH, "With several -m: print the first complete answer and cancel the others.", panel=MODEL, per_call=True,
        conflicts=(Conflict("each", "all rows ask one model"), Conflict("chunk"), Conflict("in_place"), NOT_IN_REPL),
    )
    prompt_cache: str | None = option(
        choice("5m", "1h"),
        "Let Claude models cache the system text, files and conversation for this time; reading them again costs less.",
        panel=MODEL, only_endpoint="chat",
    )
    max_cost: float | None = option(
        number(0),
        "Fail before sending if the estimated cost exceeds this many US dollars; with --each, stop before such a row. "
        "Without --max-tokens, only the input counts.",
        panel=MODEL,
    )
    system: str | None = option(
        TEXT_OR_FILE, "System text: how the model should behave. @FILE reads it from a file.", panel=PROMPT,
        common=True, template=True, short="-s",
        chat="messages[role=system].content", responses="instructions",
    )
    file: tuple[str, ...] | None = option(
        PATHS, "Attach a file, folder, glob or URL. Text, image, PDF or audio; - is standard input.", panel=PROMPT,
        common=True,
        short="-f", aliases=("--attach", "-a"), per_call=True,
    )
    loaders: Mapping[str, Sequence[str]] | None = option(
        LOADERS, "The command that converts files with an extension to text; {} is the path of the file.", panel=PROMPT,
        sensitive=True, no_env=True, hidden=True,
    )
    no_stdin: bool | None = option(SWITCH, "Do not read standard input.", panel=PROMPT)
    stdin_wait: float | None = option(
        number(0, 86400), "Give up after N seconds without input on an open pipe (10 by default); 0 never gives up.",
        panel=PROMPT,
    )
    detail: str | None = option(
        choice("auto", "low", "high"), "How closely the model looks at images.", panel=PROMPT, template=True,
        chat="messages[].content[type=image_url].image_url.detail",
        responses="input[].content[type=input_image].detail",
    )
    interactive: bool | None = option(
        SWITCH, "Send the prompt first, then continue in the REPL.", panel=PROMPT, short="-i", per_call=True,
        conflicts=(NOT_WITH_EACH,),
    )
    print_: bool | None = option(
        SWITCH, "Print one answer and exit, even on a terminal.", panel=PROMPT, short="-p", per_call=True,
    )
    edit: bool | None = option(
        SWITCH, "Write the prompt in $VISUAL or $EDITOR.", panel=PROMPT, short="-e", per_call=True,
    )
    template: tuple[str, ...] | None = option(
        TEMPLATES, "Use a saved prompt with its flags, or @FILE. If repeated, the last one wins for each setting.",
        panel=PROMPT, common=True, short="-t", per_call=True,
    )
    param: Mapping[str, str] | None = option(
        TEMPLATE_VARIABLES, "Set a variable of the template; @FILE reads it from a file. May be repeated.",
        panel=PROMPT,
        short="-P", per_call=True,
    )
    save: str | None = option(
        NAME, "Save the prompt and the flags as a template; nothing is sent.", panel=PROMPT, per_call=True,
        conflicts=(NOT_WITH_EACH,),
    )
    template_path: tuple[str, ...] | None = option(
        FOLDERS, "Folders of templates that are searched after your own.", panel=PROMPT,
    )
    continue_: bool | None = option(
        SWITCH, "Continue this terminal's last conversation. Without a prompt, continue its incomplete answer.",
        panel=PROMPT, common=True, short="-c", per_call=True,
        conflicts=(
            Conflict("previous_response_id"), Conflict("resume"), NOT_WITH_EACH, Conflict("chunk"), ONE_MODEL_ONLY,
        ),
    )
    resume: str | None = option(
        CONVERSATION, "Continue the conversation with this id or words. Without a value: the latest.", panel=PROMPT,
        common=True,
        short="-r", per_call=True,
        conflicts=(Conflict("previous_response_id"), NOT_WITH_EACH, Conflict("chunk"), ONE_MODEL_ONLY),
    )
    fork: bool | None = option(
        SWITCH, "With -c or -r: continue a copy of the conversation; the original is not changed.", panel=PROMPT,
        per_call=True,
        requires=("continue", "resume"),
        requires_hint="-c --fork copies this terminal's last conversation, -r ID --fork another one",
    )
    allow_secrets: bool | None = option(
        SWITCH, "Send files and standard input even if they seem to contain keys or passwords.", panel=PROMPT,
        per_call=True,
    )
    messages: str | None = option(
        PATH, "Read earlier messages from a JSON file.", panel=PROMPT,
        per_call=True,
        conflicts=(Conflict("chunk"),),
    )
    fit: str | None = option(
        choice("head", "tail", "middle", "oldest", "compact"),
        "What to do if the request exceeds the model's context: send the head, the tail or both ends of the input;"
        " leave out the oldest turns of the conversation; or compact: replace them with a summary.",
        panel=PROMPT, template=True,
        conflicts=(
            Conflict("chunk", "--fit sends a part of the input, --chunk all of it", typed_only=True),
            Conflict("each", WHOLE_ROWS, typed_only=True),
        ),
    )
    chunk: int | None = option(
        integer(1), "Split the input into chunks of this many tokens, and send a request for each.", panel=PROMPT,
        per_call=True,
        conflicts=(Conflict("each", WHOLE_ROWS), ONE_MODEL_ONLY, NOT_IN_REPL),
    )
    reduce: str | None = option(
        TEXT_OR_FILE, "With --chunk: the prompt that combines the answers into one.", panel=PROMPT, per_call=True,
        conflicts=(Conflict("each", WHOLE_ROWS), ONE_MODEL_ONLY, NOT_IN_REPL),
        requires=("chunk",), requires_hint="--chunk N splits the input into chunks",
    )
    each: str | None = option(
        choice("line", "jsonl", "csv", "nul"),
        "Send a request for each row of the input. In the prompt, {row} is its text, {name} a column.", panel=EACH,
        common=True, per_call=True,
        conflicts=(Conflict(SEVERAL_MODELS, "send one request after the other, or use A,B as a fallback"),),
    )
    jobs: int | None = option(
        integer(1, 256), "Send this many rows or chunks at the same time.", panel=EACH, short="-j", default=4,
        requires=("each", "chunk"), requires_hint="--each line sends a request for each line",
    )
    unordered: bool | None = option(
        SWITCH, "Print results as they arrive, not in the order of the rows.", panel=EACH, per_call=True, **NEEDS_EACH,
    )
    resume_from: str | None = option(
        PATH, "Continue a file of results: send only the rows that are not in it, and append the results.", panel=EACH,
        per_call=True, **NEEDS_EACH,
    )
    shard: str | None = option(
        SHARD, "Send every Nth row, starting with row I; auto reads both from Slurm, Kubernetes or AWS Batch.",
        panel=EACH, per_call=True,
        **NEEDS_EACH,
    )
    sample: int | None = option(
        integer(1), "Send only N rows chosen at random, the same ones each time.", panel=EACH, per_call=True,
        **NEEDS_EACH,
    )
    requests_per_minute: int | None = option(
        integer(1, 10**9), "Send at most this many requests per minute, at an even pace, for all workers together.",
        panel=EACH, **NEEDS_EACH,
    )
    tokens_per_minute: int | None = option(
        integer(1, 10**9), "Use at most this many input and output tokens per minute, for all workers together.",
        panel=EACH, **NEEDS_EACH,
    )
    grace: float | None = option(
        number(0, 86400), "After SIGTERM, wait up to N seconds for rows in progress; 0 stops immediately.",
        panel=EACH, default=20, **NEEDS_EACH,
    )
    estimate: bool | None = option(
        SWITCH, "With --each: print the number of rows and tokens, and the cost; nothing is sent.", panel=EACH,
        per_call=True,
        requires=("each",), requires_hint="--dry-run -u estimates the tokens of a single request",
        conflicts=(
            Conflict("dry_run", "use one of them"), Conflict("as", "use one of them"),
            Conflict("replay", "a recording costs nothing"),
        ),
    )
    effort: str | None = option(
        text("none", "minimal", "low", "medium", "high", "xhigh", "max"),
        "How much the model thinks before it answers.", panel=SAMPLING, common=True, template=True,
        aliases=("--reasoning-effort",), chat="reasoning_effort", responses="reasoning.effort",
    )
    reasoning_summary: str | None = option(
        choice("auto", "concise", "detailed"), "Ask for a summary of the reasoning.", panel=SAMPLING, template=True,
        responses="reasoning.summary",
    )
    temperature: float | None = option(
        number(0, 2), "Randomness of the answer. Change this or --top-p, not both.", panel=SAMPLING, common=True,
        template=True,
        chat="temperature", responses="temperature",
    )
    top_p: float | None = option(
        number(0.01, 1), "Nucleus sampling: the probability mass to choose tokens from.", panel=SAMPLING,
        template=True,
        chat="top_p", responses="top_p",
    )
    max_tokens: float | None = option(
        number(1), "Stop the answer after this many tokens.", panel=SAMPLING, common=True, template=True,
        aliases=("--max-output-tokens",),
        chat="max_tokens", responses=BodyPath("max_output_tokens", integer(16)),
    )
    max_completion_tokens: int | None = option(
        integer(1), "Limit the number of visible and reasoning tokens together.",
        panel=SAMPLING, template=True, chat="max_completion_tokens",
    )
    seed: int | None = option(
        integer(1), "Make the answer repeatable, as far as the model supports it.",
        panel=SAMPLING, template=True, chat="seed",
    )
    n: int | None = option(
        integer(1), "Generate this many answers; all of them are billed.",
        panel=SAMPLING, template=True, short="-n", chat="n",
    )
    logprobs: bool | None = option(
        SWITCH, "Return the log probability of each token.", panel=SAMPLING, template=True, chat="logprobs",
    )
    top_logprobs: float | None = option(
        number(0, 20), "Return this many alternatives for each token; turns on --logprobs.",
        panel=SAMPLING, template=True,
        chat="top_logprobs",
    )
    run_tool: tuple[str, ...] | None = option(
        TOOL_NAMES, "Let the model use a tool on this machine. NAME, FILE.py, mcp:SERVER or mcp:SERVER.TOOL.",
        panel=TOOLS, common=True, short="-T", per_call=True,
        conflicts=(
            Conflict("chunk"), Conflict("in_place"), Conflict("background"), Conflict("n"), Conflict("wait"),
            Conflict("show"), Conflict("cancel"),
        ),
    )
    allow: tuple[str, ...] | None = option(
        TOOL_PATTERNS, "Run matching tools without asking: weather, 'fs.read_*', '*'. May be repeated.",
        panel=TOOLS, sensitive=True, no_env=True,
    )
    max_rounds: int | None = option(
        integer(1, 1000), "Send tool results back to the model at most this many times.", panel=TOOLS, per_call=True,
        default=10,
    )
    tools: Json | None = option(
        JSON, "Functions that the model may call, in the format of either endpoint; they are only sent, not run.",
        panel=TOOLS, template=True,
        chat="tools", responses="tools",
    )
    tool_choice: Json | None = option(
        JSON_OR_WORD, "Which function to call: none, auto, required, a name, or a JSON object.", panel=TOOLS,
        template=True,
        chat="tool_choice", responses="tool_choice",
    )
    parallel_tool_calls: bool | None = option(
        SWITCH, "Allow several function calls in one answer.", panel=TOOLS, template=True,
        chat="parallel_tool_calls", responses="parallel_tool_calls",
    )
    tool_result: Mapping[str, str] | None = option(
        TOOL_RESULTS, "The result of a tool call, by the call's id; @FILE reads it from a file. May be repeated.",
        panel=TOOLS, per_call=True, chat="messages[role=tool]", responses="input[type=function_call_output]",
        conflicts=(NOT_WITH_EACH, Conflict("chunk")),
    )
    web_search: str | None = option(
        choice("low", "medium", "high", bare="medium"),
        "Let the server search the web. The value is how much context the search may add.",
        panel=TOOLS, common=True, template=True, responses="tools[type=web_search_preview].search_context_size",
    )
    location: Mapping[str, Json] | None = option(
        LOCATION, "The location of the web search: city, region, country, timezone.", panel=TOOLS, template=True,
        responses="tools[type=web_search_preview].user_location",
    )
    code_interpreter: bool | None = option(
        SWITCH, "Let the server run code.", panel=TOOLS, template=True, responses="tools[type=code_interpreter]",
    )
    mcp_server: Mapping[str, Json] | None = option(
        VARIABLES, "Let the server use the tools of an MCP server, LABEL=URL. May be repeated.",
        panel=TOOLS, sensitive=True,
        responses="tools[type=mcp]",
    )
    schema: str | None = option(
        SCHEMA, "JSON Schema that the answer must match. A file, JSON, or a list such as 'name, age int'.",
        panel=FORMAT, common=True, template=True,
        chat="response_format[type=json_schema]", responses="text.format[type=json_schema]",
        conflicts=(Conflict("response_format", "use one of them"),),
    )
    schema_retries: int | None = option(
        integer(0, 10), "Ask again up to this many times if the answer does not match the schema.",
        panel=FORMAT, template=True, default=0,
    )
    json_object: bool | None = option(
        SWITCH, "Ask for an answer that is a JSON object.", panel=FORMAT, template=True,
        chat="response_format[type=json_object]", responses="text.format[type=json_object]",
        conflicts=(Conflict("response_format", "use one of them"),),
    )
    items: bool | None = option(
        SWITCH, "Print each element of the answer's top-level array as a JSON line, as it arrives.", panel=FORMAT,
        per_call=True,
        conflicts=(Conflict("json", "use one of them"), Conflict("each", JSON_LINES), NOT_SIDE_BY_SIDE),
    )
    response_format: Json | None = option(
        JSON, "The response format, as defined by either endpoint of the API.", panel=FORMAT, template=True,
        aliases=("--text-format",), chat="response_format", responses="text.format",
    )
    stream: bool | None = option(
        SWITCH, "Show the answer as it arrives; -S waits until it is complete.", panel=FORMAT, template=True,
        default=True,
        chat="stream", responses="stream",
    )
    include_usage: bool | None = option(
        SWITCH, "Request the token counts of a streamed answer.", panel=FORMAT, template=True, default=True,
        chat="stream_options.include_usage",
    )
    store: bool | None = option(
        SWITCH, "Store the response on the server, to continue it later.", panel=RESPONSES, responses="store",
    )
    previous_response_id: str | None = option(
        TEXT, "Continue the stored response with this id.", panel=RESPONSES, per_call=True,
        responses="previous_response_id",
    )
    truncation: str | None = option(
        choice("auto", "disabled"), "If the input is too long: drop its middle (auto) or fail (disabled).",
        panel=RESPONSES, template=True,
        responses="truncation",
    )
    background: bool | None = option(
        SWITCH, "Run the request in the background on the server.", panel=RESPONSES, responses="background",
        conflicts=(
            Conflict("each", "rows wait for their answers; -j sets how many at a time", typed_only=True),
            Conflict("chunk"), Conflict("first", "ask one model at a time"),
        ),
    )
    include: tuple[str, ...] | None = option(
        text_list(
            "message.input_image.image_url", "computer_call_output.output.image_url", "reasoning.encrypted_content",
            "code_interpreter_call.outputs", "file_search_call.results", "message.output_text.logprobs",
        ),
        "Include additional data in the response. May be repeated.", panel=RESPONSES, template=True,
        responses="include",
    )
    wait: str | None = option(
        TEXT, "Wait for the background response with this id, and show it.", panel=RESPONSES, per_call=True,
        only_endpoint="responses",
        conflicts=(Conflict("show"), Conflict("cancel"), NOT_WITH_EACH, Conflict("chunk"), ONE_MODEL_ONLY, NOT_IN_REPL),
    )
    show: str | None = option(
        TEXT, "Show the current state of the stored response with this id.", panel=RESPONSES, per_call=True,
        only_endpoint="responses",
        conflicts=(Conflict("cancel"), NOT_WITH_EACH, Conflict("chunk"), ONE_MODEL_ONLY, NOT_IN_REPL),
    )
    cancel: str | None = option(
        TEXT, "Cancel the background response with this id.", panel=RESPONSES, per_call=True, only_endpoint="responses",
        conflicts=(NOT_WITH_EACH, Conflict("chunk"), ONE_MODEL_ONLY, NOT_IN_REPL),
    )
    prompt_id: str | None = option(
        TEXT, "Use a prompt template that is stored on the server.", panel=RESPONSES, template=True,
        responses="prompt.id",
    )
    prompt_version: str | None = option(
        TEXT, "The version of the prompt template on the server.", panel=RESPONSES, template=True,
        responses="prompt.version",
    )
    prompt_var: Mapping[str, Json] | None = option(
        VARIABLES, "A variable of the prompt template on the server. May be repeated.",
        panel=RESPONSES, template=True, responses="prompt.variables",
    )
    option_: Mapping[str, Json] | None = option(
        PROPERTIES,
        "Set any other property of the request, such as a.b=1; a value that parses as JSON is sent as JSON.",
        panel=MODEL, template=True, short="-O",
    )
    output: str | None = option(
        PATH, "Write the answer to a file. Only a complete answer replaces an existing file.", panel=OUTPUT,
        common=True, short="-o",
        per_call=True,
        conflicts=(Conflict("resume_from", "--resume-from appends to its file"),),
    )
    extract: str | None = option(
        CODE_BLOCK, "Print only a code block. Its number, last, all, or the first in a language.", panel=OUTPUT,
        common=True,
        short="-x", per_call=True,
        conflicts=(
            *(Conflict(other, "programs need the complete JSON") for other in WHOLE_TEXT_FORMATS),
            *(Conflict(other, "such an answer has no code blocks") for other in ("schema", "json_object", "items")),
            Conflict("each", f"{JSON_LINES}; extract the code from their text"), NOT_SIDE_BY_SIDE,
            Conflict(REPL, "use /copy N or /write N FILE for a code block of an answer"),
        ),
    )
    copy: bool | None = option(
        SWITCH, "Also copy the answer to the clipboard when it is complete.", panel=OUTPUT, per_call=True,
        conflicts=(
            *(Conflict(other, "only text can be copied") for other in ("format=jsonl", "format=raw")),
            Conflict("in_place", "the answer is written to the file"), Conflict("each", JSON_LINES), Conflict("chunk"),
            Conflict("background", "use --copy with --wait ID"), ONE_MODEL_ONLY,
            *(Conflict(other, "there is no answer to copy") for other in ("cancel", "dry_run", "as")),
            Conflict(REPL, "use /copy for the last answer, or /copy N for a code block of it"),
        ),
    )
    in_place: str | None = option(
        PATH, "Send a file, show a diff, and replace the file after you confirm.", panel=OUTPUT,
        per_call=True,
        conflicts=(
            *map(Conflict, (
                "output", "json", "audio_out", "schema", "json_object", "items", "background", "unordered",
                "resume_from", "shard", "sample", "chunk", "reduce", "wait", "show", "cancel", "extract=all",
                SEVERAL_MODELS,
            )),
            Conflict("each", f"{JSON_LINES}; write them to a file with -o"), NOT_IN_REPL,
        ),
    )
    format: str | None = option(
        choice("md", "text", "json", "jsonl", "raw", "csv"),
        "The output format; md is rendered on a terminal, and plain text elsewhere. csv is for --each.",
        panel=OUTPUT, template=True, default="md",
        requires=("each",), requires_values=("csv",), requires_hint="--each csv -f FILE sends a request for each row",
        conflicts=(
            Conflict("json", "use one of them", typed_only=True, values=("csv",)),
            Conflict("n", "a CSV row has one answer; JSON lines contain all", values=("csv",)),
            Conflict("in_place", typed_only=True),
            Conflict("items", "use one of them", typed_only=True, values=("json", "jsonl", "raw")),
            Conflict("each", JSON_LINES, typed_only=True, values=("md", "text", "raw")),
            Conflict(
                SIDE_BY_SIDE, "--format json prints an array; --first works with every format",
                values=("jsonl", "raw"),
            ),
        ),
    )
    json: bool | None = option(
        SWITCH, "Print answer, tokens and cost as one JSON object. For JSON from the model use --schema.", panel=OUTPUT,
        common=True, per_call=True,
    )
    audio_out: str | None = option(
        PATH, "Write the spoken answer to a file.", panel=OUTPUT, per_call=True,
        conflicts=(Conflict("each", "each row would replace the file"), Conflict("chunk"), ONE_MODEL_ONLY),
    )
    save_dir: str | None = option(
        PATH, "Save images and files in the answer to a folder.", panel=OUTPUT,
        conflicts=(Conflict("each", "the files of the rows would have the same names", typed_only=True),),
    )
    meta: str | None = option(
        PATH, "Write tokens, cost, speed and ids to a JSON file.", panel=OUTPUT, per_call=True,
        conflicts=(Conflict("each", "each result has its cost"),),
    )
    auto_continue: int | None = option(
        integer(0, 20), "Continue an incomplete answer up to this many times.",
        panel=OUTPUT, template=True, default=0,
    )
    allow_cut: bool | None = option(
        SWITCH, "Exit with 0 if the answer ends at the token limit.", panel=OUTPUT, template=True,
    )
    hide_reasoning: bool | None = option(
        SWITCH, "Do not show reasoning on standard error.", panel=OUTPUT, template=True, short="-R",
    )
    usage: bool | None = option(
        SWITCH, "Print tokens, cost and speed on standard error.", panel=OUTPUT, common=True, template=True, short="-u",
    )
    quiet: bool | None = option(SWITCH, "Print only errors on standard error.", panel=OUTPUT, short="-q")
    verbose: bool | None = option(SWITCH, "Print more details on standard error.", panel=OUTPUT, short="-v")
    debug: bool | None = option(
        SWITCH, "Print requests and responses on standard error, with the key masked.", panel=OUTPUT,
    )
    cache: str | None = option(
        CACHE_AGE,
        "Use the cached answer to the same request if it is complete and younger than AGE (1d if not given).",
        panel=OUTPUT,
        conflicts=(
            Conflict("run_tool", "the effects of tools cannot be cached", typed_only=True),
            Conflict("background", "use one of them", typed_only=True),
            Conflict("no_log", "the cache would store the answer", typed_only=True),
            Conflict("record", "a recording needs the server's current answer", typed_only=True),
            Conflict("replay", "the answer comes from the recording", typed_only=True),
        ),
    )
    no_log: bool | None = option(SWITCH, "Do not store this call in the history.", panel=OUTPUT)
    yes: bool | None = option(SWITCH, "Answer yes to questions.", panel=OUTPUT, short="-y", per_call=True)
    color: str | None = option(choice("auto", "always", "never"), "When to use color.", panel=OUTPUT, default="auto")
    editing: str | None = option(
        choice("emacs", "vi"), "The key bindings of the line editor in the REPL.", panel=OUTPUT, default="emacs",
    )
    dry_run: bool | None = option(
        SWITCH, "Print the request as JSON; nothing is sent.", panel=INSTEAD_OF_ASKING, common=True, per_call=True,
        conflicts=(NOT_IN_REPL,),
    )
    as_: str | None = option(
        choice("curl", "python", "javascript", "httpie", "json"), "Print the request as a program; nothing is sent.",
        panel=INSTEAD_OF_ASKING, per_call=True,
        conflicts=(NOT_IN_REPL,),
    )
    profile: str | None = option(NAME, "Use the settings of this profile.", panel=CONNECTION)
    base_url: str | None = option(
        BASE_URL, "The URL of the API.", panel=CONNECTION, sensitive=True, default="https://api.aimlapi.com/v1",
        env=("AIML_API_BASE", "AIMLAPI_API_BASE", "AIMLAPI_BASE_URL"),
    )
    headers: Mapping[str, str] | None = option(
        HEADERS, "Add a header to every request to the base URL; an empty VALUE removes it. May be repeated.",
        panel=CONNECTION, sensitive=True, flag_name="header",
    )
    demo: bool | None = option(
        SWITCH, "Use the demo server that is part of aiml. It needs no key and runs no model.", panel=INSTEAD_OF_ASKING,
        common=True, per_call=True,
    )
    timeout: float | None = option(
        number(0.1, 86400), "Give up after this many seconds without data; the total time is not limited.",
        panel=CONNECTION, default=120,
    )
    retries: int | None = option(
        integer(0, 10),
        "Retry a failed request this many times (8 by default with --each). "
        "An answer that has begun is only retried for a row of --each.",
        panel=CONNECTION, default=2,
    )
    ca_bundle: str | None = option(PATH, "Trust the certificates in this file.", panel=CONNECTION, sensitive=True)
    record: str | None = option(
        PATH, "Append request and response to a file for --replay, without the key.", panel=CONNECTION,
        conflicts=(Conflict("replay", "AIML_RECORD, AIML_REPLAY and the config file set them too"),),
    )
    replay: str | None = option(
        PATH, "Replay the responses in a recorded file; nothing is sent.", panel=CONNECTION, sensitive=True,
    )
    key_command: str | None = option(TEXT, "A command that prints the API key.", panel=KEY, sensitive=True, hidden=True)
    api_key: str | None = option(
        TEXT, "The API key.", panel=KEY, secret=True, env=("AIMLAPI_API_KEY", "AIML_API_KEY", "AIMLAPI_KEY"),
    )
# fmt: on


ROWS: Mapping[str, Option[Any]] = {
    row.name: row for row in (column.metadata["make_row"](attribute=column.name) for column in fields(Options))
}


def flags_of(endpoint: str) -> list[Option[Any]]:
    """Return the rows that have a flag in the command of an endpoint."""
    return [row for row in ROWS.values() if row.applies_to(endpoint) and not row.secret and not row.hidden]


def change_options(options: Options, **values: Any) -> Options:
    """Return the options with these values; the same object if nothing changes, because a copy is slow."""
    changes = {name: value for name, value in values.items() if getattr(options, name) is not value}
    return Options(**{**vars(options), **changes}) if changes else options


def value_of(options: Options, row: Option[Any]) -> Any:
    """Return the value of a row."""
    return getattr(options, row.attribute)
