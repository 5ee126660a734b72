"""How long a small generated registry takes to write, beside writing the same bytes with plain file calls.

Run ``python benchmarks/stores.py`` (option: ``--repeats``). Prints milliseconds and the ratio.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dynaclr_strategies.ready_made import two_experiments
from dynaclr_strategies.writers import write_registry

# 2 experiments x 2 FOVs x 6 frames x 3 channels x 1 x 32 x 32.
SMALL = two_experiments(wells=("A/1",), conditions=("mock",), fovs=2, frames=6, size=(32, 32))


def copy(content: dict[str, bytes], root: Path) -> None:
    """Write files, each folder made once."""
    for folder in {Path(name).parent for name in content}:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, data in content.items():
        with (root / name).open("wb") as file:
            file.write(data)


def seconds(work: Callable[[Path], object]) -> float:
    """Time one piece of work in a new folder."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        work(Path(folder))
        return time.perf_counter() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=50)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        write_registry(SMALL, Path(folder))
        files = [path for path in Path(folder).rglob("*") if path.is_file()]
        content = {str(path.relative_to(folder)): path.read_bytes() for path in files}
    # In turn, so that other work on the machine meets both.
    pairs = [
        (seconds(lambda root: write_registry(SMALL, root)), seconds(lambda root: copy(content, root)))
        for _ in range(repeats)
    ]
    ours, plain = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"{len(content)} files, {sum(map(len, content.values())) / 1024:.0f} KiB, median of {repeats}")
    print(f"write_registry   {ours * 1e3:6.1f} ms   {ours / plain:.1f} x")
    print(f"plain file calls {plain * 1e3:6.1f} ms")


if __name__ == "__main__":
    main()
