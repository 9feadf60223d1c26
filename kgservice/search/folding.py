"""One spelling for all spellings of a name: case, accents, width and punctuation are folded away.

>>> fold("Côte d’Ivoire"), fold("ＡＢＣ"), fold("法国"), fold("C++")
('cote d ivoire', 'abc', '法 国', 'c + +')
"""

from __future__ import annotations

import unicodedata
from typing import Final

# Letters that no Unicode decomposition takes apart, but that people type plainly.
_PLAIN: Final = {
    "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h",
    "ک": "ك", "ی": "ي", "ى": "ي", "ة": "ه", "ٱ": "ا", "ـ": "",
}  # fmt: skip

# Blocks of scripts written without spaces: each character is a word, and so is each beginning of a run.
_UNSPACED: Final = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # 々 〆 〇
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x323AF),
)

# Below this combining class a mark is a letter of its own: kana voicing 8, virama 9, nukta 7, Indic vowels 0.
_FIRST_ACCENT: Final = 10


class _Table(dict[int, str]):
    """`str.translate` table that works a character out when it first meets it; at most one entry per code point."""

    def __missing__(self, code: int) -> str:
        self[code] = folded = _fold_character(chr(code))
        return folded


_TABLE: Final = _Table()


def fold(text: str) -> str:
    """Words in lower case without accents, one space between them; '' if the text has neither letter nor symbol.

    NFKC, full case folding, NFD, accents dropped, NFC (which puts Hangul together again). Punctuation, control
    characters and lone surrogates separate words; symbols (emoji, +, $, #) are words. Folding twice changes nothing.
    """
    if text.isascii():
        plain = text.lower()
    else:
        # Case folding can undo NFKC and the other way round; the second NFKC settles it.
        plain = unicodedata.normalize(
            "NFD", unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
        )
        plain = unicodedata.normalize("NFC", "".join(filter(_is_kept, plain)))
    return " ".join(plain.translate(_TABLE).split())


def words(folded: str) -> list[str]:
    """The words of a folded text."""
    return folded.split(" ") if folded else []


def _is_kept(character: str) -> bool:
    return unicodedata.combining(character) < _FIRST_ACCENT


def _fold_character(character: str) -> str:
    if character in _PLAIN:
        return _PLAIN[character]
    category = unicodedata.category(character)
    code = ord(character)
    if category == "Cf" or 0xFE00 <= code <= 0xFE0F:  # joiners, directions, variation selectors: within words
        return ""
    if category[0] in "LN":
        return f" {character} " if any(low <= code <= high for low, high in _UNSPACED) else character
    if category[0] == "M":
        return character
    if (category[0] == "S" and category != "Sk") or character == "#":
        return f" {character} "
    return " "
