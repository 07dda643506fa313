"""What is asked of whom: the settled settings, the body they make, and the key that goes with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from aiml_cli import __version__
from aiml_cli.api.endpoints import Endpoint
from aiml_cli.api.request_body import encode_body
from aiml_cli.core.build_conversation import build_conversation
from aiml_cli.core.previous_turns import HistoryMode, PreviousTurns
from aiml_cli.errors import AuthError, UsageError
from aiml_cli.prompt.compose import read_at_file
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings, Source
from aiml_cli.settings.urls import is_local
from aiml_cli.store import api_keys, key_storage
from aiml_cli.system.stdio import print_err
from aiml_cli.system.terminal import is_terminal

if TYPE_CHECKING:
    from aiml_cli.api.messages import Conversation
    from aiml_cli.prompt.file_sources import FileContent as Text
    from aiml_cli.schema.check import ResponseSpec
    from aiml_cli.transport.http_types import HttpRequest

HOW_TO_GET_A_KEY = (
    "get one at https://aimlapi.com/app/keys",
    "then store it: aiml config key",
    "or try without one: aiml chat --demo hello",
)


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """Hold what is asked of whom.

    `texts` go along with the files; `again` is said as it is, in the place of words, files and texts. `held` is the
    key, where it was looked for before. `others` are asked in turn where the model is not to be had.
    """

    endpoint: Endpoint
    words: Sequence[str]
    settings: Settings
    response_spec: "ResponseSpec | None" = None
    previous_turns: PreviousTurns | None = None
    known_system: tuple[str | None] | None = None
    extra_files: "Sequence[Text]" = ()
    repeated: "Conversation | None" = None
    known_key: tuple[key_storage.ApiKey | None] | None = None
    fallback_models: tuple[str, ...] = ()

    @property
    def options(self) -> Options:
        """Give the settled options."""
        return self.settings.options

    @property
    def url(self) -> str:
        """Give the address that the question goes to."""
        return (self.options.base_url or "").rstrip("/") + self.endpoint.path

    def read_conversation(self) -> "Conversation":
        """Give what is said now; reads standard input and files. Raises UsageError for what cannot be meant."""
        if self.repeated:
            return self.repeated
        self._see_that_a_template_is_named()
        if self.options.option_ and not self.options.quiet:
            from aiml_cli.catalog import unknown_parameters  # for few calls only

            for warning in unknown_parameters.list_warnings(self.settings, self.endpoint.name):
                self.notify(warning)
        earlier = self.previous_turns.messages if self.previous_turns else None
        said = build_conversation(
            self.words, self.settings, self.endpoint.name, self.notify, before=earlier, texts=self.extra_files
        )
        return said if said.messages or not self.previous_turns else self.previous_turns.continue_request()

    def build_body(self, said: "Conversation", how: HistoryMode = HistoryMode.BY_ID) -> dict[str, Any]:
        """Make the request's body; `how` is in which way what was said before is sent."""
        options = replace(self.options, system=self.system, stream=self._stream())
        if self.previous_turns:
            said, options = self.previous_turns.join(said, options, self.endpoint.name, how)
        return self.endpoint.build_body(said, self.response_spec.apply(options) if self.response_spec else options)

    @property
    def system(self) -> str | None:
        """Give the system text, from its file where it names one; else that of the conversation."""
        if self.known_system:
            return self.known_system[0]
        if self.options.system is None:
            return self.previous_turns.system if self.previous_turns else None
        return read_at_file(self.options.system)

    def with_known_system(self) -> "ChatRequest":
        """Read the system text for good: its file may be a pipe, which says it once."""
        return replace(self, known_system=(self.system,))

    def _see_that_a_template_is_named(self) -> None:
        options = self.options
        given = options.prompt_var or options.prompt_version
        elsewhere = any(name.partition(".")[0] == "prompt" for name in options.option_ or {})
        if self.endpoint.name == "responses" and given and not options.prompt_id and not elsewhere:
            raise UsageError("--prompt-var and --prompt-version say nothing without --prompt-id")

    def _stream(self) -> bool | None:
        """Stream unless the server only takes the question on, and nobody asked for a stream."""
        by_default = self.settings.sources.get("stream") is Source.DEFAULT
        return False if self.options.background and by_default else self.options.stream

    def notify(self, notice: str) -> None:
        """Say what the user should know, unless they want to know nothing."""
        if not self.options.quiet:
            print_err(f"aiml: {notice}")


def is_stored_action(options: Options) -> bool:
    """Say whether a stored response is followed up, so that nothing is asked."""
    return bool(options.wait or options.show or options.cancel)


def key_instructions() -> str:
    """Tell a person line by line, and a script in one."""
    return ("\n      " if is_terminal(2) else "; ").join(HOW_TO_GET_A_KEY)


def require_key(question: ChatRequest) -> None:
    """Raise AuthError where there can be none; no command is run for it."""
    settings, url = question.settings, question.url
    if not (
        question.options.demo
        or question.options.replay
        or is_local(url)
        or api_keys.find_stored_key(settings, url)
        or api_keys.has_key_command(settings, url)
    ):
        raise AuthError(api_keys.explain_missing_key(settings, url), key_instructions())


def resolve_key(question: ChatRequest) -> key_storage.ApiKey | None:
    """Find the key for the server; the embedded one and a recording get none."""
    if question.known_key:
        return question.known_key[0]
    if question.options.record or question.options.replay:
        from aiml_cli.transport.choose_transport import validate_paths  # for few calls only

        validate_paths(question.options)
    if question.options.demo or question.options.replay:
        return None
    key = api_keys.find_key(question.settings, question.url)
    api_keys.refuse_plain_http(question.url, key)
    if key is None and not is_local(question.url):
        raise AuthError(api_keys.explain_missing_key(question.settings, question.url), key_instructions())
    if key and key.notice:
        question.notify(key.notice)
    return key


def build_request(question: ChatRequest, body: Mapping[str, Any], key: key_storage.ApiKey | None) -> "HttpRequest":
    """Make the request that asks."""
    from aiml_cli.transport.http_types import HttpRequest

    accept = "text/event-stream, application/json" if body.get("stream") else "application/json"
    headers = {**build_headers(key, accept), "Content-Type": "application/json"}
    return HttpRequest("POST", question.url, headers, encode_body(body))


def build_headers(key: key_storage.ApiKey | None, accept: str) -> dict[str, str]:
    """Make the headers of every request to the API."""
    headers = {"User-Agent": f"aiml/{__version__}", "Accept": accept, "Accept-Encoding": "identity"}
    return {**headers, "Authorization": f"Bearer {key.value}"} if key else headers
