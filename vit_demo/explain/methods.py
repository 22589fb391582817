"""The heat maps this app ships, by name."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from vit_demo.explain.attribution import Attribution, patches_of
from vit_demo.explain.cost import flops
from vit_demo.explain.presence import integrated_presence
from vit_demo.explain.relevance import attention_map, cdam_map, chefer_map, gradcam_map, integrated_patches, rollout_map
from vit_demo.explain.removal import occlusion_map, shapley_values


class Method(NamedTuple):
    """A heat map and what one must know to show it."""

    find: Callable[..., Tensor | Attribution]  # (model, pixel_values (1,C,S,S), target (K,)) -> (N,), perhaps with more about it
    title: str
    says: str  # what it does, in half a sentence
    source: str
    unit: str
    signed: bool  # numbers below 0 speak against the target
    by_class: bool  # follows the target; otherwise the same for every class
    slow: bool  # many forwards; such a one also takes progress=
    start: str = ""  # of shares that sum to a change: where it begins

    def map(self, *given, **more) -> Tensor:
        """(N,) alone."""
        return patches_of(self.find(*given, **more))


LOGIT = "change of the logit"
METHODS = {
    "attention": Method(attention_map, "Raw attention", "where the class token looks in the last layer, the mean of its heads; the same for every class",
                        "Vaswani et al. 2017, arXiv:1706.03762", "share of attention", False, False, False),
    "rollout": Method(rollout_map, "Attention rollout", "attention multiplied through all layers, with the residual path as half of each; the same for every class",
                      "Abnar & Zuidema 2020, arXiv:2005.00928", "share of attention", False, False, False),
    "chefer": Method(chefer_map, "Chefer's gradient rule", "attention that would raise the class if there were more of it (gradient × attention, below 0 cut), summed up through the layers",
                     "Chefer et al. 2021, arXiv:2103.15679", "relevance", False, True, False),
    "gradcam": Method(gradcam_map, "Grad-CAM", "the last layer's tokens, each of their numbers weighted by how it moves the class on average; the paper cuts below 0, here both signs are shown",
                      "Selvaraju et al. 2017, arXiv:1610.02391", "token × mean gradient", True, True, False),
    "cdam": Method(cdam_map, "Class-discriminative attention", "each token of the last layer times its own gradient",
                   "Brocki et al. 2023, arXiv:2312.02364", "token × gradient", True, True, False),
    "integrated gradients": Method(integrated_patches, "Integrated gradients", "the picture is faded in from the colour that the processor makes 0, and each pixel's share of the change summed up",
                                   "Sundararajan et al. 2017, arXiv:1703.01365", LOGIT, True, True, True, "that colour alone"),
    "occlusion": Method(occlusion_map, "Drop one patch", "what the class loses when this patch alone is dropped",
                        "after Zeiler & Fergus 2013, arXiv:1311.2901", LOGIT, True, True, True),
    "shapley": Method(shapley_values, "Shapley values", "what a patch adds on average, when patches come in random orders; estimated",
                      "Lundberg & Lee 2017, arXiv:1705.07874", LOGIT, True, True, True, "no patches"),
    "presence": Method(integrated_presence, "Integrated presence", "all patches are faded in together, from dropped to fully looked at, and each one's share of the change summed up",
                       "this app, after Sundararajan et al. 2017, arXiv:1703.01365", LOGIT, True, True, True, "no patches"),
}

RANDOM = "random"  # the order that every map must beat
DEFAULT = "presence"  # chosen on training pictures of the first of the last three bundled models; first, or level with it, on all (docs/results.md)
QUICK = "chefer"  # of those that are not slow the steadiest: 0.30, 0.25 and 0.28 for the last three bundled models; Grad-CAM 0.21, 0.38 and 0.31
MOST_FLOPS = 10e9  # of a forward pass, for the default to come unasked; ViT-B/16 at 224 px takes 35e9


def opening(config) -> str:
    """The map to begin with: the default, or, where that takes long, the quick one."""
    return DEFAULT if flops(config).total <= MOST_FLOPS else QUICK
