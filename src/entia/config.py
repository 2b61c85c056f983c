"""What fixes a result: one frozen struct a stage, each holding its parent's.

`Readout ⊃ Embed ⊃ Pretrain ⊃ Subset`. `key` hashes a config's canonical JSON and `name` puts a readable slug before
it; the slug is for people and is never parsed. Nothing here imports torch, so that the Snakefile can import it.
"""

import hashlib
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

Count = Annotated[int, Meta(ge=1, description="a positive whole number")]
Whole = Annotated[int, Meta(ge=0, description="a whole number, zero or more")]
Share = Annotated[float, Meta(gt=0, le=1, description="a number above 0, at most 1")]
Held = Annotated[float, Meta(ge=0, lt=1, description="a number from 0 to below 1")]
Probability = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]
Positive = Annotated[float, Meta(gt=0, description="a positive number")]
NonNegative = Annotated[float, Meta(ge=0, description="a number, zero or more")]

DATASETS = ("mnist5k", "cifar10", "cifar100")
FOLDER = "image_folder/"


class Problem(Exception):
    """Something the user can mend. Printed as it is, without a stack trace: it names the place and the remedy."""


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A frozen struct that refuses unknown keys."""


class Subset(Config):
    """Images of one data set: a training part, a validation part held out of it, and the test split.

    The three parts are disjoint. `limit` caps the training pool (validation included) and the test split, before
    `fraction` is taken of what is left for training. A smaller fraction's images are a prefix of a larger one's.
    """

    dataset: str
    """mnist5k, cifar10, cifar100, or image_folder/NAME for data/raw/NAME/{train,test or val}/CLASS/*."""
    side: Count | None = None
    """Pixels a side that images are resized to; None keeps the data set's own size (image_folder needs a number)."""
    limit: Count | None = None
    fraction: Share = 1.0
    balanced: bool = True
    """True: the fraction is taken in every class; False: over all images (the papers' CIFAR and STL fractions)."""
    validation: Held = 0.1
    """Share of the training pool held out of pretraining and readout, for choosing weights and penalties."""
    seed: Whole = 0

    def __post_init__(self) -> None:
        if self.dataset not in DATASETS and not self.dataset.startswith(FOLDER):
            raise ValueError(f"dataset: {self.dataset!r} is not one of {', '.join(DATASETS)} or {FOLDER}NAME")
        if self.dataset.startswith(FOLDER) and self.side is None:
            raise ValueError(f"side: {self.dataset} needs a number of pixels a side, such as side: 64")


class Augmentation(Config):
    """How one view is drawn. Each image of each view has parameters of its own; every view comes from the same law."""

    size: Count | None = None
    """Pixels a side of a view; None: the image's own."""
    crop_scale: tuple[Share, Share] = (0.08, 1.0)
    crop_ratio: tuple[Positive, Positive] = (3 / 4, 4 / 3)
    flip: Probability = 0.5
    jitter: Probability = 0.8
    """Probability that an image's colours are jittered at all."""
    brightness: NonNegative = 0.4
    contrast: NonNegative = 0.4
    saturation: NonNegative = 0.4
    hue: Annotated[float, Meta(ge=0, le=0.5, description="a number from 0 to 0.5")] = 0.1
    greyscale: Probability = 0.2
    blur: Probability = 0.0
    blur_sigma: tuple[Positive, Positive] = (0.1, 2.0)
    solarise: Probability = 0.0
    solarise_threshold: Probability = 0.5
    """As a share of the brightest value: 128/255 in the papers' ImageNet-100 runs."""
    erase: Probability = 0.0
    mean: tuple[float, ...] = (127.5,)
    """Per channel, in 0 to 255; one number serves every channel."""
    std: tuple[Positive, ...] = (127.5,)


class Encoder(Config):
    """The network whose pooled output is the embedding."""

    name: Literal["narrow_resnet", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
    width: Count = 64
    """Channels of the first stage. The later stages have 2, 4 and 8 times as many."""
    stem: Literal["small", "imagenet"] = "small"
    """small: 3 × 3 convolution with stride 1 and no max-pool; imagenet: torchvision's own."""
    stem_padding: Whole = 1
    stem_relu: bool = True
    """False: without the ReLU after the first batch-norm, as the small-projector papers' code ran (spec §4.3)."""


class Projector(Config):
    """Linear(no bias), batch-norm, ReLU, …, Linear(bias): `depth` linear layers, hidden width = output width."""

    width: Count = 256
    depth: Whole = 2
    """0: no projector, the loss sees the embedding."""


class BarlowTwins(Config, tag_field="name", tag="barlow_twins"):
    """Barlow Twins (2103.03230), for any number of views."""

    weight: NonNegative
    """λ, of the squared off-diagonal correlations: the papers' orthogonality weight."""
    form: Literal["pairs", "view_mean", "as_run"] = "pairs"
    """pairs: mean over view pairs of the published loss. view_mean: the papers' code for more than two views
    (correlation of each view with the mean of all views on, auto-correlation of that mean off the diagonal).
    as_run: the papers' code, which is `pairs` at two views and `view_mean` beyond (spec §3.1)."""
    l2_normalise: bool = False
    """True: rows are scaled to unit length before standardising, as the papers' code ran (spec §3.1)."""
    standardise: Literal["per_view", "joint"] = "per_view"
    """joint: one mean and (unbiased) standard deviation over all views' rows, as the papers' code ran."""


class VICReg(Config, tag_field="name", tag="vicreg"):
    """VICReg (2105.04906), for any number of views. Weights in the published code's normalisation."""

    invariance: NonNegative = 25.0
    variance: NonNegative = 25.0
    covariance: NonNegative = 1.0
    form: Literal["pairs", "leave_one_out"] = "pairs"
    """pairs: mean over view pairs of the published loss. leave_one_out: the papers' code (each view against the mean
    of the others, one direction for two views; spec §3.2)."""
    epsilon: NonNegative = 1e-4
    """Added to the variance under the root; 0 as the papers' code ran."""


class SimCLR(Config, tag_field="name", tag="simclr"):
    """SimCLR's NT-Xent (2002.05709), for any number of views."""

    temperature: Positive = 0.5
    form: Literal["pairs", "leave_one_out"] = "pairs"
    """leave_one_out: each view against the mean of the others' unit vectors, as the papers' code ran (spec §3.3)."""


class SpectralContrastive(Config, tag_field="name", tag="spectral_contrastive"):
    """The papers' reformulated loss: (1/m) Σ‖z_v − z̄‖² + β‖E[z̄z̄ᵀ] − I‖² (spec §2.2; β = 1 is spectral contrastive)."""

    weight: NonNegative
    """β."""


Method = BarlowTwins | VICReg | SimCLR | SpectralContrastive


class Optimizer(Config):
    """How weights are updated, and the learning rate's course."""

    name: Literal["adam", "adamw", "sgd", "lars"] = "adam"
    lr: Positive = 1e-3
    weight_decay: NonNegative = 1e-6
    momentum: Held = 0.9
    """Of sgd and lars."""
    betas: tuple[Held, Held] = (0.9, 0.999)
    """Of adam and adamw."""
    schedule: Literal["constant", "cosine", "step"] = "constant"
    """step: × 0.1 at 50 % and at 75 % of training."""
    warmup: NonNegative = 0.0
    """Epochs of linear warm-up."""
    floor: Held = 0.0
    """Share of lr where the cosine ends."""


class Pretrain(Config):
    """One pretraining run: a cell."""

    subset: Subset
    augmentation: Augmentation
    encoder: Encoder
    projector: Projector
    method: Method
    optimizer: Optimizer
    views: Count
    epochs: Count
    """Passes over the unique images; an epoch of K views processes K view-images an image."""
    batch: Count
    """Images (not view-images) a step."""
    batch_norm: Literal["joint", "per_view"] = "joint"
    """joint: all views pass in one batch and share its statistics (as the papers' code); per_view: one pass a view."""
    drop_last: bool = True
    """False: the last, smaller batch of an epoch is used too, as the papers' code ran."""
    checkpoint_every: Whole = 0
    """Epochs between kept weights; 0: the last epoch's alone. The last epoch's are always kept."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: autocast in the encoder and projector; losses are float32 always."""
    threads: Count = 1
    """Threads on a CPU. They change a sum's last bits, so they are part of what fixes a result."""
    seed: Whole = 0


class Embed(Config):
    """Embeddings of a data set's images by the encoders of one cell."""

    pretrain: Pretrain
    on: Subset
    """The images embedded; the whole data set, whatever part of it was pretrained on."""
    views: Count = 1
    """Views averaged an image: one clean, the others augmented as in pretraining (the papers' code: 1 or 16)."""
    epochs: Literal["last", "all"] = "last"
    dtype: Literal["float16", "float32"] = "float32"
    std: tuple[Positive, ...] | None = None
    """Standard deviation that clean views are divided by, where it is not pretraining's (the papers' code passed the
    mean as std in pretraining on STL-10 and ImageNet-100, and the right one here; spec §4.2)."""


class Ridge(Config, tag_field="name", tag="ridge"):
    """Least squares on one-hot labels with an L2 penalty, chosen on the validation split."""

    penalties: tuple[Positive, ...] = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    """Relative to the mean squared (centred) feature."""


class Logistic(Config, tag_field="name", tag="logistic"):
    """Multinomial logistic regression with an L2 penalty, chosen on the validation split."""

    penalties: tuple[Positive, ...] = (1e-5, 1e-4, 1e-3, 1e-2)
    """λ in mean cross-entropy + λ/2 ‖W‖², on standardised features; the intercept is free."""


class AdamProbe(Config, tag_field="name", tag="adam"):
    """The papers' readout: a linear layer trained by Adam on raw features (spec §5)."""

    lr: Positive = 1e-3
    weight_decay: NonNegative = 1e-6
    epochs: Count = 200
    batch: Count = 512
    smoothing: Held = 0.1
    seed: Whole = 0


class Neighbours(Config, tag_field="name", tag="neighbours"):
    """k nearest neighbours by cosine similarity; votes weighted by exp(similarity / temperature)."""

    k: Count = 200
    temperature: Positive = 0.1


Probe = Ridge | Logistic | AdamProbe | Neighbours


class Readout(Config):
    """Accuracy of a probe on embeddings, and their spectrum."""

    embed: Embed
    probe: Probe


Stage = Subset | Pretrain | Embed | Readout


def key(config: Stage) -> str:
    """Ten hex digits of the SHA-256 of the config's canonical JSON (sorted keys, every field)."""
    return hashlib.sha256(msgspec.json.encode(config, order="sorted")).hexdigest()[:10]


def name(config: Stage) -> str:
    """The artefact's name: a readable slug and the key, such as `barlow_twins-v4-d256-cifar10-50pct-s0-1f0c9a77de`."""
    return f"{_slug(config)}-{key(config)}"


def label(config: Stage) -> str:
    """The config in the user's words: `barlow_twins 0.005, 4 views, width 256, cifar10 50 %, seed 0`."""
    match config:
        case Subset():
            return f"{config.dataset} {_percent(config)} %"
        case Pretrain():
            return (
                f"{_method(config.method)}, {config.views} views, width {config.projector.width}, "
                f"{label(config.subset)}, seed {config.seed}"
            )
        case Embed():
            return label(config.pretrain) + (f", on {config.on.dataset}" if _is_transfer(config) else "")
        case Readout():
            return f"{label(config.embed)}, {_tag(config.probe)}"


def _slug(config: Stage) -> str:
    match config:
        case Subset():
            return f"{config.dataset.replace('/', '_')}-{_percent(config)}pct"
        case Pretrain():
            parts = (_tag(config.method), f"v{config.views}", f"d{config.projector.width}")
            return "-".join((*parts, _slug(config.subset), f"s{config.seed}"))
        case Embed():
            return _slug(config.pretrain) + (f"-on-{_slug(config.on)}" if _is_transfer(config) else "")
        case Readout():
            return f"{_slug(config.embed)}-{_tag(config.probe)}"


def _is_transfer(config: Embed) -> bool:
    return config.on.dataset != config.pretrain.subset.dataset


def _method(config: Method) -> str:
    """A method's tag and its loss weights."""
    weights = [value for value in msgspec.to_builtins(config).values() if type(value) in (int, float)]
    return f"{_tag(config)} {':'.join(f'{weight:g}' for weight in weights)}"


def _percent(config: Subset) -> str:
    return f"{100 * config.fraction:.4g}"


def _tag(config: Struct) -> str:
    return str(config.__struct_config__.tag)
