"""A describer that needs no weights: colours, stripes, crosses, discs and shapes of plain pictures such as flags.

It looks at an image as a small grid of named colours, and says what it is sure of. On photographs it names the colours.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL.Image import Image

Grid = npt.NDArray[np.int8]

GRID = 60
"""Cells along the longer side."""
COLOURS = ("black", "white", "grey", "red", "orange", "yellow", "green", "blue", "light blue", "purple", "brown")
BLACK, WHITE, GREY, RED, ORANGE, YELLOW, GREEN, BLUE, LIGHT_BLUE, PURPLE, BROWN = range(len(COLOURS))
NAMED = 0.04
"""Share of an image that a colour has to be named."""
PURE = 0.85
"""Share of one colour in a line that belongs to a stripe."""
THINNEST = 0.05
"""Of the height or width: a stripe."""
COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class Stripe:
    """A run of lines of one colour.

    Attributes:
        colour: its place in `COLOURS`.
        start, stop: lines.
    """

    colour: int
    start: int
    stop: int


def describe(image: Image) -> str:
    """What an image shows, in a few words, the most telling first; the same image gives the same words."""
    grid = named_colours(image)
    height, width = grid.shape
    shares = np.bincount(grid.ravel(), minlength=len(COLOURS)) / grid.size
    order = [int(colour) for colour in np.argsort(-shares, kind="stable") if shares[colour] >= NAMED]
    parts = [_layout(grid), *_shapes(grid)]
    parts.append("colours " + " ".join(COLOURS[colour] for colour in order))
    parts.append("square" if 0.9 < width / height < 1.1 else "wide" if width > height else "tall")
    return ", ".join(part for part in parts if part)


def named_colours(image: Image) -> Grid:
    """int8 `[h, w]`: the named colour of each cell of an image without its transparent rim."""
    from PIL import Image as Images

    rgba = image.convert("RGBA")
    box = rgba.getchannel("A").point(lambda alpha: 255 * (alpha > 127)).getbbox()
    rgba = rgba.crop(box) if box else rgba
    scale = GRID / max(rgba.size)
    size = [max(1, round(side * scale)) for side in rgba.size]
    ground = Images.new("RGBA", rgba.size, "white")
    pixels = np.asarray(Images.alpha_composite(ground, rgba).convert("RGB").resize(size, Images.Resampling.BOX))
    return _named(pixels.astype(np.float64) / 255)


def _named(rgb: npt.NDArray[np.float64]) -> Grid:
    top, low = rgb.max(2), rgb.min(2)
    chroma = top - low
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    safe = np.where(chroma > 0, chroma, 1)
    hue = np.select(
        [top == red, top == green],
        [((green - blue) / safe) % 6, (blue - red) / safe + 2],
        (red - green) / safe + 4,
    )
    hue *= 60
    saturation = chroma / np.where(top > 0, top, 1)
    found = np.select(
        [hue < 18, hue < 40, hue < 68, hue < 165, hue < 260, hue < 320], [RED, ORANGE, YELLOW, GREEN, BLUE, PURPLE], RED
    )
    light = (found == BLUE) & (top > 0.72) & (saturation < 0.72) & (hue < 225)
    found = np.where(light, LIGHT_BLUE, found)
    found = np.where((found == ORANGE) & (top < 0.6), BROWN, found)
    pale = saturation < 0.18
    found = np.where(pale, np.select([top < 0.25, top < 0.72], [BLACK, GREY], WHITE), found)
    return np.where(top < 0.2, BLACK, found).astype(np.int8)


def _layout(grid: Grid) -> str:
    """What fills the whole of it: one colour, a cross, stripes across or down."""
    if cross := _cross(grid):
        return cross
    canton = _canton(grid)
    # A canton or an emblem lies over the stripes: the other half tells them.
    open_half = grid[:, grid.shape[1] // 2 :] if canton else grid
    across = _stripes(open_half, PURE if not canton else 0.7)
    down = [] if canton else _stripes(grid.T, PURE)
    found = ""
    if len(across) > 1 and len(across) >= len(down):
        found = _said(across, "horizontal")
    elif len(down) > 1:
        found = _said(down, "vertical")
    elif len(loose := _stripes(grid, 0.55)) > 1:
        found = _said(loose, "horizontal")
    elif len(loose := _stripes(grid.T, 0.55)) > 1:
        found = _said(loose, "vertical")
    else:
        border = np.concatenate([grid[0], grid[-1], grid[:, 0], grid[:, -1]])
        shares = np.bincount(border, minlength=len(COLOURS)) / len(border)
        if shares.max() > 0.8:
            found = f"plain {COLOURS[int(shares.argmax())]} ground"
    return f"{found}, {canton}" if found and canton else found or canton


def _stripes(grid: Grid, pure: float) -> list[Stripe]:
    """The horizontal stripes of a grid, or none: nearly all lines are of one colour each."""
    counts = np.apply_along_axis(np.bincount, 1, grid, minlength=len(COLOURS))
    colour, share = counts.argmax(1), counts.max(1) / grid.shape[1]
    # A stripe reaches an edge, at least the one where no triangle or corner lies on it; a figure in the middle does not.
    rim = max(1, grid.shape[1] // 15)
    ends = grid[:, :rim], grid[:, -rim:]
    whole = np.max([(end == colour[:, None]).mean(1) for end in ends], axis=0) > 0.5
    if ((share >= pure) & whole).mean() < 0.8:
        return []
    runs, place = [], 0
    for name, run in groupby(np.where(whole, colour, -1).tolist()):
        length = len(list(run))
        # Where two stripes meet, a line may be of neither.
        if name >= 0 and length >= THINNEST * len(grid):
            runs.append(Stripe(name, place, place + length))
        place += length
    return [run for turn, run in enumerate(runs) if turn == 0 or runs[turn - 1].colour != run.colour]


def _said(stripes: list[Stripe], way: str) -> str:
    names = [COLOURS[stripe.colour] for stripe in stripes]
    count = COUNTS[len(names)] if len(names) < len(COUNTS) else str(len(names))
    if len(names) > 4 and len(set(names)) == 2:
        return f"{count} {way} stripes {names[0]} and {names[1]} in turn"
    widths = np.array([stripe.stop - stripe.start for stripe in stripes])
    widest = f" the {names[int(widths.argmax())]} one widest" if widths.max() > 1.6 * np.median(widths) else ""
    return f"{count} {way} stripes {' '.join(names)}{widest}"


def _cross(grid: Grid) -> str:
    """A line of one colour all across and one all down, on a ground of other colours in all four corners."""
    height, width = grid.shape
    edge_y, edge_x = max(1, height // 12), max(1, width // 12)
    corners = [grid[:edge_y, :edge_x], grid[:edge_y, -edge_x:], grid[-edge_y:, :edge_x], grid[-edge_y:, -edge_x:]]
    for colour in range(len(COLOURS)):
        is_it = grid == colour
        across = np.flatnonzero(is_it.mean(1) > 0.9)
        down = np.flatnonzero(is_it.mean(0) > 0.9)
        inside = len(across) and len(down) and max(len(across) / height, len(down) / width) < 0.45
        if not inside or any((corner == colour).mean() > 0.3 for corner in corners):
            continue
        ground = COLOURS[int(np.bincount(np.concatenate([corner.ravel() for corner in corners])).argmax())]
        place = down.mean() / width
        where = "" if 0.44 < place < 0.56 else " left of the middle" if place <= 0.44 else " right of the middle"
        return f"{COLOURS[colour]} cross{where} on {ground}"
    return ""


def _canton(grid: Grid) -> str:
    """The upper left corner, where it is of one colour that the rest of the lines beside it are not."""
    height, width = grid.shape
    corner, beside = grid[: int(0.4 * height), : int(0.33 * width)], grid[: int(0.4 * height), int(0.6 * width) :]
    if min(height, width) < 10:
        return ""
    counts = np.bincount(corner.ravel(), minlength=len(COLOURS)) / corner.size
    colour = int(counts.argmax())
    below = grid[int(0.75 * height) :, : int(0.33 * width)]
    if counts[colour] < 0.45 or (beside == colour).mean() > 0.25 or (below == colour).mean() > 0.25:
        return ""
    return f"{COLOURS[colour]} upper left corner"


def _shapes(grid: Grid) -> list[str]:
    """Discs, triangles at the left and other figures that touch no edge, or only the left one."""
    from scipy import ndimage

    height, width = grid.shape
    found: list[tuple[int, str]] = []
    small = 0
    for colour in range(len(COLOURS)):
        labels, _ = ndimage.label(grid == colour)
        for number, place in enumerate(ndimage.find_objects(labels), 1):
            rows, columns = place
            area = int((labels[place] == number).sum())
            tall, wide = rows.stop - rows.start, columns.stop - columns.start
            apart = rows.start > 0 and rows.stop < height and columns.stop < width
            if columns.start == 0 and columns.stop < 0.7 * width and tall > 0.9 * height and wide > 0.15 * width:
                if 0.4 < area / (tall * wide) < 0.68:
                    found.append((area, f"{COLOURS[colour]} triangle at the left"))
            elif apart and columns.start > 0 and area >= 0.012 * grid.size:
                figure = _figure(labels[place] == number)
                found.append((area, f"{COLOURS[colour]} {figure} {_where(columns, rows, grid.shape)}"))
            elif apart and columns.start > 0 and 3 <= area:
                small += 1
    best = [words for _, words in sorted(found, key=lambda one: -one[0])[:3]]
    return [*best, "many small figures"] if small >= 5 else best


def _figure(shape: npt.NDArray[np.bool_]) -> str:
    """What a shape is, by how it fills its bounding box."""
    tall, wide = shape.shape
    fill, aspect = shape.mean(), tall / wide
    third_y, third_x = max(1, tall // 4), max(1, wide // 4)
    corners = (
        shape[:third_y, :third_x],
        shape[:third_y, -third_x:],
        shape[-third_y:, :third_x],
        shape[-third_y:, -third_x:],
    )
    if (
        not any(corner.any() for corner in corners)
        and shape[tall // 2].all()
        and shape[:, wide // 2].all()
        and fill < 0.7
    ):
        return "cross"
    if 0.8 < aspect < 1.25 and 0.68 < fill < 0.9:
        return "disc"
    if 0.6 < aspect < 1.7 and 0.3 < fill < 0.56:
        return "star or crescent"
    return "emblem"


def _where(columns: slice, rows: slice, shape: tuple[int, ...]) -> str:
    x = (columns.start + columns.stop) / 2 / shape[1]
    y = (rows.start + rows.stop) / 2 / shape[0]
    across = "left" if x < 0.4 else "right" if x > 0.6 else ""
    down = "upper" if y < 0.38 else "lower" if y > 0.62 else ""
    return f"at the {down} {across or 'middle'}".replace("  ", " ") if across or down else "in the middle"
