"""Parameter groups, Muon, the learning-rate schedule, the weight average, stochastic depth."""

import math
import re

import torch
from torch import nn

from vit_demo.errors import UserError


def is_decayed(name: str, parameter: torch.Tensor) -> bool:
    """Matrices decay; LayerNorm, biases, class token and positions do not (by shape, not by a list of module names)."""
    return parameter.ndim >= 2 and not name.endswith(("cls_token", "position_embeddings", "mask_token"))


def depth_of(name: str, layers: int) -> int:
    """0 for the embeddings, 1..L for the layers, L+1 for what comes after them."""
    if ".embeddings." in name:
        return 0
    found = re.search(r"\.layers?\.(\d+)\.", name)
    return int(found.group(1)) + 1 if found else layers + 1


def parameter_groups(model: nn.Module, config) -> tuple[list[dict], list[dict]]:
    """(AdamW's groups, Muon's groups), each with its peak learning rate after layer-wise decay (BEiT, arXiv:2106.08254)."""
    layers = model.config.num_hidden_layers
    groups: dict[tuple, dict] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        depth = depth_of(name, layers)
        muon = config.optimizer == "muon" and parameter.ndim == 2 and 1 <= depth <= layers
        scale = config.layer_decay ** (layers + 1 - depth)
        decay = 0.0 if not is_decayed(name, parameter) else config.muon_weight_decay if muon else config.weight_decay
        peak = (config.muon_learning_rate if muon else config.learning_rate) * scale
        group = groups.setdefault((muon, peak, decay), {"params": [], "lr": peak, "peak": peak, "weight_decay": decay})
        group["params"].append(parameter)
    return [g for (muon, *_), g in groups.items() if not muon], [g for (muon, *_), g in groups.items() if muon]


def make_optimizers(model: nn.Module, config, fused: bool) -> list[torch.optim.Optimizer]:
    adamw, muon = parameter_groups(model, config)
    if not adamw and not muon:
        raise UserError("nothing is left to train: raise --train-last-blocks")
    made: list[torch.optim.Optimizer] = []
    if adamw:
        made.append(torch.optim.AdamW(adamw, betas=(0.9, config.beta2), fused=fused))
    if muon:
        made.append(Muon(muon, kept=torch.bfloat16))
    return made


def orthogonalise(matrices: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """(n,r,c) -> (n,r,c): singular values moved near 1 by a quintic Newton-Schulz iteration, all n matrices at once.

    Keller Jordan et al. 2024, "Muon: an optimizer for hidden layers". bf16 where the hardware multiplies it; float32 on a CPU.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices.to(torch.bfloat16 if matrices.is_cuda else torch.float32)
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype, memory_format=torch.contiguous_format)  # foreach wants the parameters' own strides


class Muon(torch.optim.Optimizer):
    """Nesterov momentum whose update is orthogonalised; equal shapes share one batched iteration, whatever their groups.

    The update is scaled to AdamW's usual size, 0.2 sqrt(max(r,c)) (Liu et al. 2025, arXiv:2502.16982). Between steps the
    momentum is kept as `kept`. In bfloat16, which training uses, it takes half the memory and half its place in a saved
    state; an orthogonalised direction does not need more digits. Saved and loaded as it is, it resumes bit for bit.

    Not torch.optim.Muon: that orthogonalises one matrix after the other, on CPUs in bfloat16 too, and its momentum takes as
    much memory as the gradients.
    """

    def __init__(self, groups: list[dict], momentum: float = 0.95, kept: torch.dtype = torch.float32):
        super().__init__(groups, {"lr": 1e-3, "weight_decay": 0.0})
        self.momentum, self.kept = momentum, kept

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        for state in self.state.values():  # the library gives every state its parameter's precision
            state["momentum"] = state["momentum"].to(self.kept)

    @torch.no_grad()
    def step(self, closure=None):
        by_shape: dict[torch.Size, list[tuple[torch.Tensor, dict]]] = {}
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append((parameter, group))
        for shape, members in by_shape.items():
            self.update(*zip(*members, strict=True), 0.2 * math.sqrt(max(shape)))

    def update(self, parameters: tuple[torch.Tensor, ...], groups: tuple[dict, ...], scale: float) -> None:
        """Parameters of one shape, each with the group that holds its learning rate and decay."""
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter, dtype=self.kept)
        momenta = [self.state[parameter]["momentum"] for parameter in parameters]
        gradient = torch.stack([parameter.grad for parameter in parameters])
        momentum = torch.stack(momenta).to(gradient.dtype).lerp(gradient, 1 - self.momentum)
        torch._foreach_copy_(momenta, momentum.to(self.kept).unbind())
        updates = orthogonalise(gradient.lerp(momentum, self.momentum)).unbind()
        torch._foreach_mul_(updates, [-group["lr"] * scale for group in groups])
        torch._foreach_mul_(parameters, [1 - group["lr"] * group["weight_decay"] for group in groups])
        torch._foreach_add_(parameters, updates)


def learning_rate_factor(step: int, steps: int, warmup: float, schedule: str) -> float:
    """Share of the peak learning rate in step `step` of `steps` (from 0): linear rise, then a fall that would end at 0."""
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    share = (step - rise) / max(1, steps - rise)
    return 1 - share if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * share))


def set_learning_rate(optimizers: list[torch.optim.Optimizer], factor: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor


class WeightAverage:
    """Exponential moving average of the trained weights; the decay ramps up as (1+t)/(10+t) so early weights are forgotten."""

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self.sources = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.averages = {name: p.detach().clone() for name, p in self.sources.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.averages.values()), [p.detach() for p in self.sources.values()], weight)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the model's weights and the averages; a second call puts them back."""
        for name, parameter in self.sources.items():
            kept = parameter.detach().clone()
            parameter.copy_(self.averages[name])
            self.averages[name].copy_(kept)


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016, arXiv:1603.09382): a picture skips the branch, the others' is scaled up."""

    def __init__(self, chance: float):
        super().__init__()
        self.chance = chance

    def forward(self, branch: torch.Tensor) -> torch.Tensor:
        """(B,T,D) -> same."""
        if not self.training or self.chance == 0:
            return branch
        keep = torch.rand(branch.shape[0], 1, 1, device=branch.device) >= self.chance
        return branch * keep / (1 - self.chance)


def add_drop_path(model: nn.Module, chance: float) -> None:
    """Both residual branches of a ViT layer pass through its parameter-free `dropout`: weights and config stay as they are."""
    layers = model.vit.layers
    for index, layer in enumerate(layers):
        if not hasattr(layer, "dropout"):
            raise UserError("this version of transformers builds ViT layers without `dropout`: use --drop-path 0")
        layer.dropout = DropPath(chance * index / max(1, len(layers) - 1))


class PatchDropout(nn.Module):
    """Each picture is learned from a random share of its patches, which costs less and overfits less (PatchDropout, Liu et al. 2022, arXiv:2208.07220)."""

    def __init__(self, chance: float):
        super().__init__()
        self.chance = chance

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Class token and N patches with their positions (B,1+N,D) -> (B,1+n,D), n the nearest number to (1 - chance) N, at least one."""
        if not self.training or self.chance == 0:
            return tokens
        B, T, D = tokens.shape
        kept = max(1, round((T - 1) * (1 - self.chance)))
        chosen = 1 + torch.rand(B, T - 1, device=tokens.device).topk(kept).indices
        return torch.cat([tokens[:, :1], tokens.gather(1, chosen[..., None].expand(B, kept, D))], dim=1)


def add_patch_dropout(model: nn.Module, chance: float) -> None:
    """The embeddings end in a parameter-free `dropout`: weights and config stay as they are."""
    model.vit.embeddings.dropout = PatchDropout(chance)


def set_patch_dropout(model: nn.Module, chance: float) -> None:
    """For the steps to come; a model that was built without patch dropout stays so."""
    for module in model.modules():
        if isinstance(module, PatchDropout):
            module.chance = chance
