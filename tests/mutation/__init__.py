"""Mutants of the cascade against the suite of its laws: ``python -m mutation``, see ``docs/mutation.md``."""
