"""transformers' Trainer as the contender: as its tutorial uses it, and with what its own arguments offer for speed.

https://huggingface.co/docs/transformers/tasks/image_classification: the processor in a transform that runs when a batch is
fetched, a collate function that stacks, remove_unused_columns=False, and the library's defaults for the rest.
"""

import io
import os
import tempfile

import torch
from PIL import Image
from transformers import AutoImageProcessor, Trainer, TrainerCallback, TrainingArguments

from benchmarks.pace import Pace


class EncodedPictures(torch.utils.data.Dataset):
    """PNG files in memory, decoded when fetched and given to `transform` batch by batch: what `with_transform` of the
    datasets library does, without its own overhead, and where that library is not installed."""

    def __init__(self, files: list[bytes], labels: list[int], transform):
        self.files, self.labels, self.transform = files, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, numbers: list[int]) -> list[dict]:
        examples = {"image": [Image.open(io.BytesIO(self.files[n])) for n in numbers], "label": [self.labels[n] for n in numbers]}
        made = self.transform(examples)
        return [{name: values[i] for name, values in made.items()} for i in range(len(numbers))]


def png(picture: torch.Tensor) -> bytes:
    """uint8 (3,H,W) -> a PNG file."""
    file = io.BytesIO()
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(file, "PNG")
    return file.getvalue()


def collate(examples: list[dict]) -> dict:
    return {"pixel_values": torch.stack([e["pixel_values"] for e in examples]), "labels": torch.tensor([e["label"] for e in examples])}


class Watch(TrainerCallback):
    def __init__(self, pace: Pace):
        self.pace = pace

    def on_step_end(self, args, state, control, **more):
        control.should_training_stop = self.pace.step()
        return control


def usual(processor, folder: str):
    """The same processor as the class that a user of this machine gets for it."""
    processor.save_pretrained(folder)
    try:
        return AutoImageProcessor.from_pretrained(folder)
    except ImportError:  # some versions of transformers need torchvision to choose one
        return processor


def measure(model, processor, pictures, pace: Pace, **arguments) -> dict:
    """Train `model` with the Trainer on `pictures` until the pace is known -> the facts. `arguments` are TrainingArguments' own."""
    with tempfile.TemporaryDirectory() as folder:
        processor = usual(processor, folder)

        def transform(examples: dict) -> dict:
            inputs = processor([image.convert("RGB") for image in examples["image"]], return_tensors="pt")
            return {**inputs, "label": examples["label"]}

        dataset = EncodedPictures([png(picture) for picture in pictures.pixels.cpu()], pictures.labels.tolist(), transform)
        settings = TrainingArguments(folder, per_device_train_batch_size=pace.batch_size, max_steps=10**6, save_strategy="no", report_to="none",
                                     disable_tqdm=True, remove_unused_columns=False, use_cpu=pace.device.type == "cpu", **arguments)
        Trainer(model, settings, data_collator=collate, train_dataset=dataset, callbacks=[Watch(pace)]).train()
    return {"processor": type(processor).__name__, "arguments": arguments, **pace.facts}


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
