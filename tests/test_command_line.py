"""Which setting wins, what is refused, and the command that a run can be repeated with."""

import dataclasses
import shlex

import pytest
import yaml

from training import config
from training.command_line import command, parse_config
from training.config import TrainConfig, read_preset
from training.pretrain import PretrainConfig
from training.yaml_settings import save_yaml
from vit_demo.errors import UserError

BASE = ["--dataset", "some/data", "--output", "out"]
TINY = [*BASE, "--preset", "tiny-cpu"]


def test_a_flag_beats_the_file_beats_the_preset_beats_the_default(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("epochs: 7\nbatch-size: 96\n")
    default, preset = TrainConfig(), TrainConfig(**read_preset("tiny-cpu"))
    assert len({default.epochs, preset.epochs, 7}) == 3 and len({default.muon_weight_decay, default.clip, 0.5}) == 3
    found = parse_config([*TINY, "--config", str(file), "--batch-size", "32"])
    assert (found.batch_size, found.epochs, found.optimizer, found.clip) == (32, 7, "muon", 1.0)
    assert found.num_hidden_layers == preset.num_hidden_layers != default.num_hidden_layers
    assert parse_config(TINY).epochs == preset.epochs
    assert parse_config([*TINY, "--epochs", str(default.epochs)]).epochs == default.epochs  # said, though it is the default


def test_words_of_the_command_line():
    assert parse_config(TINY).flip and not parse_config([*TINY, "--no-flip"]).flip
    assert parse_config([*TINY, "--skip-bad", "--dry-run"]).skip_bad
    assert parse_config([*TINY, "--batch_size", "8"]).batch_size == 8  # accelerate's spelling works too


def test_help_tells_every_setting_once(capsys):
    with pytest.raises(SystemExit) as stop:
        parse_config(["--help"])
    said = capsys.readouterr().out
    assert stop.value.code == 0 and "_" not in "".join(word for word in said.split() if word.startswith("--"))
    for field in dataclasses.fields(TrainConfig):
        assert f"--{field.name.replace('_', '-')} " in said.replace("\n", " ") and field.metadata["help"]


@pytest.mark.parametrize("kind, told", [
    (TrainConfig, ["(0: none) [fine-tune, tiny-cpu: 0.999; cifar-patch2, cifar-patch4: 0.9995; fine-tune-cpu: 0.0]", "of Muon's matrices [0.1]", "for the app's time-lapse [0]",
                   "from scratch: number of layers [cifar-patch2, cifar-patch4: 12; tiny-cpu: 6]",  # --model brings its own
                   "the position embeddings [cifar-patch2, cifar-patch4, tiny-cpu: 32; fine-tune-cpu: 96]", "--flip [FLIP] mirror half of the pictures [True] --no-flip do not mirror half of the pictures"]),
    (PretrainConfig, ["passes over the training pictures [400]", "LayerNorm, biases, class token and positions have none [0.05]", "from scratch: number of layers [cifar-patch2, cifar-patch4: 12; tiny-cpu: 6]"])])
def test_help_tells_what_applies_where_a_flag_is_not_given(kind, told, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "9999")
    with pytest.raises(SystemExit):
        parse_config(["--help"], kind)
    said = " ".join(capsys.readouterr().out.split())
    assert [line for line in told if line not in said] == []


def test_yaml_means_what_it_says(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text("learning_rate: 1e-3\ncompile: no\nflip: no\nimage_size: null\nseed: 3.0\nsave_every: 9007199254740993\n")  # to YAML a word, a truth, a truth
    found = parse_config([*TINY, "--config", str(file)])
    assert found.learning_rate == 1e-3 and found.compile == "no" and found.flip is False and found.image_size is None
    assert found.seed == 3 and isinstance(found.seed, int) and found.save_every == 2**53 + 1


@pytest.mark.parametrize("text, told", [
    ("epoch: 3", "no such setting: epoch"),
    ("epochs: many", "epochs is 'many': it must be a whole number"),
    ("epochs: 2.5", "a whole number"),
    ("epochs: .inf", "epochs is inf: it must be a whole number"),
    ("epochs: .nan", "epochs is nan: it must be a whole number"),
    ("epochs: [3]", r"epochs is \[3\]: it must be a whole number"),
    (f"epochs: {10**400}", f"--epochs is {10**400}: it must be below 2\\^63"),
    (f"epochs: {'9' * 5000}", "not YAML"),
    ("learning_rate: .inf", r"--learning-rate is inf: it must be below 2\^63"),
    (f"learning_rate: {10**400}", "it must be a number"),
    ("learning_rate: {peak: 1}", "learning_rate is {'peak': 1}: it must be a number"),
    ("flip: 1", "true or false"),
    ("flip: [yes]", "true or false"),
    ("train_split: [a, b]", r"train_split is \['a', 'b'\]: it must be a word"),
    ("train_split: 010", "train_split is 8: it must be a word, in quotes if need be"),  # to YAML a number, and not the one that it looks like
    ("train_split: 2026-01-02", "train_split is .*: it must be a word, in quotes if need be"),
    ("train_split: 2026-13-02", "not YAML"),
    ("[" * 3000, "not YAML"),
    ("schedule: triangle", "--schedule is triangle: choose cosine, linear"),
    ("- epochs", "expected lines"),
    ("a: [", "not YAML"),
])
def test_a_bad_file_is_refused_in_one_line(tmp_path, text, told):
    file = tmp_path / "s.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=told) as refusal:
        parse_config([*TINY, "--config", str(file)])
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("flags, told", [
    (BASE[2:], "--dataset is missing"),
    (BASE[:2], "--output is missing"),
    (BASE, "give --model to fine-tune one, or --preset .*tiny-cpu"),
    ([*BASE, "--preset", "huge"], "no preset named 'huge': choose .*cifar-patch4"),
    ([*TINY, "--config", "nowhere.yaml"], "cannot read the settings file nowhere.yaml: No such file"),
    ([*TINY, "--epochs", "0"], "--epochs is 0: it must be at least 1"),
    ([*TINY, "--drop-path", "1"], "--drop-path is 1.0: it must be at least 0 and below 1"),
    ([*TINY, "--mix-until", "1.5"], "at most 1"),
    ([*TINY, "--seed", str(2**63)], r"--seed is 9223372036854775808: it must be below 2\^63"),
    ([*TINY, "--learning-rate", "0"], "--learning-rate"),
    ([*TINY, "--batch-size", "10", "--accumulation", "4"], "--batch-size 10 is not divisible by --accumulation 4"),
    ([*TINY, "--num-attention-heads", "7"], "--hidden-size 192 is not divisible"),
    ([*TINY, "--train-last-blocks", "0"], "--train-last-blocks 0 without --model: the frozen layers would stay random; give --model, or leave the flag out"),
    ([*BASE, "--model", "some/vit", "--num-hidden-layers", "6"], "--num-hidden-layers 6 with --model some/vit: a pretrained model keeps its own; leave the flag out, or leave --model out"),
    ([*TINY, "--model", "some/vit", "--patch-size", "4"], "--patch-size 4 with --model some/vit"),  # though it is the preset's own
    ([*BASE, "--model", "some/vit", "--muon-learning-rate", "0.01"], "--muon-learning-rate 0.01 without --optimizer muon: the run would not heed it; add --optimizer muon, or leave"),
    ([*TINY, "--magnitude", "0.9"], "--magnitude 0.9 without --randaugment"),
    ([*TINY, "--patch-dropout-until", "0.5"], "--patch-dropout-until 0.5 without --patch-dropout"),
    ([*TINY, "--cutmix", "0", "--mix-until", "0.5"], "--mix-until 0.5 without --mixup or --cutmix"),
    ([*TINY, "--crop-padding", "2", "--crop-area", "0.25"], "--crop-padding 2 without --crop-area 1: the run would not heed it; add --crop-area 1, or leave the flag out"),
    ([*BASE, "--resume"], "nothing to resume: out/train.yaml is not there"),
])
def test_what_cannot_be_is_refused_in_one_line(flags, told):
    with pytest.raises(UserError, match=told) as refusal:
        parse_config(flags)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("kind", [TrainConfig, PretrainConfig])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_no_setting_is_infinite_or_no_number(kind, value):
    for field in dataclasses.fields(kind):
        if field.type is float and field.metadata:
            with pytest.raises(UserError, match=f"--{field.name.replace('_', '-')} is {value}: it must be"):
                kind(**{field.name: float(value)})


def test_fine_tuning_has_its_recipe_without_being_asked():
    found = parse_config([*BASE, "--model", "some/vit"])
    assert found.preset == "fine-tune" and found.layer_decay == read_preset("fine-tune")["layer_decay"] == 0.75


def test_a_recipe_for_fine_tuning_needs_a_model():
    with pytest.raises(UserError, match=r"--preset fine-tune-cpu is a recipe for fine-tuning: give --model too, or a preset with an architecture \(cifar-patch2, cifar-patch4, tiny-cpu\)"):
        parse_config([*BASE, "--preset", "fine-tune-cpu"])
    assert parse_config([*BASE, "--preset", "fine-tune-cpu", "--model", "some/vit"]).image_size == 96


def test_a_shape_that_a_preset_or_saved_settings_bring_may_stand_beside_a_model(tmp_path):
    assert parse_config([*TINY, "--model", "some/vit", "--train-last-blocks", "1", "--image-size", "64"]).train_last_blocks == 1
    file = tmp_path / "train.yaml"
    save_yaml(parse_config([*TINY, "--num-hidden-layers", "2"]), file)
    tuned = parse_config([*BASE, "--config", str(file), "--model", "some/vit"])
    assert tuned.num_hidden_layers == 2 and "--num-hidden-layers" not in command(tuned, 32)
    parse_config(shlex.split(command(tuned, 32))[3:])  # the command that the card quotes can be given again
    file.write_text("train_last_blocks: 0\n")
    with pytest.raises(UserError, match="--train-last-blocks 0 without --model"):
        parse_config([*TINY, "--config", str(file)])


@pytest.mark.parametrize("flags, told", [
    ([], r"^give --preset, the architecture to pretrain, or --model to go on from a masked autoencoder \(cifar-patch2, cifar-patch4, tiny-cpu\)$"),
    (["--preset", "fine-tune"], r"^--preset fine-tune is a recipe for fine-tuning: give --model too, or a preset with an architecture \(cifar-patch2"),
    (["--model", "some/mae", "--decoder-layers", "3"], "^--decoder-layers 3 with --model some/mae: a pretrained model keeps its own"),
])
def test_pretraining_is_not_told_of_flags_that_it_does_not_have(flags, told):
    with pytest.raises(UserError, match=told):
        parse_config([*BASE, *flags], PretrainConfig)


def test_what_a_file_says_beside_nothing_is_passed_over_and_not_repeated(tmp_path):
    file = tmp_path / "settings.yaml"
    file.write_text("magnitude: 0.9\nmuon_weight_decay: 0.3\n")
    found = parse_config([*TINY, "--config", str(file), "--optimizer", "adamw"])
    said = command(found, 32)
    assert "--magnitude" not in said and "--muon" not in said and parse_config(shlex.split(said)[3:]).optimizer == "adamw"
    file.write_text("crop_padding: 2\n")
    found = parse_config([*TINY, "--config", str(file), "--crop-area", "0.25"])
    assert "--crop-padding" not in command(found, 32) and "--crop-padding 2" in command(parse_config([*TINY, "--config", str(file)]), 32)
    file.write_text("magnitude: 0.9\n")
    assert "--magnitude 0.9" in command(parse_config([*TINY, "--config", str(file), "--randaugment", "1"]), 32)


def test_pretraining_passes_over_what_a_file_of_settings_says_to_fine_tuning_alone(tmp_path):
    file = tmp_path / "train.yaml"
    file.write_text("early_stopping: 2\ntrain_last_blocks: 1\nbatch_size: 64\n")
    found = parse_config([*TINY, "--config", str(file)], PretrainConfig)
    assert (found.early_stopping, found.train_last_blocks, found.batch_size) == (0, None, 64)


def saved(tmp_path, *flags):
    kept = parse_config([*TINY[:2], "--preset", "tiny-cpu", "--output", str(tmp_path), *flags])
    save_yaml(kept, tmp_path / "train.yaml")
    return kept


def test_resuming_takes_the_saved_settings_whatever_the_preset_says_today(tmp_path, monkeypatch):
    kept = saved(tmp_path, "--epochs", "3")
    monkeypatch.setattr(config, "PRESETS", tmp_path)
    found = parse_config(["--output", str(tmp_path), "--resume"])
    assert dataclasses.replace(found, resume=False) == kept


def test_resuming_refuses_what_would_change_the_result_and_takes_what_would_not(tmp_path):
    saved(tmp_path)
    again = ["--output", str(tmp_path), "--resume"]
    assert parse_config([*again, "--seed", "0", "--stop-after", "5", "--save-every", "9", "--resident-gb", "1"]).save_every == 9
    saved(tmp_path, "--stop-after", "5", "--seed", "7")
    assert (parse_config(again).stop_after, parse_config([*again, "--stop-after", "2"]).stop_after, parse_config(again).seed) == (0.0, 2.0, 7)
    saved(tmp_path)
    assert parse_config([*again, "--dataset", "moved/here"]).dataset == "moved/here"  # its fingerprint is compared later
    with pytest.raises(UserError, match="--resume with --model some/vit: the run was started with None"):
        parse_config([*again, "--model", "some/vit"])
    for flags in (["--seed", "1"], ["--learning-rate", "0.5"], ["--no-flip"]):
        with pytest.raises(UserError, match=f"--resume with {flags[0].replace('no-', '')}"):
            parse_config([*again, *flags])


def test_resuming_takes_the_model_from_where_it_lies_now(tmp_path):
    saved(tmp_path, "--model", "there/mae")
    again = ["--output", str(tmp_path), "--resume"]
    assert parse_config(again).model == "there/mae" and parse_config([*again, "--model", "here/mae"]).model == "here/mae"


def test_resuming_keeps_the_commit_of_the_base_that_the_run_began_with(tmp_path, monkeypatch):
    saved(tmp_path, "--model", f"some/vit@{'a' * 40}")
    again = ["--output", str(tmp_path), "--resume"]
    for typed in ("some/vit", "some/vit@main", "https://huggingface.co/some/vit"):
        assert parse_config([*again, "--model", typed]).model == f"some/vit@{'a' * 40}"
    assert parse_config([*again, "--model", "other/vit"]).model == "other/vit"
    (tmp_path / "some" / "vit").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert parse_config([*again, "--model", "some/vit"]).model == "some/vit"  # a copy here


def test_settings_saved_before_a_setting_existed_still_load(tmp_path):
    saved(tmp_path)
    old = yaml.safe_load((tmp_path / "train.yaml").read_text())
    del old["auto_accumulate"], old["workers"]
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(old))
    assert parse_config(["--output", str(tmp_path), "--resume"]).workers == TrainConfig().workers


def test_the_command_repeats_the_run_and_tells_no_path(tmp_path):
    data = tmp_path / "pictures"
    data.mkdir()
    flags = ["--dataset", str(data), "--preset", "tiny-cpu", "--output", str(tmp_path / "run"), "--seed", "5", "--no-flip", "--mixup", "0.25"]
    made = parse_config(flags)
    words = shlex.split(command(made, 32))
    assert words[:3] == ["python", "-m", "training.train"] and str(tmp_path) not in " ".join(words)
    assert dataclasses.replace(parse_config(words[3:]), dataset=made.dataset, output=made.output) == made
    assert "--epochs" not in words  # the preset's own


@pytest.mark.parametrize("kind, preset, more", [(TrainConfig, "tiny-cpu", []), (TrainConfig, "fine-tune-cpu", ["--model", "some/vit"]), (TrainConfig, "fine-tune", ["--model", "some/vit"]),
                                                (PretrainConfig, "tiny-cpu", [])])
def test_what_a_file_takes_back_from_the_preset_is_told_as_it_came_out(tmp_path, kind, preset, more):
    """null is no word of the command line: the picture size is then the model's own."""
    file = tmp_path / "settings.yaml"
    file.write_text("".join(f"{field.name}: null\n" for field in dataclasses.fields(kind) if "None" in str(field.type) and field.name not in {"dataset", "output", "model", "preset"} | kind.UNUSED))
    found = parse_config([*BASE, "--preset", preset, *more, "--config", str(file)], kind)
    said = command(found, 224)
    named = "image_size" in read_preset(preset)
    assert found.image_size is None and "None" not in said and ("--image-size 224" in said) == named
    assert dataclasses.replace(parse_config(shlex.split(said)[3:], kind), dataset=found.dataset, output=found.output) == dataclasses.replace(found, image_size=224 if named else None)
