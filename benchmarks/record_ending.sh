# Ends on a CPU a record run whose GPU went before it was over (results/record_run_2026-11-26.json: the lent time was spent after 171 of its
# last 220 epochs), in about an hour on two cores with bfloat16:
#     bash benchmarks/record_ending.sh DATA RUN "NVIDIA H200"
# RUN is the folder that `python -m benchmarks.record_run --from-parts` unpacks. The learning rates go on from those that the run
# had reached, an eighth of their peaks (less: the batches are smaller), and fall to zero in 10 epochs instead of 49. It was settled before
# it ran (this file was committed while it was running): all 50,000 training pictures, the last checkpoint, which is carried
# whatever it answers, and the test pictures are read once, at its end.
set -e
data=${1:?the folder or Hub id of CIFAR-10} run=${2:?the folder of the run} device=${3:?the GPU that it ran on}
python -m benchmarks.cut_short "$run/final-seed0" "$run/cut-short" --device "$device"
python -m training.train --dataset "$data" --model "$run/cut-short" --preset cifar-patch4 --epochs 10 --batch-size 256 --schedule linear --warmup 0.02 \
    --learning-rate 0.0001 --muon-learning-rate 0.0004 --layer-decay 0.9 --ema 0.998 --mix-until 0.7 --save-every 0 --precision bf16 --output "$run/vit-cifar10"
