"""The table of legal transitions as a page for people: a mermaid diagram and the table itself.

`python -m app.domain.state_chart > docs/state-machine.md` writes the page; a test compares the two.
"""

import sys

from app.domain.lifecycle import SETTLED, TERMINAL, TRANSITIONS, Happening, Status

_HEAD = """\
# The states of a receipt

This page is printed from `app/domain/lifecycle.py` and compared with it by a test. After a change there, write it anew:
`python -m app.domain.state_chart > docs/state-machine.md`.

A pair of state and happening that is not in the table is not legal: nothing is stored. A step with a message raises the
receipt's gap-free `sequence`, and the message goes out in the same transaction. `unknown` is a state: the request may
have arrived, and nothing is repeated before the provider was asked by our id.
"""


def markdown() -> str:
    """The whole page, ending with a newline."""
    parts = [_HEAD, _diagram(), _states(), _table()]
    return "\n".join(parts)


def _diagram() -> str:
    arrows: dict[tuple[Status, Status], list[Happening]] = {}
    for (status, happening), step in TRANSITIONS.items():
        if step.status is not status:
            arrows.setdefault((status, step.status), []).append(happening)
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> queued: planned", "    [*] --> held: data missing"]
    for (before, after), happenings in arrows.items():
        names = ", ".join(happening.value for happening in happenings)
        lines.append(f"    {before.value} --> {after.value}: {names}")
    lines += [f"    {status.value} --> [*]" for status in Status if status in TERMINAL]
    return "\n".join([*lines, "```", ""])


def _states() -> str:
    lines = ["| state | moves by itself | `Prefer: wait` ends here |", "|---|---|---|"]
    for status in Status:
        by_itself = "no" if status in SETTLED else "yes"
        lines.append(f"| `{status.value}` | {by_itself} | {'yes' if status in SETTLED else 'no'} |")
    return "\n".join([*lines, ""])


def _table() -> str:
    lines = ["| state | what happened | becomes | job left behind | message |", "|---|---|---|---|---|"]
    for (status, happening), step in TRANSITIONS.items():
        job = f"`{step.follow_up.value}`" if step.follow_up else ""
        message = f"`{step.message.value}`" if step.message else ""
        lines.append(f"| `{status.value}` | `{happening.value}` | `{step.status.value}` | {job} | {message} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.stdout.write(markdown())
