"""A failure as a folder that can be mailed: the case, its files, what happened in words, and a picture."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from dynaclr_strategies.codec import yaml_text
from dynaclr_strategies.invariants.base import INVARIANTS, InvariantViolation
from dynaclr_strategies.reproduction.attached import FailedCase
from dynaclr_strategies.reproduction.case_files import CannotRunError, StoredCase, case_text, check_harmless
from dynaclr_strategies.reproduction.identity import Failure
from dynaclr_strategies.reproduction.names import maker_note, needed_beside, sampler_option
from dynaclr_strategies.reproduction.pictures import draw_picture
from dynaclr_strategies.subjects import SUBJECTS

__all__ = ["replay_command", "replay_command_here", "write_bundle"]

SMALL_VOXELS, SMALL_ROWS = 2**21, 10**5
"""What a bundle holds as files; a larger case is in ``case.json`` alone."""

_OCCUPIED = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR})
"""What moving a folder to where something else is ends with, depending on the system."""

_WHERE = """In an environment with the code in question (in a clone: `pip install -c constraints.txt '.[strategies]'`),
from the folder that holds this one:"""

_KEEP = """It prints FIXED (exit code 0), FAILS (1) or CANNOT RUN (2), and needs neither pytest nor Hypothesis.
With `--keep`, in the root of a clone, it adds the case to those that every test run checks first."""


def write_bundle(failed: FailedCase, problem: BaseException, folder: Path) -> Path:
    """Write the bundle of a failure, whole or not at all.

    Parameters
    ----------
    failed
        The law and the case.
    problem
        What was raised.
    folder
        Where bundles are kept; made if it is missing.

    Returns
    -------
    Path
        The bundle, named by law and case. One of the same failure that is there already is replaced; where the law has
        failed on the case in another way, both are kept, and the later one has a number behind its name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    failure = Failure(StoredCase(failed, str(problem), {}), type(problem).__name__)
    while True:
        target = _free_place(folder, failure)
        # Beside the target, so that moving it there is one step; dotted, so that nobody takes it for a bundle.
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder))
        try:
            _fill(failed, problem, draft / target.name)
            if _is_moved(draft / target.name, target, failure):
                return target
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _places(folder: Path, failure: Failure) -> Iterator[Path]:
    """Yield where bundles of a law and case go, without end."""
    yield folder / failure.name
    yield from (folder / f"{failure.name}-{number}" for number in itertools.count(2))


def _free_place(folder: Path, failure: Failure) -> Path:
    """Return where a failure's bundle goes: the first of its names that no other failure has."""
    return next(place for place in _places(folder, failure) if _is_free(place, failure))


def _is_free(place: Path, failure: Failure) -> bool:
    # Read first: what another worker of the same failure takes away to replace it leaves a free place.
    return _is_of(place, failure) or not place.exists()


def _is_of(bundle: Path, failure: Failure) -> bool:
    """Tell whether a bundle of a failure's name, and so of its law and case, is of that failure."""
    return _identity(bundle, failure) == failure.identity


def _identity(bundle: Path, failure: Failure) -> str | None:
    """Return which failure a bundle of the same law and case is of; None if nobody knows what it is."""
    try:
        content = json.loads((bundle / "case.json").read_text(encoding="utf-8"))
        return Failure(replace(failure.stored, message=str(content["message"])), content["error"]).identity
    except (OSError, ValueError, TypeError, KeyError):
        # Whatever it is, it is not ours to replace.
        return None


def _is_moved(bundle: Path, target: Path, failure: Failure) -> bool:
    """Move a bundle to its place; False where another worker has put another failure there meanwhile."""
    if not _is_free(target, failure):
        return False
    taken = bundle.with_name("replaced")
    # Nothing there: it is the first, or another worker has just taken it away to replace it with the same failure.
    with contextlib.suppress(FileNotFoundError):
        target.rename(taken)
    is_there = False
    try:
        # Looked at again: another failure may have come to the place after the first look.
        if not taken.exists() or _is_of(taken, failure):
            bundle.rename(target)
            is_there = True
    except OSError as trouble:
        if trouble.errno not in _OCCUPIED:
            raise
        # Another worker was faster: with the same failure, which is enough, or with another one.
        is_there = _is_of(target, failure)
    finally:
        if not is_there and taken.exists():
            _put_back(taken, target.parent, failure)
    return is_there


def _put_back(taken: Path, folder: Path, failure: Failure) -> None:
    """Give a bundle that was taken away the first of its names that is free; if its failure is there again, none."""
    identity = _identity(taken, failure)
    for place in _places(folder, failure):
        try:
            # Under another name it still says how to replay the old one, which holds the same law and case.
            taken.rename(place)
        except OSError as trouble:
            if trouble.errno not in _OCCUPIED:
                raise
        else:
            return
        if identity is not None and _identity(place, failure) == identity:
            return


def _fill(failed: FailedCase, problem: BaseException, bundle: Path) -> None:
    bundle.mkdir()
    # Half a character, such as a file name may have, is written as its escape, which JSON reads as what it was.
    (bundle / "case.json").write_text(case_text(failed, problem), encoding="utf-8", errors="backslashreplace")
    contents = ["`case.json`: law, case, message and versions; all that a replay reads"]
    contents += _write_input(failed, bundle / "input")
    figure = draw_picture(failed, problem)
    if figure is not None:
        figure.savefig(bundle / "picture.png", dpi=120)
        contents.append("`picture.png`: the failure, drawn")
    readme = _readme(failed, problem, bundle.name, contents, figure is not None)
    (bundle / "README.md").write_text(readme, encoding="utf-8", errors="backslashreplace")


def _write_input(failed: FailedCase, folder: Path) -> list[str]:
    try:
        check_harmless(failed.case, max_voxels=SMALL_VOXELS, max_rows=SMALL_ROWS)
    except CannotRunError as reason:
        return [f"no files of the case: {reason}"]
    folder.mkdir()
    SUBJECTS[INVARIANTS[failed.law].subject].materialise(failed.case, folder)
    names = sorted(path.name for path in folder.iterdir())
    return [f"`input/`: the case as files ({', '.join(names)})"] if names else []


def replay_command(bundle: Path, maker: str | None = None) -> str:
    """Return the command that replays a bundle."""
    words = ["dynaclr-replay", str(bundle), *([] if maker is None else ["--sampler", sampler_option(maker)])]
    return shlex.join(words)


def replay_command_here(bundle: Path, maker: str | None = None) -> str:
    """Return the command that replays a bundle with the code that this process has run.

    Under the tox of a clone that is the code of the clone; the environment of whoever reads it may hold another.
    """
    command = replay_command(bundle, maker)
    if "TOX_ENV_NAME" not in os.environ or not Path("src", "dynaclr").is_dir():
        return command
    return command.replace("dynaclr-replay", "tox -e replay --", 1)


def _readme(failed: FailedCase, problem: BaseException, name: str, contents: list[str], has_picture: bool) -> str:
    law = INVARIANTS[failed.law]
    maker = f"`{failed.maker}`" if failed.maker else "dynaclr's own"
    paragraphs = [
        f"# Law `{law.law}` was broken",
        f"> {law.sentence}",
        f"Subject: {law.subject} ({maker}). The law applies: {law.when}.",
        "## What happened",
        *_what_happened(problem),
        "![the failure](picture.png)" if has_picture else "",
        "## How to see it on your machine",
        _WHERE,
        f"```sh\n{replay_command(Path(name), failed.maker)}\n```",
        maker_note(failed.maker) or needed_beside(failed.maker) or "",
        _KEEP,
        "## The case",
        f"```yaml\n{yaml_text(failed.case.to_plain())}```",
        "## What is in this folder",
        "\n".join(f"- {line}" for line in contents),
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph) + "\n"


def _what_happened(problem: BaseException) -> list[str]:
    if isinstance(problem, InvariantViolation):
        return [
            f"- where: {problem.where}\n- what was seen: {problem.seen}\n- what should have been: {problem.expected}"
        ]
    return [f"`{type(problem).__name__}` was raised where nothing should be:", f"```\n{problem}\n```"]
