"""The laws of the index.

Every check is called as ``check(make, case, root)``: it writes the case's registry below the empty folder ``root`` and
calls ``make(experiments_yaml, case)``, which returns the index. What the laws ask of an index is in
`dynaclr_strategies.invariants.index_runs.AnyIndex`.
"""

from dynaclr_strategies.invariants.index_descent import (
    check_anchors_point_at_rows,
    check_codes_follow_founders,
    check_founder_names_lineage,
    check_line_of_descent,
    check_valid_anchors,
)
from dynaclr_strategies.invariants.index_metamorphic import (
    check_experiments_do_not_mix,
    check_one_store_two_names,
    check_row_order_irrelevant,
)
from dynaclr_strategies.invariants.index_patches import check_patch_inside_image, check_patch_nearest_centroid
from dynaclr_strategies.invariants.index_rows import (
    check_centroids_kept,
    check_csv_columns_kept,
    check_global_track_id,
    check_groups_partition_anchors,
    check_hours_post_infection,
    check_one_row_per_observation,
    check_rows_tell_their_experiment,
    check_selected_fovs,
)

__all__ = [
    "check_anchors_point_at_rows",
    "check_centroids_kept",
    "check_codes_follow_founders",
    "check_csv_columns_kept",
    "check_experiments_do_not_mix",
    "check_founder_names_lineage",
    "check_global_track_id",
    "check_groups_partition_anchors",
    "check_hours_post_infection",
    "check_line_of_descent",
    "check_one_row_per_observation",
    "check_one_store_two_names",
    "check_patch_inside_image",
    "check_patch_nearest_centroid",
    "check_row_order_irrelevant",
    "check_rows_tell_their_experiment",
    "check_selected_fovs",
    "check_valid_anchors",
]
