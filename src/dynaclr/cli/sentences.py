"""Errors as sentences: what a user did wrong, without the packages' wrapping around it."""

from __future__ import annotations

import argparse
import ast
import inspect
import re
from collections.abc import Iterable, Iterator
from importlib import import_module

from dynaclr.errors import DynaclrError, did_you_mean

__all__ = ["ConfigurationError", "plain_sentence", "sentence_of", "sentence_of_unknown"]

_WRAPPERS = (argparse.ArgumentError, ValueError, TypeError)
_MISTAKES_ELSEWHERE = ("MisconfigurationException", "UnpicklingError")
_MISTAKES_BY_WORD = re.compile(
    r"Early stopping conditioned on metric|`val_check_interval` \(\d+\) must be|`\.\w+\(ckpt_path=|"
    r"Key `[^`]*` of transform `[^`]*` was missing"
)
"""What Lightning and MONAI say of a user's mistake in errors of types that otherwise are bugs."""
_A_CLASS = re.compile(
    r"(?:Not a valid subclass of |Import path \S+ does not correspond to a subclass of )(?P<name>\w+)|"
    r"Expected an instantiatable class, but [\w.]*?(?P<abstract>\w+) is abstract|"
    r"Expected a dot import path string|Unexpected import path format"
)
_NOISE = re.compile(
    r"Does not validate against any|Subtypes:|Errors:|Given value|Subclass types expect|"
    r"Expected a <class 'NoneType'>|a class path \(str\)|a dict with|Expected a path but"
)

_PREFIX = re.compile(
    r'Parser key "(?P<key>[^"]*)":\s*|'
    r"Problem with given class_path '(?P<owner>[^']*)':\s*|"
    r"Type .*? expects a function or a callable class:\s*"
)
_MADE = re.compile(r"\. Got value: Namespace\(class_path='([^']*)'.*")
_ONE_TYPE = re.compile(r"Expected an? (<class '[\w.]+'>|[\w.]+\[.*\])")


class ConfigurationError(DynaclrError):
    """Values of a configuration from which nothing can be made."""


def sentence_of(error: BaseException) -> str | None:
    """Return what to tell the user, or None if the error is a bug and not a user's mistake.

    Parameters
    ----------
    error
        What ended the program.
    """
    ours = _our_error(error)
    if ours is not None:
        return str(ours)
    if isinstance(error, argparse.ArgumentError):
        return plain_sentence(str(error))
    if isinstance(error, OSError) and error.filename is not None:
        return f"{str(error.filename)!r}: {error.strerror or error}"
    names = {base.__name__ for base in type(error).__mro__}
    if "UnpicklingError" in names:
        return "the checkpoint cannot be read safely: it is damaged, or holds more than weights and plain values"
    if str(error).startswith("Error(s) in loading state_dict"):
        return "the checkpoint does not fit the model: " + " ".join(str(error).split())
    said = str(error.args[0]).strip() if error.args else ""  # the text of a KeyError is in quotes
    if _MISTAKES_BY_WORD.match(said):
        return " ".join(said.split())
    return plain_sentence(str(error)) if names & set(_MISTAKES_ELSEWHERE) else None


def _our_error(error: BaseException) -> DynaclrError | None:
    """Return our own error, also from inside what a parser wrapped around it."""
    inside: BaseException | None = error
    while inside is not None:
        if isinstance(inside, DynaclrError):
            return inside
        if not isinstance(inside, _WRAPPERS):
            return None
        inside = inside.__cause__ or inside.__context__
    return None


def sentence_of_unknown(complaint: str, parser: argparse.ArgumentParser) -> str | None:
    """Return what to tell of an option that a command does not have, or None if the complaint is another.

    Parameters
    ----------
    complaint
        What the parser said.
    parser
        The command's.
    """
    unknown = re.search(r"unrecognized arguments: (.*)", complaint, re.DOTALL)
    if unknown is None:
        return None
    # The dashes, which all options share, would make short ones alike.
    actions = parser._actions  # noqa: SLF001  no other way
    options = [option.lstrip("-") for action in actions for option in action.option_strings]
    name = re.split(r"[=\s]", unknown[1])[0].lstrip("-")
    hint = did_you_mean(name, options) or did_you_mean(name.partition(".")[0], options)
    said = unknown[1].strip() or repr(unknown[1])
    return f"{parser.prog}: unrecognized arguments: {said}{hint} (see {parser.prog} --help)"


def plain_sentence(message: str) -> str:
    r"""Return the one complaint of a jsonargparse message that matters, behind the key it is about.

    Parameters
    ----------
    message
        An indented tree of keys, classes and complaints about each type that a value could have.

    Examples
    --------
    >>> plain_sentence('Parser key "trainer.max_epochs":\n  Expected a <class \'int\'>. Got value: many')
    "trainer.max_epochs needs int, got 'many'"
    """
    keys: list[str] = []
    owner, no_class = "", None
    lines = list(_lines(message))
    for place, line in enumerate(lines):
        rest = line
        while (prefix := _PREFIX.match(rest)) is not None:
            keys += [prefix["key"]] if prefix["key"] else []
            owner, rest = prefix["owner"] or owner, rest[prefix.end() :]
        # What is made by a callable stands behind the complaint about it.
        if (made := _MADE.search(rest)) is not None:
            owner, rest = made[1], rest[: made.start()]
        if _A_CLASS.match(rest):
            no_class = place
            continue
        if not rest or _NOISE.match(rest):
            continue
        if not _ONE_TYPE.fullmatch(rest):
            return _reworded(".".join(keys), owner, rest)
        begin, end = _union_around(lines, place)
        # A value of another of the types that are allowed, with a mistake inside, is told by that mistake.
        if not any("given class_path" in later for later in lines[place:end]):
            return _of_any_type(".".join(keys), lines[begin:end], lines[end:])
    if no_class is not None:
        begin, end = _union_around(lines, no_class)
        return _of_any_type(".".join(keys), lines[begin:end], lines[end:])
    return " ".join(message.split())


def _lines(message: str) -> Iterator[str]:
    for line in message.replace("\u200b", "").splitlines():  # jsonargparse hides names such as "keys" with it
        text = line.strip().removeprefix("- ")
        if text:
            yield text


def _union_around(lines: list[str], place: int) -> tuple[int, int]:
    """Return where the complaints begin and end that tell, of each type that a value could have, why it is none."""
    begin = max((at + 1 for at in range(place) if lines[at] == "Errors:"), default=place)
    end = next((at for at in range(place, len(lines)) if lines[at].startswith("Given value: ")), len(lines))
    return begin, end


def _of_any_type(key: str, complaints: list[str], given: list[str]) -> str:
    """Return what to say of a value that is of none of several types."""
    allowed = []
    for line in complaints:
        if (kind := _ONE_TYPE.fullmatch(line)) and "NoneType" not in line:
            allowed.append(_type_name(kind[1]))
        elif made := _A_CLASS.match(line):
            name = made["name"] or made["abstract"]
            allowed.append(f"a class_path of {name}" if name else "a class_path")
    got = [_of_key(key, _value(_MADE.sub("", line.removeprefix("Given value: ")))) for line in given[:1]]
    return f"{key} needs {' or '.join(dict.fromkeys(allowed))}" + "".join(f", got {value!r}" for value in got)


def _of_key(key: str, given: object) -> object:
    """Return what was given for a key, where a complaint about it shows the whole class that it belongs to."""
    arguments = given.get("init_args") if isinstance(given, dict) else None
    return arguments.get(key.rpartition(".")[2], given) if isinstance(arguments, dict) else given


def _reworded(key: str, owner: str, complaint: str) -> str:
    """Say a complaint of jsonargparse in our words; unknown ones stay as they are."""
    unknown = re.match(r"Option '([^']*)' is not accepted", complaint)
    if unknown:
        known = _parameters_of(owner)
        hint = did_you_mean(unknown[1], known) or (f"; it has {', '.join(known)}" if known else "")
        return f"{key}: {owner.rpartition('.')[2]} has no parameter {unknown[1]!r}{hint}"
    absent = re.match(r"module '([^']*)' has no attribute '([^']*)'|No module named '([^']*)'", complaint)
    if absent and owner:
        hint = did_you_mean(absent[2], _names_in(absent[1])) if absent[2] else ""
        return f"{key}: class_path {owner!r} does not exist{hint}"
    option = re.match(r"Subcommand '[^']*' does not accept option '([^']*)'", complaint)
    if option:
        return f"the configuration has a key {option[1]!r} that nobody reads{_nearest_option(option[1])}"
    required = re.match(r"the following arguments are required: (.*)", complaint)
    if required:
        names = [name.strip() for name in required[1].split(",")]
        # Above all sections stands the command.
        names = [f"{key}.{name}" if key else name.partition(".")[2] or name for name in names]
        hint = "" if key else " (give one with --config FILE)"
        return f"missing in the configuration: {', '.join(names)}{hint}"
    if complaint.startswith("Expected 'builtins.dict' to be a class"):  # what a list's entry without class_path becomes
        return f"{key} needs a class_path in every entry, beside its init_args"
    typed = re.match(r"Expected an? (.+?)\. Got value: (.*)", complaint)
    if typed:
        return f"{key} needs {_type_name(typed[1])}, got {_value(typed[2])!r}"
    return f"{key}: {complaint}" if key else complaint


def _type_name(text: str) -> str:
    name = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", text).replace("typing.", "")
    choice = re.fullmatch(r"Literal\[(.*)\]", name)
    words = {"Sequence": "list", "tuple": "list", "Mapping": "mapping"}
    return f"one of {choice[1]}" if choice else words.get(name, name)


def _value(text: str) -> object:
    text = re.sub(r"""^["']?NestedArg\(key='[^']*', val=(.*)\)["']?$""", r"\1", text)
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _parameters_of(class_path: str) -> list[str]:
    module, _, name = class_path.rpartition(".")
    try:
        parameters = inspect.signature(getattr(import_module(module), name)).parameters
    except (ImportError, AttributeError, TypeError, ValueError):
        return []
    return [name for name, parameter in parameters.items() if parameter.kind is not parameter.VAR_KEYWORD]


def _names_in(module: str) -> Iterable[str]:
    try:
        return dir(import_module(module))
    except ImportError:
        return ()


def _nearest_option(option: str) -> str:
    section, _, name = option.rpartition(".")
    return did_you_mean(name, _parameters_of("lightning.pytorch.Trainer")) if section == "trainer" else ""
