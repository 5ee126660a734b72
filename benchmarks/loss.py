"""Loss: forward and backward of NTXentHCL beside pair lists and beside one product with a softmax."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from pytorch_metric_learning.losses import NTXentLoss
from torch import Tensor

from benchmarks.limits import product_and_softmax
from benchmarks.model import Entry, Figure, Memory, Scale, at_least, at_most
from benchmarks.timing import Call, added_peak, interleaved
from dynaclr.loss import NTXentHCL

GROUP = "loss"
FEATURES = 128
_PAIRS_UP_TO = {"cpu": 256, "cuda": 512}  # pair lists take the cube of the batch, in memory too


def runs(batch_size: int, device: str) -> dict[str, Call]:
    """Return the passes to compare, forward and backward, on one batch of two views."""
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(2 * batch_size, FEATURES, generator=generator).to(device).requires_grad_()
    labels = torch.arange(batch_size, device=device).repeat(2)
    forward: dict[str, Callable[[], Tensor]] = {
        "limit": partial(product_and_softmax, embeddings),
        "ours": partial(NTXentHCL(), embeddings, labels),
        "debiased": partial(NTXentHCL(tau_plus=0.1), embeddings, labels),
        "masked": partial(NTXentHCL(mask_same_lineage=True), embeddings, labels, lineage=labels // 2),
        "baseline": partial(NTXentLoss(), embeddings, labels),
    }

    def both(run: Callable[[], Tensor]) -> None:
        run().backward()  # type: ignore[no-untyped-call]
        if device == "cuda":
            torch.cuda.synchronize()

    return {name: partial(both, run) for name, run in forward.items()}


def measure(scale: Scale) -> Iterator[Entry]:
    """Measure the rows of the loss."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # ratios of one are the steadiest
    try:
        for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
            yield from _on(scale, device)
    finally:
        torch.set_num_threads(threads)


def _on(scale: Scale, device: str) -> Iterator[Entry]:
    sizes = scale.sizes(32, 64, 128, 256, 512, 1024, 2048, quick=(32, 64))
    compared = 64 if scale.quick else 256
    where = device if device == "cpu" else torch.cuda.get_device_name(0)
    worst: dict[str, float] = {}
    for size in sizes:
        calls = {name: (call, 1) for name, call in runs(size, device).items()}
        if size > _PAIRS_UP_TO[device]:
            del calls["baseline"]
        taken = interleaved(calls, scale.budget, least=2)
        variants = {"": taken["ours"], ", debiased": taken.pop("debiased"), ", lineages masked": taken.pop("masked")}
        for name, seconds in variants.items():
            work = f"NTXentHCL{name}, {where}"
            yield (figure := Figure(GROUP, work, size, "batch size", "step", {**taken, "ours": seconds}))
            worst[work] = max(worst.get(work, 0), figure.over_limit or 0)
            if size == compared and not name:
                yield at_least(GROUP, work, f"of the speed of pair lists at B = {size}", figure.over_baseline, 50)
    for work, times in worst.items():
        yield at_most(GROUP, work, "times one product and softmax, every B", times, 3)
    if device == "cpu":
        yield from _memory(sizes[-2:])


def _memory(sizes: tuple[int, ...]) -> Iterator[Entry]:
    peaks = []
    for size in sizes:
        peaks.append(added_peak("benchmarks.loss:one_pass", batch_size=size))
        yield Memory(GROUP, "NTXentHCL", size, "batch size", peaks[-1])
    growth = peaks[-1] / max(peaks[0], 1e-3)
    asked = f"times the memory at twice the batch, B = {sizes[-1]} (4 is the square, 8 the cube)"
    yield at_most(GROUP, "NTXentHCL, memory", asked, growth, 5)


def one_pass(batch_size: int) -> Call:
    """Prepare a batch; the call is one pass of the loss, forward and backward."""
    runs(4, "cpu")["ours"]()
    return runs(batch_size, "cpu")["ours"]
