"""Keep the sounds and pictures of an answer in files of the user's choice."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

from aiml_cli.api.answer import Answer, SavedFile
from aiml_cli.errors import AimlError, AnswerMismatch, OutputFailed, UsageError
from aiml_cli.output.output_file import OutputFile
from aiml_cli.settings.options import Options
from aiml_cli.system.atomic_write import write_new_file

# What a picture's first bytes are, and how its name ends. A server's word on either is not asked for.
STARTS = ((b"\x89PNG", "png"), (b"\xff\xd8\xff", "jpg"), (b"GIF8", "gif"), (b"RIFF", "webp"), (b"%PDF", "pdf"))


class MediaWriter:
    """Open the places before anything is sent: what cannot be kept should not be paid for."""

    def __init__(self, options: Options) -> None:
        self._folder = _ImageFolder(options.save_dir) if options.save_dir else None
        self._audio_name = options.audio_out or ""
        try:
            self._audio = _sound_file(self._audio_name, options.output) if self._audio_name else None
        except UsageError:
            if self._folder:
                self._folder.remove_if_empty()
            raise

    def save(self, answer: Answer) -> Answer:
        """Write what came; give the answer with the names of the files, and with what went wrong."""
        saved: list[SavedFile] = []
        error = answer.error
        for keep in (self._keep_audio, self._keep_images):
            try:
                saved.extend(keep(answer))
            except AimlError as fault:
                # The screen is told that it is not its own place that failed.
                fault.details["place"] = "saving"
                error = error or fault
        return replace(answer, saved=tuple(saved), error=error)

    def _keep_audio(self, answer: Answer) -> Iterator[SavedFile]:
        """Write the sound of the first choice that has one; that of a cut answer goes beside the file."""
        sounds = [choice.audio.data for choice in answer.completion.choices if choice.audio]
        if self._audio is None:
            return
        sound = next(filter(None, sounds), b"")
        try:
            self._audio.write(sound)
        finally:
            part = self._audio.close(complete=bool(sound) and answer.error is None)
        if not sound and answer.error is None:
            raise AnswerMismatch(f"the answer holds no sound: {self._audio_name} is as it was")
        if sound:
            yield SavedFile("audio", part or self._audio_name)

    def _keep_images(self, answer: Answer) -> Iterator[SavedFile]:
        if self._folder is None:
            return
        for choice in answer.completion.choices:
            for image in filter(None, choice.images):
                yield SavedFile("image", self._folder.save(image))
        self._folder.remove_if_empty()


def _sound_file(name: str, output: str | None) -> OutputFile:
    if output and os.path.realpath(output) == os.path.realpath(name):
        raise UsageError(f"{name}: --output and --audio-out name the same file", "nothing was sent")
    return OutputFile(name)


class _ImageFolder:
    """Hold the pictures, each under the next free number; a folder made in vain goes again."""

    def __init__(self, name: str) -> None:
        self._path = Path(name)
        self._is_new = not self._path.exists()
        self._numbers = count(1)
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as fault:
            raise UsageError(f"{name}: cannot be made a folder: {fault.strerror}", "nothing was sent") from None
        if not os.access(self._path, os.W_OK | os.X_OK):
            raise UsageError(f"{name}: cannot be written: Permission denied", "nothing was sent")

    def save(self, image: bytes) -> str:
        """Write a picture to a new file; give its path."""
        ending = next((ending for start, ending in STARTS if image.startswith(start)), "bin")
        while True:
            path = self._path / f"image-{next(self._numbers)}.{ending}"
            try:
                write_new_file(path, image)
            except FileExistsError:
                continue
            except OSError as fault:
                raise OutputFailed(f"{path}: {fault.strerror}") from None
            return str(path)

    def remove_if_empty(self) -> None:
        """Take an empty folder away that was made for this answer."""
        if self._is_new:
            with suppress(OSError):
                self._path.rmdir()
