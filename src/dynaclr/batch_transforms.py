"""What happens to a batch on the device: normalize, augment, crop, drop channels."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from monai.transforms.transform import MapTransform, Randomizable
from torch import Tensor

from dynaclr import transforms as ours
from dynaclr.augment import ChannelDropout
from dynaclr.errors import DynaclrError
from dynaclr.randomness import keys
from dynaclr.transforms.base import BatchTransform, centre_window

_log = logging.getLogger(__name__)

# Those of `monai.transforms.utility` mostly look at no pixels.
_OF_SINGLE_IMAGES = tuple(f"monai.transforms.{name}." for name in ("croppad", "intensity", "smooth_field", "spatial"))
_OURS = frozenset(getattr(ours, name) for name in ours.__all__)
Sample = dict[str, Any]
Transform = Callable[[Sample], Sample]
"""Takes and returns ``{"ch_0": (B, 1, Z, Y, X), "ch_1": ..., "norm_meta": list of B}``."""


class BatchTransforms:
    """Transforms the crops of whole batches; what is random happens in training only.

    Parameters
    ----------
    normalizations
        Run on every batch; the keys are ``ch_0, ch_1, ...`` by source position.
    augmentations
        Run in training after the normalizations; anchor and positive get independent draws. Where all transforms are
        this package's, both go through them at once.
    final_yx_patch_size
        Height and width in pixels to crop to, in the centre, after the augmentations; what is cropped away is not
        worked on where that makes no difference to the rest.
    dropout
        Drops channels at last, in training.

    Raises
    ------
    DynaclrError
        If the transforms are no lists of callables.
    """

    def __init__(
        self,
        normalizations: Sequence[Transform],
        augmentations: Sequence[Transform],
        final_yx_patch_size: tuple[int, int],
        dropout: ChannelDropout,
    ) -> None:
        self.normalizations = _listed(normalizations, "normalizations")
        self.augmentations = _listed(augmentations, "augmentations")
        self.final_yx_patch_size = final_yx_patch_size
        self.dropout = dropout
        self._randomizable = [t for t in self.steps if isinstance(t, Randomizable)]
        # Ours draw for each sample; one of somebody else's may draw once for all that it is given.
        self._views_at_once = all(type(step) in _OURS for step in self.steps)

    @torch.no_grad()
    def __call__(self, batch: dict[str, Any], training: bool, seed: int | None = None) -> dict[str, Any]:
        """Return the transformed batch; the one passed in is not changed.

        Parameters
        ----------
        batch
            With ``anchor`` and perhaps ``positive``, tensors ``(B, C, Z, Y, X)`` of one shape, and ``anchor_norm_meta``
            and ``positive_norm_meta``.
        training
            Whether to augment and to drop channels.
        seed
            What torch's generator of the CPU begins with; afterwards it is where it was. MONAI's random transforms,
            which draw from generators of their own, begin with numbers that follow from it. Without, all draw from
            their generators as they are.

        Returns
        -------
        dict
            Anchor and positive have the final size; everything else is as it was.

        Raises
        ------
        DynaclrError
            If the transforms leave patches smaller than the final size, or without one of the channels.
        """
        transforms = self.normalizations + (self.augmentations if training else ())
        transformed = dict(batch)
        # Nobody else switches it: a data module is no nn.Module that a trainer sets to eval.
        self.dropout.train(training)
        views = [key for key in ("anchor", "positive") if key in batch]
        with nullcontext() if seed is None else torch.random.fork_rng(devices=[]):
            if seed is not None:
                self._draw_from(seed)
            # At once where that is the same: small operations cost as much for two views as for one.
            for some in [views] if self._views_at_once else [[view] for view in views]:
                patches = [batch[view] for view in some]
                norm_meta = [meta for view in some for meta in batch[f"{view}_norm_meta"]]
                seen = self.dropout(_transformed(patches, norm_meta, transforms, self.final_yx_patch_size))
                transformed |= dict(zip(some, seen.split([len(each) for each in patches]), strict=True))
        return transformed

    @property
    def steps(self) -> tuple[Any, ...]:
        """All transforms, normalizations first, also those inside containers such as MONAI's ``Compose``."""
        return tuple(flat(self.normalizations + self.augmentations))

    def check_channels(self, count: int) -> None:
        """Refuse transforms and a dropout of channels that the batches will not have.

        Parameters
        ----------
        count
            How many source channels the experiments have.

        Raises
        ------
        DynaclrError
            If a channel does not exist. Behind somebody else's transform, which may add some, nothing is known.
        """
        for channel in self.dropout.channels:
            if channel >= count:
                raise DynaclrError(
                    f"channel_dropout_channels has {channel!r}, but the experiments have {count} source "
                    f"channels, numbered from 0 to {count - 1}; use [] to drop none"
                )
        known = [f"ch_{i}" for i in range(count)]
        held = {*known, "norm_meta"}
        for step in (step for step in self.steps if not hasattr(step, "transforms")):
            if not isinstance(step, MapTransform):
                return
            is_free = step.allow_missing_keys or getattr(step, "use_re", False)
            unknown = [] if is_free else [name for name in step.keys if name not in held]
            if unknown:
                raise DynaclrError(
                    f"keys of {type(step).__name__} have {unknown[0]!r}, but need to be among {known}, "
                    "by source position"
                )
            if not isinstance(step, BatchTransform):
                return

    def warn_of_single_image_transforms(self) -> None:
        """Warn of MONAI's own transforms, which are made for one image and take a batch for one of many channels."""
        for step in self.steps:
            if type(step).__module__.startswith(_OF_SINGLE_IMAGES) and not hasattr(step, "transforms"):
                _log.warning(
                    "%s of MONAI takes a batch for a single image with a channel for each sample: what it draws or "
                    "measures is the same for all samples, and the axes that it counts are Z, Y and X",
                    type(step).__name__,
                )

    @property
    def keep_shapes(self) -> bool:
        """Whether channels and slices stay as many as there are: ours see to that, of others nobody knows."""
        steps = (step for step in self.steps if not hasattr(step, "transforms"))
        return all(type(step) in _OURS for step in steps)

    def _draw_from(self, seed: int) -> None:
        """Let torch's generator of the CPU and those of MONAI's transforms begin at a seed."""
        for place, transform in enumerate(self._randomizable):
            transform.set_random_state(seed=int(keys(seed, 0, "transform", place)[0]) >> 32)  # NumPy takes 32 bits
        torch.default_generator.manual_seed(seed)  # `torch.manual_seed` would also seed every device


def flat(transforms: Iterable[Any]) -> Iterator[Any]:
    """Yield all transforms, also those inside containers such as MONAI's ``Compose``."""
    for transform in transforms:
        yield transform
        inner = getattr(transform, "transforms", None)
        if isinstance(inner, Iterable):
            yield from flat(inner)


def _listed(transforms: Sequence[Transform], name: str) -> tuple[Transform, ...]:
    if not isinstance(transforms, Sequence) or not all(callable(transform) for transform in transforms):
        raise DynaclrError(f"{name} is {transforms!r}, but needs a list of transforms; use [] for none")
    return tuple(transforms)


def _transformed(
    patches: Sequence[Tensor], norm_meta: list[Any], transforms: Sequence[Transform], size: tuple[int, int]
) -> Tensor:
    """Return the centres of all patches ``(B, C, Z, Y, X)`` after transforms that know channels by name."""
    names = [f"ch_{i}" for i in range(patches[0].shape[1])]
    sample: Sample = {name: _joined([some[:, i : i + 1] for some in patches]) for i, name in enumerate(names)}
    sample["norm_meta"] = norm_meta
    for step in _with_crop(transforms, names, size):
        sample = step(sample)
        missing = [name for name in names if name not in sample]
        if missing:
            raise DynaclrError(f"transforms need to keep the keys {names}, but {step!r} lost {missing}")
    # MONAI's transforms return tensors of a kind of their own, which would slow every operation of the encoder.
    return torch.cat([sample[name] for name in names], dim=1).as_subclass(Tensor)


def _joined(patches: list[Tensor]) -> Tensor:
    return patches[0] if len(patches) == 1 else torch.cat(patches)  # nothing is copied for nothing


def _with_crop(transforms: Sequence[Transform], names: list[str], size: tuple[int, int]) -> list[Transform]:
    """Return the transforms and the crop, which comes as early as it can: no one works on what it takes away.

    Those behind the last transform that looks beyond a voxel get the centre alone, and that one is asked for no more.
    """
    steps = list(transforms)
    end = len(steps)
    while end and getattr(steps[end - 1], "voxelwise", False):
        end -= 1
    if end and isinstance(last := steps[end - 1], BatchTransform):
        steps[end - 1] = partial(_only_centre, last, names, size)
    steps.insert(end, partial(_cropped, names, size))
    return steps


def _only_centre(transform: BatchTransform, names: list[str], size: tuple[int, int], sample: Sample) -> Sample:
    _cropped(names, size, sample)  # refuses patches that are too small
    return transform.centre(sample, size)


def _cropped(names: list[str], size: tuple[int, int], sample: Sample) -> Sample:
    """Return the sample with its channels cropped in the centre."""
    for height, width in (sample[name].shape[-2:] for name in names):
        if height < size[0] or width < size[1]:
            raise DynaclrError(
                f"final_yx_patch_size is {size}, but needs to fit into the transformed patches of {(height, width)} "
                "pixels"
            )
    return sample | {name: sample[name][centre_window(sample[name].shape, size)] for name in names}
