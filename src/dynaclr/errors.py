"""What the package says when the user is mistaken: a sentence with the parameter, the value and the remedy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class DynaclrError(ValueError):
    """A mistake in what the user passed in; the command line prints its sentence instead of a stack trace."""


class RegistryError(DynaclrError):
    """All problems of all experiments of a registry, in one error.

    Parameters
    ----------
    problems
        One sentence per problem, each naming the experiment and the field.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = f"the registry has {count} problem{'s' if count != 1 else ''}:"
        super().__init__("\n".join([head, *(f"  - {problem}" for problem in self.problems)]))


class TracksError(DynaclrError):
    """A tracking table that cannot be what it claims; the sentence names the file and the rows."""


class OtherSamplingError(DynaclrError):
    """A sampler's state that was taken of another table or with other options; the sentence says what differs."""


class RepeatedAnchorsWarning(UserWarning):
    """An experiment is so small that anchors repeat within its batches."""


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known name, or an empty string.

    Parameters
    ----------
    name
        The name that nobody knows.
    known
        The names that exist.

    Examples
    --------
    >>> did_you_mean("chanel_names", ["channel_names", "organelle"])
    "; did you mean 'channel_names'?"
    >>> did_you_mean("zzz", ["channel_names"])
    ''
    """
    nearest = get_close_matches(str(name), [str(item) for item in known], n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""
