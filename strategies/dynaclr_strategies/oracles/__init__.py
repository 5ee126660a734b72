"""Naive, independent answers: brute force over rows, exact fractions, no tricks."""
