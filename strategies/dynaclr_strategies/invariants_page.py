"""The page ``docs/invariants.md``: every law, when it applies, and what it was seen to catch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dynaclr_strategies.invariants.base import INVARIANTS, Invariant

__all__ = ["Caught", "invariants_page"]

SUBJECTS = {
    "registry": "Experiments as they are read from `experiments.yml`.",
    "index": "The table of cells and frames, and which of them are anchors.",
    "sampler": "The batches of the sampling cascade. Numbers are those of the page on the cascade.",
    "life": "A sampler through epochs, interruptions, saved states and changing numbers of ranks.",
    "dataset": "Crops: pixels, positives, and what goes with them.",
    "datamodule": "Loaders, splits, and what happens to a batch on its way to the model.",
    "augment": "Dropout, normalization and augmentations, on whole batches.",
    "loss": "NT-Xent with concentration on hard negatives.",
    "training": "The whole pipeline, from the files to the gradients.",
    "fault": "Mistakes, and how they are refused.",
}
"""What laws are about, from the files to the gradients."""

_HEAD = """# Laws

Generated from the code by `{command}`; edit the docstrings instead.

There are {laws} laws. Each is a function `check_<law>` of `dynaclr_strategies.invariants` that needs no Hypothesis and
no pytest. Each has *witnesses* in `tests/property`: things with a single defect that the law has to catch.
There are {witnesses} of them. A test that holds a law to generated cases is one line:

```python
@given(case=sampler_cases())
def test_batch_size_exact(case):
    hold("batch-size-exact", case)
```
"""


@dataclass(frozen=True)
class Caught:
    """Something broken that a law catches.

    Attributes
    ----------
    name
        Of the class or function.
    sentence
        What is wrong with it.
    """

    name: str
    sentence: str


def invariants_page(witnesses: Mapping[str, Sequence[Caught]], *, command: str) -> str:
    """Return the page as Markdown.

    Parameters
    ----------
    witnesses
        What each law catches, by law.
    command
        What writes the page anew.
    """
    by_subject: dict[str, list[Invariant]] = {subject: [] for subject in SUBJECTS}
    for law in INVARIANTS.values():
        by_subject.setdefault(law.subject, []).append(law)
    count = sum(len(those) for law, those in witnesses.items() if law in INVARIANTS)
    parts = [_HEAD.format(command=command, laws=len(INVARIANTS), witnesses=count)]
    for subject, laws in by_subject.items():
        if laws:
            rows = [_row(law, witnesses.get(law.law, ())) for law in sorted(laws, key=_place)]
            table = ["| law | it says | when | it catches |", "| --- | --- | --- | --- |", *rows]
            parts.append("\n".join([f"## {subject}\n", f"{SUBJECTS.get(subject, '')}\n", *table, ""]))
    return "\n".join(parts)


def _place(law: Invariant) -> tuple[float, str]:
    return (law.number if law.number is not None else float("inf"), law.law)


def _row(law: Invariant, witnesses: Sequence[Caught]) -> str:
    number = "" if law.number is None else f" ({law.number})"
    source = f"../strategies/{law.check.__module__.replace('.', '/')}.py"
    caught = "<br>".join(f"`{one.name}`: {one.sentence}" if one.sentence else f"`{one.name}`" for one in witnesses)
    cells = [f"[{law.law}]({source}){number}", law.sentence, law.when, caught]
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    return text.replace("``", "`").replace("|", "\\|").replace("\n", " ").strip()
