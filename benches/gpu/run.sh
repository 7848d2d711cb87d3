#!/bin/bash
# Everything that the first minutes with a GPU are for, in at most nine of them:
#
#     benches/gpu/run.sh [PYTHON] [OUT]      OUT: folder for the JSON and the logs, benches/results/gpu
#
# Needs torch with CUDA; builds the kernels where they are not in python/fastft/_kernels. Each part has a limit and a
# log of its own, and one that fails stops no other. Exit status: the number of parts that failed.
cd "$(dirname "$0")/../.." || exit 1
python=${1:-python3}
out=${2:-benches/results/gpu}
mkdir -p "$out"
export PYTHONPATH=$PWD/python HF_HUB_OFFLINE=1
failed=0

part() { # NAME SECONDS COMMAND...
  local name=$1 limit=$2 begin=$SECONDS
  shift 2
  timeout "$limit" "$@" >"$out/$name.log" 2>&1
  local status=$?
  [ $status -eq 0 ] || failed=$((failed + 1))
  echo "$name: status $status, $((SECONDS - begin)) s"
  tail -n "${LINES_SHOWN:-12}" "$out/$name.log" | sed 's/^/    /'
}

part environment 30 sh -c "nvidia-smi; nvcc --version; $python -c 'import torch; print(torch.__version__, torch.version.cuda)'"
[ -e python/fastft/_kernels/libfastft_cuda.so ] || part build 150 "$python" setup.py build_ops
part calibrate 150 "$python" benches/gpu/calibrate.py --out "$out/calibrate.json"
part tests 150 "$python" -m pytest -q -m gpu tests/ops
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck initcheck; do
    part "$tool" 60 compute-sanitizer --tool "$tool" --error-exitcode 1 "$python" benches/gpu/calibrate.py --codec
  done
else
  echo "compute-sanitizer: not installed"
fi
exit $failed
