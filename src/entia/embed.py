"""Embeddings: an encoder's pooled output, in evaluation mode."""

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from entia import devices, nets, views
from entia.config import Embed, Projector

CHUNK = 500  # images a pass; fixed, since a sum's last bits can depend on it


@torch.inference_mode()
def embed(
    config: Embed,
    weights: dict[str, Tensor],
    pixels: UInt8[Tensor, "datum channel height width"],
    index: Int64[Tensor, "datum"],
) -> Float[Tensor, "datum feature"]:
    """Each image's embedding by the encoder with these weights, in float32, on the host.

    It is computed on the device of `index`. Pixels that lie on the host are copied there, and embeddings from there, a
    chunk at a time: a device holds no more of them, however many there are.

    With `config.views` = 1 the clean view's. With more, the mean over the clean view and views − 1 augmented ones
    (drawn as in pretraining, of an epoch 0 that pretraining does not use), as the papers' code does with 16 (spec §5).
    """
    devices.settle()
    cell = config.pretrain
    side = cell.augmentation.size or pixels.shape[-1]
    model = nets.build(cell.encoder, Projector(depth=0), pixels.shape[1], side, cell.seed)
    model.encoder.load_state_dict(weights)
    encoder = model.encoder.to(index.device).to(memory_format=torch.channels_last).eval()  # pyright: ignore[reportCallIssue]
    chunks = zip(pixels.split(CHUNK), index.split(CHUNK), strict=True)
    return torch.cat([_embed(config, encoder, part.to(index.device), rows).cpu() for part, rows in chunks])


def _embed(config: Embed, encoder: torch.nn.Module, pixels: Tensor, index: Tensor) -> Tensor:
    policy = config.pretrain.augmentation
    clean = views.clean(pixels, policy, config.std)
    total = encoder(clean.contiguous(memory_format=torch.channels_last)).float()
    if config.views > 1:
        for view in views.augment(pixels, index, config.views - 1, policy, config.pretrain.seed, 0):
            total = total + encoder(view.contiguous(memory_format=torch.channels_last)).float()
    return total / config.views
