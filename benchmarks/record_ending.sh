# Ends on a CPU a record run whose GPU went before it was over, in about 25 minutes on two cores with bfloat16:
#     bash benchmarks/record_ending.sh DATA RUN
# RUN is the folder that `python -m benchmarks.record_run --from-parts` unpacks: the run of record_onward.yaml, of which the lent machine
# did 330 of 357 epochs (results/record_onward_2026-11-26.json). The learning rates go on from about those that it had reached, an
# eightieth of their peaks for a 65th, since the batches are smaller and more, and fall to zero in 6 epochs instead of 27.
# Mixing was over, as here. It was settled before it ran (this file was committed first): all 50,000 training pictures, the last
# checkpoint, which is carried whatever it answers, and the test pictures are read once, at its end.
set -e
data=${1:?the folder or Hub id of CIFAR-10} run=${2:?the folder of the run}
python -m benchmarks.cut_short "$run/final-seed1" "$run/cut-short" --dataset "$data"
python -m training.train --dataset "$data" --model "$run/cut-short" --preset cifar-patch4 --epochs 6 --batch-size 256 --schedule linear --warmup 0.02 \
    --learning-rate 0.0000125 --muon-learning-rate 0.00005 --layer-decay 0.9 --ema 0.998 --mix-probability 0 --save-every 0 --seed 1 --precision bf16 --output "$run/vit-cifar10"
