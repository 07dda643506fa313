"""The request of one turn: endpoint, prompt, settings, request body and API key."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from aiml_cli import __version__
from aiml_cli.api.endpoints import Endpoint
from aiml_cli.api.messages import Conversation, HistoryMode
from aiml_cli.api.request_body import encode_body
from aiml_cli.core.build_conversation import build_conversation
from aiml_cli.errors import AuthError, UsageError
from aiml_cli.settings.options import Options, change_options
from aiml_cli.settings.resolve import Settings, Source
from aiml_cli.settings.urls import is_local, join_url
from aiml_cli.store import api_keys
from aiml_cli.store.api_keys import ApiKey
from aiml_cli.system.stdio import print_err
from aiml_cli.system.terminal import is_terminal
from aiml_cli.transport.choose_transport import validate_paths
from aiml_cli.transport.http_types import HttpRequest

if TYPE_CHECKING:
    from aiml_cli.core.build_conversation import SeeInputs
    from aiml_cli.core.previous_turns import PreviousTurns
    from aiml_cli.core.tool_session import ReplayedTools, ToolSession
    from aiml_cli.prompt.file_sources import FileContent
    from aiml_cli.schema.check import ResponseSpec

    Tools = ToolSession | ReplayedTools

KEY_INSTRUCTIONS = (
    "get one at https://aimlapi.com/app/keys",
    "then store it: aiml config key",
    "or try without one: aiml chat --demo hello",
)


@dataclass(frozen=True, slots=True, repr=False, eq=False)  # generated methods would slow down the start
class ChatRequest:
    """The request of one turn.

    `extra_files` are sent with the files of the options; `repeated` is sent unchanged, instead of words and files.
    `known_system` and `known_key` save reading them again. `fallback_models` are tried in order if the model is
    unavailable. `tools` run on this machine. `facts` are stored in the history with the messages and the answer.
    """

    endpoint: Endpoint
    words: Sequence[str]
    settings: Settings
    response_spec: "ResponseSpec | None" = None
    previous_turns: "PreviousTurns | None" = None
    known_system: tuple[str | None] | None = None
    extra_files: "Sequence[FileContent]" = ()
    repeated: Conversation | None = None
    known_key: tuple[ApiKey | None] | None = None
    fallback_models: tuple[str, ...] = ()
    tools: "Tools | None" = None
    facts: Mapping[str, Any] | None = None

    @property
    def options(self) -> Options:
        """Return the resolved options."""
        return self.settings.options

    @property
    def url(self) -> str:
        """Return the URL that the request is sent to."""
        return join_url(self.options.base_url or "", self.endpoint.path)

    def read_conversation(self, see_inputs: "SeeInputs | None" = None) -> Conversation:
        """Return the new messages; read standard input and files, and pass the texts to `see_inputs`."""
        if self.repeated:
            return self.repeated
        self._check_prompt_id()
        if self.options.option_ and not self.options.quiet:
            from aiml_cli.catalog import check_request  # for few calls only

            for warning in check_request.list_warnings(self.settings, self.endpoint.name):
                self.notify(warning)
        previous = self.previous_turns.messages if self.previous_turns else None
        conversation = build_conversation(
            self.words, self.settings, self.endpoint.name, self.notify, previous=previous,
            extra_files=self.extra_files, see_inputs=see_inputs,
        )  # fmt: skip
        if self.previous_turns and not conversation.messages:
            return self.previous_turns.continue_request()
        return conversation

    def build_body(self, conversation: Conversation, history: HistoryMode = HistoryMode.BY_ID) -> dict[str, Any]:
        """Build the request body; `history` is how previous turns are sent."""

        def build(options: Options) -> dict[str, Any]:
            messages = conversation
            if self.previous_turns:
                messages, options = self.previous_turns.join(conversation, options, self.endpoint.name, history)
            return self.endpoint.build_body(
                messages, self.response_spec.apply(options) if self.response_spec else options
            )

        options = change_options(self.options, system=self.system, stream=self._is_streamed())
        body = self.tools.build_body(options, build) if self.tools else build(options)
        if not options.prompt_cache:
            return body
        from aiml_cli.api.prompt_cache import mark_prompt  # for few calls only

        return mark_prompt(body, options.prompt_cache)

    @property
    def system(self) -> str | None:
        """Return the system text of the options, or else that of the conversation."""
        if self.known_system:
            return self.known_system[0]
        if self.options.system is None:
            return self.previous_turns.system if self.previous_turns else None
        from aiml_cli.prompt.file_sources import read_at_file  # many requests have no system text

        return read_at_file(self.options.system)

    def with_known_system(self) -> "ChatRequest":
        """Return the request with the system text already read: its file may be a pipe, which can be read only once."""
        return self if self.known_system else replace(self, known_system=(self.system,))

    def _check_prompt_id(self) -> None:
        options = self.options
        has_values = options.prompt_var or options.prompt_version
        has_prompt = options.prompt_id or any(name.partition(".")[0] == "prompt" for name in options.option_ or {})
        if self.endpoint.name == "responses" and has_values and not has_prompt:
            raise UsageError("--prompt-var and --prompt-version only work with --prompt-id")

    def _is_streamed(self) -> bool | None:
        """Return --stream; with --background it is False unless the user sets it."""
        is_default = self.settings.sources.get("stream") is Source.DEFAULT
        return False if self.options.background and is_default else self.options.stream

    def notify(self, notice: str) -> None:
        """Print a notice on stderr, unless --quiet is set."""
        if not self.options.quiet:
            print_err(f"aiml: {notice}")


def has_answer_format(options: Options) -> bool:
    """True if the answer must have a format that is checked."""
    return not is_stored_action(options) and bool(options.schema or options.json_object or options.items)


def uses_tools(options: Options) -> bool:
    """True if tools run on this machine, or if the user approves calls of tools that run on the server."""
    return bool(options.run_tool or (options.allow and options.mcp_server))


def open_tools(
    settings: Settings, *, shared: bool = False, repl: bool = False
) -> "AbstractContextManager[Tools | None]":
    """Start the tools of the options, if there are any, and stop them after the block.

    `shared`: several concurrent requests use them, and the user cannot be asked for approval. `repl`: the conversation
    is interactive, and calls of tools that run on the server are approved too.
    """
    if not (uses_tools(settings.options) or (repl and settings.options.mcp_server)):
        return nullcontext()
    from aiml_cli.core import tool_session  # few calls have tools

    if shared:
        return tool_session.open_shared_tools(settings)
    return tool_session.open_tools(settings, repl=repl)


def is_stored_action(options: Options) -> bool:
    """True if the call acts on a stored response and sends no prompt."""
    return bool(options.wait or options.show or options.cancel)


def key_instructions() -> str:
    """Return instructions to get a key: a line for each step on a terminal, else one line."""
    return ("\n      " if is_terminal(2) else "; ").join(KEY_INSTRUCTIONS)


def require_key(request: ChatRequest) -> None:
    """Raise AuthError if there is no key; --key-command is not run."""
    settings, options, url = request.settings, request.options, request.url
    if options.demo or options.replay or is_local(url):
        return
    if not (api_keys.find_stored_key(settings, url) or api_keys.has_key_command(settings, url)):
        raise AuthError(api_keys.explain_missing_key(settings, url), key_instructions())


def resolve_key(request: ChatRequest) -> ApiKey | None:
    """Return the key for the server; None for --demo and --replay. Raises AuthError if there is none."""
    settings, options, url = request.settings, request.options, request.url
    if request.known_key:
        return request.known_key[0]
    if options.record or options.replay:
        validate_paths(options)
    if options.demo or options.replay:
        return None
    key = api_keys.find_key(settings, url)
    api_keys.refuse_plain_http(url, key)
    if key is None and not is_local(url):
        raise AuthError(api_keys.explain_missing_key(settings, url), key_instructions())
    if key and key.notice:
        request.notify(key.notice)
    return key


def build_request(request: ChatRequest, body: Mapping[str, Any], key: ApiKey | None) -> HttpRequest:
    """Return the HTTP request with this body."""
    accept = "text/event-stream, application/json" if body.get("stream") else "application/json"
    headers = {**build_headers(key, accept), "Content-Type": "application/json"}
    return HttpRequest("POST", request.url, headers, encode_body(body))


def build_headers(key: ApiKey | None, accept: str) -> dict[str, str]:
    """Return the headers that every request to the API has."""
    headers = {"User-Agent": f"aiml/{__version__}", "Accept": accept, "Accept-Encoding": "identity"}
    return {**headers, "Authorization": f"Bearer {key.value}"} if key else headers
