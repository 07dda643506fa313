"""Cut inputs to what fits into the model's context, and tell the user how much is sent."""

from collections.abc import Callable, Sequence

from aiml_cli.api.model_list import Model
from aiml_cli.catalog.find_models import find_model
from aiml_cli.catalog.load_catalog import fetch_models, load_stored_models
from aiml_cli.catalog.pricing import estimate_tokens
from aiml_cli.core.split_text import take_head, take_tail
from aiml_cli.errors import AimlError, UsageError
from aiml_cli.prompt.file_sources import Notify
from aiml_cli.prompt.message_parts import InputText, PromptParts
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings

# This fits into every context, so nothing is looked up for it.
SMALL_INPUT_TOKENS = 2_000
# An image takes some hundreds; the size of a PDF or a sound cannot be known beforehand.
IMAGE_TOKENS = 1_500
CUT_NOTE_TOKENS = 20
# Without a length cap, an eighth of the context is left to the answer.
ANSWER_DIVISOR = 8
PART_NAMES = {"head": "its head", "tail": "its tail", "middle": "both ends"}
SHORTER_ANSWER_HINT = "nothing was sent; allow a shorter answer with --max-tokens"
UNKNOWN_CONTEXT_HINT = "without --fit all of it is sent; aiml models lists the models whose context is known"
CutText = tuple[str, int, str]  # the head that is sent, the number of tokens left out, the tail that is sent


def fit_inputs(parts: PromptParts, settings: Settings, notify: Notify, other_text: str = "") -> Sequence[str]:
    """Return the texts of the inputs, cut if all of it would not fit; raise UsageError if the context is unknown.

    `other_text` is sent too: the system text and the previous messages.
    """
    texts = [item.text for item in parts.inputs]
    sizes = [estimate_tokens(text) for text in texts]
    other_tokens = sum(map(estimate_tokens, [*parts.other_texts, other_text])) + IMAGE_TOKENS * parts.image_count
    if sum(sizes) + other_tokens <= SMALL_INPUT_TOKENS:
        return texts
    room = available_tokens(settings) - other_tokens
    if sum(sizes) <= room:
        return texts
    room -= CUT_NOTE_TOKENS * len(texts)
    if room <= 0:
        raise UsageError(
            "the words alone are more than the model's context holds", "say it shorter, or ask another model"
        )
    cut_texts = _cut_texts(texts, sizes, room, settings.options.fit or "head")
    _notify_cut(parts.inputs, cut_texts, sum(sizes), settings.options, notify)
    return [_join_cut_text(text, *cut_text) for text, cut_text in zip(texts, cut_texts, strict=True)]


def warn_if_too_long(parts: PromptParts, settings: Settings, notify: Notify) -> None:
    """Suggest --fit if the inputs exceed the model's context according to the stored catalog."""
    model = find_model(load_stored_models(settings) or [], settings.options.model or "")
    size = sum(estimate_tokens(item.text) for item in parts.inputs)
    if model and model.context and size > model.context:
        notify(
            f"about {size:,} tokens of input, and {model.id} holds {model.context:,}; "
            "--fit head, tail or middle sends what fits, --chunk N asks piece by piece"
        )


def available_tokens(settings: Settings) -> int:
    """Return how many tokens the input may take; raise UsageError if that is unknown or none."""
    model, options = _find_model(settings), settings.options
    context = model.context if model else None
    if not model or not context:
        raise UsageError(f"--fit: the catalogue does not tell the context of {options.model}", UNKNOWN_CONTEXT_HINT)
    answer = min(context // ANSWER_DIVISOR, model.output_limit or context)
    room = context - int(options.max_completion_tokens or options.max_tokens or answer)
    if room <= 0:
        message = f"--fit: the length cap leaves no room for input: {model.id} holds {context:,} tokens"
        raise UsageError(message, SHORTER_ANSWER_HINT)
    return room


def _find_model(settings: Settings) -> Model | None:
    """Find the model in the stored catalog, or ask the server if none is stored."""
    name = settings.options.model or ""
    try:
        models = load_stored_models(settings)
        return find_model(fetch_models(settings) if models is None else models, name)
    except AimlError as error:
        message = f"--fit: the context of {name} cannot be looked up: {error.message}"
        raise UsageError(message, UNKNOWN_CONTEXT_HINT) from None


def _cut_texts(texts: Sequence[str], sizes: Sequence[int], room: int, part: str) -> list[CutText]:
    """Cut several texts as if they were a single one."""
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
    """Return whole texts while there is room, and a part of the first that does not fit."""
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
