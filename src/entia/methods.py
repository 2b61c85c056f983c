"""What an encoder may be trained by, with each method's own numbers: `method:` in params.yaml."""

from typing import Literal

from entia.fields import Config, Count, Held, NonNegative, Positive


class BarlowTwins(Config, frozen=True, tag_field="name", tag="barlow_twins"):
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


class VICReg(Config, frozen=True, tag_field="name", tag="vicreg"):
    """VICReg (2105.04906), for any number of views. Weights in the published code's normalisation."""

    invariance: NonNegative = 25.0
    variance: NonNegative = 25.0
    covariance: NonNegative = 1.0
    form: Literal["pairs", "leave_one_out"] = "pairs"
    """pairs: mean over view pairs of the published loss. leave_one_out: the papers' code (each view against the mean
    of the others, one direction for two views; spec §3.2)."""
    epsilon: NonNegative = 1e-4
    """Added to the variance under the root; 0 as the papers' code ran."""


class SimCLR(Config, frozen=True, tag_field="name", tag="simclr"):
    """SimCLR's NT-Xent (2002.05709), for any number of views."""

    temperature: Positive = 0.5
    form: Literal["pairs", "leave_one_out"] = "pairs"
    """leave_one_out: each view against the mean of the others' unit vectors, as the papers' code ran (spec §3.3)."""


class SpectralContrastive(Config, frozen=True, tag_field="name", tag="spectral_contrastive"):
    """The papers' reformulated loss: (1/m) Σ‖z_v − z̄‖² + β‖E[z̄z̄ᵀ] − I‖² (spec §2.2).

    With negatives between view means, the spectral contrastive loss (2106.04156) has the same minimisers at
    β = (m − 1)/2.
    """

    weight: NonNegative
    """β."""


class Diet(Config, frozen=True, tag_field="name", tag="diet"):
    """DIET (2302.10260, 2406.10743): cross-entropy of a linear head on the datum's index; one view is enough.

    Meant without a projector (projector.depth 0), which is not forced.
    """

    smoothing: Held = 0.8
    """Label smoothing a: the own index's target is 1 − a + a/N (DIET spec §1.1, §2.1)."""
    lr_factor: Positive = 1.0
    """Times the learning rate, for the head alone (DIET spec §1.2)."""
    decay_factor: NonNegative = 1.0
    """Times the weight decay, for the head alone (DIET spec §1.2)."""
    bias: bool = False
    """Whether the head has a bias: the sources disagree (DIET spec §1.2)."""


class SDiet(Config, frozen=True, tag_field="name", tag="sdiet"):
    """s-DIET, memory-efficient DIET (OpenReview GFNTbsVFlP, 4NgxI6Z74n): the softmax runs over the batch's own rows.

    The papers' equations could not be read: this is the reading of DIET spec §9. The head has no bias, and an AdamW
    of its own that touches the batch's rows alone. A projector is the `projector` field's business.
    """

    smoothing: Held = 0.8
    """Label smoothing over the batch's rows. Whether the papers keep DIET's is not known."""
    lr_factor: Positive = 1.0
    decay_factor: NonNegative = 1.0
    normalise: bool = False
    """True: features are scaled to unit length. The head's rows are not."""
    temperature: Positive = 1.0
    """What the logits are divided by. The papers' is not known."""
    catch_up: bool = True
    """True: the AdamW steps that a row missed are applied when it is next visited; False: they are left out."""
    offload: bool = False
    """True: the head and its optimiser's state lie in the host's memory, and the batch's rows alone on the device."""


class Supervised(Config, frozen=True, tag_field="name", tag="supervised"):
    """Cross-entropy of a linear head (with bias) on labels: the DIET papers' other curve (DIET spec §2.1)."""

    smoothing: Held = 0.0


class Untrained(Config, frozen=True, tag_field="name", tag="untrained"):
    """A baseline: the encoder as it starts, its batch-norm statistics those of the training images."""


class BYOL(Config, frozen=True, tag_field="name", tag="byol"):
    """BYOL (2006.07733), for any number of views: a predictor's output against the target network's projection."""

    momentum: Held = 0.996
    """τ, what the target keeps of itself a step, at the start (as in the paper and in mmpretrain's defaults)."""
    course: Literal["cosine", "constant"] = "cosine"
    """cosine: τ rises to 1 over the run by half a cosine; constant: it stays."""
    hidden: Count | None = None
    """Hidden width of the predictor (Linear, batch-norm, ReLU, Linear); None: the projector's width. 4096 for a
    projector of 256 in the paper."""


class MoCo(Config, frozen=True, tag_field="name", tag="moco"):
    """MoCo v2 (1911.05722, 2003.04297): keys of a momentum encoder, negatives from a queue; for any number of views.

    Symmetric: every view is a query for every other view's key (v2 has one direction of two views). There is no
    shuffling of batch-norm, which needs several devices.
    """

    momentum: Held = 0.999
    """What the key network keeps of itself a step (facebookresearch/moco's default)."""
    temperature: Positive = 0.2
    """v2's, by facebookresearch/moco's README; v1 has 0.07."""
    queue: Count = 65536
    """Keys kept (facebookresearch/moco's default; 4096 in its CIFAR-10 notebook)."""


MultiView = BarlowTwins | VICReg | SimCLR | SpectralContrastive
"""Methods whose loss is a function of the views' projections alone."""

Method = MultiView | Diet | SDiet | Supervised | BYOL | MoCo | Untrained

ONE_VIEW = (Diet, SDiet, Supervised, Untrained)
"""Methods that train on any number of views, one included."""
