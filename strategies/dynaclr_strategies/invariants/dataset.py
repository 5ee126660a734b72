"""The laws of the dataset: which observation, which voxels, which positive, and what else comes with them.

Every check is called as ``check(make, case, root)``: it writes the registry of the `DatasetCase` below the empty folder
``root`` and calls ``make(experiments_yaml, case)``, once or more often. What that returns is asked for
``__getitems__(indices)``, ``__len__()``, ``positives(indices)``, the tables ``index.tracks`` and
``index.valid_anchors``, which name the rows, and the attribute ``epoch``.
"""

from dynaclr_strategies.invariants.dataset_contents import (
    check_every_observation_read,
    check_lineage_codes,
    check_statistics_of_observation,
)
from dynaclr_strategies.invariants.dataset_pixels import (
    check_anchor_pixels,
    check_float32_batches,
    check_positive_pixels,
    check_window_outside_is_an_error,
)
from dynaclr_strategies.invariants.dataset_positives import (
    check_positive_is_another_frame,
    check_positive_on_line_of_descent,
    check_positive_uniform,
    check_tau_distribution,
    check_tau_in_range,
)
from dynaclr_strategies.invariants.dataset_repeatability import (
    check_batches_repeatable,
    check_cache_changes_nothing,
    check_order_of_reading,
    check_positive_by_address,
    check_positives_by_epoch,
    check_positives_by_occurrence,
    check_positives_by_seed,
    check_workers_change_nothing,
)

__all__ = [
    "check_anchor_pixels",
    "check_batches_repeatable",
    "check_cache_changes_nothing",
    "check_every_observation_read",
    "check_float32_batches",
    "check_lineage_codes",
    "check_order_of_reading",
    "check_positive_by_address",
    "check_positive_is_another_frame",
    "check_positive_on_line_of_descent",
    "check_positive_pixels",
    "check_positive_uniform",
    "check_positives_by_epoch",
    "check_positives_by_occurrence",
    "check_positives_by_seed",
    "check_statistics_of_observation",
    "check_tau_distribution",
    "check_tau_in_range",
    "check_window_outside_is_an_error",
    "check_workers_change_nothing",
]
