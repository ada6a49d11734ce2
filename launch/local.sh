#!/usr/bin/env bash
# Run the command line on this machine: launch/local.sh --config=configs/digits_sample_inter.py
#
# On Linux, memory that a step frees goes back to the system and is fetched again by the next step.
# Large pages make that cheap: docs/comparison.md has a measurement.
set -euo pipefail
export GLIBC_TUNABLES="${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}"
exec python3 -m cdcd_jax.main "$@"
