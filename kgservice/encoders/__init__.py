"""Encoders: texts → unit vectors, remembered on disk."""

from __future__ import annotations

from kgservice.encoders.random import RANDOM_ENCODER
from kgservice.encoders.text import DEFAULT_ENCODER, TextEncoder, encoded_width, open_encoder, shared_encoder

__all__ = ["DEFAULT_ENCODER", "RANDOM_ENCODER", "TextEncoder", "encoded_width", "open_encoder", "shared_encoder"]
