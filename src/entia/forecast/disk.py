"""What a plan's artefacts take on disk, where all of its images' numbers are known."""

from entia import catalogue, config, sizes
from entia.config import Embed, Encoder, Pretrain, Stage, Subset
from entia.plan import Plan
from entia.sizes import Held

BYTES = {"float16": 2, "float32": 4}


def line(plan: Plan) -> str:
    """How many GiB the subsets, weights and embeddings of a plan take, each artefact once."""
    known = {kind: [size(stage) for stage in plan.of(kind).values()] for kind in ("subset", "pretrain", "embed")}
    parts = (
        f"{name} {_said(sum(filter(None, found)))}" + (" and what is not known yet" if None in found else "")
        for name, found in zip(("images", "weights", "embeddings"), known.values(), strict=True)
    )
    return "disk, about: " + ", ".join(parts)


def size(stage: Stage) -> float | None:
    """Bytes of an artefact; None where its images are not counted yet."""
    match stage:
        case Subset():
            held = sizes.counted(stage)
            count = _images(held)
            return None if count is None else count * held.channels * held.side**2
        case Pretrain():
            return 4e6 * parameters(stage.encoder) * len(config.kept(stage))
        case Embed():
            count = _images(sizes.counted(stage.on))
            each = config.features(stage.pretrain.encoder) * BYTES[stage.dtype] * len(config.embedded(stage))
            return None if count is None else count * each
        case _:
            return 0.0


def parameters(encoder: Encoder) -> float:
    """10⁶ trainable numbers of an encoder; of one of another width than 64 nearly, as convolutions grow."""
    return catalogue.NETWORKS[encoder.name].parameters * (encoder.width / 64) ** 2


def _images(held: Held) -> int | None:
    train, validation, test, *_ = held
    return None if train is None or validation is None or test is None else train + validation + test


def _said(size: float) -> str:
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{size / 2**20:,.0f} MiB"
