"""Run the tools that an answer calls, and send the results back, until the model answers without a call."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count

from aiml_cli.api.answer import Answer, RanCall, ToolRound
from aiml_cli.api.completion_builder import Completion
from aiml_cli.api.message_conversion import answer_to_items, to_raw_items
from aiml_cli.api.messages import Conversation, HistoryMode, RawMessage
from aiml_cli.api.tool_formats import list_function_names
from aiml_cli.core.build_conversation import CONVERSATION_FITS
from aiml_cli.core.chat_request import ChatRequest
from aiml_cli.core.previous_turns import PreviousTurns
from aiml_cli.core.run_tool_calls import report_recorded, run_round
from aiml_cli.core.send_with_retries import TurnContext
from aiml_cli.core.tool_session import ReplayedTools, ToolSession
from aiml_cli.errors import AnswerMismatch, IncompleteAnswer, UsageError
from aiml_cli.settings.options import Options

# The reason of an IncompleteAnswer whose last response is complete: a limit ended the rounds of tool calls.
ROUND_LIMIT_REASON = "limit"
Send = Callable[[TurnContext], None]


def send_with_tools(context: TurnContext, session: ToolSession | ReplayedTools, send: Send) -> None:
    """Send a request with `send`, run the tools that are called, and send again with their results.

    Raises IncompleteAnswer after --max-rounds, and AnswerMismatch at the end if a call was not allowed.
    """
    limit, refused = context.request.options.max_rounds or 0, list[RanCall]()
    for number in count(1):
        send(context)
        completion = _with_call_ids(context)
        if not _calls_tools(context.request.options, completion):
            break
        context.output.end_round(Answer(context.request.endpoint.name, completion))
        if number > limit:
            rounds = f"{limit} rounds" if limit > 1 else "one round"
            raise IncompleteAnswer(
                f"stopped after {rounds} of tool calls", "--max-rounds N allows more", stopped_by=ROUND_LIMIT_REASON
            )
        tool_round = _run_round(context, session, completion)
        context.output.show_results(tool_round)
        refused += [call for call in tool_round.calls if call.is_refused]
        context = _start_next_round(context, completion, tool_round)
    if refused and context.sender.completion().is_complete:
        raise _build_refusal(refused)


def _run_round(context: TurnContext, session: ToolSession | ReplayedTools, completion: Completion) -> ToolRound:
    if isinstance(session, ReplayedTools):
        tool_round = session.find_round(completion, context.build_body())
        report_recorded(context.request, tool_round)
        return tool_round
    return run_round(session, context.request, completion, context.key)


def _calls_tools(options: Options, completion: Completion) -> bool:
    """True if a complete answer calls tools that all run here, or asks for an approval."""
    if not completion.is_complete:
        return False
    calls = completion.first.tool_calls
    if {call.name for call in calls} & list_function_names(options.tools):
        return False  # the caller runs the functions of --tools, and sends the results of all calls
    return bool(calls) or any(item.get("type") == "mcp_approval_request" for item in completion.output)


def _with_call_ids(context: TurnContext) -> Completion:
    """Return the answer with a unique id for each call: some servers send none, or the same one twice.

    A new id is different in each round, but the same in a replay.
    """
    completion, previous = context.sender.completion(), context.request.previous_turns
    calls = completion.first.tool_calls
    if len({call.id for call in calls if call.id}) == len(calls):
        return completion
    prefix = f"call_{len(previous.messages) if previous else 0}"
    ids = [call.id for call in calls]
    named = tuple(
        call if call.id and ids.index(call.id) == number else call._replace(id=f"{prefix}_{number}")
        for number, call in enumerate(calls)
    )
    first = replace(completion.first, tool_calls=named)
    return replace(completion, choices=(first, *completion.choices[1:]))


def _start_next_round(context: TurnContext, completion: Completion, tool_round: ToolRound) -> TurnContext:
    """Return the context of the request that sends the results; raise IncompleteAnswer if it could cost too much.

    The results are stored in both cases.
    """
    request = context.request
    request = replace(
        request,
        previous_turns=_add_round(request, context.conversation, completion),
        settings=replace(request.settings, options=_release_tool_choice(request.options)),
    )
    if context.budget and context.reservation:
        context.budget.settle(context.reservation.usd, context.reservation.cost_of(context.sender.answer(None)))
    context.sender.start_next_round(tool_round)
    results = Conversation(tool_round.results)
    if request.options.fit in CONVERSATION_FITS:
        from aiml_cli.core import compact  # few conversations are so long

        request = compact.fit_next_round(request, results)
    return _reserve(context._replace(request=request, conversation=results))


def _add_round(request: ChatRequest, conversation: Conversation, completion: Completion) -> PreviousTurns:
    """Return the previous turns with the messages of a request and its answer."""
    previous, endpoint = request.previous_turns, request.endpoint.name
    items = [item for message in conversation.messages for item in to_raw_items(message)]
    items += answer_to_items(endpoint, completion)
    is_stored = endpoint == "responses" and request.options.store
    return PreviousTurns(
        previous.id if previous else None,
        (*(previous.messages if previous else ()), *map(RawMessage, items)),
        previous.system if previous else None,
        completion.started.id if is_stored else None,
        is_truncated=False,
        root_response_id=previous.root_response_id if previous else request.options.previous_response_id,
        head_count=previous.head_count if previous else 0,
    )


def _release_tool_choice(options: Options) -> Options:
    """Return options without a forced tool choice: if each round had to call a tool, the loop would never end."""
    return options if options.tool_choice in (None, "auto", "none") else replace(options, tool_choice="auto")


def _reserve(context: TurnContext) -> TurnContext:
    """Reserve what the next request may cost."""
    budget, last = context.budget, context.reservation
    if budget is None or last is None:
        return context
    body = context.build_body(history=HistoryMode.FULL)
    try:
        return context._replace(reservation=budget.reserve(last.settings, body))
    except UsageError as error:
        raise IncompleteAnswer(error.message, error.hint, stopped_by=ROUND_LIMIT_REASON) from None


def _build_refusal(calls: Sequence[RanCall]) -> AnswerMismatch:
    names = ", ".join(dict.fromkeys(call.name for call in calls))
    number = "a tool call was" if len(calls) == 1 else f"{len(calls)} tool calls were"
    return AnswerMismatch(f"{number} not allowed: {names}", "--allow NAME runs a tool without asking", refused=names)
