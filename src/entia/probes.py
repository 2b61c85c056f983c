"""How labels may be read out of embeddings: `probe:` in params.yaml."""

from typing import Literal

from entia.fields import Config, Count, Held, NonNegative, Positive, Seed, Several


class Ridge(Config, frozen=True, tag_field="name", tag="ridge"):
    """Least squares on one-hot labels with an L2 penalty, chosen on the validation split."""

    penalties: tuple[Positive, ...] = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
    """Relative to the mean squared (centred) feature."""


class Logistic(Config, frozen=True, tag_field="name", tag="logistic"):
    """Multinomial logistic regression with an L2 penalty, chosen on the validation split."""

    penalties: tuple[Positive, ...] = (1e-5, 1e-4, 1e-3, 1e-2)
    """λ in mean cross-entropy + λ/2 ‖W‖², on standardised features; the intercept is free."""


class AdamProbe(Config, frozen=True, tag_field="name", tag="adam"):
    """A linear layer on raw features: the small-projector papers' by Adam (spec §5).

    DIET's is by AdamW (DIET spec §3.2).
    """

    optimizer: Literal["adam", "adamw"] = "adam"
    """adam: the decay is added to the gradient; adamw: it shrinks the weights directly, by lr × weight_decay a step."""
    lr: Positive = 1e-3
    weight_decay: NonNegative = 1e-6
    epochs: Count = 200
    batch: Count = 512
    smoothing: Held = 0.1
    seed: Seed = 0


class MLPProbe(Config, frozen=True, tag_field="name", tag="mlp"):
    """The DIET papers' other readout: linear, batch-norm, ReLU, linear, by AdamW on raw features (DIET spec §3.2)."""

    expansion: Count = 3
    """Units of the hidden layer for each feature of the embedding."""
    lr: Positive = 1e-3
    weight_decay: NonNegative = 1e-5
    epochs: Count = 100
    batch: Several = 256
    smoothing: Held = 0.0
    seed: Seed = 0


class Neighbours(Config, frozen=True, tag_field="name", tag="neighbours"):
    """k nearest neighbours by cosine similarity; votes weighted by exp(similarity / temperature)."""

    k: Count = 200
    temperature: Positive = 0.1


class Spectrum(Config, frozen=True, tag_field="name", tag="spectrum"):
    """No probe: the embeddings' ranks and exponent alone, which every readout has, and no label is read."""


Probe = Ridge | Logistic | AdamProbe | MLPProbe | Neighbours | Spectrum
