"""What does a hostile model cost the one who looks at it? Time, memory and bytes of every refusal.

    python -m benchmarks.hostile [--only "long header"] [--write]

The corpus of the tests (tests/hostile.py) lies on a local Hub. Each repository is opened as a visitor opens it, in a
process of its own that has imported the app and opened nothing yet. The last line is JSON: the worst of all, and the
bounds they have to keep.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import httpx

from training import report

RESULTS = Path(__file__).parent / "results" / "hostile.json"
SECONDS, MEGABYTES = 2.0, 600.0  # bounds on the wall clock and on all memory of the process


def options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hostile", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="CASE", help="these repositories alone (default: all)")
    parser.add_argument("--write", action="store_true", help=f"keep the result as {RESULTS.name} in benchmarks/results/")
    parser.add_argument("--note", default="", help="what else the machine was doing")
    return parser.parse_args(argv)


def memory(field: str) -> float:
    """MB of this process: VmRSS now, VmHWM at its most since the kernel was last told to forget."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1e3 * 1.024


def refuse(name: str, connection) -> None:
    """In a process of its own: open `name` as a visitor, and tell what that took."""
    from vit_demo.classifier import load
    from vit_demo.errors import UserError

    Path("/proc/self/clear_refs").write_text("5")  # forget the most so far
    before, told, start, busy = memory("VmRSS"), "", time.perf_counter(), time.process_time()
    try:
        load(name, token=False)
    except UserError as error:
        told = str(error)
    seconds, cpu = time.perf_counter() - start, time.process_time() - busy
    connection.send({"refusal": told, "seconds": round(seconds, 3), "cpu_seconds": round(cpu, 3),
                     "peak_mb": round(memory("VmHWM"), 1), "added_mb": round(memory("VmHWM") - before, 1)})


def run(cases: dict, folder: Path) -> dict[str, dict]:
    """Each case's numbers."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["vit_demo.classifier", "benchmarks.hostile"])
    from tests.hub_server import HubServer
    from tests.models import save_model

    good, measured = save_model(folder / "good"), {}
    with HubServer(folder / "hub") as hub:
        os.environ.update(hub.env())  # for the processes, none of which has been started yet
        for case, (change, *_) in cases.items():
            change(shutil.copytree(good, folder / "case"))
            name = f"strangers/{case.replace(' ', '-')}"
            hub.seed("models", name, folder / "case")
            shutil.rmtree(folder / "case")
            httpx.get(f"{hub.url}/api/models/{name}", timeout=120)  # the Hub looks into files when it is given them, not when it is asked
            hub.calls.clear()
            ours, theirs = context.Pipe()
            process = context.Process(target=refuse, args=(name, theirs))
            process.start()
            theirs.close()
            measured[case] = ours.recv() | {"bytes_fetched": sum(call["bytes"] for call in hub.calls), "requests": len(hub.calls)}
            process.join()
            print(f"{case:28} {measured[case]['seconds']:6.2f} s {measured[case]['peak_mb']:7.0f} MB (+{measured[case]['added_mb']:.0f}) "
                  f"{measured[case]['bytes_fetched']:10,} bytes", file=sys.stderr, flush=True)
    return measured


def summary(measured: dict[str, dict]) -> dict:
    def worst(what: str) -> dict:
        case = max(measured, key=lambda name: measured[name][what])
        return {"case": case, what: measured[case][what]}

    kept = all(facts["refusal"] and facts["seconds"] <= SECONDS and facts["peak_mb"] <= MEGABYTES for facts in measured.values())
    return {"repositories": len(measured), "refused": sum(bool(facts["refusal"]) for facts in measured.values()), "within_bounds": kept,
            "bounds": {"seconds": SECONDS, "peak_mb": MEGABYTES}, "slowest": worst("seconds"), "largest": worst("peak_mb"),
            "most_added": worst("added_mb"), "most_fetched": worst("bytes_fetched")}


def main(argv: list[str] | None = None) -> dict:
    args = options(argv)
    from tests.hostile import FOUND_IN_THE_WEIGHTS, HOSTILE

    cases = {**HOSTILE, **FOUND_IN_THE_WEIGHTS}
    if unknown := set(args.only or ()) - set(cases):
        raise SystemExit(f"error: no case {sorted(unknown)[0]}; there are {', '.join(cases)}")
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        measured = run({case: cases[case] for case in args.only or cases}, Path(folder))
    line = summary(measured)
    if args.write:
        kept = {**line, "device": report.device_name("cpu"), "versions": report.versions(), "load_average": os.getloadavg()[0],
                "date": time.strftime("%Y-%m-%d", time.gmtime()), "command": report.command_line("benchmarks.hostile", sys.argv[1:]),
                "note": args.note, "cases": measured}
        report.write_bytes(RESULTS, (json.dumps(kept, indent=1) + "\n").encode())
    print(json.dumps(line))
    return line


if __name__ == "__main__":
    if not main()["within_bounds"]:
        raise SystemExit(1)
