"""The laws of what is done to a batch of pixels: channels dropped, random transforms, normalizations.

``make(case)`` returns what is done: a module that takes a tensor of samples and channels if it drops channels, else a
transform of a dictionary with a tensor for each channel, ``ch_0`` and so on, and with ``norm_meta``. Random numbers
come from torch's generator, or from a generator of its own if the case says so. What a law leaves to chance fails a
sound implementation less than once in a billion runs of the whole suite.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from dynaclr_strategies.invariants.base import InvariantViolation, invariant
from dynaclr_strategies.invariants.evidence import PatchEvidence
from dynaclr_strategies.invariants.sampler_distribution import is_improbable
from dynaclr_strategies.loss_descriptions import FLOATS, AugmentCase
from dynaclr_strategies.oracles.augment import normalized, scaled

__all__ = [
    "MakeAugment",
    "check_augment_channels_on_their_own",
    "check_augment_drawn_per_sample",
    "check_augment_equals_percentiles",
    "check_augment_equals_statistics",
    "check_augment_generator_left_alone",
    "check_augment_is_finite",
    "check_augment_keeps_dtype_and_shape",
    "check_augment_leaves_inputs_alone",
    "check_augment_listed_channels_only",
    "check_augment_moves_channels_together",
    "check_augment_probability_is_of_a_sample",
    "check_augment_probability_zero_is_identity",
    "check_augment_seed_decides",
    "check_dropout_independent",
    "check_dropout_off_in_evaluation",
    "check_dropout_probability_one_drops_all",
    "check_dropout_whole_channels",
]

MakeAugment = Callable[[AugmentCase], Any]
Pixels = npt.NDArray[np.float64]

INTENSITY = ("contrast", "scale", "smooth", "noise")
TRANSFORMS = ("affine", *INTENSITY)
"""What leaves no image as it is; turning by little, to the nearest pixels, may."""

MANY, SEVERAL = 4096, 8


def _is_drop(case: AugmentCase) -> bool:
    return case.transform == "dropout"


def _is_transform(case: AugmentCase) -> bool:
    return case.transform in TRANSFORMS


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Let torch's generator begin at a seed, and put it back afterwards."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _batch(case: AugmentCase) -> dict[str, Any]:
    """Return the batch of a case as transforms take it; for dropout all channels in one tensor, under ``all``."""
    import torch

    pixels = torch.tensor(case.array()).to(getattr(torch, case.dtype))
    if _is_drop(case):
        return {"all": pixels}
    channels = {name: pixels[:, i : i + 1].clone() for i, name in enumerate(case.names)}
    return {**channels, "norm_meta": case.norm_meta(), "extra": object()}


def _called(thing: Any, case: AugmentCase, batch: dict[str, Any]) -> Any:
    return {"all": thing(batch["all"])} if _is_drop(case) else thing(batch)


def _pixels(case: AugmentCase, batch: dict[str, Any]) -> Pixels:
    """Return the pixels that a batch holds, in float64."""
    import torch

    names = ("all",) if _is_drop(case) else case.names
    pixels: Pixels = torch.cat([batch[name] for name in names], dim=1).double().numpy()
    return pixels


def _before_and_after(make: MakeAugment, case: AugmentCase) -> tuple[Pixels, Pixels]:
    """Return the pixels as they were and what becomes of them, in training."""
    before = _pixels(case, _batch(case))
    with _seeded(case.seed):
        after = _pixels(case, _called(make(case), case, _batch(case)))
    return before, after


def _blame(law: str, case: AugmentCase, seen: Pixels, expected: Pixels, wrong: npt.NDArray[np.bool_]) -> None:
    """Raise about the first voxel that is wrong, if there is one."""
    if not wrong.any():
        return
    sample, channel, *voxel = (int(i) for i in np.argwhere(wrong)[0])
    place = (sample, channel, *voxel)
    raise InvariantViolation(
        f"sample {sample}, channel {channel} at {tuple(voxel)} of {case.transform}",
        f"{float(seen[place])!r}",
        f"{float(expected[place])!r}",
        law,
        evidence=PatchEvidence(seen[sample], expected[sample], case.names),
    )


def _identical(law: str, case: AugmentCase, seen: Pixels, expected: Pixels) -> None:
    if seen.shape != expected.shape:
        raise InvariantViolation(case.transform, f"shape {seen.shape}", f"{expected.shape}", law)
    _blame(law, case, seen, expected, seen != expected)


def _changed(before: Pixels, after: Pixels) -> npt.NDArray[np.bool_]:
    """Return which images of which samples changed, shape (samples, channels)."""
    changed: npt.NDArray[np.bool_] = (before != after).any(axis=(2, 3, 4))
    return changed


# --- habits of all ----------------------------------------------------------------------------------------------------


@invariant("augment-leaves-inputs-alone", subject="augment")
def check_augment_leaves_inputs_alone(make: MakeAugment, case: AugmentCase) -> None:
    """No batch that goes in is changed, and whatever else it holds comes out as it is."""
    law, batch = "augment-leaves-inputs-alone", _batch(case)
    held, before = dict(batch), _pixels(case, batch)
    meta = case.norm_meta()
    with _seeded(case.seed):
        after = _called(make(case), case, batch)
    changed = [name for name in {*held, *batch} if batch.get(name) is not held.get(name)]
    if changed:
        raise InvariantViolation(
            f"the batch given to {case.transform}", f"{sorted(changed)} replaced", "as it was", law
        )
    _identical(law, case, _pixels(case, batch), before)
    if batch.get("norm_meta", meta) != meta:
        raise InvariantViolation(f"norm_meta given to {case.transform}", f"{batch['norm_meta']}", f"{meta}", law)
    lost = [name for name in ("norm_meta", "extra") if name in held and after.get(name) is not held[name]]
    if lost or set(after) != set(held):
        raise InvariantViolation(
            f"what {case.transform} returns", f"{sorted(after)}", f"{sorted(held)}, passed on", law
        )


@invariant("augment-keeps-dtype-and-shape", subject="augment")
def check_augment_keeps_dtype_and_shape(make: MakeAugment, case: AugmentCase) -> None:
    """Each channel comes back in the dtype and the shape that it went in with."""
    batch = _batch(case)
    with _seeded(case.seed):
        after = _called(make(case), case, dict(batch))
    for name in ("all",) if _is_drop(case) else case.names:
        seen, expected = (f"{one[name].dtype} {tuple(one[name].shape)}" for one in (after, batch))
        if seen != expected:
            raise InvariantViolation(f"{name} of {case.transform}", seen, expected, "augment-keeps-dtype-and-shape")


@invariant("augment-is-finite", subject="augment")
def check_augment_is_finite(make: MakeAugment, case: AugmentCase) -> None:
    """Finite pixels stay finite."""
    before, after = _before_and_after(make, replace(case, prob=1.0))
    _blame("augment-is-finite", case, after, before, ~np.isfinite(after))


@invariant("augment-listed-channels-only", subject="augment")
def check_augment_listed_channels_only(make: MakeAugment, case: AugmentCase) -> None:
    """Channels that are not listed stay as they are."""
    before, after = _before_and_after(make, replace(case, prob=1.0))
    others = np.isin(np.arange(case.channels), case.listed, invert=True)
    wrong = (before != after) & others[None, :, None, None, None]
    _blame("augment-listed-channels-only", case, after, before, wrong)


@invariant("augment-seed-decides", subject="augment")
def check_augment_seed_decides(make: MakeAugment, case: AugmentCase) -> None:
    """One seed always does the same to the same batch, and another seed something else where anything is random."""
    law = "augment-seed-decides"
    _, first = _before_and_after(make, case)
    random.random()  # noqa: S311 - what others draw from other generators in between must not matter
    np.random.rand()  # noqa: NPY002
    _, second = _before_and_after(make, case)
    _identical(law, case, second, first)
    if case.is_random and case.listed:
        # Which of 64 samples change is the same for two seeds once in 2 ** 64.
        case = replace(_textured(case, 64), prob=0.5, height=3, width=3)
        _, one = _before_and_after(make, case)
        _, other = _before_and_after(make, replace(case, seed=case.seed + 1))
        if np.array_equal(one, other):
            seen = f"the same with the seeds {case.seed} and {case.seed + 1}"
            raise InvariantViolation(f"64 samples after {case.transform}", seen, "different", law)


@invariant("augment-generator-left-alone", subject="augment")
def check_augment_generator_left_alone(make: MakeAugment, case: AugmentCase) -> None:
    """No generator moves but torch's, and not that one either where nothing is random or the transform has its own."""
    import torch

    law, thing = "augment-generator-left-alone", make(case)
    for seed in (0, 1) if case.own_generator else (0,):
        with _seeded(seed):
            states = random.getstate(), np.random.get_state(legacy=False), torch.get_rng_state()  # noqa: NPY002
            _called(thing, case, _batch(case))
            now = random.getstate(), np.random.get_state(legacy=False), torch.get_rng_state()  # noqa: NPY002
        moved = [name for name, a, b in zip(("Python", "NumPy"), states, now, strict=False) if str(a) != str(b)]
        if (case.own_generator or not case.is_random) and not torch.equal(states[2], now[2]):
            moved.append("torch")
        if moved:
            raise InvariantViolation(case.transform, f"generators of {moved} moved", "as they were", law)


# --- probabilities ----------------------------------------------------------------------------------------------------


@invariant(
    "augment-probability-zero-is-identity", subject="augment", applies=lambda case: case.is_random, when="random"
)
def check_augment_probability_zero_is_identity(make: MakeAugment, case: AugmentCase) -> None:
    """With probability 0 nothing changes."""
    before, after = _before_and_after(make, replace(case, prob=0.0))
    _identical("augment-probability-zero-is-identity", case, after, before)


def _textured(case: AugmentCase, samples: int) -> AugmentCase:
    """Return the case with one image, which no transform leaves as it is, for all samples and channels."""
    return replace(case, samples=samples, pixels="equal images", scale=1.0, dtype="float32", height=9, width=11)


@invariant(
    "augment-drawn-per-sample", subject="augment", applies=_is_transform, when="affine, contrast, scale, smooth, noise"
)
def check_augment_drawn_per_sample(make: MakeAugment, case: AugmentCase) -> None:
    """With probability 1 equal samples all change, and no two of them alike.

    One coincidence is let pass: numbers are drawn with 24 bits, two coincidences are less likely than 1e-11.
    """
    law, case = "augment-drawn-per-sample", replace(_textured(case, SEVERAL), prob=1.0)
    before, after = _before_and_after(make, case)
    for channel in case.listed:
        different = {image.tobytes() for image in (before[0, channel], *after[:, channel])}
        if len(different) < SEVERAL:
            raise InvariantViolation(
                f"{SEVERAL} equal samples of channel {channel} after {case.transform}",
                f"{len(different) - 1} new images",
                f"{SEVERAL}",
                law,
                evidence=PatchEvidence(after[0], before[0], case.names),
            )


@invariant(
    "augment-probability-is-of-a-sample",
    subject="augment",
    when="affine, contrast, scale, smooth, noise",
    applies=_is_transform,
)
def check_augment_probability_is_of_a_sample(make: MakeAugment, case: AugmentCase) -> None:
    """Each sample changes with the probability of the transform, whatever becomes of the others."""
    law, case = "augment-probability-is-of-a-sample", replace(_textured(case, MANY // 8), height=3, width=3)
    before, after = _before_and_after(make, case)
    for channel in case.listed:
        changed = _changed(before, after)[:, channel]
        _check_share(law, f"channel {channel} of {case.transform}", changed, Fraction(case.prob))
        # Samples 0 and 1, 2 and 3, ...: pairs that share no sample, so that their number is binomial.
        both = changed[::2] & changed[1::2]
        where = f"both of two neighbours, channel {channel} of {case.transform}"
        _check_share(law, where, both, Fraction(case.prob) ** 2)


def _check_share(law: str, where: str, happened: npt.NDArray[np.bool_], probability: Fraction) -> None:
    seen, count = int(happened.sum()), len(happened)
    if probability == 1 and seen >= count - 3:
        return  # a drawn number may be the one that changes nothing; more than three such are out of the question
    if is_improbable(seen, count, probability):
        raise InvariantViolation(where, f"{seen} of {count} changed", f"about {float(count * probability):.1f}", law)


@invariant(
    "augment-moves-channels-together", subject="augment", when="affine", applies=lambda c: c.transform == "affine"
)
def check_augment_moves_channels_together(make: MakeAugment, case: AugmentCase) -> None:
    """All listed channels of a sample are moved alike."""
    case = replace(_textured(case, SEVERAL), channels=3, listed=(0, 1, 2))
    _, after = _before_and_after(make, case)
    first = np.broadcast_to(after[:, :1], after.shape)
    _identical("augment-moves-channels-together", case, after, first)


@invariant(
    "augment-channels-on-their-own",
    subject="augment",
    when="contrast, scale, smooth, noise",
    applies=lambda case: case.transform in INTENSITY,
)
def check_augment_channels_on_their_own(make: MakeAugment, case: AugmentCase) -> None:
    """Each channel of a sample has its intensities changed in a way of its own."""
    case = replace(_textured(case, SEVERAL), channels=2, listed=(0, 1), prob=1.0)
    _, after = _before_and_after(make, case)
    alike = sum(np.array_equal(*sample) for sample in after)
    if alike > 1:
        raise InvariantViolation(
            f"{SEVERAL} samples with two equal channels after {case.transform}",
            f"{alike} with two equal channels",
            "0",
            "augment-channels-on-their-own",
            evidence=PatchEvidence(after[0], after[0][::-1], case.names),
        )


# --- dropout ----------------------------------------------------------------------------------------------------------


@invariant("dropout-whole-channels", subject="augment", when="dropout", applies=_is_drop)
def check_dropout_whole_channels(make: MakeAugment, case: AugmentCase) -> None:
    """Each channel of a sample is kept as it was, or zeroed whole."""
    before, after = _before_and_after(make, case)
    dropped = (after == 0).all(axis=(2, 3, 4), keepdims=True)
    _identical("dropout-whole-channels", case, after, np.where(dropped, 0.0, before))


@invariant("dropout-probability-one-drops-all", subject="augment", when="dropout", applies=_is_drop)
def check_dropout_probability_one_drops_all(make: MakeAugment, case: AugmentCase) -> None:
    """With probability 1 each listed channel of each sample is zero."""
    before, after = _before_and_after(make, replace(case, prob=1.0))
    expected = before.copy()
    expected[:, list(case.listed)] = 0
    _identical("dropout-probability-one-drops-all", case, after, expected)


@invariant("dropout-off-in-evaluation", subject="augment", when="dropout", applies=_is_drop)
def check_dropout_off_in_evaluation(make: MakeAugment, case: AugmentCase) -> None:
    """In evaluation nothing is dropped and no generator moves."""
    import torch

    case = replace(case, prob=1.0)
    before = _pixels(case, _batch(case))
    with _seeded(case.seed):
        state = torch.get_rng_state()
        after = _pixels(case, _called(make(case).eval(), case, _batch(case)))
        moved = not torch.equal(torch.get_rng_state(), state)
    _identical("dropout-off-in-evaluation", case, after, before)
    if moved:
        raise InvariantViolation("dropout", "torch's generator moved", "as it was", "dropout-off-in-evaluation")


@invariant(
    "dropout-independent",
    subject="augment",
    when="dropout of some channels with a probability between 0 and 1",
    applies=lambda case: _is_drop(case) and bool(case.listed) and 0 < case.prob < 1,
)
def check_dropout_independent(make: MakeAugment, case: AugmentCase) -> None:
    """Each listed channel of each sample is dropped with the probability, whatever becomes of the others."""
    law, p = "dropout-independent", Fraction(case.prob)
    case = replace(case, samples=MANY, depth=1, height=1, width=1, pixels="constant", scale=1.0)
    dropped = _changed(*_before_and_after(make, case))
    for channel in case.listed:
        own = dropped[:, channel]
        _check_share(law, f"channel {channel}", own, p)
        # Samples 0 and 1, 2 and 3, ...: pairs that share no sample, so that their number is binomial.
        _check_share(law, f"channel {channel} of both of two neighbours", own[::2] & own[1::2], p * p)
    for one, other in combinations(case.listed, 2):
        _check_share(law, f"channels {one} and {other} together", dropped[:, one] & dropped[:, other], p * p)


# --- what is not random -----------------------------------------------------------------------------------------------


@invariant(
    "augment-equals-statistics", subject="augment", when="normalize", applies=lambda c: c.transform == "normalize"
)
def check_augment_equals_statistics(make: MakeAugment, case: AugmentCase) -> None:
    """Each voxel becomes itself less the subtrahend over the divisor, those of its own sample and channel."""
    before, after = _before_and_after(make, case)
    expected, error = normalized(case, before)
    _blame("augment-equals-statistics", case, after, expected, ~(abs(after - expected) <= error))


@invariant(
    "augment-equals-percentiles",
    subject="augment",
    when="percentiles",
    applies=lambda case: case.transform == "percentiles",
)
def check_augment_equals_percentiles(make: MakeAugment, case: AugmentCase) -> None:
    """Two percentiles of each sample and channel are mapped to the target, and the rest in proportion or cut."""
    before, after = _before_and_after(make, case)
    expected, error = scaled(case, before)
    too_large = abs(expected) + error > FLOATS[case.dtype].largest
    _blame("augment-equals-percentiles", case, after, expected, ~(abs(after - expected) <= error) & ~too_large)
