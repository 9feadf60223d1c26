"""A vision-language model from a folder, through transformers: nothing is asked of the network."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from kgservice.captioning import CaptioningFailed, Picture, one_line, prompt
from kgservice.errors import InputError


class VisionModel:
    """Captions by a model such as BLIP, SmolVLM or LLaVA.

    Args:
        folder: holds its weights and its processor.
        words: of a caption at most.

    Raises:
        InputError: the folder holds none that transformers loads.
    """

    at_once = 1

    def __init__(self, folder: Path, words: int = 25) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        if not folder.is_dir():
            raise InputError(f"{folder} is no folder: a vision-language model is loaded from one")
        try:
            processors: Any = AutoProcessor
            models: Any = AutoModelForImageTextToText
            self._processor = processors.from_pretrained(folder, local_files_only=True)
            self._model = models.from_pretrained(folder, local_files_only=True).eval()
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{folder} holds no vision-language model that transformers loads: {error}") from error
        self.words, self.fingerprint = words, f"model {folder.name} {words}"
        # A model that was made for captions alone reads no question; one with a chat template does.
        self._chats = getattr(self._processor, "chat_template", None) is not None
        self.prompted = self._chats
        self._lock = threading.Lock()

    def caption(self, picture: Picture) -> str:
        """See `Captioner.caption`."""
        import torch
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(picture.path) as opened:
                image = opened.convert("RGB")
        except (UnidentifiedImageError, OSError, ValueError) as error:
            raise CaptioningFailed(f"{picture.path} is no image that Pillow reads: {error}") from error
        if self._chats:
            content = [{"type": "image"}, {"type": "text", "text": prompt(picture, self.words)}]
            text = self._processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True
            )
            inputs = self._processor(images=[image], text=text, return_tensors="pt")
        else:
            inputs = self._processor(images=image, return_tensors="pt")
        with self._lock, torch.inference_mode():
            written = self._model.generate(**inputs, max_new_tokens=4 * self.words, do_sample=False)
        read = inputs["input_ids"].shape[1] if self._chats else 0
        return one_line(self._processor.batch_decode(written[:, read:], skip_special_tokens=True)[0])
