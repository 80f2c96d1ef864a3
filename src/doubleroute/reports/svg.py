"""Matplotlib drawings as inline SVG: the same bytes for the same numbers, colours left to the page.

Matplotlib draws with stand-in colours, which become CSS variables of the page, so that a figure follows
light and dark; text stays text in the page's font. Nothing here touches pyplot.
"""

import hashlib
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

# Stand-in colour -> CSS variable. The values only have to be unlike each other and all else.
COLOURS = {
    "ink": "#010101",
    "muted": "#020202",
    "grid": "#030303",
    "majority": "#040404",
    "frozen": "#050505",
    "plain": "#060606",
    "routed": "#070707",
    "champion": "#080808",
    "other": "#090909",
}
#: Characters of a name beside a row.
_NAME = 28
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "doubleroute",
    "text.parse_math": False,
    "text.usetex": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 10.0,
    "axes.labelsize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "xtick.labelsize": 10.0,
    "ytick.labelsize": 10.0,
    "axes.linewidth": 0.8,
    "grid.linewidth": 0.6,
    "axes.edgecolor": COLOURS["muted"],
    "axes.labelcolor": COLOURS["ink"],
    "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
    "xtick.labelcolor": COLOURS["ink"],
    "ytick.labelcolor": COLOURS["ink"],
    "grid.color": COLOURS["grid"],
    "legend.frameon": False,
    "legend.fontsize": 10.0,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
}


@dataclass(frozen=True)
class Figure:
    """An SVG element as text, its width in CSS pixels, and what it shows, in words."""

    title: str
    description: str
    svg: str
    width: int
    kind: str = "figure"


def draw_figure(draw: Callable[["Canvas"], None], width: int, height: int, title: str, words: str) -> Figure:
    """Draw on a canvas of this size in CSS pixels. ``title`` and ``words`` are what a screen reader
    says; ``title`` must be unlike the other titles of the page, for ids are made of it."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas

    with _style():
        # 72 dots an inch: a unit of the drawing is a pixel of the page.
        canvas = Canvas(figsize=(width / 72, height / 72), dpi=72, layout="constrained")
        canvas.patch.set_visible(False)
        draw(canvas)
        for axes in canvas.axes:
            axes.patch.set_visible(False)
        file = io.BytesIO()
        FigureCanvasSVG(canvas).print_svg(file, metadata={"Date": None})
    return Figure(title, words, _inline(file.getvalue(), title, words), width)


def name_rows(axes: "Axes", names: Sequence[str]) -> None:
    """A name at each row of a drawing that reads from top to bottom; long ones are cut."""
    cut = [name if len(name) <= _NAME else f"{name[: _NAME - 1]}…" for name in names]
    axes.set_yticks(range(len(cut)), cut)
    axes.set_ylim(len(cut) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)


def legend_above(axes: "Axes") -> None:
    """Above the drawing, where it hides nothing."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2)


@contextmanager
def _style() -> Iterator[None]:
    """Matplotlib's own defaults and ours, whatever the user's matplotlibrc says; put back afterwards."""
    from matplotlib import style

    logger = logging.getLogger("matplotlib")
    level = logger.level
    with style.context(["default", _STYLE]), warnings.catch_warnings():
        # A letter that DejaVu lacks is measured wrongly, and still shown by the browser's own font.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support .* natively")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


def _inline(svg: bytes, title: str, words: str) -> str:
    """The drawing as an element of a page: own ids, the page's colours and font, title and description."""
    root = ElementTree.fromstring(svg)
    own = f"f{hashlib.sha256(title.encode()).hexdigest()[:8]}-"  # titles are unique in a report
    used = set(re.findall(rb'(?:url\(|href=")#([^)"]+)', svg))
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        if element.tag != "text":
            element.text = None
        element.tail = None
        for key in list(element.attrib):
            value = element.attrib.pop(key)
            useless = (key == "id" and value.encode() not in used) or value.startswith("rotate(-0 ")
            if not useless and not key.startswith("{http://www.w3.org/XML"):
                element.set(key.rpartition("}")[2], _attribute(key, value, own))
    for tag in ("metadata", "title", "desc"):
        for parent in list(root.iter()):
            for child in parent.findall(tag):
                parent.remove(child)
    for defs in root.findall("defs"):
        if defs.find("style") is not None:
            root.remove(defs)
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.set("role", "img")
    root.set("aria-labelledby", f"{own}title {own}desc")
    for place, (tag, text) in enumerate((("title", title), ("desc", words))):
        child = ElementTree.Element(tag, {"id": f"{own}{tag}"})
        child.text = text
        root.insert(place, child)
    return ElementTree.tostring(root, encoding="unicode")


def _attribute(key: str, value: str, own: str) -> str:
    if key == "id":
        return own + value
    if key.endswith("href"):
        return value.replace("#", f"#{own}")
    if key == "clip-path":
        return value.replace("url(#", f"url(#{own}")
    if key in ("d", "x", "y", "transform", "width", "height"):
        return re.sub(r"-?\d+\.\d+", lambda match: f"{float(match.group()):.1f}", value)
    if key != "style":
        return value
    rules = []
    for rule in value.split(";"):
        name, _, rest = rule.strip().partition(": ")
        if name == "font":  # size and family; the family is the page's
            name, rest = "font-size", next(word for word in rest.split() if word.endswith("px"))
        if name == "font-family":
            continue
        for colour, code in COLOURS.items():
            rest = f"var(--{colour})" if rest == code else rest
        rules.append(f"{name}: {rest}")
    return "; ".join(rules)
