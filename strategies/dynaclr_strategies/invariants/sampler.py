"""The laws of the sampling cascade, by number on its page, and the uniformity of its draws.

Every check is called as ``check(make_sampler, table, options)``, where ``make_sampler(table, options)`` returns an
iterable of batches of one rank and one epoch. Laws about epochs, ranks, resuming or provenance use the methods
``set_epoch``, ``batch``, ``state_dict`` and ``load_state_dict``, ``explain`` of what it returns; `Invariant.needs`
names them.
"""

from dynaclr_strategies.invariants.sampler_composition import (
    check_axes_compose,
    check_condition_quota,
    check_focal_concentration,
    check_leak_exact,
    check_lineage_exclusive,
    check_no_needless_repeat,
    check_single_experiment,
    check_zero_weight_excluded,
)
from dynaclr_strategies.invariants.sampler_distribution import (
    check_condition_unbiased,
    check_experiment_share,
    check_experiment_unbiased,
    check_fair_pass,
    check_plain_when_global,
)
from dynaclr_strategies.invariants.sampler_metamorphic import (
    check_dtype,
    check_extra_columns,
    check_hpi_scale,
    check_hpi_shift,
    check_relabel,
)
from dynaclr_strategies.invariants.sampler_order import check_batch_order
from dynaclr_strategies.invariants.sampler_passes import check_passes_shuffled, check_relatives_alike
from dynaclr_strategies.invariants.sampler_processes import (
    check_elastic,
    check_ranks_equal_length,
    check_ranks_partition,
)
from dynaclr_strategies.invariants.sampler_provenance import check_explained
from dynaclr_strategies.invariants.sampler_reproducibility import (
    check_deterministic,
    check_global_rng_untouched,
    check_input_untouched,
    check_random_access,
)
from dynaclr_strategies.invariants.sampler_resume import check_resume, check_resume_on_ranks
from dynaclr_strategies.invariants.sampler_shape import (
    check_batch_size_exact,
    check_batches_per_epoch,
    check_indices_in_range,
    check_len_matches_iteration,
)
from dynaclr_strategies.invariants.sampler_states import check_state_refused
from dynaclr_strategies.invariants.sampler_uniformity import (
    check_experiment_order,
    check_focal_hpi_uniform,
    check_focal_quota_unbiased,
    check_focal_uniform,
    check_leak_uniform,
)
from dynaclr_strategies.invariants.sampler_variety import (
    check_epoch_kept,
    check_epochs_differ,
    check_seeds_differ,
)

__all__ = [
    "check_axes_compose",
    "check_batch_order",
    "check_batch_size_exact",
    "check_batches_per_epoch",
    "check_condition_quota",
    "check_condition_unbiased",
    "check_deterministic",
    "check_dtype",
    "check_elastic",
    "check_epoch_kept",
    "check_epochs_differ",
    "check_experiment_order",
    "check_experiment_share",
    "check_experiment_unbiased",
    "check_explained",
    "check_extra_columns",
    "check_fair_pass",
    "check_focal_concentration",
    "check_focal_hpi_uniform",
    "check_focal_quota_unbiased",
    "check_focal_uniform",
    "check_global_rng_untouched",
    "check_hpi_scale",
    "check_hpi_shift",
    "check_indices_in_range",
    "check_input_untouched",
    "check_leak_exact",
    "check_leak_uniform",
    "check_len_matches_iteration",
    "check_lineage_exclusive",
    "check_no_needless_repeat",
    "check_passes_shuffled",
    "check_plain_when_global",
    "check_random_access",
    "check_ranks_equal_length",
    "check_ranks_partition",
    "check_relabel",
    "check_relatives_alike",
    "check_resume",
    "check_resume_on_ranks",
    "check_seeds_differ",
    "check_single_experiment",
    "check_state_refused",
    "check_zero_weight_excluded",
]
