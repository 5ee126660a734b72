"""A failure as a folder that can be mailed: the case, its files, what happened in words, and a picture."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shlex
import shutil
import tempfile
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
    # Beside the target, so that moving it there is one step; dotted, so that nobody takes it for a bundle.
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder))
    try:
        while True:
            target = _free_place(folder, failure)
            _fill(failed, problem, draft / target.name)
            if _is_moved(draft / target.name, target, failure):
                return target
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _free_place(folder: Path, failure: Failure) -> Path:
    """Return where a failure's bundle goes: the first of its names that no other failure has."""
    names = (failure.name if number == 1 else f"{failure.name}-{number}" for number in itertools.count(1))
    places = (folder / name for name in names)
    return next(place for place in places if not place.exists() or _is_of(place, failure))


def _is_of(bundle: Path, failure: Failure) -> bool:
    """Tell whether a bundle of a failure's name, and so of its law and case, is of that failure."""
    try:
        content = json.loads((bundle / "case.json").read_text(encoding="utf-8"))
        stored = replace(failure.stored, message=str(content["message"]))
        return Failure(stored, content["error"]).identity == failure.identity
    except (OSError, ValueError, TypeError, KeyError):
        # Whatever it is, it is not ours to replace.
        return False


def _is_moved(bundle: Path, target: Path, failure: Failure) -> bool:
    """Move a bundle to its place; False where another worker has put another failure there meanwhile."""
    try:
        if target.exists():
            if not _is_of(target, failure):
                return False
            target.rename(bundle.with_name("replaced"))
        bundle.rename(target)
    except OSError as trouble:
        if trouble.errno not in {errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT} or not target.exists():
            raise
        # Another worker was faster: with the same failure, which is enough, or with another one.
        return _is_of(target, failure)
    return True


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
