"""What fixes a result: one frozen struct a stage, each holding its parent's.

`Readout ⊃ Embed ⊃ Pretrain ⊃ Subset`. Nothing here imports torch, so that the Snakefile can import it. What a config is
called and where its artefact lies: `naming`.
`spec §…`, here and elsewhere, is a section of docs/papers.md: of part one, of part two where it says `DIET spec §…`.
"""

import re
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal, get_args

from msgspec import Meta

from entia import catalogue
from entia.fields import Config, Count, Held, NonNegative, Positive, Probability, Seed, Share, Whole, tag
from entia.methods import BYOL, ONE_VIEW, Method, MoCo, SDiet, Supervised
from entia.probes import Probe, Spectrum

DATASETS = tuple(catalogue.DATASETS)
FOLDER = "image_folder/"
NAMED = re.compile(r"(\w[\w .+-]*(?<! )/)*\w[\w .+-]*(?<! )")
"""What an image folder's NAME may be: then it leads nowhere but below data/raw, and no shell or template reads it."""
LONGEST = 100
"""Characters of a NAME."""
Fit = Literal["crop", "pad"]
TESTED = 0.2
"""Share of a folder's images that are tested on, where the folder has no splits of its own."""


def is_files(dataset: str) -> bool:
    """Whether a data set is of one image a file: of any shape, and packed a few at a time."""
    return dataset.startswith(FOLDER) or dataset in catalogue.FILES


class Subset(Config, frozen=True):
    """Images of one data set: a training part, a validation part held out of it, and the test split.

    The three parts are disjoint. `limit` caps the training pool (validation included) and the test split, before
    `fraction` is taken of what is left for training. A smaller fraction's images are a prefix of a larger one's.
    """

    kind: ClassVar[str] = "subset"
    folder: ClassVar[str] = "subset"
    suffixes: ClassVar[tuple[str, ...]] = (".h5",)

    dataset: str
    """One of `DATASETS`, or image_folder/NAME for data/raw/NAME/{train,test or val}/CLASS/*, or …/NAME/CLASS/*."""
    images: Literal["labelled", "unlabelled", "all"] = "labelled"
    """Which of a data set's training images, where it has some without a class (STL-10). Readouts are always of the
    labelled ones, and the test images are the same. Of a folder, unlabelled: all images in it, at any depth, without a
    class; the one readout of it is `Spectrum`."""
    side: Count | None = None
    """Pixels a side that images are resized to; None keeps the data set's own size (image_folder needs a number)."""
    fit: Fit = "crop"
    """How an image file that is not square becomes so. crop: its shorter side is `side`, and its central square is
    kept; pad: its longer side is, and the rest is black."""
    limit: Count | None = None
    fraction: Share = 1.0
    balanced: bool = True
    """True: the fraction is taken in every class; False: over all images (the papers' CIFAR and STL fractions)."""
    validation: Held = 0.1
    """Share of the training pool held out of pretraining and readout, for choosing weights and penalties."""
    seed: Seed = 0

    def __post_init__(self) -> None:
        if self.dataset not in DATASETS and not self.dataset.startswith(FOLDER):
            raise ValueError(f"dataset: {self.dataset!r} is not one of {', '.join(DATASETS)} or {FOLDER}NAME")
        name = self.dataset.removeprefix(FOLDER)
        if self.dataset not in DATASETS and not (len(name) <= LONGEST and NAMED.fullmatch(name)):
            raise ValueError(
                f"dataset: {self.dataset!r}: NAME is a folder below data/raw, of at most {LONGEST} letters, digits, "
                "spaces and . _ + -, beginning with a letter or digit; rename the folder"
            )
        folder = self.dataset.startswith(FOLDER)
        if folder and self.images == "all":
            raise ValueError(
                f"images: all: {self.dataset} is read by class or, with images: unlabelled, whole without classes"
            )
        if self.images != "labelled" and not folder and self.dataset not in catalogue.UNLABELLED:
            raise ValueError(
                f"images: {self.images}: {self.dataset} has no images without a class; leave images out "
                f"({', '.join(catalogue.UNLABELLED)} has some)"
            )
        if self.fit == "pad" and not is_files(self.dataset):
            raise ValueError(f"fit: pad: the images of {self.dataset} are square; leave fit out")
        if folder and self.side is None:
            raise ValueError(f"side: {self.dataset} needs a number of pixels a side, such as side: 64")

    @property
    def source(self) -> str:
        """What `datasets.read` is asked for: the data set, and which of its images where that is not the labelled."""
        return self.dataset if self.images == "labelled" else f"{self.dataset}:{self.images}"

    @property
    def parents(self) -> tuple["Stage", ...]:
        """Nothing: it is made of raw data."""
        return ()


class Augmentation(Config, frozen=True):
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
    mean: tuple[float, ...] | None = None
    """Per channel, in 0 to 255; one number serves every channel. None: the subset's training images', as measured."""
    std: tuple[Positive, ...] | None = None


class Crops(Config, frozen=True):
    """Further views of each image, of another size (multi-crop, as in SwAV, 2006.09882)."""

    views: Count
    size: Count
    """Pixels a side."""
    crop_scale: tuple[Share, Share] | None = None
    """None: as the other views'. The small-projector papers' is not known."""


class Encoder(Config, frozen=True):
    """The network whose pooled output is the embedding."""

    name: Literal[
        "narrow_resnet", "strided_resnet", "pixels", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152",
        "wide_resnet50_2", "resnext50_32x4d", "densenet121", "convnext_tiny", "convnext_small", "convnext_base",
        "swin_t", "swin_s", "vit_b_16", "alexnet", "mlp_mixer_8", "mlp_mixer_12",
    ]  # fmt: skip
    """narrow_resnet and strided_resnet (which halves an image in its first layer) are ours; mlp_mixer_8 and
    mlp_mixer_12 (blocks: the DIET papers' on CIFAR and elsewhere) are timm's; pixels is no network but the image
    itself, `width` pixels a side, a baseline; the others are torchvision's."""
    width: Count = 64
    """Channels of the first stage. The later stages have 2, 4 and 8 times as many (strided_resnet: 2 and 4)."""
    stem: Literal["small", "imagenet"] = "small"
    """small: 3 × 3 convolution with stride 1 and no max-pool, for ResNets alone; imagenet: the network's own."""
    stem_padding: Whole = 1
    stem_relu: bool = True
    """False: without the ReLU after the first batch-norm, as the small-projector papers' code ran (spec §4.3)."""


class Projector(Config, frozen=True):
    """Linear(no bias), batch-norm, ReLU, …, Linear(bias): `depth` linear layers, hidden width = output width."""

    width: Count = 256
    depth: Whole = 2
    """0: no projector, the loss sees the embedding."""


COURSES = {"diet_i": (10.0, 0.0, 0.0, 0.001), "diet_ii": (5.0, 0.001, 10.0, 0.005), "diet_iii": (5.0, 0.0, 0.0, 0.005)}
"""The three candidates for DIET's schedule (DIET spec §2.1, where they have these numbers). Epochs of linear warm-up,
share of lr where it begins, epochs at lr, share of lr where the cosine ends."""


class Optimizer(Config, frozen=True):
    """How weights are updated, and the learning rate's course."""

    name: Literal["adam", "adamw", "sgd", "lars"] = "adam"
    lr: Positive = 1e-3
    lr_per: Count | None = None
    """Images a batch that `lr` is meant for: the learning rate is lr · batch / lr_per. None: lr, whatever the batch."""
    weight_decay: NonNegative = 1e-6
    momentum: Held = 0.9
    """Of sgd and lars."""
    betas: tuple[Held, Held] = (0.9, 0.999)
    """Of adam and adamw."""
    schedule: Literal["constant", "cosine", "step", "diet_i", "diet_ii", "diet_iii"] = "constant"
    """step: × 0.1 at 50 % and at 75 % of training. diet_…: cosines with warm-up and floor of their own: `COURSES`."""
    warmup: NonNegative = 0.0
    """Epochs of linear warm-up from 0."""
    floor: Held = 0.0
    """Share of lr where the cosine ends."""

    def __post_init__(self) -> None:
        if self.schedule in COURSES and (self.warmup or self.floor):
            raise ValueError(
                f"schedule: {self.schedule} has a warm-up and a floor of its own; "
                "leave warmup and floor out, or take schedule: cosine"
            )


class Pretrain(Config, frozen=True):
    """One pretraining run: a cell."""

    kind: ClassVar[str] = "pretrain"
    folder: ClassVar[str] = "checkpoints"
    suffixes: ClassVar[tuple[str, ...]] = (".safetensors", ".csv")

    subset: Subset
    augmentation: Augmentation
    encoder: Encoder
    projector: Projector
    method: Method
    optimizer: Optimizer
    views: Count
    """Two or more for methods that compare views; `ONE_VIEW` are content with one."""
    epochs: Count
    """Passes over the unique images; an epoch of K views processes K view-images an image."""
    batch: Count
    """Images (not view-images) a step."""
    crops: Crops | None = None
    """Views like the others to the loss; the encoder has them in a pass, and batch statistics, of their own."""
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
    seed: Seed = 0
    online_probe: bool = False
    """A linear layer (with bias) trained on labels along the way, on the detached embeddings of the augmented views, by
    the same optimiser, rate and schedule (DIET spec §3.1). The encoder is the same with and without it."""
    recompute: bool = False
    """True: of each block of the encoder its input alone is kept for the backward pass, which computes the rest again:
    the same numbers in a fraction of the memory, for about a third more time. Such a cell is not compiled."""
    deterministic: bool = False
    """True: a GPU computes by kernels that give the same bits twice, and the cell is not compiled. What that costs has
    not been measured. On a CPU it changes nothing."""

    def __post_init__(self) -> None:
        if problems := list(_cross_field(self)):
            raise ValueError("; ".join(problems))

    @property
    def parents(self) -> tuple["Stage", ...]:
        """The images that it is trained on."""
        return (self.subset,)


class Embed(Config, frozen=True):
    """Embeddings of a data set's images by the encoders of one cell."""

    kind: ClassVar[str] = "embed"
    folder: ClassVar[str] = "embeddings"
    suffixes: ClassVar[tuple[str, ...]] = (".h5",)

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

    @property
    def parents(self) -> tuple["Stage", ...]:
        """The encoders, then the images."""
        return (self.pretrain, self.on)


class Readout(Config, frozen=True):
    """Accuracy of a probe on embeddings, and their spectrum; or of `Spectrum`, that alone."""

    kind: ClassVar[str] = "readout"
    folder: ClassVar[str] = "readouts"
    suffixes: ClassVar[tuple[str, ...]] = (".json",)

    embed: Embed
    probe: Probe

    def __post_init__(self) -> None:
        if self.is_labelled and self.embed.on.images != "labelled":
            raise ValueError(
                f"probe.name: {tag(self.probe)} reads labels, and {self.embed.on.dataset} is read without them "
                f"(subset.images: {self.embed.on.images}); take probe: {{name: spectrum}}, or name another data set "
                "to read out (embed.on)"
            )

    @property
    def is_labelled(self) -> bool:
        """Whether it reads labels, and so has an accuracy."""
        return not isinstance(self.probe, Spectrum)

    @property
    def parents(self) -> tuple["Stage", ...]:
        """The embeddings."""
        return (self.embed,)


Stage = Subset | Pretrain | Embed | Readout
"""Each says what its rule and its command are called (`kind`), the folder below data/ where its artefacts lie, their
files' suffixes, the artefact itself first, and its `parents`: the artefacts it is made from, the one whose raw data it
holds last."""

STAGES: tuple[type[Stage], ...] = get_args(Stage)
"""In the order in which they are made."""
KINDS = tuple(stage.kind for stage in STAGES)


def kept(cell: Pretrain) -> list[int]:
    """The epochs whose weights are kept, the last one always."""
    every = cell.checkpoint_every or cell.epochs
    return [*range(every, cell.epochs, every), cell.epochs]


def embedded(embed: Embed) -> list[int]:
    """The epochs whose weights embed images."""
    return kept(embed.pretrain) if embed.epochs == "all" else [embed.pretrain.epochs]


def rate(optimizer: Optimizer, batch: int) -> float:
    """The learning rate at its highest, for batches of so many images."""
    return optimizer.lr * batch / optimizer.lr_per if optimizer.lr_per else optimizer.lr


def moments(optimizer: Optimizer) -> int:
    """Running means of gradients, each of a parameter's size, that an optimiser keeps."""
    return 2 if is_adam(optimizer) else 1


def is_adam(optimizer: Optimizer) -> bool:
    """Whether the rule is Adam's, with either decay."""
    return optimizer.name in ("adam", "adamw")


def cell_of(stage: Stage) -> Subset | Pretrain:
    """The cell that a stage belongs to; of a subset itself."""
    return stage if isinstance(stage, Subset | Pretrain) else cell_of(stage.parents[0])


def features(encoder: Encoder) -> int:
    """Width of the embedding. Of pixels that of three channels, the most there are."""
    of = catalogue.NETWORKS[encoder.name].features
    return of * encoder.width**2 // 64**2 if encoder.name == "pixels" else of * encoder.width // 64


def all_views(config: Pretrain) -> int:
    """Views of each image that the loss sees, of any size."""
    return config.views + (config.crops.views if config.crops else 0)


def _cross_field(config: Pretrain) -> Iterator[str]:
    """What is wrong between the fields of a cell."""
    method, optimizer = config.method, config.optimizer
    if config.subset.images != "labelled" and (isinstance(method, Supervised) or config.online_probe):
        what = "supervised" if isinstance(method, Supervised) else "online_probe"
        yield f"subset.images: {config.subset.images}: {what} needs each image's class; take images: labelled"
    if config.views == 1 and not isinstance(method, ONE_VIEW):
        alone = ", ".join(tag(kind) for kind in ONE_VIEW)
        yield f"views: 1 leaves {tag(method)} nothing to compare; take 2 or more ({alone}: 1 or more)"
    if config.crops and isinstance(method, BYOL | MoCo):
        yield f"crops: {tag(method)}'s second network takes views of one size; leave crops out"
    if isinstance(method, MoCo) and method.queue < config.views * config.batch:
        yield f"method.queue: {method.queue} is less than a step's {config.views * config.batch} keys (views × batch)"
    if config.recompute and config.encoder.name == "alexnet":
        yield "recompute: alexnet has no blocks whose inputs alone could be kept; leave it out, or lower batch"
    if isinstance(method, SDiet) and optimizer.name != "adamw":
        yield f"optimizer.name: {optimizer.name!r}, but sdiet's head is trained by adamw; take adamw"
    if (
        isinstance(method, SDiet)
        and rate(optimizer, config.batch) * method.lr_factor * optimizer.weight_decay * method.decay_factor >= 1
    ):
        yield "method.decay_factor: lr × weight decay of the head is 1 or more; lower it or optimizer.weight_decay"
    if optimizer.warmup > config.epochs:
        yield (
            f"optimizer.warmup: {optimizer.warmup:g} epochs of warm-up are more than the {config.epochs} of the run; "
            "lower it or raise epochs"
        )
    if optimizer.schedule in COURSES and config.epochs <= (
        start := COURSES[optimizer.schedule][0] + COURSES[optimizer.schedule][2]
    ):
        yield (
            f"epochs: {config.epochs} end before {optimizer.schedule} has begun to fall, after {start:g}; "
            "take more epochs, or schedule: cosine with a shorter warmup"
        )
