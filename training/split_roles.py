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
    own = [split for split in dataset if is_validation(split) and split not in (config.train_split, test) and len(dataset[split])]
    chosen = own[0] if own and not config.validation_images else None
    if not config.ANSWERS and (test or chosen):
        return None, None, "validation"
    if not (chosen or config.validation_images):
        need_none_to_choose_on(config)
    if test == NO_TEST or chosen and not test:
        return None, chosen, "validation"
    return test, chosen, "held_out" if not test or is_validation(test) else "test"


def is_validation(split: str) -> bool:
    """Whether it is by its name (validation, val, dev, ...) one to choose on."""
    return SPLITS.get(split.lower()) == "validation"


def need_none_to_choose_on(config) -> None:
    """Refuse what is asked of pictures to choose on, for there are none."""
    if config.keep == "best":
        raise UserError("--keep best needs --validation-images: pictures to choose on")
    if config.early_stopping:
        raise UserError(f"--early-stopping {config.early_stopping} needs --validation-images: pictures whose accuracy tells when to stop")
    if config.test_split == NO_TEST:
        raise UserError("--test-split none leaves nothing to measure on: give --validation-images")


def about_validation_splits(config, dataset, test: str | None, chosen: str | None, part: str) -> tuple[str, ...]:
    """Lines that tell what is done with splits to choose on."""
    if not config.ANSWERS:
        return ()
    told = [f"split {chosen} ({len(dataset[chosen])} pictures) is measured after each epoch{' and at the end' if part == 'validation' else ''}"] if chosen else []
    instead = "leave --validation-images out to choose on it, or " if config.validation_images else ""
    unread = [split for split in dataset if is_validation(split) and split not in (config.train_split, test, chosen)]
    return (*told, *(f"split {split} ({len(dataset[split])} pictures) is not read: {instead}--test-split {split} measures on it" for split in unread))
