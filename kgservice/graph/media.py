"""Images of entities: the files that literal facts name."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from kgservice.graph.literals import WIKIBASE, Literals

COMMONS_MEDIA = WIKIBASE + "CommonsMedia"
_ADDRESS = "https://commons.wikimedia.org/wiki/Special:FilePath/"
_SUFFIXES = (".jpg", ".jpeg", ".png", ".svg", ".gif", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Media:
    """`i` images.

    Attributes:
        entity, relation: int32 `[i]`: whose image, and as what (image, flag, coat of arms).
        files: `[i]`, names on Wikimedia Commons.
    """

    entity: npt.NDArray[np.int32]
    relation: npt.NDArray[np.int32]
    files: list[str]

    @classmethod
    def of(cls, literals: Literals) -> Media:
        """The images among literal facts: those of datatype `wikibase:CommonsMedia` whose suffix is an image's."""
        names = literals.vocabulary.names
        is_media = pc.ends_with(names, f"^^<{COMMONS_MEDIA}>").to_numpy(zero_copy_only=False)
        file_of = {}
        for place in np.flatnonzero(is_media).tolist():
            lexical = literals.value(place).lexical
            if is_image(lexical):
                file_of[place] = lexical
        table = literals.statements
        rows = np.flatnonzero(np.isin(table.object, list(file_of)))
        return cls(table.subject[rows], table.relation[rows], [file_of[int(place)] for place in table.object[rows]])

    def __len__(self) -> int:
        return len(self.files)

    def address(self, row: int) -> str:
        """Where the file can be fetched."""
        return address_of(self.files[row])


def is_image(file: str) -> bool:
    """Whether the suffix of a file on Wikimedia Commons is an image's."""
    return file.lower().endswith(_SUFFIXES)


def address_of(file: str) -> str:
    """Where a file of Wikimedia Commons can be fetched."""
    return _ADDRESS + quote(file.replace(" ", "_"))
