#!/usr/bin/env bash
# One call of the record run on a machine that is lent for a quarter of an hour (README.md beside this):
#
#   bash benchmarks/record_call.sh LOAD                take in what the folder LOAD brings: wheels, parquet files, parts of the run
#   bash benchmarks/record_call.sh LOAD MINUTES PARTS  and begin the run or go on with it; the folder PARTS gets what another machine needs;
#                                                      what follows PARTS is passed on to benchmarks.record_run
set -euo pipefail
load=$1 minutes=${2:-} parts=${3:-}
home=${RECORD_HOME:-/tmp/record}  # not in the repository's folder, which each call may bring anew
mkdir -p "$home/cifar10" "$home/parts" "$home/site"
for file in "$load"/*; do
  case $file in
    *.whl) python3 -m pip install --quiet --no-index --no-deps --upgrade --target "$home/site" "$file" ;;
    *.parquet) cp "$file" "$home/cifar10/" ;;
    */record.tar.gz.*) cp "$file" "$home/parts/" ;;
  esac
done
[ -n "$minutes" ] || exit 0
brought=()
if [ ! -f "$home/run/plan.json" ] && [ -f "$home/parts/record.tar.gz.00" ]; then brought=(--from-parts "$home/parts"); fi
export PYTHONPATH=$home/site${PYTHONPATH:+:$PYTHONPATH} HF_HUB_OFFLINE=1
exec python3 -m benchmarks.record_run --dataset "$home/cifar10" --output "$home/run" --minutes "$minutes" --parts "$parts" "${brought[@]}" "${@:4}"
