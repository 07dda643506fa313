"""Save the audio and images of an answer to files of the user's choice."""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path

from aiml_cli.api.answer import Answer, SavedFile
from aiml_cli.errors import AimlError, AnswerMismatch, OutputFailed, UsageError
from aiml_cli.output.output_file import open_output
from aiml_cli.settings.options import Options
from aiml_cli.system.atomic_write import write_new_file
from aiml_cli.system.stdio import write_out

# The first bytes of each image format, and its file extension; the format that the server reports is ignored.
SIGNATURES = ((b"\x89PNG", "png"), (b"\xff\xd8\xff", "jpg"), (b"GIF8", "gif"), (b"RIFF", "webp"), (b"%PDF", "pdf"))


class MediaWriter:
    """The files of --audio-out and --save-dir, opened before the request is sent."""

    def __init__(self, options: Options) -> None:
        self._folder = _ImageFolder(options.save_dir) if options.save_dir else None
        self._audio_name = options.audio_out or ""
        try:
            self._audio = open_output(options.audio_out) if options.audio_out else None
        except AimlError:
            if self._folder:
                self._folder.remove_if_empty()
            raise

    def save(self, answer: Answer) -> Answer:
        """Write the files; return the answer with their names, and with the first error."""
        saved: list[SavedFile] = []
        error = answer.error
        for save in (self._save_audio, self._save_images):
            try:
                saved.extend(save(answer))
            except AimlError as save_error:
                # This tells AnswerOutput that the answer's own output did not fail.
                save_error.details["place"] = "saving"
                error = error or save_error
        return replace(answer, saved=tuple(saved), error=error)

    def _save_audio(self, answer: Answer) -> Iterator[SavedFile]:
        """Write the audio of the first choice that has any; the audio of an incomplete answer goes to a part file."""
        if not self._audio_name:
            return
        data = (choice.audio.data for choice in answer.completion.choices if choice.audio)
        audio = next(filter(None, data), b"")
        part = self._write_audio(audio, complete=bool(audio) and answer.error is None)
        if not audio and answer.error is None:
            raise AnswerMismatch(
                "the answer has no audio" + (f"; {self._audio_name} was not changed" if self._audio else "")
            )
        if audio and self._audio:
            yield SavedFile("audio", part or self._audio_name)

    def _write_audio(self, audio: bytes, *, complete: bool) -> str:
        """Write and close the file, or standard output; return the name of the part, if the audio is in one."""
        if self._audio is None:
            write_out(audio)
            return ""
        is_written = False
        try:
            self._audio.write(audio)
            is_written = True
        finally:
            part = self._audio.close(complete=complete and is_written)
        return part

    def _save_images(self, answer: Answer) -> Iterator[SavedFile]:
        if self._folder is None:
            return
        for choice in answer.completion.choices:
            for image in filter(None, choice.images):
                yield SavedFile("image", self._folder.save(image))
        self._folder.remove_if_empty()


class _ImageFolder:
    """The folder of --save-dir; images are numbered, and files that exist are not replaced."""

    def __init__(self, name: str) -> None:
        if name == "-":
            raise UsageError("--save-dir needs a folder; - is standard output", "write ./- for a folder named -")
        self._path = Path(name)
        self._new_folders = [folder for folder in (self._path, *self._path.parents) if not folder.exists()]
        self._numbers = count(1)
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{name}: the folder cannot be created: {error.strerror}") from None
        if not os.access(self._path, os.W_OK | os.X_OK):
            raise UsageError(f"{name}: cannot be written: Permission denied")

    def save(self, image: bytes) -> str:
        """Write an image to a new file; return its path."""
        extension = next((name for start, name in SIGNATURES if image.startswith(start)), "bin")
        while True:
            path = self._path / f"image-{next(self._numbers)}.{extension}"
            try:
                write_new_file(path, image)
            except FileExistsError:
                continue
            except OSError as error:
                raise OutputFailed(f"{path}: {error.strerror}") from None
            return str(path)

    def remove_if_empty(self) -> None:
        """Remove the folder and its parents if they are empty and were created for this answer."""
        with suppress(OSError):
            for folder in self._new_folders:
                folder.rmdir()
