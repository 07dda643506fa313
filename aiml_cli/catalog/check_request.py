"""Check a request against the stored catalog: rejected attachments and unknown parameters."""

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches

from aiml_cli.api.messages import Conversation, Document, Image, Message, Sound
from aiml_cli.api.model_list import Model
from aiml_cli.catalog import find_models
from aiml_cli.catalog.find_models import find_model, load_stored_models
from aiml_cli.errors import UsageError
from aiml_cli.prompt.message_parts import Attachment
from aiml_cli.settings.options import ROWS
from aiml_cli.settings.resolve import Settings

# Properties that no option sets, and that the API documents for some models (2026-08). They are not typing errors,
# however similar they are to another property.
_OTHER_PROPERTIES = {
    "chat": (
        "audio", "echo", "enable_search", "enable_thinking", "frequency_penalty", "logit_bias", "metadata", "min_p",
        "modalities", "normalize_tool_schemas", "prediction", "presence_penalty", "prompt_cache_key", "provider",
        "reasoning", "repetition_penalty", "safety_identifier", "search_options", "service_tier", "stop",
        "stop_sequences", "store", "stream_options", "system", "thinking", "thinking_budget", "top_a", "top_k",
        "user", "verbosity", "web_search_options",
    ),
    "responses": (
        "conversation", "input", "max_tool_calls", "metadata", "prompt_cache_key", "safety_identifier",
        "service_tier", "stream_options", "text", "top_logprobs", "user",
    ),
}  # fmt: skip
# Properties of every request, which the catalog does not list.
_ALWAYS_KNOWN = frozenset({"model", "messages", "input", "instructions", "stream", "stream_options"})
_SIMILARITY = 0.8
_DROPS_NOTE = "the gateway silently ignores unknown names"


def list_warnings(settings: Settings, endpoint: str) -> list[str]:
    """Return a warning for each `-O` name that the stored catalog does not list for the model.

    Without a list for the model, warn about names that look like a misspelled documented one. Never asks the server.
    """
    names = list(dict.fromkeys(path.partition(".")[0] for path in settings.options.option_ or {}))
    model = find_model(load_stored_models(settings) or [], settings.options.model or "")
    if model and model.parameters:
        return list(_warn_unlisted(names, model.parameters, settings.options.model or ""))
    return list(_warn_misspelled(names, _list_documented(endpoint)))


def _warn_unlisted(names: Iterable[str], listed: tuple[str, ...], model: str) -> Iterator[str]:
    for name in names:
        if name not in listed and name not in _ALWAYS_KNOWN:
            warning = f"-O {name}: the catalog does not list it for {model}, and {_DROPS_NOTE}"
            yield warning + _suggest(name, listed)


def _warn_misspelled(names: Iterable[str], documented: frozenset[str]) -> Iterator[str]:
    for name in names:
        if name not in documented and (suggestion := _suggest(name, sorted(documented))):
            yield f"-O {name}: this is not a documented property, and {_DROPS_NOTE}{suggestion}"


def _suggest(name: str, known: Iterable[str]) -> str:
    similar = get_close_matches(name.casefold().replace("-", "_"), list(known), 1, _SIMILARITY)
    return f": did you mean {similar[0]}?" if similar else ""


def _list_documented(endpoint: str) -> frozenset[str]:
    paths = (row.body_paths[endpoint].path for row in ROWS.values() if endpoint in row.body_paths)
    return _ALWAYS_KNOWN.union(_OTHER_PROPERTIES[endpoint], (re.split(r"[.[]", path)[0] for path in paths))


MAX_SUGGESTIONS = 3
# The catalog's names of the inputs (2026-09: image, document, audio), and likely other ones.
INPUT_NAMES = {
    "image": ("image", "images", "vision"),
    "PDF": ("document", "file", "pdf"),
    "audio": ("audio", "sound", "speech"),
}


def check_attachments(attachments: Sequence[Attachment], settings: Settings, endpoint: str) -> None:
    """Raise UsageError, with other models as a hint, if the catalog says that the model rejects an attachment."""
    models = find_models.load_stored_models(settings) or []
    name = settings.options.model or ""
    model = next((model for model in models if name == model.id), None)
    model = model or next((model for model in models if name in model.aliases), None)
    if model is None or not model.inputs:
        return
    kinds = list(map(_find_kind, attachments))
    for kind, attachment in zip(kinds, attachments, strict=True):
        if not _accepts(model, kind):
            others = [m.id for m in models if endpoint in m.endpoints and all(_accepts(m, needed) for needed in kinds)]
            some = ", ".join(others[:MAX_SUGGESTIONS])
            raise UsageError(
                f"{name} does not accept {kind} input, and {attachment.name} is {attachment.media_type}",
                f"these do: {some}" if some else "",
            )


def list_attachments(conversation: Conversation) -> list[Attachment]:
    """Return the attachments of the last message, without their sizes."""
    last = conversation.messages[-1] if conversation.messages else None
    parts = last.content if isinstance(last, Message) else ()
    return [_describe_part(part) for part in parts if not isinstance(part, str)]


def _describe_part(part: Image | Document | Sound) -> Attachment:
    match part:
        case Document(name, _):
            return Attachment(name, "application/pdf", None)
        case Sound(_, audio_format):
            return Attachment("an attachment", f"audio/{audio_format}", None)
        case Image(url, _):
            media_type = url.removeprefix("data:").partition(";")[0] if url.startswith("data:") else "image"
            return Attachment("an attachment", media_type, None)


def _find_kind(attachment: Attachment) -> str:
    kind = attachment.media_type.partition("/")[0]
    return "PDF" if kind == "application" else kind


def _accepts(model: Model, kind: str) -> bool:
    return any(name.lower() in INPUT_NAMES[kind] for name in model.inputs)
