"""Hold what the REPL knows: the settings so far, the conversation, and what waits to be sent with the next message."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from aiml_cli.api.answer import Answer, can_continue
from aiml_cli.api.endpoints import ENDPOINTS
from aiml_cli.catalog import pricing
from aiml_cli.cli.repl import conversation_lock
from aiml_cli.cli.repl.turns import Turn, TurnCost, build_previous_turns, join_turns, to_turn, turn_cost
from aiml_cli.core import turn
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.core.previous_turns import REST
from aiml_cli.core.schema_retry import response_spec_of
from aiml_cli.core.start_demo import use_demo_model
from aiml_cli.errors import AimlError, HungUp, ReaderClosed, Terminated, UsageError
from aiml_cli.output.choose_renderer import choose_output
from aiml_cli.prompt.file_sources import FileContent as Text
from aiml_cli.settings.conflicts import check_conflicts
from aiml_cli.settings.options import REPL
from aiml_cli.settings.resolve import Flags, RawValue, Settings, Source, resolve
from aiml_cli.settings.urls import host_of
from aiml_cli.store.config_file import read_sources
from aiml_cli.system.stdio import print_err
from aiml_cli.system.terminal import disable_echo

if TYPE_CHECKING:
    from aiml_cli.api.messages import Conversation

# What was said of one message is not said of the next.
OF_ONE_MESSAGE = (
    "file", "continue", "resume", "messages", "tool_result", "output", "interactive", "edit", "template", "param",
    "previous_response_id",
)  # fmt: skip
LEAVE_STDIN = {"no_stdin": RawValue(("on",), "the REPL")}
LOADED = "the conversation"
ENDINGS = (ReaderClosed, Terminated, HungUp)


@dataclass(slots=True)
class Session:
    """Hold a conversation in the making; `url` is that of the embedded server, where it was asked for.

    `without` names the settings that count for nothing, whoever says them. `row` is the conversation in the
    history, `root` the stored response that it was begun behind, `unanswered` what was asked last in vain.
    """

    endpoint: str
    flags: Flags
    url: str | None = None
    template: Flags = field(default_factory=dict)
    set: dict[str, RawValue] = field(default_factory=dict)
    without: frozenset[str] = frozenset()
    files: list[str] = field(default_factory=list)
    outputs: list[Text] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    costs: list[TurnCost] = field(default_factory=list)
    row: int | None = None
    root: str | None = None
    system: str | None = None
    prompt: str = ""
    answer: Answer | None = None
    unanswered: "Conversation | None" = None
    is_told: bool = False
    is_over: bool = False

    @property
    def tokens(self) -> int:
        """Count the tokens of this conversation."""
        return sum(each.total_tokens or 0 for each in self.costs)

    @property
    def cost_usd(self) -> float:
        """Add up what this conversation cost, as far as that is known."""
        return sum(each.cost_usd or 0.0 for each in self.costs)

    @property
    def queued(self) -> list[str]:
        """Name what waits to be sent with the next message."""
        return [*self.files, *(each.name for each in self.outputs)]

    def settings(self, more: Mapping[str, RawValue] | None = None) -> Settings:
        """Settle the settings as they are now; what is said here is newer than what was typed at the start."""
        typed = {name: said for name, said in self.flags.items() if name not in (*OF_ONE_MESSAGE, *self.set)}
        template = {name: said for name, said in self.template.items() if name not in self.set}
        profile = {"profile": self.set["profile"]} if "profile" in self.set else {}
        flags = {**typed, **profile, **LEAVE_STDIN, **(more or {})}
        spoken = {**read_sources(flags, os.environ, template), Source.SET: self.set}
        heard = {who: {name: said[name] for name in said.keys() - self.without} for who, said in spoken.items()}
        return self._addressed(resolve(heard, self.endpoint))

    def check_flags(self) -> None:
        """Raise UsageError for flags that a conversation in turns cannot have."""
        check_conflicts(resolve(read_sources(self.flags, os.environ), self.endpoint), (REPL,))
        if "model" in self.flags and len(self.flags["model"].texts) > 1:
            hint = "-m A,B asks B where A is not to be had; /retry -m B asks another one again"
            raise UsageError("a conversation in turns is held with one model", hint)
        if "previous_response_id" in self.flags:
            self.root = self.flags["previous_response_id"].texts[-1]

    def ask_initial(self, words: Sequence[str]) -> None:
        """Ask what the command line asks, with its files and what was piped in."""
        flags: Flags = {name: self.flags[name] for name in self.flags.keys() - {"continue", "resume", "interactive"}}
        try:
            if flags.keys() & {"template", "param", "edit"}:
                from aiml_cli.core import template_fill  # few begin with one

                words, flags, self.template = template_fill.prepare_prompt(self.endpoint, words, flags)
            settings = self._addressed(resolve(read_sources(flags, os.environ, self.template), self.endpoint))
            if words or settings.options.file or not self.template:
                self.run_turn(settings, words)
        except AimlError as fault:
            report_error(fault)

    def attach(self, name: str, output: str) -> None:
        """Send the output of a command along with the next message."""
        self.outputs.append(Text(f"$ {name}", output.encode("utf-8", "replace")))

    def model_name(self) -> str:
        """Name the model that is asked now."""
        try:
            return self.settings().options.model or ""
        except AimlError:
            return "?"

    def ask(self, text: str, more: Mapping[str, RawValue] | None = None) -> None:
        """Ask, show the answer, and keep both; a fault is told, and ends nothing."""
        files = {"file": RawValue(tuple(self.files), "/file")} if self.files else {}
        try:
            self.run_turn(self.settings({**files, **(more or {})}), text.split(" ") if text else [])
        except AimlError as fault:
            report_error(fault)

    def run_turn(
        self,
        settings: Settings,
        words: Sequence[str] = (),
        again: "Conversation | None" = None,
        instead_of: int = 0,
    ) -> None:
        """Hold a turn with settings of its own; its answer takes the place of so many of the last ones.

        `again` is said as it is, without the files that wait.
        """
        check_conflicts(settings)
        options = settings.options
        texts = () if again else tuple(self.outputs)
        question = ChatRequest(
            ENDPOINTS[self.endpoint], words, settings, response_spec_of(settings), extra_files=texts, repeated=again
        )
        earlier = self.turns[: len(self.turns) - instead_of]
        past = build_previous_turns(earlier, self.row, self.system, host_of(question.url), self.root)
        conversation_lock.acquire_again(self.row)
        try:
            with disable_echo():
                done = turn.run_turn(replace(question, previous_turns=past), choose_output(options, os.environ))
        finally:
            conversation_lock.ensure_held(self.row)
        self._count(done)
        self._keep(done, earlier)
        self._tell(done)

    def reset(self) -> None:
        """Begin a new conversation; the settings stay."""
        conversation_lock.release(self.row)
        self.turns, self.costs = [], []
        self.row = self.root = self.system = self.unanswered = self.answer = None
        self.is_told = False
        if self.set.get("model", RawValue((), "")).source_name == LOADED:
            del self.set["model"]

    def warn_not_saved(self) -> None:
        """Say that nothing is kept, the first time that somebody might think so."""
        if self.row is None and not self.is_told:
            print_err("aiml: nothing of this conversation is kept in the history; it holds while aiml runs")
            self.is_told = True

    def _addressed(self, settled: Settings) -> Settings:
        """Send it to the embedded server, where that was asked for."""
        if self.url is None:
            return settled
        there = settled if "model" in self.set else use_demo_model(settled)
        return replace(there, options=replace(there.options, base_url=self.url))

    def _count(self, done: turn.TurnResult) -> None:
        """Add what was spent; the price is looked up where the gateway told none, for the toolbar shows it."""
        settings = done.request.settings
        seen = replace(settings, options=replace(settings.options, usage=True))
        if added := turn_cost(done, pricing.add_estimated_cost(done.answer, seen).cost_usd):
            self.costs.append(added)

    def _keep(self, done: turn.TurnResult, earlier: list[Turn]) -> None:
        self.answer = done.answer
        if done.answer.attempts and done.request.repeated is None:  # before that the files go on waiting
            self.prompt, self.files, self.outputs = " ".join(done.request.words), [], []
        added = to_turn(done)
        if added is None:
            self.unanswered = (
                done.conversation if done.answer.attempts and done.conversation is not REST else self.unanswered
            )
            return
        dropped, self.unanswered = self.turns[len(earlier) :], None
        is_rest = done.conversation is REST and bool(earlier)
        self.turns = [*earlier[:-1], join_turns(earlier[-1], added)] if is_rest else [*earlier, added]
        self.system = done.request.system
        if done.row:
            self.row = done.row.conversation
            conversation_lock.ensure_held(self.row)
        if dropped:
            conversation_lock.undo_in_history(self.row, max((each.row for each in earlier), default=0), dropped[-1].row)

    def _tell(self, done: turn.TurnResult) -> None:
        """Tell how it ended, where it did not end well."""
        completion, error = done.answer.completion, done.answer.error
        if error is None:
            if completion.hit_length_limit:
                print_err(f"aiml: {completion.incomplete_reason}")
            return
        if can_continue(completion):
            error.hint = "/continue asks for the rest"
        report_error(error)


def report_error(fault: AimlError) -> None:
    """Tell a fault as the program's end would; the REPL goes on, unless it is to end. Then it raises it."""
    if isinstance(fault, ENDINGS):
        raise fault
    print_err(f"aiml: {fault.message}")
    if fault.hint:
        print_err(f"hint: {fault.hint}")
