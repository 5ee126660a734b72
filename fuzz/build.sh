#!/bin/bash -eu
# Builds the targets for OSS-Fuzz and ClusterFuzzLite, inside their image for Python: $SRC, $OUT and
# compile_python_fuzzer come from there.
cd "$SRC/dynaclr"
pip3 install -c constraints.txt '.[strategies]'
# What is imported by name, and the entry points by which Hypothesis finds the strategies.
collected=(--collect-submodules dynaclr --collect-submodules dynaclr_strategies --hidden-import dynaclr_hypothesis
  --copy-metadata dynaclr --collect-all tensorstore --collect-all zarr --collect-all lightning --collect-all monai)
for target in fuzz/fuzz_*.py; do
  compile_python_fuzzer "$target" "${collected[@]}"
  printf '[libfuzzer]\nlen_control = 0\nmax_len = 4096\n' > "$OUT/$(basename "$target" .py).options"
done
python3 fuzz/seeds.py "$OUT"
