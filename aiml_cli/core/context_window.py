"""Count the tokens of a request, cut inputs to fit into the model's context, and split text."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from aiml_cli.api.message_conversion import to_raw_items
from aiml_cli.api.messages import AnyMessage
from aiml_cli.api.model_list import Model, build_models
from aiml_cli.catalog.find_models import fetch_models, find_model, load_stored_models
from aiml_cli.catalog.pricing import CHARS_PER_TOKEN, estimate_tokens
from aiml_cli.errors import AimlError, UsageError
from aiml_cli.prompt.file_sources import Notify
from aiml_cli.prompt.message_parts import InputText, PromptParts
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings

# An input of this size fits into every context, so nothing is looked up for it.
SMALL_INPUT_TOKENS = 2_000
# Most images take a few hundred tokens, some more; the size of a PDF or audio is not known beforehand.
TYPICAL_IMAGE_TOKENS = 1_500
CUT_NOTE_TOKENS = 20
MESSAGE_TOKENS = 4  # the overhead of a message
# Without a token limit, an eighth of the context is reserved for the answer.
ANSWER_DIVISOR = 8
PART_NAMES = {"head": "its head", "tail": "its tail", "middle": "both ends"}
SHORTER_ANSWER_HINT = "use a lower --max-tokens"
UNKNOWN_CONTEXT_HINT = "without --fit all of it is sent; aiml models lists the models whose context is known"
_IMAGE_TYPES = ("image_url", "input_image")
# Properties whose values are not text for the model, or whose size is unknown.
_UNCOUNTED_KEYS = ("type", "role", "id", "status", "call_id", "tool_call_id", "file_data", "data", "encrypted_content")
CONTEXT = "context"  # the value of `missing` in an error's details if the context is unknown
CutText = tuple[str, int, str]  # the head that is sent, the number of tokens left out, the tail that is sent
# Where a text is split, the best first; all are searched for in the last half of a piece.
SPLIT_MARKS = ("\n\n", "\n", ". ", " ")


def fit_inputs(parts: PromptParts, settings: Settings, notify: Notify, other_text: str = "") -> Sequence[str]:
    """Return the texts of the inputs, cut if they do not fit together; raise UsageError if the context is unknown.

    `other_text` is sent too: the system text and the previous messages.
    """
    texts = [item.text for item in parts.inputs]
    sizes = [estimate_tokens(text) for text in texts]
    other_tokens = (
        sum(map(estimate_tokens, [*parts.other_texts, other_text])) + TYPICAL_IMAGE_TOKENS * parts.image_count
    )
    if sum(sizes) + other_tokens <= SMALL_INPUT_TOKENS:
        return texts
    room = available_tokens(settings) - other_tokens
    if sum(sizes) <= room:
        return texts
    room -= CUT_NOTE_TOKENS * len(texts)
    if room <= 0:
        raise UsageError("the prompt alone does not fit into the model's context", "shorten it, or use another model")
    cut_texts = _cut_texts(texts, sizes, room, settings.options.fit or "head")
    _notify_cut(parts.inputs, cut_texts, sum(sizes), settings.options, notify)
    return [_join_cut_text(text, *cut_text) for text, cut_text in zip(texts, cut_texts, strict=True)]


def warn_if_too_long(parts: PromptParts, settings: Settings, notify: Notify) -> None:
    """Suggest --fit if the inputs exceed the model's context according to the stored catalog."""
    model = find_model(load_stored_models(settings) or [], settings.options.model or "")
    if not (model and model.context):
        return
    size = sum(estimate_tokens(item.text) for item in parts.inputs)
    if size > model.context:
        notify(
            f"about {size:,} tokens of input, and the context of {model.id} is {model.context:,}; "
            "--fit head, tail or middle sends a part that fits, --chunk N sends the input in chunks"
        )


class Room(NamedTuple):
    """The number of tokens available for input, the model, and its full context."""

    tokens: int
    model: str
    context: int


def available_tokens(settings: Settings) -> int:
    """Return the number of tokens available for input; raise UsageError if it is unknown or zero."""
    return find_room(settings).tokens


def find_room(settings: Settings) -> Room:
    """Return the room for input; raise UsageError if it is unknown or zero. May ask the server for its catalog."""
    model, options = _find_model(settings), settings.options
    if model is None or not model.context:
        message = f"--fit: the catalog does not list the context of {options.model}"
        raise UsageError(message, UNKNOWN_CONTEXT_HINT, missing=CONTEXT)
    context = model.context
    answer = min(context // ANSWER_DIVISOR, model.output_limit or context)
    room = context - int(options.max_completion_tokens or options.max_tokens or answer)
    if room <= 0:
        message = f"--fit: the token limit leaves no room for input: the context of {model.id} is {context:,} tokens"
        raise UsageError(message, SHORTER_ANSWER_HINT)
    return Room(room, model.id, context)


def find_known_model(settings: Settings) -> Model | None:
    """Return the model as the stored catalog, or with --demo the demo server, describes it; never send a request."""
    return find_model(_load_known_models(settings) or [], settings.options.model or "")


def _load_known_models(settings: Settings) -> list[Model] | None:
    if not settings.options.demo:
        return load_stored_models(settings)
    from aiml_cli.demo.models import list_models  # for the demo only

    return build_models(list_models({"include": ["all"]}))


def find_known_room(settings: Settings) -> Room | None:
    """Return the model's full context if it is known without a request."""
    model = find_known_model(settings)
    return Room(model.context, model.id, model.context) if model and model.context else None


def describe_context_usage(settings: Settings, messages: Sequence[AnyMessage], system: str) -> str:
    """Return how much of the model's context a conversation uses, such as "12% of 128k", or "" if that is unknown."""
    room = find_known_room(settings)
    if room is None:
        return ""
    tokens = estimate_messages(messages) + estimate_tokens(system)
    return f"{100 * tokens // room.context}% of {_shorten_number(room.context)}"


def _shorten_number(number: int) -> str:
    """Return a number with three digits, such as "128k"."""
    for unit, size in (("M", 1_000_000), ("k", 1000)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)


def estimate_messages(messages: Sequence[AnyMessage]) -> int:
    """Return an upper estimate of the tokens in messages, without PDFs and audio."""
    return sum(MESSAGE_TOKENS + _count_tokens(item) for message in messages for item in to_raw_items(message))


def _count_tokens(value: Any) -> int:
    """Count the tokens of the strings and images in an item; not recursive, because it may be nested deeply."""
    count, pending = 0, [value]
    while pending:
        match pending.pop():
            case str() as text:
                count += estimate_tokens(text)
            case {"type": part_type} if part_type in _IMAGE_TYPES:
                count += TYPICAL_IMAGE_TOKENS
            case Mapping() as item:
                pending += [child for name, child in item.items() if name not in _UNCOUNTED_KEYS]
            case list() | tuple() as children:
                pending += children
    return count


def _find_model(settings: Settings) -> Model | None:
    """Find the model in the stored catalog, or ask the server if none is stored."""
    name = settings.options.model or ""
    try:
        models = _load_known_models(settings)
        return find_model(fetch_models(settings) if models is None else models, name)
    except AimlError as error:
        message = f"--fit: the context of {name} could not be looked up: {error.message}"
        raise UsageError(message, UNKNOWN_CONTEXT_HINT, missing=CONTEXT) from None


def _cut_texts(texts: Sequence[str], sizes: Sequence[int], room: int, part: str) -> list[CutText]:
    """Cut several texts as if they were one."""
    head_room = room if part == "head" else room // 2 if part == "middle" else 0
    heads = _take_part(texts, sizes, head_room, take_head)
    rests = [text[len(head) :] for text, head in zip(texts, heads, strict=True)]
    tail_room = room - sum(map(estimate_tokens, heads)) if part != "head" else 0
    backwards = rests[::-1]
    tails = _take_part(backwards, list(map(estimate_tokens, backwards)), tail_room, take_tail)[::-1]
    return [
        (head, estimate_tokens(rest[: len(rest) - len(tail)]), tail)
        for head, rest, tail in zip(heads, rests, tails, strict=True)
    ]


def _take_part(texts: Sequence[str], sizes: Sequence[int], room: int, take: Callable[[str, int], str]) -> list[str]:
    """Return complete texts while there is room, and a part of the first that does not fit."""
    parts = []
    for text, size in zip(texts, sizes, strict=True):
        parts.append(text if size <= room else take(text, room))
        room = room - size if size <= room else 0
    return parts


def _join_cut_text(text: str, head: str, left_out: int, tail: str) -> str:
    if not left_out:
        return head + tail
    before = "" if not head or head.endswith("\n") else "\n"
    after = "\n" if tail or text.endswith("\n") else ""
    return f"{head}{before}[… about {left_out:,} tokens are left out here …]{after}{tail}"


def _notify_cut(
    inputs: Sequence[InputText], cut_texts: Sequence[CutText], size: int, options: Options, notify: Notify
) -> None:
    names = list(dict.fromkeys(item.name for item in inputs))
    sent = size - sum(left_out for _, left_out, _ in cut_texts)
    verb = "would send" if options.dry_run or options.as_ else "sends"
    what = names[0] if len(names) == 1 else f"{len(names)} inputs"
    notify(f"{verb} {max(0, sent):,} of about {size:,} tokens of {what} ({PART_NAMES[options.fit or 'head']})")


def take_head(text: str, tokens: int) -> str:
    """Return the longest head of at most `tokens` tokens, without a partial line if its second half has a newline."""
    limit = _find_limit(text, 0, tokens)
    return text if limit == len(text) else text[: _find_split(text, 0, limit, ("\n",))]


def take_tail(text: str, tokens: int) -> str:
    """Return the longest tail of at most `tokens` tokens, without a partial line if its first half has a newline."""
    window = text[max(0, len(text) - max(0, tokens) * CHARS_PER_TOKEN) :]
    low, high = 0, len(window)
    while low < high:  # the smallest start from which the remaining text fits
        middle = (low + high) // 2
        low, high = (low, middle) if estimate_tokens(window[middle:]) <= tokens else (middle + 1, high)
    tail = window[low:]
    if len(tail) == len(text) or text[len(text) - len(tail) - 1] == "\n":
        return tail
    return tail[tail.find("\n", 0, len(tail) // 2 + 1) + 1 :]


def split_text(text: str, tokens: int) -> Iterator[str]:
    """Yield the text in pieces of at most `tokens` tokens, but at least one character each."""
    start = 0
    while start < len(text):
        limit = max(_find_limit(text, start, tokens), start + 1)
        end = limit if limit == len(text) else _find_split(text, start, limit, SPLIT_MARKS)
        yield text[start:end]
        start = end


def _find_limit(text: str, start: int, tokens: int) -> int:
    """Return the last position up to which the text has at most `tokens` tokens."""
    low, high = start, min(len(text), start + max(0, tokens) * CHARS_PER_TOKEN)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if estimate_tokens(text[start:middle]) <= tokens else (low, middle - 1)
    return low


def _find_split(text: str, start: int, limit: int, marks: tuple[str, ...]) -> int:
    """Return the best position to split at in the second half of a piece, or its end."""
    half = start + (limit - start) // 2
    for mark in marks:
        if (position := text.rfind(mark, half, limit)) >= 0:
            return position + len(mark)
    return limit
