"""What a user says about one experiment, and every sentence about what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails

from dynaclr.errors import DynaclrError, RegistryError, did_you_mean
from dynaclr.fields import Founder, ImpossibleParents, Location, Names, Number, Text, Wells, channel_problems, refuse


def _schema(**keywords: Any) -> Any:
    """Add keywords to a field's JSON Schema; what they say is checked here, in words."""
    return Field(json_schema_extra=keywords)


class ExperimentConfig(BaseModel):
    """One experiment: a store, the tracks of its cells, and what happened in which well.

    The fields are checked when the object is made; whether store and tracks exist and agree with them is checked
    by `dynaclr.experiment.ExperimentRegistry`.

    Raises
    ------
    RegistryError
        With one sentence for each problem.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", title="Experiment", use_attribute_docstrings=True)

    name: Text
    """The experiment's name, unique in the registry and without ':', which separates it from wells in
    selectors such as 'exp_a:A/1/0'."""
    data_path: Location
    """HCS OME-Zarr store; relative paths are relative to the YAML file."""
    tracks_path: Location
    """Root of the tracking tables, <tracks_path>/<row>/<column>/<fov>/*.csv, one table for each FOV; relative
    paths are relative to the YAML file."""
    channel_names: Names
    """All channels of the store, in the store's order."""
    source_channel: Names
    """The channels to train on; the encoder sees the i-th of them as channel i, whatever its name."""
    condition_wells: Wells
    """Treatment labels and the wells that were treated so, {label: ['A/1', ...]}; wells that no label names
    are left out."""
    interval_minutes: Annotated[Number, _schema(exclusiveMinimum=0)] = 30.0
    """Minutes between two frames."""
    start_hpi: Number = 0.0
    """Hours post infection (HPI) at the first frame; negative if the movie began before the infection."""
    organelle: Text = ""
    """The organelle or reporter, for grouping; may be empty."""
    date: Annotated[Text, _schema(type=["string", "number"])] = ""
    """The day of the experiment, kept as it is written."""
    moi: Annotated[Number, _schema(minimum=0)] = 0.0
    """Multiplicity of infection, viruses per cell."""
    founder_parent: Founder = None
    """The parent number that means 'no parent' in the tracking tables, where it is not clear (0 beside a real
    track 0)."""
    impossible_parents: ImpossibleParents = "error"
    """What to do with a parent that does not start before its child: stop with an error, or treat the child as
    a founder and log how many there were; parents in a circle are always an error."""

    if not TYPE_CHECKING:  # type checkers shall see the fields, not this

        def __init__(self, /, **fields: Any) -> None:
            draft = _fill(self, fields, None)
            if draft.problems:
                raise RegistryError(draft.problems)

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if not name.strip():
            refuse(f"is {name!r}, but needs text that is not empty")
        if ":" in name:
            refuse(f"is {name!r}, but needs a name without ':', which selectors like 'exp:A/1' split at")
        return name

    @field_validator("source_channel")
    @classmethod
    def _check_source(cls, source: list[str], info: ValidationInfo) -> list[str]:
        problems = [
            f"names {channel!r} {source.count(channel)} times, but needs each channel once"
            for channel in dict.fromkeys(source)
            if source.count(channel) > 1
        ]
        channels: list[str] | None = info.data.get("channel_names")  # absent where it is itself wrong
        for channel in dict.fromkeys(source if channels is not None else ()):
            problems += channel_problems(channel, channels or [])
        refuse(*problems)
        return source

    @field_validator("interval_minutes")
    @classmethod
    def _check_interval(cls, interval: float) -> float:
        if interval <= 0:
            refuse(f"is {interval!r}, but needs a positive number of minutes")
        return interval

    @field_validator("moi")
    @classmethod
    def _check_moi(cls, moi: float) -> float:
        if moi < 0:
            refuse(f"is {moi!r}, but needs a number that is not negative")
        return moi

    @field_validator("*")
    @classmethod
    def _remember(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(info.context, dict):
            info.context[info.field_name] = value
        return value


@dataclass(frozen=True)
class Draft:
    """One experiment as far as it can be understood.

    Parameters
    ----------
    label
        How sentences call it, such as ``"experiment 'exp_a'"``.
    fields
        Those of its fields that are right by themselves, defaults included.
    problems
        One sentence for each thing that is wrong.
    config
        The experiment, or None if there are problems.
    """

    label: str
    fields: Mapping[str, Any]
    problems: tuple[str, ...] = ()
    config: ExperimentConfig | None = None

    @classmethod
    def of(cls, config: ExperimentConfig) -> Self:
        """Return the draft of an experiment that is right by itself.

        Parameters
        ----------
        config
            The experiment.
        """
        return cls(f"experiment {config.name!r}", dict(config), config=config)


def draft_experiment(raw: object, number: int) -> Draft:
    """Check one entry of a list of experiments, and keep what is right in it.

    Parameters
    ----------
    raw
        What stands there: an experiment, a mapping with the fields of one, or anything else.
    number
        Its place in the list, from 1, to name it by if it has no name.

    Returns
    -------
    Draft
        The experiment or its problems.
    """
    if isinstance(raw, ExperimentConfig):
        return Draft.of(raw)
    if not isinstance(raw, Mapping):
        label = f"experiment number {number}"
        return Draft(label, {}, (f"{label} is {raw!r}, but needs the fields of an experiment",))
    return _fill(ExperimentConfig.__new__(ExperimentConfig), dict(raw), number)


def _fill(config: ExperimentConfig, raw: dict[Any, Any], number: int | None) -> Draft:
    """Set and check the fields of an empty `config`; what is right goes into the draft though the rest be wrong."""
    valid: dict[str, Any] = {}
    try:
        texts = {key: value for key, value in raw.items() if isinstance(key, str)}
        config.__pydantic_validator__.validate_python(texts, self_instance=config, context=valid)
    except ValidationError as error:
        details = error.errors(include_url=False)
    else:
        details = []
    place = "experiment" if number is None else f"experiment number {number}"
    label = f"experiment {valid['name']!r}" if "name" in valid else place
    problems = [sentence for detail in details for sentence in _sentences(detail, label)]
    problems += [_unknown_key(key, label) for key in raw if not isinstance(key, str)]
    fields = {
        key: field.default
        for key, field in ExperimentConfig.model_fields.items()
        if key not in raw and not field.is_required()
    }
    return Draft(label, fields | valid, tuple(problems), None if problems else config)


def _sentences(detail: ErrorDetails, label: str) -> list[str]:
    """Turn one error of pydantic into sentences for people."""
    field = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "dynaclr":
        return [f"{label}: {field} {problem}" for problem in detail["ctx"]["problems"]]
    if detail["type"] == "missing":
        return [f"{label}: {field} is missing, but every experiment needs it"]
    if detail["type"] == "extra_forbidden":
        return [_unknown_key(field, label)]
    return [f"{label}: {field} is {detail['input']!r}, but: {detail['msg']}"]


def _unknown_key(key: object, label: str) -> str:
    """Say that no field has this name."""
    known = list(ExperimentConfig.model_fields)
    hint = did_you_mean(key, known) or f"; the known keys are {', '.join(known)}"
    return f"{label}: {key!r} is an unknown key{hint}"


def read_drafts(content: object, path: str) -> list[Draft]:
    """Check the content of a registry's YAML file.

    Parameters
    ----------
    content
        What `dynaclr.files.read_yaml` returned.
    path
        The file's name, for the sentences.

    Returns
    -------
    list of Draft
        One for each entry of the list ``experiments``.

    Raises
    ------
    DynaclrError
        If the file as a whole is no registry: empty, no ``experiments``, another key beside it.
    """
    if content is None:
        raise DynaclrError(f"the file {path!r} is empty, but needs the key 'experiments' with a list")
    if not isinstance(content, dict):
        raise DynaclrError(f"the file {path!r} holds no key 'experiments', but {type(content).__name__} data")
    for key in content:
        if key != "experiments":
            hint = did_you_mean(key, ["experiments"]) or "; the only known key is 'experiments'"
            raise DynaclrError(f"the file {path!r} has the unknown top-level key {key!r}{hint}")
    if "experiments" not in content:
        raise DynaclrError(f"the file {path!r} has no key 'experiments'")
    if not isinstance(content["experiments"], list):
        raise DynaclrError(f"experiments in {path!r} is {content['experiments']!r}, but needs a list")
    return [draft_experiment(raw, number) for number, raw in enumerate(content["experiments"], start=1)]


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a registry's YAML file, for editors that complete and check it.

    Returns
    -------
    dict
        A schema of the dialect 2020-12.
    """
    experiment = ExperimentConfig.model_json_schema()
    experiment["description"] = "One experiment: a store, the tracks of its cells, and what happened in which well."
    for field in experiment["properties"].values():
        field["description"] = " ".join(field["description"].split())
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "dynaclr experiments",
        "description": "The experiments that a contrastive encoder is trained on.",
        "type": "object",
        "additionalProperties": False,
        "required": ["experiments"],
        "properties": {
            "experiments": {
                "description": "One entry for each experiment.",
                "type": "array",
                "minItems": 1,
                "items": {"$ref": "#/$defs/Experiment"},
            }
        },
        "$defs": {"Experiment": experiment},
    }
