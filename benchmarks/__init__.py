"""Benchmarks: every figure a ratio, to what people use today and to what the machine can do at all."""
