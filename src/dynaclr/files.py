"""Text files: read YAML without its traps, write in a way that an interruption cannot tear."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from dynaclr.errors import DynaclrError
from dynaclr.paths import expanded

VERBATIM_KEYS = frozenset({"date"})
"""Keys whose scalar keeps the text that the user typed: 05062019 and 2019-06-05 are texts, not numbers."""

_NUMBER_TAGS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp")


class _CarefulLoader(yaml.SafeLoader):
    """YAML as people mean it: no octal, no base 60, no dates, no key twice, and some texts kept as typed."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Refuse a key that appears twice, of which YAML would silently keep the last."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} appears twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Keep the text of the verbatim keys."""
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        for key, value in node.value:
            if isinstance(value, yaml.ScalarNode) and key.value in VERBATIM_KEYS:
                mapping[key.value] = "" if value.tag.endswith(":null") else value.value
        return mapping


_CarefulLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _NUMBER_TAGS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_CarefulLoader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789")
)
_CarefulLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^(?:[-+]?[0-9]+\.[0-9]*(?:[eE][-+][0-9]+)?|\.[0-9]+(?:[eE][-+][0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


def read_yaml(path: str | os.PathLike[str]) -> Any:
    """Read one YAML document.

    Only decimal numbers are numbers: ``010``, ``1:30`` and dates stay texts instead of turning into 8, 90 and a
    date. Whatever is a text to YAML 1.1 is one here, so that what any YAML writer leaves unquoted comes back.
    The booleans of YAML 1.1 remain (``no`` is False), so that a reader can say so in words.

    Parameters
    ----------
    path
        The file, with ``~`` for the home folder.

    Returns
    -------
    object
        Dictionaries, lists, texts, numbers, booleans and None.

    Raises
    ------
    DynaclrError
        If the file is missing or unreadable, is not YAML, or has a key twice in one mapping.
    """
    try:
        with expanded(path).open("rb") as file:
            return yaml.load(file, Loader=_CarefulLoader)  # noqa: S506  (a SafeLoader)
    except FileNotFoundError:
        raise DynaclrError(f"there is no file {str(path)!r}") from None
    except OSError as error:
        raise DynaclrError(f"the file {str(path)!r} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        if isinstance(error, yaml.reader.ReaderError) and error.encoding != "unicode":
            sentence = (
                f"the file {str(path)!r} needs to be in UTF-8, but is not ({error.reason} at byte {error.position})"
            )
            raise DynaclrError(sentence) from error
        # What is missing at the end has begun where the context is, such as the quote that was opened.
        mark = getattr(error, "problem_mark", None)
        if "end of stream" in str(getattr(error, "problem", "")):
            mark = getattr(error, "context_mark", None) or mark
        where = "" if mark is None else f", line {mark.line + 1}"
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or "no document"
        raise DynaclrError(f"the file {str(path)!r}{where} is not valid YAML ({what})") from error


def write_atomically(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file so that everybody finds either the old file or the new one, whole.

    The text goes to a new file in the same folder, which then takes the old one's place. Whatever
    interrupts it, Ctrl-C included, leaves the old file as it was.

    Parameters
    ----------
    path
        The file to write; a symbolic link stays a link.
    text
        The whole content, written as UTF-8.

    Raises
    ------
    OSError
        If the folder cannot be written to.
    """
    write_bytes_atomically(path, text.encode("utf-8"))


def write_bytes_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write bytes as `write_atomically` writes text.

    Parameters
    ----------
    path
        The file to write.
    content
        The whole content.

    Raises
    ------
    OSError
        If the folder cannot be written to.
    """
    target = Path(path).resolve()
    draft = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, draft)
        draft.replace(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let others who lock this folder wait, to read a file in it and write it anew without losing what they write.

    The lock leaves nothing behind and goes with the process. Where there are none (Windows, some network file systems)
    nobody waits.

    Parameters
    ----------
    folder
        An existing folder.
    """
    try:
        import fcntl  # not on Windows
    except ImportError:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
