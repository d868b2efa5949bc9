"""The page `docs/leaderboard.md`, made from the recorded cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from board import METHODS, RESULTS, SEEDS, TRACKS, cells
from scores import Cell, Row, load, rows

PAGE = Path(__file__).parents[2] / "docs" / "leaderboard.md"
TEXT = Path(__file__).parent / "page.md"
WIDTH, HEIGHT = 180, 16  # of a plot, in pixels
HEADINGS = (
    "method",
    "result [95 % over people]",
    "plot",
    "95 % over seeds",
    "minus best baseline [over people] [over seeds]",
    "p",
    "parameters",
    "ms per step",
)


def write_page() -> str:
    """Write the page; returns a line about it."""
    found = load(RESULTS)
    PAGE.write_text(page(found), encoding="utf-8")
    runs = sum(len(cell["runs"]) for cell in found.values())
    return f"{PAGE.name}: {len(found)} cells, {runs} runs"


def page(found: Mapping[tuple[str, str], Cell]) -> str:
    """The page, with a table for every track that has a complete cell."""
    tables = {track: rows(track, found) for track in TRACKS}
    complete, known = sum(map(len, tables.values())), len(list(cells()))
    parts = [TEXT.read_text(encoding="utf-8").rstrip()]
    parts += (
        [f"{complete} of {known} cells have all {SEEDS} seeds; the others are not shown."]
        if complete < known
        else []
    )
    for track, table in tables.items():
        if table:
            one = TRACKS[track]
            parts += [f"## {one.title}", f"{one.text} {_summary(table)}", _table(table)]
            parts += [f"Further labels or knowledge: {notes}."] if (notes := _notes(table)) else []
    return "\n\n".join(parts) + "\n"


def _summary(table: Sequence[Row]) -> str:
    methods = [row for row in table if METHODS[row.method].kind == "method"]
    named = {
        verdict: ", ".join(METHODS[row.method].title for row in methods if row.verdict == verdict)
        for verdict in ("above", "below")
    }
    best = _best(table)
    title = "none" if best is None else METHODS[best.method].title
    return (
        f"The trivial predictor reaches {table[0].trivial:.3f}. Best baseline: {title}. Methods above it: "
        f"{named['above'] or 'none'}; below it: {named['below'] or 'none'}."
    )


def _best(table: Sequence[Row]) -> Row | None:
    """Best baseline."""
    return next((row for row in table if METHODS[row.method].kind == "baseline"), None)


def _notes(table: Sequence[Row]) -> str:
    return "; ".join(
        f"{METHODS[row.method].title}: {METHODS[row.method].note}"
        for row in table
        if METHODS[row.method].note
    )


def _table(table: Sequence[Row]) -> str:
    low = min([row.trivial for row in table] + [row.people.low for row in table])
    high = max(row.people.high for row in table)
    best = _best(table)
    head = "".join(f"<th>{heading}</th>" for heading in HEADINGS)
    body = "\n".join(_row(row, low, high, None if best is None else best.people.value) for row in table)
    return (
        f'<div class="leaderboard">\n<table class="sortable">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n'
        "</tbody>\n</table>\n</div>"
    )


def _row(row: Row, low: float, high: float, best: float | None) -> str:
    method = METHODS[row.method]
    kind = "" if method.kind == "method" else " <small>baseline</small>"
    difference, p = "–", "–"
    if row.against is not None and row.against_seeds is not None:
        one, other = row.against, row.against_seeds
        difference = (
            f"{one.difference:+.3f} [{one.low:+.3f}, {one.high:+.3f}] [{other[1]:+.3f}, {other[2]:+.3f}]"
        )
        p = "&lt; 0.001" if one.p < 0.001 else f"{one.p:.3f}"
    entries = (
        (row.method, escape(method.title) + kind),
        (row.people.value, f"{row.people.value:.3f} [{row.people.low:.3f}, {row.people.high:.3f}]"),
        (row.people.value, _plot(row, low, high, best)),
        (row.seeds[1], f"[{row.seeds[1]:.3f}, {row.seeds[2]:.3f}]"),
        (0.0 if row.against is None else row.against.difference, difference),
        (2.0 if row.against is None else row.against.p, p),
        (row.parameters, f"{row.parameters:,}"),
        (row.milliseconds, f"{row.milliseconds:.0f}"),
    )
    return "<tr>" + "".join(f'<td data-value="{value}">{text}</td>' for value, text in entries) + "</tr>"


def _plot(row: Row, low: float, high: float, best: float | None) -> str:
    """Interval over people with its mean; dashed lines are the trivial predictor and the best baseline."""

    def x(value: float) -> str:
        return f"{4 + (WIDTH - 8) * (value - low) / max(high - low, 1e-9):.1f}"

    middle = HEIGHT // 2
    marks = [row.trivial, *([] if best is None else [best])]
    lines = "".join(
        f'<line x1="{x(mark)}" x2="{x(mark)}" y1="0" y2="{HEIGHT}" stroke="currentColor" stroke-dasharray="2 2" '
        'opacity=".5"/>'
        for mark in marks
    )
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="interval {row.people.low:.3f} to '
        f'{row.people.high:.3f}">{lines}<line x1="{x(row.people.low)}" x2="{x(row.people.high)}" y1="{middle}" '
        f'y2="{middle}" stroke="currentColor"/><circle cx="{x(row.people.value)}" cy="{middle}" r="3" '
        'fill="currentColor"/></svg>'
    )
