"""A masked autoencoder: how it begins, how many patches it sees, what it learns, and what it fills in.

He et al. 2021, arXiv:2111.06377. Legend: B batch, N patches, T = N + 1 tokens, D width, P pixels a side of a patch.
"""

import torch
from transformers import ViTMAEConfig, ViTMAEForPreTraining

POSITIONS = ("vit.embeddings.position_embeddings", "decoder.decoder_pos_embed")  # (1,T,D), the class token's first


def made(architecture: ViTMAEConfig, seed: int) -> ViTMAEForPreTraining:
    torch.manual_seed(seed)
    model = ViTMAEForPreTraining(architecture)
    begin(model)
    return model


@torch.no_grad()
def begin(model: ViTMAEForPreTraining) -> None:
    """Fixed sine-cosine positions for encoder and decoder, and random tokens (He et al. 2021, appendix A). transformers 5.17 to 5.23
    has the code for it and leaves them at zero: such a model does not know where a patch was.

    What all places share is taken out: on a grid of few patches the long waves are the same everywhere, nine tenths of each
    vector's length on 8 × 8, and LayerNorm then leaves little of the rest. The projections' biases and the mask token can put
    it back.
    """
    embeddings = model.vit.embeddings
    embeddings.patch_embeddings.projection._is_hf_initialized = False  # or the next line does nothing
    embeddings.initialize_weights()
    model.decoder.initialize_weights(embeddings.patch_embeddings.num_patches)
    for table in (embeddings.position_embeddings, model.decoder.decoder_pos_embed):
        table[:, 1:] -= table[:, 1:].mean(dim=1, keepdim=True)


def take_over(model: ViTMAEForPreTraining, weights: dict[str, torch.Tensor]) -> None:
    """Those of a model like it. For another picture size the positions, which were never learned, stay the new ones, around the
    mean that the weights' had."""
    anew = model.state_dict()
    for name in POSITIONS:
        if weights[name].shape != anew[name].shape:
            around = weights[name][:, 1:].mean(dim=1, keepdim=True)
            weights = {**weights, name: torch.cat([weights[name][:, :1], anew[name][:, 1:] + around], dim=1)}
    model.load_state_dict(weights)


def seen_patches(model: ViTMAEForPreTraining) -> tuple[int, int]:
    """(how many of a picture's patches the encoder sees, how many there are), counted by the library's own masking."""
    whole = model.vit.embeddings.patch_embeddings.num_patches
    blank = torch.zeros(1, whole, 1)
    return model.vit.embeddings.random_masking(blank, noise=blank[..., 0])[0].shape[1], whole


def reconstruct(model, pixel_values: torch.Tensor, targets: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, None]:
    """Mean squared error over the hidden patches' pixels. Which ones are hidden follows from the step's seed."""
    return model(pixel_values=pixel_values).loss, None


@torch.no_grad()
def filled_in(model: ViTMAEForPreTraining, pixel_values: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the encoder sees (hidden patches at zero) and what the decoder makes of it, both (B,3,H,W) like the pictures; patches of
    the least noise (B,N) are seen. A model that predicts without each patch's mean and spread gets the true ones back: it was
    not asked for them."""
    output, truth = model(pixel_values=pixel_values, noise=noise), model.patchify(pixel_values)
    guess, hidden = output.logits, output.mask[..., None]
    if model.config.norm_pix_loss:
        guess = guess * (truth.var(-1, keepdim=True) + 1e-6).sqrt() + truth.mean(-1, keepdim=True)
    visible = truth * (1 - hidden)
    return model.unpatchify(visible), model.unpatchify(visible + guess * hidden)
