"""The ratios as a picture: one bar per line on a logarithmic scale, readable on a light and on a dark page."""

import math
from collections.abc import Callable, Sequence
from xml.sax.saxutils import escape

from benchmarks.table import Judged, Verdict, number

_PEERS = frozenset({"I1", "I2", "J1", "J2", "R1", "R2"})
_WIDTH = 860
_LEFT = 300
_RIGHT = 130
_ROW = 34
_TOP = 64
_BAR = 16

_STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328; }
  .title { font-size: 15px; font-weight: 600; }
  .quiet { fill: #59636e; font-size: 12px; }
  .axis { stroke: #59636e; stroke-width: 1; }
  .grid { stroke: #d1d9e0; stroke-width: 1; }
  .goal { fill: #1a7f37; }
  .pass { fill: #0969da; }
  .fail { fill: #cf222e; }
  .floor { stroke: #cf222e; stroke-width: 2; }
  .aim { stroke: #1a7f37; stroke-width: 2; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .quiet { fill: #9198a1; }
    .axis { stroke: #9198a1; }
    .grid { stroke: #3d444d; }
    .goal { fill: #3fb950; }
    .pass { fill: #4493f8; }
    .fail { fill: #f85149; }
    .floor { stroke: #f85149; }
    .aim { stroke: #3fb950; }
  }
"""


def draw(lines: Sequence[Judged], said: str) -> str:
    """SVG of the ratios to other programs; `said` tells where they were measured."""
    shown = [line for line in lines if line.goal.code in _PEERS and line.passes and line.verdict is not Verdict.VOID]
    least = min([0.1, *(min(line.value, line.goal.floor) for line in shown)])
    most = max([10.0, *(max(line.value, line.goal.goal) for line in shown)])
    first, last = math.floor(math.log10(least)), math.ceil(math.log10(most))
    room = _WIDTH - _LEFT - _RIGHT

    def x(value: float) -> float:
        return _LEFT + (math.log10(value) - first) / (last - first) * room

    height = _TOP + _ROW * len(shown) + 44
    bottom = _TOP + _ROW * len(shown)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
        ' role="img" aria-label="CRM-Kassa beside its peers, times faster">',
        f"<style>{_STYLE}</style>",
        '<text class="title" x="16" y="26">CRM-Kassa beside its peers: times as fast, in the same run</text>',
        f'<text class="quiet" x="16" y="46">{escape(said)}</text>',
    ]
    for power in range(first, last + 1):
        at = x(10.0**power)
        kind = "axis" if power == 0 else "grid"
        parts.append(f'<line class="{kind}" x1="{at:.1f}" y1="{_TOP - 4}" x2="{at:.1f}" y2="{bottom}"/>')
        label = f"{10.0**power:g} ×"
        parts.append(f'<text class="quiet" text-anchor="middle" x="{at:.1f}" y="{bottom + 16}">{label}</text>')
    for row, line in enumerate(shown):
        parts += _bar(line, _TOP + row * _ROW, x)
    parts.append(
        f'<text class="quiet" x="16" y="{height - 8}">Red mark: floor of the build. Green mark: goal. '
        "Logarithmic scale; from 1 × to the right the program is the faster one.</text>"
    )
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _bar(line: Judged, top: float, x: Callable[[float], float]) -> list[str]:
    goal, value = line.goal, line.value
    kind = {Verdict.GOAL: "goal", Verdict.PASS: "pass"}.get(line.verdict, "fail")
    begin, end = sorted((x(1.0), x(value)))
    middle = top + _ROW / 2
    marks = [
        f'<line class="{name}" x1="{x(at):.1f}" y1="{middle - 12}" x2="{x(at):.1f}" y2="{middle + 12}"/>'
        for name, at in (("floor", goal.floor), ("aim", goal.goal))
    ]
    return [
        f'<text x="16" y="{middle + 4}">{escape(goal.name)}</text>',
        f'<rect class="{kind}" x="{begin:.1f}" y="{middle - _BAR / 2}" width="{max(end - begin, 1.5):.1f}" '
        f'height="{_BAR}" rx="2"/>',
        *marks,
        f'<text x="{_WIDTH - _RIGHT + 12}" y="{middle + 4}">{number(value)} ×</text>',
    ]
