"""Which splits of a data set are learned from, chosen on and measured on."""

from training.config import NO_TEST
from training.picture_folder import SPLITS
from training.source import need_split
from vit_demo.errors import UserError


def split_roles(config, dataset) -> tuple[str | None, str | None, str]:
    """(the split to measure on at the end, the split to choose on, `data.Splits.held_out_part`); None where those are training
    pictures, or none. Where no classes are learned, both stay unread, and nothing is held out that a fine-tune would learn from."""
    need_split(dataset, config.train_split, "--train-split")
    test = config.test_split or ("test" if "test" in dataset and config.train_split != "test" else None)
    if test not in (None, NO_TEST):
        need_split(dataset, test, "--test-split")
    if test == config.train_split:
        raise UserError(f"--test-split {test} is the training split: a model is not tested on what it learned from")
    chosen = to_choose_on(config, dataset, test)
    if not config.ANSWERS and (test or chosen):
        return None, None, "validation"
    if not (chosen or config.validation_images):
        need_none_to_choose_on(config)
    if test == NO_TEST or chosen and not test:
        return None, chosen, "validation"
    return test, chosen, "held_out" if not test or is_validation(test) else "test"


def to_choose_on(config, dataset, test: str | None) -> str | None:
    """The split that the settings name, or the data set's own validation split where they say nothing."""
    named = config.validation_split
    if named == NO_TEST or named is None and config.validation_images:
        return None
    if named is None:
        return next((split for split in dataset if is_validation(split) and split not in (config.train_split, test) and len(dataset[split])), None)
    if config.validation_images:
        raise UserError(f"--validation-split {named} and --validation-images {config.validation_images}: give one of the two")
    need_split(dataset, named, "--validation-split")
    if named in (config.train_split, test):
        raise UserError(f"--validation-split {named} is the split to {'learn from' if named == config.train_split else 'measure on'}: choose another")
    return named


def is_validation(split: str) -> bool:
    """Whether it is by its name (validation, val, dev, ...) one to choose on."""
    return SPLITS.get(split.lower()) == "validation"


def need_none_to_choose_on(config) -> None:
    """Refuse what is asked of pictures to choose on, for there are none."""
    if config.keep == "best":
        raise UserError("--keep best needs --validation-images, or a --validation-split: pictures to choose on")
    if config.early_stopping:
        raise UserError(f"--early-stopping {config.early_stopping} needs --validation-images, or a --validation-split: pictures whose accuracy tells when to stop")
    if config.test_split == NO_TEST:
        raise UserError("--test-split none leaves nothing to measure on: give --validation-images, or a --validation-split")


def about_validation_splits(config, dataset, test: str | None, chosen: str | None, part: str) -> tuple[str, ...]:
    """Lines that tell what is done with splits to choose on."""
    if not config.ANSWERS:
        return ()
    told = [f"split {chosen} ({len(dataset[chosen])} pictures) is measured after each epoch{' and at the end' if part == 'validation' else ''}"] if chosen else []
    unread = [split for split in dataset if is_validation(split) and split not in (config.train_split, test, chosen)] if config.validation_split != NO_TEST else []
    return (*told, *(f"split {split} ({len(dataset[split])} pictures) is not read: --validation-split {split} chooses on it, --test-split {split} measures on it" for split in unread))
