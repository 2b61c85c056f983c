"""The claims of the DIET papers (2302.10260, 2406.10743 and s-DIET's; DIET spec §10).

The papers give numbers for two of them. What stands in no paper says `ours`.
"""

import math

from entia.claims.arms import least, most
from entia.claims.diet_effects import (
    against_baselines,
    against_supervised,
    between_batches,
    is_medical,
    of_s_diet,
    rank_against,
    reported,
    slower,
    smoothing,
    steadier,
    strongest_minus_weakest,
    tracks,
)
from entia.claims.judging import BETTER, MARGIN, Claim, Criterion, Part, above, below, margin

COMPETITIVE = above(-5.0, "competitive is less than equal: within 5 points, ours, for the papers give no number")
HIGHER = above(0.0, "higher at all", "dimensions")
_number = "the abstract's number, within 1 point"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "DIET-H1",
        "71.4 % linear-probe accuracy on CIFAR-100 with ResNet-101",
        "CIFAR-100, ResNet-101, thousands of epochs",
        (
            Part(
                "best test accuracy of the online probe along training, which the papers' scripts tabulate",
                Criterion(71.4 - MARGIN, 71.4 + MARGIN, "%", _number),
                reported("diet_encoders_cifar100", "cifar100", "resnet101", 4000, "probe_best"),
            ),
            Part(
                "last-epoch accuracy of the readout, at which no epoch was picked on the test split",
                Criterion(71.4 - MARGIN, 71.4 + MARGIN, "%", _number),
                reported("diet_encoders_cifar100", "cifar100", "resnet101", 4000, "accuracy"),
                decides=False,
            ),
        ),
        needs="CIFAR-100, ResNet-101, 4,000 epochs or more with the online probe",
    ),
    Claim(
        "DIET-H2",
        "52.5 % linear-probe accuracy on TinyImageNet with ResNeXt-50",
        "TinyImageNet, ResNeXt-50 (32 × 4d), thousands of epochs",
        (
            Part(
                "best test accuracy of the online probe along training, which the papers' scripts tabulate",
                Criterion(52.5 - MARGIN, 52.5 + MARGIN, "%", _number),
                reported("diet_encoders_tinyimagenet", "tinyimagenet", "resnext50", 2000, "probe_best"),
            ),
            Part(
                "last-epoch accuracy of the readout, at which no epoch was picked on the test split",
                Criterion(52.5 - MARGIN, 52.5 + MARGIN, "%", _number),
                reported("diet_encoders_tinyimagenet", "tinyimagenet", "resnext50", 2000, "accuracy"),
                decides=False,
            ),
        ),
        needs="TinyImageNet, ResNeXt-50 (32 × 4d), 2,000 epochs or more with the online probe",
    ),
    Claim(
        "DIET-H3",
        "Up to a few hundred thousand images, self-supervision's further machinery adds nothing to the representation",
        "natural images, up to a few hundred thousand; tested at equal epochs",
        (
            Part(
                "DIET minus the best SSL baseline, each in turn",
                margin(-1, math.inf, "adds nothing: no baseline better by more than what counts as equal"),
                against_baselines("diet_budget", "diet"),
            ),
            Part(
                "DIET minus supervised training at the fewest images",
                COMPETITIVE,
                against_supervised(least),
                decides=False,
            ),
            Part(
                "DIET minus supervised training at the most images",
                COMPETITIVE,
                against_supervised(most),
                decides=False,
            ),
        ),
    ),
    Claim(
        "DIET-H4",
        "Self-supervision is sensitive to its settings by its design, not because labels are missing",
        "a cause, which no run shows; tested instead: label-free DIET varies less over batch sizes than SSL does",
        (
            Part(
                "accuracy's range over batch sizes, SSL's mean minus DIET's",
                above(0.0, "`less` names no amount"),
                steadier,
            ),
        ),
        needs="DIET and a baseline at several batch sizes, under one rule for the learning rate",
    ),
    Claim(
        "DIET-H5",
        "The training loss tells how good the representation is",
        "three data sets, all architectures and smoothing levels",
        (
            Part(
                "Spearman's ρ of training loss and accuracy over configurations that differ, at equal smoothing",
                below(-0.5, "strong by Cohen's rule (|ρ| ≥ 0.5); the papers' statistic is not known", ""),
                tracks,
            ),
        ),
    ),
    Claim(
        "DIET-H6",
        "DIET is competitive on natural, medical and small data sets, over many architectures, without tuning",
        "CIFAR, TinyImageNet, small fine-grained sets, MedMNIST; thirteen architectures",
        (
            Part(
                "natural images: DIET minus the best SSL baseline, each in turn, mean over data sets and architectures",
                COMPETITIVE,
                against_baselines(
                    "diet_encoders*", "diet", 2, lambda dataset: not is_medical(dataset), "natural images"
                ),
            ),
            Part(
                "medical images: the same",
                COMPETITIVE,
                against_baselines("diet_medical", "diet", 1, is_medical, "medical images"),
            ),
        ),
        needs="baselines on two architectures or more, on natural and on medical images",
    ),
    Claim(
        "DIET-H7",
        "DIET is very sensitive to augmentation, converges more slowly than SSL, and smoothing speeds it up",
        "third-party summaries of the first version; data not named",
        (
            Part(
                "strongest augmentation minus weakest",
                above(5.0, "very sensitive: five times what counts as equal, ours"),
                strongest_minus_weakest,
            ),
            Part("epochs to nine tenths of the final gain, DIET over SSL", above(1.0, "slower at all", "×"), slower),
            Part("smoothing 0.8 minus the least, equal epochs", BETTER, smoothing),
        ),
        needs="DIET at several levels of augmentation and of smoothing, and a baseline beside it",
    ),
    Claim(
        "DIET-H8",
        "s-DIET is competitive, robust to the batch size, and its embeddings have a higher rank",
        "CIFAR-10, CIFAR-100, TinyImageNet, ImageNet-100",
        (
            Part(
                "s-DIET minus the best SSL baseline, each in turn",
                COMPETITIVE,
                of_s_diet(lambda method: against_baselines("diet_budget", method)),
            ),
            Part(
                "accuracy's range over batch sizes: the difference of each pair of them",
                Criterion(-5.0, 5.0, "points", "robust: within the 5 points that count as competitive, ours"),
                between_batches,
            ),
            Part("RankMe, s-DIET minus SimCLR", HIGHER, rank_against("simclr")),
            Part("RankMe, s-DIET minus VICReg", HIGHER, rank_against("vicreg")),
        ),
        needs="s-DIET beside its baselines, and at several batch sizes",
    ),
)
