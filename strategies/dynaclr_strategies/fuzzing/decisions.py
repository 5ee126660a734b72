"""What to do with the issues of a repository, given what was found and what old failures replay as.

Doing what was decided and deciding again changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from dynaclr_strategies.fuzzing.failures import grouped
from dynaclr_strategies.fuzzing.issues import Issue, issue_body, issue_title, with_names
from dynaclr_strategies.reproduction.identity import Failure
from dynaclr_strategies.reproduction.replay import Verdict

__all__ = ["Action", "Kind", "combined", "decide"]


class Kind(Enum):
    """What is done with an issue."""

    OPEN = "open"
    UPDATE = "update"
    REOPEN = "reopen"
    CLOSE = "close"
    LEAVE = "leave"


@dataclass(frozen=True)
class Action:
    """One decision.

    Attributes
    ----------
    kind
        What to do.
    why
        The reason, in one line.
    number
        The issue; None for one that is not there yet.
    title
        Title of a new issue.
    body
        The body that the issue gets; None if it stays as it is.
    comment
        What is said in the issue; None for nothing.
    """

    kind: Kind
    why: str
    number: int | None = None
    title: str | None = None
    body: str | None = None
    comment: str | None = None


def combined(verdicts: Iterable[Verdict]) -> Verdict | None:
    """Return what several replays say together: it fails if it fails anywhere, and is fixed if it is so everywhere."""
    found = set(verdicts)
    return next((one for one in (Verdict.FAILS, Verdict.CANNOT_RUN, Verdict.FIXED) if one in found), None)


def decide(
    failures: Iterable[Failure],
    issues: Iterable[Issue],
    verdicts: Mapping[str, Verdict],
    *,
    run_url: str | None = None,
) -> list[Action]:
    """Decide what to do.

    Parameters
    ----------
    failures
        What was found, in any order.
    issues
        All issues that are there, open and closed; those that are not the report's are left alone.
    verdicts
        What bundles replay as, by their names. One that was found and not replayed fails.
    run_url
        The page of the run that found them.

    Returns
    -------
    list[Action]
        The decisions, in the same order whatever the order of what was given.
    """
    groups = grouped(failures)
    known: dict[str, list[Issue]] = {}
    for issue in sorted(issues, key=lambda issue: (not issue.is_open, issue.number)):
        if issue.identity is not None:
            known.setdefault(issue.identity, []).append(issue)
    actions = []
    for identity in sorted({*groups, *known}):
        group, those = groups.get(identity, []), known.get(identity, [])
        names = {failure.name for failure in group}
        every = names.union(*(issue.names for issue in those))
        said = {name: verdicts.get(name, Verdict.FAILS if name in names else None) for name in sorted(every)}
        verdict = combined(one for one in said.values() if one is not None)
        if those:
            actions += _of_known(those, names, said, verdict)
        else:
            actions.append(_of_new(group, identity, verdict, run_url))
    return actions


def _of_new(group: Sequence[Failure], identity: str, verdict: Verdict | None, run_url: str | None) -> Action:
    name = group[0].name
    if verdict is not Verdict.FAILS:
        return Action(Kind.LEAVE, f"{name} was found, but replays as {verdict}")
    body = issue_body(group, identity, run_url)
    return Action(Kind.OPEN, f"{name} is new", title=issue_title(group[0]), body=body)


def _of_known(
    issues: Sequence[Issue], names: set[str], said: Mapping[str, Verdict | None], verdict: Verdict | None
) -> list[Action]:
    """Decide about the issues of one failure; there are several only where somebody or something went wrong."""
    if verdict is Verdict.FIXED:
        closing = [_closing(issue, said) for issue in issues if issue.is_open]
        return closing or [Action(Kind.LEAVE, "it is fixed", issues[0].number)]
    first = issues[0]
    if verdict is Verdict.FAILS:
        return [_failing(first, names, said)]
    reason = "none of its cases was replayed" if verdict is None else f"{_listed(said, verdict)} {verdict} here"
    return [Action(Kind.LEAVE, reason, first.number)]


def _closing(issue: Issue, said: Mapping[str, Verdict | None]) -> Action:
    comment = f"Replayed on the current code, and FIXED: {_listed(said, Verdict.FIXED)}."
    return Action(Kind.CLOSE, "its cases are FIXED", issue.number, comment=comment)


def _failing(issue: Issue, names: set[str], said: Mapping[str, Verdict | None]) -> Action:
    body = with_names(issue.body, names)
    changed = None if body == issue.body else body
    failing = _listed(said, Verdict.FAILS)
    if not issue.is_open:
        comment = f"It fails again: {failing}."
        return Action(Kind.REOPEN, "it fails again", issue.number, body=changed, comment=comment)
    if changed is None:
        return Action(Kind.LEAVE, f"it still fails: {failing}", issue.number)
    return Action(Kind.UPDATE, "there are more bundles of it", issue.number, body=changed)


def _listed(said: Mapping[str, Verdict | None], verdict: Verdict) -> str:
    """Return the names that replay as something, at most a few of them."""
    names = [f"`{name}`" for name, one in said.items() if one is verdict]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
