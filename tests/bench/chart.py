"""One picture of a run: requests per second at 32 connections as a share of Envoy alone, by case and variant (SVG).

Rules:
- Plain SVG without scripts or fonts of its own; thin lines are the spread over the rounds.

Not here: the figures (figures.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from tests.bench.cases import Case
from tests.bench.figures import Figures
from tests.bench.rounds import CONNECTIONS
from tests.bench.variants import DIRECT, Variant

_COLOURS = ("#7f7f7f", "#2a9d8f", "#e9a23b", "#3b6fb6", "#9ec1e6")
_BAR, _GAP, _LEFT, _WIDE, _TOP = 12, 14, 130, 560, 56


def chart(figures: Figures, cases: Sequence[Case], variants: Sequence[Variant]) -> str:
    """The picture as SVG text."""
    asked = [case for case in cases if not case.streams]
    group = _BAR * len(variants) + _GAP
    height = _TOP + group * len(asked) + 10
    scale = _WIDE / 1.15  # a variant may come out a little above Envoy alone
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDE} {height}" font-family="sans-serif" '
        f'font-size="11">',
        f'<rect width="{_LEFT + _WIDE}" height="{height}" fill="#fff"/>',
        f'<text x="10" y="18" font-size="13">Requests/s at {CONNECTIONS} connections, Envoy alone = 1</text>',
    ]
    for position, variant in enumerate(variants):
        x = 10 + position * 130
        parts.append(f'<rect x="{x}" y="30" width="10" height="10" fill="{_COLOURS[position % len(_COLOURS)]}"/>')
        parts.append(f'<text x="{x + 15}" y="39">{escape(variant.name)}</text>')
    for row, case in enumerate(asked):
        top = _TOP + row * group
        parts.append(f'<text x="10" y="{top + group / 2 - 4:.0f}">{escape(case.name)}</text>')
        for position, variant in enumerate(variants):
            value = figures.ratio(variant.name, DIRECT, case.name, CONNECTIONS, lambda sample: sample.rate)
            if value is None:
                continue
            y = top + position * _BAR
            colour = _COLOURS[position % len(_COLOURS)]
            low, high, end = (_LEFT + min(number, 1.15) * scale for number in (value.low, value.high, value.median))
            parts.append(f'<rect x="{_LEFT}" y="{y}" width="{end - _LEFT:.1f}" height="{_BAR - 2}" fill="{colour}"/>')
            middle = y + (_BAR - 2) / 2
            parts.append(f'<path d="M{low:.1f} {middle}H{high:.1f}" stroke="#222" stroke-width="1"/>')
            parts.append(f'<text x="{max(end, high) + 4:.1f}" y="{y + 9}" font-size="9">{value.median:.2f}</text>')
    return "\n".join((*parts, "</svg>")) + "\n"
