"""How fast NTXentHCL is and how much memory it takes, as ratios to what it replaces and to what it cannot do without.

The baselines are pytorch-metric-learning's ``NTXentLoss``, which lists all pairs, and one product of the (2B, 2B)
similarities with a softmax over its rows; forward and backward all, best of several runs that take turns.

    python benchmarks/loss.py [--batch-sizes 128 256 512 1024] [--features 128] [--device cpu|cuda] [--pairs-up-to 256]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from pytorch_metric_learning.losses import NTXentLoss
from torch import Tensor
from torch.nn import functional

from dynaclr.loss import NTXentHCL

Run = Callable[[], Tensor]


def matmul_softmax(embeddings: Tensor) -> Tensor:
    """Return a scalar that needs every entry of the softmax over the similarities."""
    unit = functional.normalize(embeddings)
    weights = (unit @ unit.T / 0.07).softmax(1)
    return weights.square().sum()


def runs(batch_size: int, features: int, device: str) -> dict[str, Run]:
    """Return the forward passes to compare, on one batch of two views."""
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(2 * batch_size, features, generator=generator).to(device).requires_grad_()
    labels = torch.arange(batch_size, device=device).repeat(2)
    lineage = labels // 2
    losses: dict[str, Callable[..., Tensor]] = {
        "beta=0": NTXentHCL(beta=0.0),
        "beta=0.5": NTXentHCL(),
        "beta=0.5 tau_plus=0.1": NTXentHCL(tau_plus=0.1),
    }
    masked = NTXentHCL(mask_same_lineage=True)
    return {
        "matmul + softmax": lambda: matmul_softmax(embeddings),
        **{name: partial(loss, embeddings, labels) for name, loss in losses.items()},
        "beta=0.5 masked": lambda: masked(embeddings, labels, lineage=lineage),
        "pair lists": lambda: NTXentLoss()(embeddings, labels),
    }


def seconds(run: Run, device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run().backward()  # type: ignore[no-untyped-call]
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def compare(batch_size: int, features: int, device: str, pairs_up_to: int, repeats: int) -> None:
    candidates = runs(batch_size, features, device)
    if batch_size > pairs_up_to:
        del candidates["pair lists"]
    best = dict.fromkeys(candidates, float("inf"))
    for turn in range(repeats):
        for name, run in candidates.items():
            if name != "pair lists" or turn < 2:  # it takes seconds, and its noise is small beside its ratio
                best[name] = min(best[name], seconds(run, device))
    floor = best["matmul + softmax"]
    for name, time_taken in best.items():
        ratio = f"{best['pair lists'] / time_taken:8.0f} x faster than pair lists  " if "pair lists" in best else ""
        memory = peak_mebibytes(batch_size, features, device, name)
        square = memory * 2**20 / (4 * (2 * batch_size) ** 2)
        print(
            f"B={batch_size:5d} {device:4s} {name:22s} {1e3 * time_taken:10.2f} ms  {time_taken / floor:8.2f} x floor  "
            f"{ratio}peak {memory:9.1f} MiB = {square:7.1f} float matrices of 2B x 2B",
            flush=True,
        )


def peak_mebibytes(batch_size: int, features: int, device: str, name: str) -> float:
    """Return by how much one forward and backward pass raises the peak of memory, in a process of its own."""
    command = [sys.executable, __file__, "--peak", name, "--batch-sizes", str(batch_size), "--device", device]
    output = subprocess.run([*command, "--features", str(features)], check=True, capture_output=True, text=True)  # noqa: S603
    return float(output.stdout)


def print_peak(batch_size: int, features: int, device: str, name: str) -> None:
    warm_up = runs(4, features, device)[name]
    warm_up().backward()  # type: ignore[no-untyped-call]
    run = runs(batch_size, features, device)[name]
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run().backward()  # type: ignore[no-untyped-call]
        print((torch.cuda.max_memory_allocated() - before) / 2**20)
        return
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew from what is held now
    before = high_water_mark()
    run().backward()  # type: ignore[no-untyped-call]
    print((high_water_mark() - before) / 2**10)


def high_water_mark() -> int:
    """Return the process's peak of resident memory in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[128, 256, 512, 1024])
    parser.add_argument("--features", type=int, default=128)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--pairs-up-to", type=int, default=256, help="largest B at which pair lists are tried")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help="of the CPU; ratios of one are the steadiest")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for batch_size in options.batch_sizes:
        if options.peak:
            print_peak(batch_size, options.features, options.device, options.peak)
        else:
            compare(batch_size, options.features, options.device, options.pairs_up_to, options.repeats)


if __name__ == "__main__":
    main()
