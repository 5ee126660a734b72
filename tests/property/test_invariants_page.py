"""``docs/invariants.md`` is what the code says."""

from __future__ import annotations

from write_invariants_page import COMMAND, PAGE, all_witnesses, page

from dynaclr_strategies import INVARIANTS
from dynaclr_strategies.invariants_page import Caught, invariants_page


def test_the_page_is_up_to_date() -> None:
    """Whoever changes a law or a witness writes the page anew."""
    written = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    assert written == page(), f"{PAGE.name} is not what the code says; update it with: {COMMAND}"


def test_every_law_is_on_the_page_with_its_witnesses() -> None:
    """Nothing is left out, and every row of every table has its four cells."""
    lines, witnesses = page().splitlines(), all_witnesses()
    for law in INVARIANTS.values():
        (row,) = [line for line in lines if line.startswith(f"| [{law.law}](")]
        cells = row.replace("\\|", "").strip("|").split("|")
        assert len(cells) == 4, row
        assert law.sentence.replace("``", "`").replace("|", "") in cells[1]
        assert all(f"`{one.name}`" in cells[3] for one in witnesses[law.law])


def test_what_would_break_a_table_is_escaped() -> None:
    """A bar within a sentence does not begin a cell, nor a new line a row."""
    text = invariants_page({"resume": [Caught("Name", "Takes a | b\nfor ``c``.")]}, command="command")
    assert "| `Name`: Takes a \\| b for `c`. |" in text
