"""ViT Demo: the app. `python app.py --help` lists its options."""

import argparse
import os
import sys
import tempfile
from functools import partial

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported: no request leaves this machine
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
for name in ("NO_PROXY", "no_proxy"):  # Gradio asks its own page whether it is there
    os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1", "localhost")))
os.environ.setdefault("GRADIO_TEMP_DIR", os.path.join(tempfile.gettempdir(), f"vit-demo-{getattr(os, 'getuid', str)()}"))  # of each user their own
os.environ.setdefault("HF_HUB_DISABLE_XET", "1")  # models come over plain HTTP, which can be stopped at any byte


def between(least: int, most: int):
    """A whole number within bounds, for argparse."""
    def number(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text} is not a whole number from {least} to {most}")
        return int(text)

    return number


def options(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Walk a picture through a Vision Transformer, in your browser.")
    parser.add_argument("--model", default=os.environ.get("VIT_DEMO_MODEL") or None, metavar="FOLDER|USER/NAME[@REVISION]",
                        help="the model that answers: a folder, or one on the Hub, which is loaded while the bundled "
                             "model answers (also: environment variable VIT_DEMO_MODEL; default: the bundled model)")
    parser.add_argument("--no-limits", action="store_true", help="open models from the Hub of any size: lifts the limits of 1,280 wide, "
                        "40 layers, 512 px, 1,000 labels, 100 M parameters, 400 MB of weights and 600 MB of attention maps, for "
                        "--model and for what visitors name; leave it out where strangers visit")
    parser.add_argument("--host", default=None, help="address to listen on; 0.0.0.0 for all (default: 127.0.0.1)")
    parser.add_argument("--port", type=between(1, 65535), default=None, help="port to listen on (default: the first free from 7860)")
    parser.add_argument("--threads", type=between(1, 1024), default=1, help="processor threads for the model (default: 1, which is "
                        "fastest for small pictures)")
    parser.add_argument("--share", action="store_true", help="make a public link through gradio.live")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    chosen = options(argv)
    from vit_demo import zero_gpu  # noqa: F401  (where GPUs are lent, this wants to come before torch)
    import torch

    from vit_demo import classifier, hub_address
    from vit_demo.errors import UserError
    from vit_demo.hub_model import DEFAULT_LIMITS, NO_LIMITS
    from vit_demo.models import Models
    from vit_demo.page import build_page, launch_settings

    torch.set_num_threads(chosen.threads)
    try:
        limits = NO_LIMITS if chosen.no_limits else DEFAULT_LIMITS
        if chosen.model and not os.path.isdir(chosen.model):
            hub_address.parse(chosen.model)  # what can be no name is refused now; whether the Hub has it is found out in the background
        page = build_page(Models(chosen.model, partial(classifier.load, limits=limits)))
        page.launch(server_name=chosen.host, server_port=chosen.port, share=chosen.share, **launch_settings())
    except UserError as error:
        stop(str(error))
    except OSError as error:
        if "empty port" not in str(error):
            stop(str(error).split("\n")[0])
        port = chosen.port or os.environ.get("GRADIO_SERVER_PORT", "any from 7860 on")
        stop(f"cannot listen on {chosen.host or '127.0.0.1'}, port {port}: it is taken, or the address is none of this machine; choose others with --port and --host")


def stop(line: str) -> None:
    print(f"error: {line}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:  # before the page is open; from then on Gradio hears it
        sys.exit(130)
