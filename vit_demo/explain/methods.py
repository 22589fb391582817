"""The heat maps this app ships, by name."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from vit_demo.explain.cost import flops
from vit_demo.explain.presence import presence_map
from vit_demo.explain.relevance import attention_map, cdam_map, chefer_map, gradcam_map, integrated_map, rollout_map
from vit_demo.explain.removal import occlusion_map, shapley_map


class Method(NamedTuple):
    """A heat map and what one must know to show it."""

    map: Callable[..., Tensor]  # (model, pixel_values (1,C,S,S), target (K,)) -> (N,); slow ones also take progress=
    title: str
    source: str
    signed: bool  # numbers below 0 speak against the target
    by_class: bool  # follows the target; otherwise the same for every class
    slow: bool  # many forwards


METHODS = {
    "attention": Method(attention_map, "Raw attention", "arXiv:1706.03762", False, False, False),
    "rollout": Method(rollout_map, "Attention rollout", "arXiv:2005.00928", False, False, False),
    "chefer": Method(chefer_map, "Chefer's gradient rule", "arXiv:2103.15679", False, True, False),
    "gradcam": Method(gradcam_map, "Grad-CAM", "arXiv:1610.02391", True, True, False),
    "cdam": Method(cdam_map, "Class-discriminative attention", "arXiv:2312.02364", True, True, False),
    "integrated gradients": Method(integrated_map, "Integrated gradients", "arXiv:1703.01365", True, True, True),
    "occlusion": Method(occlusion_map, "Drop one patch", "arXiv:1311.2901", True, True, True),
    "shapley": Method(shapley_map, "Shapley values", "arXiv:1705.07874", True, True, True),
    "presence": Method(presence_map, "Integrated presence", "this app, after arXiv:1703.01365", True, True, True),
}

RANDOM = "random"  # the order that every map must beat
DEFAULT = "presence"  # the best of the bundled model's 500 training pictures: benchmarks/results/faithfulness.json
QUICK = "chefer"  # the best of those that are not slow, on the same pictures
MOST_FLOPS = 10e9  # of a forward pass, for the default to come unasked; ViT-B/16 at 224 px takes 35e9


def opening(config) -> str:
    """The map to begin with: the default, or, where that takes long, the quick one."""
    return DEFAULT if flops(config).total <= MOST_FLOPS else QUICK
