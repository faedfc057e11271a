# SPDX-License-Identifier: Apache-2.0
"""A picture of waiting times: which share of the requests was read within how many hours. SVG, light and dark."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

_WIDTH: Final = 760
_HEIGHT: Final = 420
_LEFT: Final = 70
_RIGHT: Final = 24
_TOP: Final = 56
_BOTTOM: Final = 58
_POINTS: Final = 200  # of a curve
_HOUR: Final = 3600.0
_TICKS: Final = 8
_STYLE: Final = """\
    .bg { fill: #ffffff } text { fill: #1c2733 } .s { font-size: 12.5px; fill: #46566a }
    .axis { stroke: #46566a; stroke-width: 1.2 } .grid { stroke: #d6dde5; stroke-width: 1 }
    .c0 { stroke: #2f5f8f } .c1 { stroke: #a04a12; stroke-dasharray: 7 4 } .curve { fill: none; stroke-width: 2.4 }
    @media (prefers-color-scheme: dark) {
      .bg { fill: #10161d } text { fill: #eef3f8 } .s { fill: #b9c6d4 }
      .axis { stroke: #b9c6d4 } .grid { stroke: #2a3644 } .c0 { stroke: #7fb0e0 } .c1 { stroke: #f0a060 }
    }
"""


def waiting(curves: Mapping[str, Sequence[float]]) -> str:
    """Return an SVG of up to two named lists of waiting times in seconds."""
    longest = max((max(times) for times in curves.values() if len(times)), default=1.0) / _HOUR
    step = _step(longest)
    right = max(math.ceil(longest / step - 1e-9), 1) * step
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-labelledby="t d"',
        '  font-family="system-ui, sans-serif" font-size="14">',
        '  <title id="t">How long requests waited</title>',
        f'  <desc id="d">{html.escape(_described(curves))}</desc>',
        f"  <style>\n{_STYLE}  </style>",
        f'  <rect class="bg" width="{_WIDTH}" height="{_HEIGHT}" rx="10"/>',
        *_axes(right, step),
    ]
    for number, (name, times) in enumerate(curves.items()):
        parts.append(f'  <path class="curve c{number}" d="{_path(times, right)}"/>')
        across = _LEFT + 250 * number
        parts.append(f'  <path class="curve c{number}" d="M{across} 30h34"/>')
        parts.append(f'  <text x="{across + 42}" y="35">{html.escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _step(longest: float) -> float:
    """Return a round distance between ticks, hours."""
    rough = max(longest, 1e-3) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)


def _x(hours: float, right: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * hours / right


def _y(share: float) -> float:
    return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * share


def _axes(right: float, step: float) -> list[str]:
    bottom, end = _y(0), _WIDTH - _RIGHT
    parts = []
    for fifth in range(6):
        y = _y(fifth / 5)
        parts.append(f'  <path class="grid" d="M{_LEFT} {y:.1f}H{end}"/>')
        parts.append(f'  <text class="s" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{fifth * 20} %</text>')
    for tick in range(round(right / step) + 1):
        x = _x(tick * step, right)
        parts.append(f'  <path class="grid" d="M{x:.1f} {_TOP}V{bottom:.1f}"/>')
        label = f"{tick * step:.6g}"
        parts.append(f'  <text class="s" x="{x:.1f}" y="{bottom + 18:.1f}" text-anchor="middle">{label}</text>')
    middle = (_TOP + bottom) / 2
    return [
        *parts,
        f'  <path class="axis" d="M{_LEFT} {_TOP}V{bottom:.1f}H{end}" fill="none"/>',
        f'  <text x="{(_LEFT + end) / 2:.0f}" y="{_HEIGHT - 14}" text-anchor="middle">hours since the request</text>',
        f'  <text transform="translate(18 {middle:.0f}) rotate(-90)" text-anchor="middle">requests read</text>',
    ]


def _path(times: Sequence[float], right: float) -> str:
    shares = np.linspace(0.0, 1.0, _POINTS)
    hours = np.quantile(np.asarray(times), shares) / _HOUR if len(times) else np.zeros(_POINTS)
    points = [f"{_x(float(hour), right):.1f} {_y(float(share)):.1f}" for hour, share in zip(hours, shares, strict=True)]
    return "M" + "L".join(points)


def _described(curves: Mapping[str, Sequence[float]]) -> str:
    told = [
        f"{name}: half within {np.median(times) / _HOUR:.2f} h, 95 % within {np.percentile(times, 95) / _HOUR:.2f} h."
        for name, times in curves.items()
        if len(times)
    ]
    return " ".join(told)
