"""Run `aiml cmd`: show the shell command that a model writes, and run it only if the user agrees."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

from aiml_cli.core import shell_command, turn
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.core.shell_command import Proposal, ShellRequests
from aiml_cli.core.start_demo import start_demo_if_asked
from aiml_cli.core.turn import TurnResult
from aiml_cli.errors import STOP_ERRORS, AimlError, AnswerMismatch, UsageError
from aiml_cli.output.choose_renderer import choose_output, has_color
from aiml_cli.output.plain_text import NullRenderer
from aiml_cli.settings.resolve import Flags, Settings
from aiml_cli.store.history import edits
from aiml_cli.system.questions import Note, ask_answer, ask_line, can_read_terminal
from aiml_cli.system.stdio import print_err, print_out
from aiml_cli.system.terminal import hide_keys, is_terminal
from aiml_cli.transport.choose_transport import validate_paths

PROMPT = "[r]un [e]dit re[v]ise e[x]plain [c]opy [n]o: "
ANSWERS = {
    "r": "run", "run": "run", "e": "edit", "edit": "edit", "v": "revise", "revise": "revise", "x": "explain",
    "explain": "explain", "c": "copy", "copy": "copy", "n": "no", "no": "no", "q": "no", "quit": "no",
}  # fmt: skip
EXPLANATION = "r: run it. e: edit it. v: say what to change. x: explain it. c: copy it. n: quit."
DIM, BOLD = "\x1b[2m", "\x1b[1m"


def write_command(words: Sequence[str], flags: Flags, names: Sequence[str]) -> int:
    """Request a command, let the user decide, and return the exit code; `names` are the options that have a flag.

    Without a terminal, the command is printed. Raises AnswerMismatch if the user does not want to run it.
    """
    shell = shell_command.find_shell(os.environ)
    settings = shell_command.resolve_settings(flags, names, shell, os.environ)
    options = settings.options
    if options.record or options.replay:
        validate_paths(options)  # before any other file is opened
    if options.dry_run or options.as_:
        from aiml_cli.core import dry_run  # few calls need it

        settings = dry_run.use_placeholder_server(settings)
        return dry_run.print_snippet(ShellRequests(settings, shell).ask(words))
    with start_demo_if_asked(settings) as settings:
        dialog = _Dialog(settings, shell)
        proposal = dialog.ask(words)
        if not (is_terminal(1) and can_read_terminal()):
            return _print_command(proposal, settings)
        command = dialog.decide(proposal)
    if command is None:
        return 0
    from aiml_cli.system.child_process import run_on_terminal  # many commands are not run

    return run_on_terminal([shell, "-c", command])


class _Dialog:
    """The dialog with the model and the user about the command to run."""

    def __init__(self, settings: Settings, shell: str) -> None:
        self._settings, self._shell = settings, shell
        self._requests = ShellRequests(settings, shell)
        color = settings.options.color or "auto"
        self._dim, self._bold = (DIM, BOLD) if has_color(2, color, os.environ) else ("", "")

    def ask(self, words: Sequence[str]) -> Proposal:
        """Return the first command; raise the error of the turn."""
        return self._propose(self._requests.ask(words))

    def decide(self, proposal: Proposal) -> str | None:
        """Return the command to run, or None if it was copied; raise AnswerMismatch if the user declines."""
        while True:
            match self._ask_user(proposal):
                case "run":
                    return proposal.command if self._is_confirmed(proposal) else _refuse()
                case "yes":  # the user typed the whole word, as a risky command requires
                    return proposal.command
                case "copy":
                    if self._copy(proposal):
                        return None
                case "edit":
                    proposal = self._edit(proposal)
                case "revise":
                    proposal = self._revise(proposal)
                case "explain":
                    self._explain(proposal)
                case _:
                    _refuse()

    def _ask_user(self, proposal: Proposal) -> str:
        risks = proposal.risks
        notes = [Note(proposal.explanation, self._dim)] if proposal.explanation else []
        if risks:
            notes.append(Note(f"risky: {', '.join(risks)}", self._bold, is_foreign=False))
        answers = {**ANSWERS, "yes": "yes"} if risks else ANSWERS
        title = f"aiml: a command for {self._shell.rpartition('/')[2]}:"
        return ask_answer(title, proposal.command, PROMPT, answers, explanation=EXPLANATION, notes=notes)

    def _is_confirmed(self, proposal: Proposal) -> bool:
        """True if the command is not risky, or if the user types "yes" in full."""
        if not (risks := proposal.risks):
            return True
        answer = ask_line(f"aiml: this command is risky: {', '.join(risks)}", "", "type yes to run it: ")
        return (answer or "").strip().lower() == "yes"

    def _edit(self, proposal: Proposal) -> Proposal:
        try:
            command = self._edit_text(proposal.command).strip()
        except UsageError as error:
            _report(error)
            return proposal
        if problem := shell_command.find_command_error(command):
            print_err(f"aiml: {problem}")
            return proposal
        if command in ("", proposal.command):
            return proposal
        return proposal._replace(command=command, explanation="", is_edited=True)

    def _edit_text(self, text: str) -> str:
        if os.environ.get("TERM", "") in ("", "dumb"):
            from aiml_cli.core import prompt_editor  # such a terminal has no line editor

            return prompt_editor.edit_text(text, os.environ)
        from aiml_cli.cli.repl import line_editor  # its import takes a tenth of a second

        return line_editor.edit_line("$ ", text, self._settings.options.color or "auto")

    def _revise(self, proposal: Proposal) -> Proposal:
        change = ask_line("", "", "what should change? ")
        if not (change and change.strip()):
            return proposal
        try:
            return self._propose(self._requests.revise(proposal, change.strip()))
        except STOP_ERRORS:
            raise
        except AimlError as error:
            _report(error)
            return proposal

    def _explain(self, proposal: Proposal) -> None:
        result = self._run_turn(self._requests.explain(proposal), is_shown=True)
        if isinstance(result.answer.error, STOP_ERRORS):
            raise result.answer.error
        if result.answer.error:
            _report(result.answer.error)

    def _copy(self, proposal: Proposal) -> bool:
        from aiml_cli.system.clipboard import copy_text  # few commands are copied

        try:
            print_err(f"aiml: {copy_text(proposal.command)}")
        except AimlError as error:
            _report(error)
            return False
        return True

    def _propose(self, request: ChatRequest) -> Proposal:
        """Send a request and return the proposed command; raise the error of the turn."""
        result = self._run_turn(request)
        if self._requests.spec.is_native and shell_command.refuses_schema(result.answer):
            request.notify("the server does not support schemas for this model; the schema is added to the system text")
            result = self._run_turn(self._requests.in_words(request))
        return shell_command.read_proposal(result)

    def _run_turn(self, request: ChatRequest, *, is_shown: bool = False) -> TurnResult:
        """Run a turn; if it succeeds, the next request continues it."""
        if request.previous_turns:
            edits.relock_conversation(request.previous_turns.id)
        output = choose_output(request.options, os.environ)
        with hide_keys():
            result = turn.run_turn(request, output if is_shown else replace(output, stdout=NullRenderer()))
        if result.answer.error is None:
            self._requests.add_turn(result)
        return result


def _print_command(proposal: Proposal, settings: Settings) -> int:
    if proposal.risks and not settings.options.quiet:
        print_err(f"aiml: risky: {', '.join(proposal.risks)}")
    return print_out(f"{proposal.command}\n")


def _report(error: AimlError) -> None:
    print_err(f"aiml: {error.message}")
    if error.hint:
        print_err(f"hint: {error.hint}")


def _refuse() -> NoReturn:
    raise AnswerMismatch("nothing was run")
