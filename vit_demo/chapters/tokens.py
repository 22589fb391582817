"""Chapter 4: a class token in front, a position on each; and the proof that positions are all a ViT knows of places."""

from collections.abc import Iterator

from vit_demo.chapters import resize
from vit_demo.chapters.scene import Look, earlier, live, mono, number, sizes, snippet
from vit_demo.classifier import BUNDLED
from vit_demo.draw import pack
from vit_demo.explain import embeddings, positions
from vit_demo.samples import FIRST, SAMPLES

NAME = "CLS + positions"
TITLE = "How does it know where a patch was?"
SHARES = [0.0, 0.125, 0.25, 0.5, 0.75, 1.0]
SEEDS = 4
MORE = 0.1  # by which a cosine of neighbours is told to be above that of any two places, and above 0
MISLED = (FIRST, SAMPLES[FIRST][2])  # the bundled model takes that sample for something else as soon as its patches are shuffled
SENT_WHOLE = 400_000  # cosines, up to 25 × 25 patches; of more, only the map of one place at a time is shown


def station(classifier) -> str:
    rows, cols = sizes(classifier)[1]
    return f"{rows * cols + 1}×{classifier.model.config.hidden_size}"


def scene(look: Look) -> dict:
    made = embeddings.assembly(look.model, look.trace.patch_embeddings)
    width = made.embeddings.shape[1]
    (rows, cols), similarity = look.trace.grid, positions.position_similarity(made.positions, look.trace.grid)
    beside, anywhere = positions.neighbour_similarity(similarity)
    story = (
        f"Attention sees a bag of tokens, without any order, so each place in the grid has a vector of {mono(width)} "
        f"numbers, which is simply added to the patch that lies there. In front comes one more token, the class token (CLS): it belongs "
        f"to no patch, starts the same for every picture, and collects what is needed for the answer. "
        f"{alike(beside, anywhere) if rows * cols >= positions.FEW else ''}{origin(look.classifier.metrics)}")
    body = f"""
positions = model.vit.embeddings.position_embeddings[0, 1:]
positions = torch.nn.functional.normalize(positions - positions.mean(dim=0), dim=-1)
grid = positions.reshape({rows}, {cols}, -1)
right, below = (grid[:, :-1] * grid[:, 1:]).sum(-1), (grid[:-1] * grid[1:]).sum(-1)
answer = torch.cat([right.flatten(), below.flatten()]).mean().nan_to_num().item()
"""
    resized = resize.begun(look)
    return {
        "story": story, "view": "tokens",
        "equation": f"token {live('token')} = {live('x', kind='')} + <span class=\"p\">{live('place', kind='w')}</span> = "
                    f"{live('sum', kind='')}",
        "attempt": "shuffle the patches, then shuffle them <em>together with</em> their positions. "
                   "Guess first: which of the two can the model not notice?",
        "data": {
            **look.shown, "width": width,
            "patches": pack(made.patches, "u16"), "positions": pack(made.positions, "u16"), "cls": pack(made.cls[0], "f32"),
            "similarity": pack(similarity, "u16") if similarity.numel() <= SENT_WHOLE else None,
            "best": look.classifier.labels[look.ranked[0]], "confidence": look.probabilities[look.ranked[0]].item(),
            "shares": SHARES, "resize": resized, "other": MISLED if look.classifier.files == BUNDLED else None,
        },
        "also": [resize.check(look, resized["now"])] if resized else [],
        "check": {"code": snippet(look, body), "value": beside,
                  "says": f"The mean cosine between the position vectors of neighbouring places, their common mean taken out: {number(beside, 3)}."},
    }


def alike(beside: float, anywhere: float) -> str:
    """What the mean cosines of neighbours and of any two places say."""
    if beside - anywhere > MORE:
        are = "alike" if beside > MORE else "less unlike than any two"
    else:
        are = f"{'hardly more' if beside - anywhere > -MORE else 'less'} alike than any two"
    return (f"Neighbours have vectors that are {are}: take out what all places share, and the cosine of two side by side is {mono(number(beside))} on average, "
            f"of any two {mono(number(anywhere))} (1: they point the same way, 0: they have nothing in common). ")


def origin(metrics: dict) -> str:
    """How the positions came to be alike, where that is known."""
    if any("training.pretrain" in str(run.get("command")) for run in earlier(metrics)):
        return "They began as sines and cosines of row and column, fixed for its pretraining, and were learned from there on."
    if metrics.get("base_model", "") is None:
        return "Nobody told it the grid: they began as random numbers and were learned."
    return ""


def answer(look: Look, question: dict) -> Iterator[dict]:
    """A jigsaw: the patches in another order. Or the curve of confidence against the share that is shuffled. Or the
    positions of a picture of another size."""
    patches, best = look.trace.patch_embeddings, look.ranked[0]
    if question["what"] == "curve":
        points = []
        for share in SHARES:
            curve = positions.shuffle_curve(look.model, patches, best, [share], 1 if share == 0 else SEEDS)[:, 0]
            points.append({"share": share, "mean": curve.mean().item(), "low": curve.min().item(), "high": curve.max().item()})
            yield {"curve": list(points), "progress": len(points) / len(SHARES)}
        return
    if question["what"] == "resize":
        yield resize.resized(look, question.get("size"), question.get("patch"))
        return
    order, how = positions.shuffled_order(len(patches), question.get("share", 1), question.get("seed", 0)), question.get("positions", "stay")
    logits = positions.jigsaw_logits(look.model, patches, order, how)[0]
    yield {
        "order": order.tolist(), "positions": how, "top": look.top(logits),
        "was": logits.softmax(-1)[best].item(), "largest": (logits - look.trace.logits).abs().max().item(),
    }
