"""The machinery of the sampler: axes, sorted strata, schedules, and batches composed by the chunk."""
