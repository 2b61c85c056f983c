"""What an embedding holds of the labels: accuracy of ridge, logistic, Adam, MLP and nearest-neighbour probes.

Every probe is fitted on the training rows alone. A penalty is chosen on the validation rows and the probe is not
refitted on both: simple, and the validation accuracy stays an honest estimate beside the test accuracy.

A readout is a short process, so that what it imports is most of its time: numpy here, scikit-learn (a second) only in
`logistic` and `neighbours`, torch only in `adam` and `mlp`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from jaxtyping import Float, Int64

from entia.config import Optimizer
from entia.planning import feasible
from entia.probes import AdamProbe, Logistic, MLPProbe, Neighbours, Probe, Ridge, Spectrum
from entia.spectrum import blocks, centre, covariance

if TYPE_CHECKING:
    import torch

Rows = Float[np.ndarray, "datum feature"]
Labels = Int64[np.ndarray, "datum"]
Classwise = Float[np.ndarray, "datum classes"]


class Features(NamedTuple):
    """Embeddings and their labels, row by row."""

    features: Float[np.ndarray, "datum feature"]
    label: Int64[np.ndarray, "datum"]


Problem = tuple[Features, Features, Features]
"""Train, validation, test."""

PARTS = ("train", "validation", "test")


class _Affine(NamedTuple):
    """Scores (x − centre) weight + intercept, one a class."""

    centre: Float[np.ndarray, "feature"]
    weight: Float[np.ndarray, "feature classes"]
    intercept: Float[np.ndarray, "classes"]


class _Scores(NamedTuple):
    """A probe's score of every class; train is None where a datum would be scored by itself."""

    train: Classwise | None
    validation: Classwise
    test: Classwise


def read(
    probe: Probe, train: Features, validation: Features, test: Features, classes: int, device: str = "cpu"
) -> dict[str, float]:
    """What a probe fitted on `train` scores, as fractions in [0, 1].

    - `accuracy`: top-1 on the test rows; `top5` beside it where there are more than five classes.
    - `validation`: top-1 on the validation rows, of the same fit; absent where there are none.
    - `train`: top-1 on the training rows; absent for neighbours, where each datum is its own nearest.
    - `penalty` (ridge, logistic): the one with the best validation accuracy; of equals, the strongest.
    - `accuracy_best_epoch` (adam, mlp): the best test accuracy of any epoch, which is chosen on the test rows and so
      flatters; `accuracy` is the last epoch's. The papers do not say which of the two they print.

    `device` is where adam and mlp train; the other probes run on the CPU. `Spectrum` scores nothing and asks for no
    labels.

    Raises ValueError where features are not finite, shapes or labels do not fit, several penalties are given without
    validation rows to choose on, or adam's or mlp's scores are not finite.
    """
    return read_many(probe, [(train, validation, test)], classes, device)[0]


def read_many(probe: Probe, problems: Sequence[Problem], classes: int, device: str = "cpu") -> list[dict[str, float]]:
    """`read` of each (train, validation, test), in order.

    On a GPU, adam trains all problems of equal shape as one batched problem, because a single one is too small to keep
    the device busy; their rows are then all on the device at once. A CPU is busy with one, and its cache holds one
    problem's batch but not twenty: there, and for the other probes (mlp's products are large enough), the problems are
    read one by one.

    Raises ValueError as `read` does.
    """
    for problem in problems:
        if not isinstance(probe, Spectrum):
            _check(probe, problem, classes)
    match probe:
        case Ridge() | Logistic():
            return [_linear(probe, problem, classes) for problem in problems]
        case AdamProbe() | MLPProbe():
            return _by_steps(probe, problems, classes, device)
        case Neighbours():
            return [_neighbours(probe, problem, classes) for problem in problems]
        case Spectrum():
            return [{} for _ in problems]


def _check(probe: Probe, problem: Problem, classes: int) -> None:
    for name, part in zip(PARTS, problem, strict=True):
        _check_part(name, part, classes)
    train, validation, test = problem
    if len({part.features.shape[1] for part in problem}) > 1:
        raise ValueError(f"features: widths differ: {[part.features.shape[1] for part in problem]} in {PARTS}")
    if not len(train.label) or not len(test.label):
        raise ValueError(f"{'test' if len(train.label) else 'train'} features: no rows")
    for mistake in feasible.probe(probe, len(train.label), len(validation.label)):
        raise ValueError(mistake)


def _check_part(name: str, part: Features, classes: int) -> None:
    if part.features.ndim != 2 or len(part.features) != len(part.label):
        raise ValueError(f"{name}: features {part.features.shape} do not fit labels {part.label.shape}")
    if part.label.dtype.kind not in "iu":
        raise ValueError(f"{name} labels: {part.label.dtype}, not whole numbers")
    finite = np.isfinite(part.features).all(1)
    if not finite.all():
        raise ValueError(
            f"{name} features: {(~finite).sum()} of {finite.size} rows are not finite, the first is row "
            f"{finite.argmin()}; the encoder diverged or the file is damaged"
        )
    if len(part.label) and not 0 <= part.label.min() <= part.label.max() < classes:
        raise ValueError(f"{name} labels: {part.label.min()} to {part.label.max()}, not within 0 to {classes - 1}")


def _metrics(problem: Problem, scores: _Scores, classes: int) -> dict[str, float]:
    train, validation, test = problem
    found = {"accuracy": _accuracy(scores.test, test.label)}
    if classes > 5:
        found["top5"] = _top5(scores.test, test.label)
    if len(validation.label):
        found["validation"] = _accuracy(scores.validation, validation.label)
    if scores.train is not None:
        found["train"] = _accuracy(scores.train, train.label)
    return found


def _accuracy(scores: Classwise, label: Labels) -> float:
    return float((scores.argmax(1) == label).mean())


def _top5(scores: Classwise, label: Labels) -> float:
    """Exactly five classes a row, also where scores are equal: a collapsed embedding must not score all of them."""
    return float((np.argpartition(scores, -5, axis=1)[:, -5:] == label[:, None]).any(1).mean())


def _linear(probe: Ridge | Logistic, problem: Problem, classes: int) -> dict[str, float]:
    train, validation, test = problem
    match probe:
        case Ridge():
            fits = _ridge(train, probe.penalties, classes)
        case Logistic():
            fits = _logistic(train, probe.penalties, classes)
    held = [_affine(fit, validation.features) for fit in fits]
    best = 0
    if len(fits) > 1:
        right = [_accuracy(scores, validation.label) for scores in held]
        best = max(range(len(fits)), key=lambda i: (right[i], probe.penalties[i]))
    scores = _Scores(_affine(fits[best], train.features), held[best], _affine(fits[best], test.features))
    return _metrics(problem, scores, classes) | {"penalty": probe.penalties[best]}


def _affine(fit: _Affine, features: Rows) -> Classwise:
    scores = np.empty((len(features), fit.intercept.size))
    for rows in blocks(len(features)):
        scores[rows] = (features[rows] - fit.centre) @ fit.weight + fit.intercept
    return scores


def _ridge(train: Features, penalties: Sequence[float], classes: int) -> list[_Affine]:
    """Least squares on one-hot labels: ‖Xc W − Yc‖² + p t ‖W‖² with Xc, Yc centred and t = ‖Xc‖² / features.

    t is what n times the mean squared (centred) feature comes to, so that p is free of the features' scale. With
    Xc = U S Vᵀ, W = V (S² + p t)⁻¹ S Uᵀ Yc: one eigendecomposition, of whichever of XcᵀXc and XcXcᵀ is smaller,
    serves every penalty. float64.
    """
    mean, prior = centre(train.features), np.bincount(train.label, minlength=classes) / len(train.label)
    wide = train.features.shape[1] > len(train.label)
    left, squares, right = (_dual if wide else _primal)(train, mean, prior)
    total = squares.sum() / train.features.shape[1]
    tiny = np.finfo(np.float64).tiny  # all rows alike: 0 / tiny leaves the class shares, where 0 / 0 would be NaN
    return [
        _Affine(mean, left @ (right / np.maximum(squares + penalty * total, tiny)[:, None]), prior)
        for penalty in penalties
    ]


Factors = tuple[Float[np.ndarray, "feature rank"], Float[np.ndarray, "rank"], Float[np.ndarray, "rank classes"]]
"""L, s², R of W = L (s² + penalty)⁻¹ R."""


def _primal(train: Features, mean: Float[np.ndarray, "feature"], prior: Float[np.ndarray, "classes"]) -> Factors:
    """V, S², Vᵀ XcᵀYc, from XcᵀXc."""
    onehot = np.eye(prior.size)
    gram, cross = np.zeros((mean.size, mean.size)), np.zeros((mean.size, prior.size))
    for rows in blocks(len(train.label)):
        part = train.features[rows] - mean
        gram += part.T @ part
        cross += part.T @ onehot[train.label[rows]]
    squares, vectors = np.linalg.eigh(gram)
    return vectors, squares.clip(min=0), vectors.T @ cross


def _dual(train: Features, mean: Float[np.ndarray, "feature"], prior: Float[np.ndarray, "classes"]) -> Factors:
    """XcᵀU, S², UᵀYc, from XcXcᵀ: for fewer rows than features."""
    rows = train.features - mean
    squares, vectors = np.linalg.eigh(rows @ rows.T)
    return rows.T @ vectors, squares.clip(min=0), vectors.T @ (np.eye(prior.size)[train.label] - prior)


def _logistic(train: Features, penalties: Sequence[float], classes: int) -> list[_Affine]:
    """Minima of mean cross-entropy + λ/2 ‖W‖² on standardised features, in the penalties' order, by scikit-learn.

    The intercept is free; a class without rows scores -∞. L-BFGS goes from the strongest penalty to the weakest, each
    from the last one's minimum, in the features' own precision (float32 for half precision).
    """
    from sklearn.linear_model import LogisticRegression

    mean, spread = covariance(train.features)
    scale = np.sqrt(spread.diagonal())
    scale = np.where(scale > 0, scale, 1.0)  # a constant feature, which centring makes 0
    x = (train.features - mean) / scale  # in float64: where rows are few, the loss is too small for float32's gradient
    present = np.unique(train.label)
    none = np.full(classes, -np.inf)
    none[present] = 0
    fits = {penalty: _Affine(mean, np.zeros((mean.size, classes)), none.copy()) for penalty in penalties}
    # of two classes scikit-learn fits the difference of their scores, which has the same minimum at half the penalty
    two = len(present) == 2
    model: Any = LogisticRegression(tol=1e-7, max_iter=10_000, warm_start=True)
    for penalty in sorted(penalties, reverse=True) if len(present) > 1 else ():
        model.set_params(C=(1 + two) / (len(x) * penalty)).fit(x, train.label)
        weight, intercept = model.coef_.T / scale[:, None], model.intercept_
        fit = fits[penalty]
        fit.weight[:, present] = np.hstack((-weight, weight)) / 2 if two else weight
        fit.intercept[present] = np.hstack((-intercept, intercept)) / 2 if two else intercept
    return [fits[penalty] for penalty in penalties]


def _at_least_single(features: Rows) -> Rows:
    return features.astype(np.promote_types(features.dtype, np.float32), copy=False)


def _neighbours(probe: Neighbours, problem: Problem, classes: int) -> dict[str, float]:
    """Σ exp(cosine / temperature) over the k nearest rows of each class, as shares, by scikit-learn."""
    from sklearn.neighbors import KNeighborsClassifier

    def weights(distance: Float[np.ndarray, "datum near"]) -> Float[np.ndarray, "datum near"]:
        return np.exp((distance.min(1, keepdims=True) - distance) / probe.temperature)

    train, *others = problem
    model = KNeighborsClassifier(probe.k, weights=cast(Any, weights), metric="cosine", algorithm="brute")
    model.fit(_at_least_single(train.features), train.label)
    votes = [np.zeros((len(part.label), classes)) for part in others]
    for part, vote in zip(others, votes, strict=True):
        if len(part.label):
            vote[:, model.classes_] = model.predict_proba(_at_least_single(part.features))
    return _metrics(problem, _Scores(None, *votes), classes)


def _by_steps(
    probe: AdamProbe | MLPProbe, problems: Sequence[Problem], classes: int, device: str
) -> list[dict[str, float]]:
    alike: dict[tuple[object, ...], list[int]] = {}
    for i, problem in enumerate(problems):
        alone = i if device == "cpu" or isinstance(probe, MLPProbe) else None
        alike.setdefault((alone, *(part.features.shape for part in problem)), []).append(i)
    found: list[dict[str, float]] = [{} for _ in problems]
    for members in alike.values():
        group = [problems[i] for i in members]
        for i, problem, (scores, course) in zip(members, group, _trained(probe, group, classes, device), strict=True):
            found[i] = _at_end(probe, problem, scores, course, classes)
    return found


def _at_end(
    probe: AdamProbe | MLPProbe, problem: Problem, scores: _Scores, course: Float[np.ndarray, "epochs"], classes: int
) -> dict[str, float]:
    """Metrics of the last epoch's `scores`, and the best of the test accuracies of every epoch."""
    if not np.isfinite(scores.test).all():
        raise ValueError(
            f"{probe.__struct_config__.tag}: scores are not finite; features as large as "
            f"{np.abs(problem[0].features).max():.3g} need a smaller lr than {probe.lr}"
        )
    ends = {"accuracy": float(course[-1]), "accuracy_best_epoch": float(course.max())}
    return _metrics(problem, scores, classes) | ends


def _trained(
    probe: AdamProbe | MLPProbe, problems: Sequence[Problem], classes: int, device: str
) -> list[tuple[_Scores, Float[np.ndarray, "epochs"]]]:
    """Each problem's scores after the last epoch, and its test accuracy after every epoch."""
    import torch

    train, validation, test = (_stack(part, device) for part in zip(*problems, strict=True))
    course: list[torch.Tensor] = []
    score: Callable[[torch.Tensor], torch.Tensor] = torch.nn.Identity()
    for score in _epochs(probe, *train, classes):
        course.append((score(test[0]).argmax(-1) == test[1]).double().mean(-1))
    courses = torch.stack(course, 1).cpu().numpy()
    scores = [score(part[0]).cpu().numpy() for part in (train, validation, test)]
    return [(_Scores(*each), line) for *each, line in zip(*scores, courses, strict=True)]


def _stack(parts: Sequence[Features], device: str) -> "tuple[torch.Tensor, torch.Tensor]":
    """Features [problem, datum, feature] in float32 and labels [problem, datum]."""
    import torch

    features = torch.empty((len(parts), *parts[0].features.shape), dtype=torch.float32, device=device)
    for i, part in enumerate(parts):  # one by one: a stack of copies would take twice the memory
        features[i] = torch.tensor(part.features, dtype=torch.float32, device=device)
    return features, torch.stack([torch.tensor(part.label, device=device) for part in parts])


class _Net(NamedTuple):
    """What steps train, one network a problem."""

    parameters: "list[torch.nn.Parameter]"
    scores: "Callable[[torch.Tensor], torch.Tensor]"
    """[problem, row, class] from [problem, row, feature]."""
    training: Callable[[bool], object]
    """Switches between training and evaluation."""
    generator: "torch.Generator"
    """Draws the order of rows."""


def _epochs(
    probe: AdamProbe | MLPProbe, x: "torch.Tensor", label: "torch.Tensor", classes: int
) -> "Iterator[Callable[[torch.Tensor], torch.Tensor]]":
    """After each epoch, the scores [problem, row, class] that the networks then give rows, in evaluation mode.

    Label-smoothed cross-entropy, mean over the batch; Adam or AdamW with torch's betas and epsilon, weight decay of
    every number, biases and batch-norm too, constant learning rate; torch's own start of each layer. Every problem has
    the start and the order of rows that it would have alone, drawn on the CPU by `seed`. An epoch's last batch is
    smaller where the rows do not divide; mlp leaves it out if it is one row, which has no variance.

    Source: 2312.10725's code, as `AdamProbe` gives it; with AdamW, DIET's offline linear probe (DIET spec §3.2), and
    its MLP, whose smoothing, schedule and biases are not given there.
    """
    import torch

    from entia import optim

    match probe:
        case AdamProbe():
            net, name, least = _linear_nets(probe, x, classes), probe.optimizer, 1
        case MLPProbe():
            net, name, least = _mlp_net(probe, x, classes), "adamw", 2
    rule = Optimizer(name=name, lr=probe.lr, weight_decay=probe.weight_decay)
    updates = optim.Updates(rule, [optim.Group(net.parameters)])

    @torch.no_grad()
    def score(rows: torch.Tensor) -> torch.Tensor:
        return torch.cat([net.scores(part) for part in rows.split(4096, 1)], 1)  # a hidden layer is wide

    for _ in range(probe.epochs):
        net.training(True)
        order = torch.randperm(x.shape[1], generator=net.generator).to(x.device)
        for drawn in order.split(probe.batch):
            if len(drawn) >= least:
                logits, wanted = net.scores(x[:, drawn]).flatten(0, 1), label[:, drawn].flatten()
                loss = torch.nn.functional.cross_entropy(logits, wanted, label_smoothing=probe.smoothing)
                (loss * len(x)).backward()
                updates.step(probe.lr)
        net.training(False)
        yield score


def _linear_nets(probe: AdamProbe, x: "torch.Tensor", classes: int) -> _Net:
    """Linear layers side by side, that start as torch.nn.Linear does: uniform within ±1/√feature."""
    import torch

    problems, _, width = x.shape
    generator, bound = torch.Generator().manual_seed(probe.seed), width**-0.5
    weight = torch.empty(classes, width).uniform_(-bound, bound, generator=generator).T
    bias = torch.empty(1, classes).uniform_(-bound, bound, generator=generator)
    weights, biases = (torch.nn.Parameter(part.to(x.device).repeat(problems, 1, 1)) for part in (weight, bias))

    def scores(rows: torch.Tensor) -> torch.Tensor:
        return torch.baddbmm(biases, rows, weights)

    return _Net([weights, biases], scores, bool, generator)


def _mlp_net(probe: MLPProbe, x: "torch.Tensor", classes: int) -> _Net:
    """One network; its first layer has no bias, which batch-norm would take out again."""
    import torch
    from torch import nn

    problems, _, width = x.shape
    assert problems == 1
    hidden = probe.expansion * width
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(probe.seed)  # not torch.manual_seed, which would reseed every GPU as well
        first, last = nn.Linear(width, hidden, bias=False), nn.Linear(hidden, classes)
    net = nn.Sequential(first, nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), last).to(x.device)

    def scores(rows: torch.Tensor) -> torch.Tensor:
        return net(rows[0])[None]

    return _Net(list(net.parameters()), scores, net.train, torch.Generator().manual_seed(probe.seed))
