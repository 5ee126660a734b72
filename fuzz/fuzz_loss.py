"""Atheris target: the laws of the subject ``loss``."""

from dynaclr_strategies.fuzzing.coverage_guided import main

if __name__ == "__main__":
    main("loss")
