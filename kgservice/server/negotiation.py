"""Which of the media types offered a client would rather have (RFC 9110, 12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence


def preferred(accept: str, offered: Sequence[str]) -> str | None:
    """The media type offered that `Accept` weighs highest, the earlier of equals; None where it takes none of them.

    An empty header takes everything; what is more specific in it counts, as the standard has it.
    """
    weights = [_weight(part) for part in accept.split(",") if part.strip()] or [("*/*", 1.0)]

    def quality(media: str) -> float:
        for pattern in (media, media.partition("/")[0] + "/*", "*/*"):
            found = [weight for name, weight in weights if name == pattern]
            if found:
                return found[0]
        return 0.0

    best = max(offered, key=quality)
    return best if quality(best) > 0 else None


def _weight(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip() for piece in part.lower().split(";"))
    weight = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
    try:
        return name, min(max(float(weight), 0.0), 1.0)
    except ValueError:
        return name, 1.0
