"""The positions of a picture of another size, as fine-tuning at that size begins with them: the lower half of chapter 4."""

from vit_demo.chapters.scene import Look, number, snippet, whole
from vit_demo.draw import pack
from vit_demo.explain import positions

FACTORS = (1 / 2, 5 / 8, 3 / 4, 1, 5 / 4, 3 / 2, 7 / 4, 2)  # times the model's own size, or as near as whole patches come
MOST_NUMBERS = 20_000_000  # of an interpolated table: 80 MB


def sizes(look: Look) -> dict[int, tuple[int, int]]:
    """The longer side in pixels -> the (rows, columns) of patches, of pictures shaped like the model's own, which is among
    them. None where there are too few places for their cosines to say anything, or where there is no other size."""
    own, width = look.trace.grid, look.config.hidden_size
    longer, found = max(own), {}
    for side in sorted({int(longer * factor + 0.5) for factor in FACTORS}):
        grid = own if side == longer else tuple(max(1, int(along * side / longer + 0.5)) for along in own)
        count = grid[0] * grid[1]
        if count >= positions.FEW and (grid == own or count * width <= MOST_NUMBERS):
            found[side * look.patch] = grid
    return found if own in found.values() and len(found) > 1 else {}


def begun(look: Look) -> dict | None:
    """The sizes to choose from, and the largest of them."""
    choices = sizes(look)
    return {"sizes": [{"size": size, "text": pixels(look, grid)} for size, grid in choices.items()],
            "own": list(choices.values()).index(look.trace.grid), "now": resized(look)} if choices else None


def resized(look: Look, size: int | None = None, patch: int | None = None) -> dict:
    """The positions at that size (the largest, unless named): how alike the place where a patch (the middle one) lies is to all others, in words too."""
    own, table = look.trace.grid, look.model.vit.embeddings.position_embeddings[0].detach()
    choices = sizes(look) or {max(look.size): own}
    size = max(choices) if size is None else size
    patch = look.middle if patch is None else patch
    grid = choices[size]
    place = positions.place_on(patch, own, grid)
    cosines, beside = positions.seen_from(positions.interpolated(table, own, grid), grid, place)
    at_home = positions.seen_from(table, own, patch)[1]
    return {"size": size, "patch": patch, "grid": list(grid), "place": place, "cosines": pack(cosines, "u16"), "beside": beside,
            "says": said(look, grid, beside, at_home), "check": check_says(grid, beside)}


def pixels(look: Look, grid: tuple[int, int]) -> str:
    return f"{grid[1] * look.patch} × {grid[0] * look.patch} px"


def said(look: Look, grid: tuple[int, int], beside: float, at_home: float) -> str:
    (rows, cols), (own_rows, own_cols) = grid, look.trace.grid
    if grid == look.trace.grid:
        return (f"{pixels(look, grid)} is the model's own size, so nothing is interpolated: on the grid of {rows} × {cols}, with CLS "
                f"{whole(rows * cols + 1)} tokens, neighbours have a cosine of {number(beside)} on average.")
    return (f"Fine-tuning on pictures of {pixels(look, grid)} begins with a grid of {rows} × {cols}, so with {whole(rows * cols + 1)} tokens "
            f"instead of {whole(own_rows * own_cols + 1)}: neighbours there have a cosine of {number(beside)} on average, against "
            f"{number(at_home)} on the model's own {own_rows} × {own_cols}, and CLS keeps its own vector untouched.")


def check_says(grid: tuple[int, int], beside: float) -> str:
    return f"The same mean cosine of neighbours, the positions interpolated to a grid of {grid[0]} × {grid[1]}: {number(beside, 3)}."


def check(look: Look, now: dict) -> dict:
    """How to find the cosine of neighbours at that size; web/view-positions.js puts the chosen grid into it."""
    (own_rows, own_cols), (rows, cols) = look.trace.grid, now["grid"]
    body = f"""
rows, cols = {rows}, {cols}  # the new grid
own = model.vit.embeddings.position_embeddings[0, 1:].detach().reshape({own_rows}, {own_cols}, -1)
new = torch.nn.functional.interpolate(own.permute(2, 0, 1)[None], size=(rows, cols), mode="bicubic")
new = new[0].flatten(1).T
grid = torch.nn.functional.normalize(new - new.mean(dim=0), dim=-1).reshape(rows, cols, -1)
right, below = (grid[:, :-1] * grid[:, 1:]).sum(-1), (grid[:-1] * grid[1:]).sum(-1)
answer = torch.cat([right.flatten(), below.flatten()]).mean().item()
"""
    return {"code": snippet(look, body), "value": now["beside"], "says": now["check"]}
