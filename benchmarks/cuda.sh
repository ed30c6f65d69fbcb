#!/usr/bin/env bash
# A whole run on a CUDA machine in three commands, each under nine minutes, from the repository's root:
#
#     bash benchmarks/cuda.sh tests|gpu|cpu [DIRECTORY]
#
# Nothing has to be installed but the frameworks and what tests and benchmarks import, and nothing is
# fetched. Where there is no git, TRIPTYCH_COMMIT=c0ffee, or c0ffee+dirty, says what is measured.
# Every step has its own limit, and is interrupted rather than killed: the rows that are done are
# kept. Afterwards, on any machine: triptych report DIRECTORY/*.json --out benchmarks/results
set -u -o pipefail
part=${1:?tests, gpu or cpu}
out=$(mkdir -p "${2:-${OUT:-build/cuda}}" && cd "${2:-${OUT:-build/cuda}}" && pwd)
cd "$(dirname "$0")/.." || exit 2
python=${PYTHON:-python3}
export PYTHONUNBUFFERED=1 PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
# the card is shared by JAX, PyTorch and several processes: nobody may take most of it beforehand
export XLA_PYTHON_CLIENT_PREALLOCATE=false
HYPOTHESIS_STORAGE_DIRECTORY=$(mktemp -d) && export HYPOTHESIS_STORAGE_DIRECTORY
failed=0

# step SECONDS COMMAND...: run it within a limit, and say how it ended
step() {
    local limit=$1 status
    shift
    printf '\n==> [%4ss] at most %s s: %s\n' "$SECONDS" "$limit" "$*"
    timeout --signal=INT --kill-after=15 "$limit" "$@"
    status=$?
    printf '    status %s\n' "$status"
    [ "$status" = 0 ] || failed=1
    return "$status" # in a pipe, this function has a `failed` of its own
}

# bench SECONDS NAME OPTION...: rows into NAME.json
bench() {
    local limit=$1 name=$2
    shift 2
    step "$limit" "$python" -m pytest -q --benchmark-only -p no:cacheprovider \
        --benchmark-json="$out/$name.json" "$@" 2>&1 | tee "$out/$name.txt" | tail -60 || failed=1
}

# clocks: what the card does; a row's time depends on it
clocks() {
    nvidia-smi --format=csv,noheader \
        --query-gpu=timestamp,pstate,clocks.sm,clocks.mem,temperature.gpu,power.draw,power.limit
}

case $part in
tests)
    { nvidia-smi; clocks; nproc; command -v g++ git; } >"$out/machine.txt" 2>&1
    step 40 "$python" -m benchmarks.smoke
    # the tests ask for repeatable bits, and for XLA that is another scatter
    step 40 env XLA_FLAGS="--xla_gpu_deterministic_ops=true --xla_gpu_autotune_level=0" \
        "$python" -m benchmarks.smoke
    step 210 "$python" -m pytest -q -n 4 -p no:cacheprovider --require-gpu --maxfail 30 \
        tests/columns/test_cuda.py tests/columns/test_semantics.py tests/columns/test_bitwise.py \
        -k "cuda or exact" -rfE 2>&1 | tee "$out/tests.txt" | tail -60 || failed=1
    step 100 "$python" -m pytest -q -n 4 -p no:cacheprovider tests/benchmarks tests/glue/test_report.py
    step 50 "$python" -m triptych compare --device cuda --json >"$out/compare-cuda.json"
    step 50 "$python" -m triptych compare >"$out/compare-cpu.txt"
    ;;
gpu)
    (while sleep 1; do clocks; done >"$out/clocks.txt" 2>&1) &
    watch=$!
    # what nothing else can tell comes first
    bench 150 cuda-twin --device cuda --budget 0.5 -k twin
    bench 360 cuda-sweep --device cuda --sweep --processes 1 --budget 0.2 -k "not twin"
    kill "$watch"
    ;;
cpu)
    bench 300 cpu-all-threads --device cpu --sweep --processes 1 --budget 0.2
    bench 200 cpu-one-thread --device cpu --threads 1 --budget 0.2
    ;;
*)
    echo "tests, gpu or cpu, not $part" >&2
    exit 2
    ;;
esac
printf '\n==> [%4ss] done\n' "$SECONDS"
ls -la "$out"
exit "$failed"
