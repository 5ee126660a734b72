"""What a field of an experiment must hold, and the sentence for whoever wrote something else."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from dynaclr.checks import is_whole
from dynaclr.errors import did_you_mean
from dynaclr.paths import expanded


def refuse(*problems: str) -> None:
    """Refuse a value for several reasons at once; each goes on from ``experiment 'a': field ``."""
    if problems:
        raise PydanticCustomError("dynaclr", "{text}", {"text": "; ".join(problems), "problems": problems})


def _yaml_trap(value: object) -> str:
    """Explain in words how YAML may have made this value out of what the user wrote."""
    if isinstance(value, bool):
        return " (YAML reads an unquoted yes, no, on, off, true or false as a boolean: put the text in quotes)"
    if isinstance(value, (int, float)):
        return " (YAML reads unquoted digits as a number: put the text in quotes)"
    if value is None:
        return " (YAML reads nothing after the colon, null and ~ as None)"
    return ""


def _text(value: Any) -> Any:
    """Let text pass."""
    if not isinstance(value, str):
        refuse(f"is {value!r}, but needs text{_yaml_trap(value)}")
    return value


def _path(value: Any) -> Any:
    """Let paths pass, with ``~`` for the home folder."""
    if not isinstance(value, (str, Path)) or not str(value).strip() or "\0" in str(value):
        refuse(f"is {value!r}, but needs a path{_yaml_trap(value)}")
    return expanded(value)


def _number(value: Any) -> Any:
    """Let finite numbers pass, also written as text, but no booleans."""
    try:
        number = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not isfinite(number):
        refuse(f"is {value!r}, but needs a finite number{_yaml_trap(value) if value is None else ''}")
    return number


def _names(value: Any) -> Any:
    """Let lists of texts pass."""
    if isinstance(value, str):
        refuse(f"is the single text {value!r}, but needs a list, such as [{value!r}]")
    if not isinstance(value, (list, tuple)):
        refuse(f"is {value!r}, but needs a list of names{_yaml_trap(value)}")
    refuse(*(_not_text(item, "") for item in value if not isinstance(item, str)))
    if not value:
        refuse(f"is {value!r}, but needs at least one name")
    return list(value)


def _not_text(item: object, place: str) -> str:
    """Say that a list holds something that is no text."""
    return f"holds {item!r}{place}, but needs texts{_yaml_trap(item)}"


def _wells(value: Any) -> Any:
    """Let ``{label: [wells]}`` pass, each well once."""
    if not isinstance(value, Mapping):
        refuse(f"is {value!r}, but needs labels and their wells, {{label: ['A/1', ...]}}{_yaml_trap(value)}")
    if not value:
        refuse(f"is {dict(value)!r}, but needs at least one condition, {{label: ['A/1', ...]}}")
    problems = [problem for label, wells in value.items() for problem in _condition_problems(label, wells)]
    owners: dict[str, list[object]] = {}
    for label, wells in value.items():
        for well in wells if isinstance(wells, (list, tuple)) else ():
            if isinstance(well, str):
                owners.setdefault(well, []).append(label)
    for well, labels in owners.items():
        if len(labels) > 1:
            where = " and ".join(repr(label) for label in dict.fromkeys(labels))
            problems.append(f"names well {well!r} {len(labels)} times (under {where}), but needs each well once")
    refuse(*problems)
    return {label: list(wells) for label, wells in value.items()}


def _condition_problems(label: object, wells: object) -> list[str]:
    """Say what is wrong with one condition's label and with its list of wells."""
    problems = []
    if not isinstance(label, str):
        problems.append(f"has the label {label!r}, but needs text{_yaml_trap(label)}")
    elif not label.strip():
        problems.append(f"has the empty label {label!r}, but needs a name for the condition")
    if isinstance(wells, str):
        problems.append(f"of {label!r} is the single text {wells!r}, but needs a list, such as [{wells!r}]")
    elif not isinstance(wells, (list, tuple)):
        problems.append(f"of {label!r} is {wells!r}, but needs a list of wells, such as ['A/1']")
    elif not wells:
        problems.append(f"of {label!r} is an empty list, but needs at least one well")
    else:
        problems += [_not_text(item, f" under {label!r}") for item in wells if not isinstance(item, str)]
    return problems


def channel_problems(channel: str, channels: list[str]) -> list[str]:
    """Say why a source channel cannot be found among the store's channels."""
    if channel not in channels:
        hint = did_you_mean(channel, channels)
        return [f"names {channel!r}, but the store's channel_names are {channels}{hint}"]
    if channels.count(channel) > 1:
        return [f"names {channel!r}, which channel_names has twice, but needs a unique name"]
    return []


def _founder(value: Any) -> Any:
    """Let whole numbers and None pass."""
    if value is not None and not is_whole(value):
        refuse(f"is {value!r}, but needs a whole number, or None for the usual ways of writing 'no parent'")
    return None if value is None else int(value)


def _choice(value: Any) -> Any:
    """Let the two ways of treating impossible parents pass."""
    if value not in ("error", "founder"):
        refuse(f"is {value!r}, but needs 'error' or 'founder'")
    return value


Text = Annotated[str, BeforeValidator(_text)]
Number = Annotated[float, BeforeValidator(_number)]
Names = Annotated[list[str], BeforeValidator(_names), Field(min_length=1)]
Location = Annotated[Path, BeforeValidator(_path)]
Wells = Annotated[
    dict[str, Annotated[list[str], Field(min_length=1)]],
    BeforeValidator(_wells),
    Field(json_schema_extra={"minProperties": 1}),
]
Founder = Annotated[int | None, BeforeValidator(_founder)]
ImpossibleParents = Annotated[Literal["error", "founder"], BeforeValidator(_choice)]
