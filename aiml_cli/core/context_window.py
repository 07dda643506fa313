"""Cut what is sent to what the model's context holds, and say what of it is sent."""

from collections.abc import Callable, Iterator, Sequence

from aiml_cli.api.model_list import Model, find_model
from aiml_cli.catalog.pricing import CHARACTERS, estimate_tokens
from aiml_cli.errors import AimlError, UsageError
from aiml_cli.prompt.compose import InputText, PromptParts
from aiml_cli.settings.options import Options
from aiml_cli.settings.resolve import Settings

# So much every model holds: nothing is looked up for it.
FEW = 2_000
# An image takes some hundreds; what a PDF or a sound takes nobody can tell beforehand.
OF_A_PICTURE = 1_500
OF_A_MARK = 20
# Where no length cap is set, a part of the context is left to the answer.
PART_FOR_THE_ANSWER = 8
KEPT = {"head": "its head", "tail": "its tail", "middle": "both ends"}
LESS = "nothing was sent; allow a shorter answer with --max-tokens"
UNKNOWN = "without --fit all of it is sent; aiml models lists the models whose context is known"
Notify = Callable[[str], None]
Kept = tuple[str, int, str]
# The ends that are looked for, the best first; each is looked for in the last half of a piece.
ENDS = ("\n\n", "\n", ". ", " ")
LINES = ("\n",)


def fit_inputs(parts: PromptParts, settings: Settings, tell: Notify, more: str = "") -> Sequence[str]:
    """Give the texts of the inputs, cut where all of it together would not fit; raise UsageError where nobody knows.

    `more` is what is sent besides: the system text, and what was said before.
    """
    texts = [each.text for each in parts.inputs]
    sizes = [estimate_tokens(text) for text in texts]
    besides = sum(map(estimate_tokens, [*parts.others, more])) + OF_A_PICTURE * parts.pictures
    if sum(sizes) + besides <= FEW:
        return texts
    room = available_tokens(settings) - besides
    if sum(sizes) <= room:
        return texts
    room -= OF_A_MARK * len(texts)
    if room <= 0:
        raise UsageError(
            "the words alone are more than the model's context holds", "say it shorter, or ask another model"
        )
    kept = _kept(texts, sizes, room, settings.options.fit or "head")
    _tell(parts.inputs, kept, sum(sizes), settings.options, tell)
    return [_marked(text, *each) for text, each in zip(texts, kept, strict=True)]


def warn_if_too_long(parts: PromptParts, settings: Settings, tell: Notify) -> None:
    """Name --fit where the stored catalogue says that the input is beyond the context; nobody is asked."""
    from aiml_cli.catalog.find_models import load_stored_models

    model = find_model(load_stored_models(settings) or [], settings.options.model or "")
    size = sum(estimate_tokens(each.text) for each in parts.inputs)
    if model and model.context and size > model.context:
        tell(
            f"about {size:,} tokens of input, and {model.id} holds {model.context:,}; "
            "--fit head, tail or middle sends what fits, --chunk N asks piece by piece"
        )


def available_tokens(settings: Settings) -> int:
    """Give the tokens that the input may take."""
    model, options = _model(settings), settings.options
    context = model.context if model else None
    if not model or not context:
        raise UsageError(f"--fit: the catalogue does not tell the context of {options.model}", UNKNOWN)
    left = min(context // PART_FOR_THE_ANSWER, model.output_limit or context)
    room = context - int(options.max_completion_tokens or options.max_tokens or left)
    if room <= 0:
        raise UsageError(f"--fit: the length cap leaves no room for input: {model.id} holds {context:,} tokens", LESS)
    return room


def _model(settings: Settings) -> Model | None:
    """Look the model up in the stored catalogue, or ask the server where none is stored."""
    from aiml_cli.catalog.find_models import fetch_models, load_stored_models  # few inputs need it

    name = settings.options.model or ""
    try:
        stored = load_stored_models(settings)
        return find_model(fetch_models(settings) if stored is None else stored, name)
    except AimlError as fault:
        raise UsageError(f"--fit: the context of {name} cannot be looked up: {fault.message}", UNKNOWN) from None


def _kept(texts: Sequence[str], sizes: Sequence[int], room: int, how: str) -> list[Kept]:
    """Give of each text what is kept of its beginning, the tokens left out, and what is kept of its end.

    The texts count as one, one behind the other.
    """
    first = room if how == "head" else room // 2 if how == "middle" else 0
    heads = _cut(texts, sizes, first)
    rests = [text[len(kept) :] for text, kept in zip(texts, heads, strict=True)]
    left = room - sum(map(estimate_tokens, heads)) if how != "head" else 0
    backwards = rests[::-1]
    tails = _cut(backwards, list(map(estimate_tokens, backwards)), left, of_the_end=True)[::-1]
    return [
        (start, estimate_tokens(rest[: len(rest) - len(end)]), end)
        for start, rest, end in zip(heads, rests, tails, strict=True)
    ]


def _cut(texts: Sequence[str], sizes: Sequence[int], room: int, *, of_the_end: bool = False) -> list[str]:
    """Keep texts while there is room, and of the first that does not fit a part."""
    cut, kept = take_tail if of_the_end else take_head, []
    for text, size in zip(texts, sizes, strict=True):
        kept.append(text if size <= room else cut(text, room))
        room = room - size if size <= room else 0
    return kept


def _marked(text: str, start: str, left_out: int, end: str) -> str:
    """Put a line in the place of what is left out."""
    if not left_out:
        return start + end
    before = "" if not start or start.endswith("\n") else "\n"
    behind = "\n" if end or text.endswith("\n") else ""
    return f"{start}{before}[… about {left_out:,} tokens are left out here …]{behind}{end}"


def _tell(inputs: Sequence[InputText], kept: Sequence[Kept], size: int, options: Options, tell: Notify) -> None:
    names = list(dict.fromkeys(each.name for each in inputs))
    sent = size - sum(left_out for _, left_out, _ in kept)
    verb = "would send" if options.dry_run or options.as_ else "sends"
    what = names[0] if len(names) == 1 else f"{len(names)} inputs"
    tell(f"{verb} {max(0, sent):,} of about {size:,} tokens of {what} ({KEPT[options.fit or 'head']})")


def take_head(text: str, tokens: int) -> str:
    """Give the beginning that takes no more tokens, up to the end of a line where its second half has one."""
    most = _most(text, 0, tokens)
    return text if most == len(text) else text[: _end(text, 0, most, LINES)]


def take_tail(text: str, tokens: int) -> str:
    """Give the end that takes no more tokens, from the beginning of a line where its first half has one."""
    window = text[max(0, len(text) - max(0, tokens) * CHARACTERS) :]
    low, high = 0, len(window)
    while low < high:  # the smallest beginning from which the rest fits
        middle = (low + high) // 2
        low, high = (low, middle) if estimate_tokens(window[middle:]) <= tokens else (middle + 1, high)
    kept = window[low:]
    if len(kept) == len(text):
        return text
    line = kept.find("\n", 0, len(kept) // 2 + 1) + 1
    starts_a_line = text[len(text) - len(kept) - 1] == "\n"
    return kept if starts_a_line else kept[line:]


def split_text(text: str, tokens: int) -> Iterator[str]:
    """Give the text in pieces of at most so many tokens each, but of one character at least; joined they are it."""
    place = 0
    while place < len(text):
        most = max(_most(text, place, tokens), place + 1)
        end = most if most == len(text) else _end(text, place, most, ENDS)
        yield text[place:end]
        place = end


def _most(text: str, start: int, tokens: int) -> int:
    """Find the last place up to which the text takes no more tokens."""
    low, high = start, min(len(text), start + max(0, tokens) * CHARACTERS)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if estimate_tokens(text[start:middle]) <= tokens else (low, middle - 1)
    return low


def _end(text: str, start: int, most: int, ends: tuple[str, ...]) -> int:
    """Find the best place to cut at in the second half of a piece."""
    half = start + (most - start) // 2
    for end in ends:
        if (found := text.rfind(end, half, most)) >= 0:
            return found + len(end)
    return most
