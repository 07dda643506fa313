"""What is asked of whom: the settled settings, the body they make, and the key that goes with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from aiml_cli import __version__
from aiml_cli.api.endpoints import Endpoint
from aiml_cli.api.request_body import written
from aiml_cli.core.build_conversation import conversation
from aiml_cli.errors import AimlError, Misuse, NotAllowed
from aiml_cli.prompt.compose import from_file
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings, Source
from aiml_cli.settings.urls import is_local
from aiml_cli.store import api_keys, key_storage
from aiml_cli.system.stdio import is_terminal, print_err

if TYPE_CHECKING:
    from aiml_cli.api.messages import Conversation
    from aiml_cli.core.previous_turns import Before
    from aiml_cli.prompt.file_sources import Source as Text
    from aiml_cli.schema.check import Wanted
    from aiml_cli.transport.http_types import Request

HOW_TO_GET_A_KEY = (
    "get one at https://aimlapi.com/app/keys",
    "then store it: aiml config key",
    "or try without one: aiml chat --demo hello",
)


@dataclass(frozen=True, slots=True)
class Question:
    """Hold what is asked of whom.

    `texts` go along with the files; `again` is said as it is, in the place of words, files and texts. `held` is the
    key, where it was looked for before. `others` are asked in turn where the model is not to be had.
    """

    endpoint: Endpoint
    words: Sequence[str]
    settings: Settings
    wanted: "Wanted | None" = None
    before: "Before | None" = None
    read: tuple[str | None] | None = None
    texts: "Sequence[Text]" = ()
    again: "Conversation | None" = None
    held: tuple[key_storage.Key | None] | None = None
    others: tuple[str, ...] = ()

    @property
    def options(self) -> Options:
        """Give the settled options."""
        return self.settings.options

    @property
    def url(self) -> str:
        """Give the address that the question goes to."""
        return (self.options.base_url or "").rstrip("/") + self.endpoint.path

    def said(self) -> "Conversation":
        """Give what is said now; reads standard input and files. Raises Misuse for what cannot be meant."""
        if self.again:
            return self.again
        self._see_that_a_template_is_named()
        if self.options.option_ and not self.options.quiet:
            from aiml_cli.catalog import unknown_parameters  # for few calls only

            for warning in unknown_parameters.warnings(self.settings, self.endpoint.name):
                self.tell(warning)
        earlier = self.before.turns if self.before else None
        said = conversation(self.words, self.settings, self.endpoint.name, self.tell, before=earlier, texts=self.texts)
        return said if said.turns or not self.before else self.before.go_on()

    def body(self, said: "Conversation", how: int = 0) -> dict[str, Any]:
        """Make the request's body; `how` is in which way what was said before is sent."""
        options = replace(self.options, system=self.system, stream=self._stream())
        if self.before:
            said, options = self.before.joined(said, options, self.endpoint.name, how)
        return self.endpoint.body(said, self.wanted.put(options) if self.wanted else options)

    @property
    def system(self) -> str | None:
        """Give the system text, from its file where it names one; else that of the conversation."""
        if self.read:
            return self.read[0]
        if self.options.system is None:
            return self.before.system if self.before else None
        return from_file(self.options.system)

    def with_its_system(self) -> "Question":
        """Read the system text for good: its file may be a pipe, which says it once."""
        return replace(self, read=(self.system,))

    def _see_that_a_template_is_named(self) -> None:
        options = self.options
        given = options.prompt_var or options.prompt_version
        elsewhere = any(name.partition(".")[0] == "prompt" for name in options.option_ or {})
        if self.endpoint.name == "responses" and given and not options.prompt_id and not elsewhere:
            raise Misuse("--prompt-var and --prompt-version say nothing without --prompt-id")

    def _stream(self) -> bool | None:
        """Stream unless the server only takes the question on, and nobody asked for a stream."""
        by_default = self.settings.sources.get("stream") is Source.DEFAULT
        return False if self.options.background and by_default else self.options.stream

    def tell(self, notice: str) -> None:
        """Say what the user should know, unless they want to know nothing."""
        if not self.options.quiet:
            print_err(f"aiml: {notice}")


def is_errand(options: Options) -> bool:
    """Say whether a stored response is followed up, so that nothing is asked."""
    return bool(options.wait or options.show or options.cancel)


def how_to_get_a_key() -> str:
    """Tell a person line by line, and a script in one."""
    return ("\n      " if is_terminal(2) else "; ").join(HOW_TO_GET_A_KEY)


def see_that_there_is_a_key(question: Question) -> None:
    """Raise NotAllowed where there can be none; no command is run for it."""
    settings, url = question.settings, question.url
    if not (
        question.options.demo
        or question.options.replay
        or is_local(url)
        or api_keys.held(settings, url)
        or api_keys.asks(settings, url)
    ):
        raise NotAllowed(api_keys.why_none(settings, url), how_to_get_a_key())


def key_for(question: Question) -> key_storage.Key | None:
    """Find the key for the server; the embedded one and a recording get none."""
    if question.held:
        return question.held[0]
    if question.options.record or question.options.replay:
        from aiml_cli.transport.choose_transport import ready  # for few calls only

        ready(question.options)
    if question.options.demo or question.options.replay:
        return None
    key = api_keys.find(question.settings, question.url)
    api_keys.guard(question.url, key)
    if key is None and not is_local(question.url):
        raise NotAllowed(api_keys.why_none(question.settings, question.url), how_to_get_a_key())
    if key and key.notice:
        question.tell(key.notice)
    return key


def request_of(question: Question, body: Mapping[str, Any], key: key_storage.Key | None) -> "Request":
    """Make the request that asks."""
    from aiml_cli.transport.http_types import Request

    accept = "text/event-stream, application/json" if body.get("stream") else "application/json"
    headers = {**headers_of(key, accept), "Content-Type": "application/json"}
    return Request("POST", question.url, headers, written(body))


def headers_of(key: key_storage.Key | None, accept: str) -> dict[str, str]:
    """Make the headers of every request to the API."""
    headers = {"User-Agent": f"aiml/{__version__}", "Accept": accept, "Accept-Encoding": "identity"}
    return {**headers, "Authorization": f"Bearer {key.value}"} if key else headers


def masked(error: AimlError, key: key_storage.Key | None) -> AimlError:
    """Take the key out of a failure: servers repeat what they got."""
    error.message, error.hint = api_keys.masked(error.message, key), api_keys.masked(error.hint, key)
    error.details = {name: api_keys.masked(v, key) if isinstance(v, str) else v for name, v in error.details.items()}
    return error
