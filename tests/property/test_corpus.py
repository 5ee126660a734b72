"""Failures that were found once stay fixed: the kept cases, which every suite checks first."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynaclr_strategies.reproduction.corpus import check_kept, kept_cases

CORPUS = Path(__file__).parent / "corpus"


def test_there_is_a_corpus() -> None:
    """The folder is there and holds cases."""
    assert kept_cases(CORPUS)


@pytest.mark.parametrize("path", kept_cases(CORPUS), ids=lambda path: path.stem)
def test_kept_case(path: Path) -> None:
    """The law of a kept case holds."""
    check_kept(path)
