"""The laws of the data module: who trains and who validates, on which batches, and what is random when.

Every check is called as ``check(make, case, root)``: it writes the registry of the `DataModuleCase` below the empty
folder ``root`` and calls ``make(experiments_yaml, case)``, once or more often, for a data module as it is before any
setup. That is a ``LightningDataModule`` with ``train_index``, ``val_index``, ``predict_index`` and ``train_sampler``;
laws about what happens between loader and model run it with a real trainer.
"""

from dynaclr_strategies.invariants.datamodule_hooks import (
    check_another_seed_other_batches,
    check_centre_crop,
    check_dropout_only_in_training,
    check_noise_drawn_anew,
    check_noise_only_in_training,
    check_same_seed_same_batches,
    check_validation_repeats,
)
from dynaclr_strategies.invariants.datamodule_loaders import (
    check_loader_follows_sampler,
    check_predict_in_order,
    check_ranks_share_out,
    check_resumes_with_the_next,
    check_split_disjoint,
    check_validation_complete,
)

__all__ = [
    "check_another_seed_other_batches",
    "check_centre_crop",
    "check_dropout_only_in_training",
    "check_loader_follows_sampler",
    "check_noise_drawn_anew",
    "check_noise_only_in_training",
    "check_predict_in_order",
    "check_ranks_share_out",
    "check_resumes_with_the_next",
    "check_same_seed_same_batches",
    "check_split_disjoint",
    "check_validation_complete",
    "check_validation_repeats",
]
