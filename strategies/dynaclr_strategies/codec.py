"""Frozen dataclasses of plain values, to JSON and YAML and back without loss."""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from typing import Any, Literal, Self, TypeVar, Union

import yaml

__all__ = ["Plain", "from_plain", "to_plain", "yaml_text"]

T = TypeVar("T")


class Plain:
    """Base of the descriptions: a frozen dataclass that travels as JSON or YAML."""

    __slots__ = ()

    def to_plain(self) -> dict[str, Any]:
        """Return the description as dictionaries, lists, strings, numbers and None."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def from_plain(cls, data: Any) -> Self:
        """Rebuild a description from what `to_plain` returned."""
        return from_plain(cls, data)

    def to_json(self, *, indent: int | None = None) -> str:
        """Return the description as one JSON document."""
        return json.dumps(self.to_plain(), ensure_ascii=False, indent=indent)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Rebuild a description from `to_json`."""
        return cls.from_plain(json.loads(text))

    def to_yaml(self) -> str:
        """Return the description as one YAML document."""
        return yaml_text(self.to_plain())

    @classmethod
    def from_yaml(cls, text: str) -> Self:
        """Rebuild a description from `to_yaml`."""
        return cls.from_plain(yaml.safe_load(text))


def yaml_text(content: Any) -> str:
    """Return a YAML document that reads back as the same content, in readable letters where that is possible."""
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    # PyYAML leaves some line separators of Unicode as they are and then reads them as the end of the line.
    return text if _reads_back(text, content) else yaml.safe_dump(content, sort_keys=False)


def _reads_back(text: str, content: Any) -> bool:
    try:
        return bool(yaml.safe_load(text) == content)
    except yaml.YAMLError:
        return False


def to_plain(value: Any) -> Any:
    """Turn dataclasses into dictionaries and tuples into lists, all the way down."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [to_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"A description holds plain values and tuples, got {value!r} of {type(value).__name__}.")


@functools.cache
def _field_types(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def from_plain(kind: type[T], data: Any) -> T:
    """Rebuild a value of the annotated type ``kind`` from `to_plain`.

    Raises
    ------
    ValueError
        If ``data`` does not have the shape that the annotations ask for.
    """
    decoded: T = _decode(kind, data, kind.__name__)
    return decoded


def _decode(kind: Any, data: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if origin is Union or origin is types.UnionType:
        return _decode_union(typing.get_args(kind), data, where)
    if origin is Literal:
        if data not in typing.get_args(kind):
            raise ValueError(f"{where} must be one of {typing.get_args(kind)}, got {data!r}.")
        return data
    if origin is tuple:
        return _decode_tuple(typing.get_args(kind), data, where)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _decode_dataclass(kind, data, where)
    if kind is float and type(data) is int:
        return float(data)
    if kind is type(None) or type(data) is not kind:
        if data is None and kind is type(None):
            return None
        raise ValueError(f"{where} must be {kind.__name__}, got {data!r}.")
    return data


def _decode_union(kinds: tuple[Any, ...], data: Any, where: str) -> Any:
    # An exact type first, so that 1 stays an int in ``int | float``.
    for kind in kinds:
        if type(data) is kind:
            return data
    problems = []
    for kind in kinds:
        try:
            return _decode(kind, data, where)
        except ValueError as problem:
            problems.append(str(problem))
    raise ValueError(" Or: ".join(problems))


def _decode_tuple(kinds: tuple[Any, ...], data: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(data, list | tuple):
        raise ValueError(f"{where} must be a list, got {data!r}.")  # noqa: TRY004 - one error type for bad data
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_decode(kinds[0], item, f"{where}[{i}]") for i, item in enumerate(data))
    if len(kinds) != len(data):
        raise ValueError(f"{where} must hold {len(kinds)} items, got {data!r}.")
    return tuple(_decode(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, data, strict=True)))


def _decode_dataclass(kind: Any, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise ValueError(f"{where} must be a mapping, got {data!r}.")  # noqa: TRY004 - one error type for bad data
    known = _field_types(kind)
    unknown = [name for name in data if name not in known]
    if unknown:
        raise ValueError(f"{where} has no fields {unknown}; it has {sorted(known)}.")
    required = [
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    missing = [name for name in required if name not in data]
    if missing:
        raise ValueError(f"{where} lacks the fields {missing}.")
    return kind(**{name: _decode(known[name], item, f"{where}.{name}") for name, item in data.items()})
