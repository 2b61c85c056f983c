"""What an embedding holds of the labels: accuracy of ridge, logistic, Adam, MLP and nearest-neighbour probes.

Every probe is fitted on the training rows alone. A penalty is chosen on the validation rows and the probe is not
refitted on both: simple, and the validation accuracy stays an honest estimate beside the test accuracy.

A readout is a short process, so that what it imports is most of its time: numpy here, scipy only in `logistic`, torch
only in `adam` and `mlp`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float, Int64

from entia.config import AdamProbe, Logistic, MLPProbe, Neighbours, Optimizer, Probe, Ridge
from entia.planning import feasible
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
    - `gradient` (logistic): the gradient's norm where the solver stopped, on standardised features.
    - `accuracy_best_epoch` (adam, mlp): the best test accuracy of any epoch, which is chosen on the test rows and so
      flatters; `accuracy` is the last epoch's. The papers do not say which of the two they print.

    `device` is where adam and mlp train; the other probes run on the CPU.

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
        _check(probe, problem, classes)
    match probe:
        case Ridge() | Logistic():
            return [_linear(probe, problem, classes) for problem in problems]
        case AdamProbe():
            return _adam(probe, problems, classes, device)
        case MLPProbe():
            return [_mlp(probe, problem, classes, device) for problem in problems]
        case Neighbours():
            return [_neighbours(probe, problem, classes) for problem in problems]


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
            fits, extra = _ridge(train, probe.penalties, classes), [{}] * len(probe.penalties)
        case Logistic():
            fits, extra = _logistic(train, probe.penalties, classes)
    held = [_affine(fit, validation.features) for fit in fits]
    best = 0
    if len(fits) > 1:
        right = [_accuracy(scores, validation.label) for scores in held]
        best = max(range(len(fits)), key=lambda i: (right[i], probe.penalties[i]))
    scores = _Scores(_affine(fits[best], train.features), held[best], _affine(fits[best], test.features))
    return _metrics(problem, scores, classes) | {"penalty": probe.penalties[best]} | extra[best]


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


def _logistic(
    train: Features, penalties: Sequence[float], classes: int
) -> tuple[list[_Affine], list[dict[str, float]]]:
    """Minima of mean cross-entropy + λ/2 ‖W‖² on standardised features, in the penalties' order, and how near they are.

    The intercept is free. L-BFGS goes from the strongest penalty to the weakest, each from the last one's minimum,
    with each principal axis in a unit of about the inverse root of the loss's curvature along it: the penalty does
    not see the rotation, and the solver needs a third of the steps or fewer. Products are in the features' own
    precision (float32 for half precision), the loss's sum over rows in float64.
    """
    from scipy.optimize import minimize  # half a second to import, and this probe alone needs it

    mean, basis, spread = _principal(train.features)
    x = np.empty(train.features.shape, np.promote_types(train.features.dtype, np.float32))
    for rows in blocks(len(x)):
        x[rows] = (train.features[rows] - mean).astype(x.dtype) @ basis.astype(x.dtype)
    theta = np.zeros((mean.size + 1, classes))
    fits: dict[float, tuple[_Affine, dict[str, float]]] = {}
    for penalty in sorted(penalties, reverse=True):
        # p (1 − p), a softmax's curvature, lies between 0 and 1/4; any value near serves
        unit = 1 / np.sqrt(0.1 * np.append(spread, 1) + penalty)[:, None]
        found = minimize(
            _cross_entropy,
            (theta / unit).ravel(),
            args=(unit, x, train.label, penalty),
            jac=True,
            method="L-BFGS-B",
            options={"gtol": 1e-5, "ftol": 0.0, "maxiter": 1000, "maxfun": 2000, "maxcor": 20},
        )
        theta = found.x.reshape(theta.shape) * unit
        gradient = float(np.linalg.norm(found.jac.reshape(theta.shape) / unit))
        fits[penalty] = (_Affine(mean, basis @ theta[:-1], theta[-1]), {"gradient": gradient})
    return [fits[penalty][0] for penalty in penalties], [fits[penalty][1] for penalty in penalties]


def _principal(
    features: Rows,
) -> tuple[Float[np.ndarray, "feature"], Float[np.ndarray, "feature feature"], Float[np.ndarray, "feature"]]:
    """Mean, map B and variances such that (x − mean) B are the standardised features along their principal axes."""
    mean, spread = covariance(features)
    scale = np.sqrt(spread.diagonal())
    scale = np.where(scale > 0, scale, 1.0)  # a constant feature, which centring has made 0
    variances, axes = np.linalg.eigh(spread / np.outer(scale, scale))
    return mean, axes / scale[:, None], variances.clip(min=0)


def _cross_entropy(
    theta: Float[np.ndarray, "parameter"],
    unit: Float[np.ndarray, "row 1"],
    x: Rows,
    label: Labels,
    penalty: float,
) -> tuple[float, Float[np.ndarray, "parameter"]]:
    """Mean cross-entropy + λ/2 ‖W‖² and its gradient in theta; W above the intercept is theta in `unit`."""
    parameters = theta.reshape(len(unit), -1) * unit
    weight, intercept = parameters[:-1].astype(x.dtype), parameters[-1].astype(x.dtype)
    value, gradient = 0.0, np.zeros_like(parameters)
    for rows in blocks(len(x)):
        scores = x[rows] @ weight + intercept
        scores -= scores.max(1, keepdims=True)
        at = np.arange(len(scores)), label[rows]
        right = scores[at].sum(dtype=np.float64)
        share = np.exp(scores, out=scores)
        total = share.sum(1, keepdims=True)
        value += np.log(total).sum(dtype=np.float64) - right
        share /= total
        share[at] -= 1
        gradient[:-1] += x[rows].T @ share
        gradient[-1] += share.sum(0)
    gradient /= len(x)
    gradient[:-1] += penalty * parameters[:-1]
    return float(value / len(x) + penalty / 2 * (parameters[:-1] ** 2).sum()), (gradient * unit).ravel()


def _neighbours(probe: Neighbours, problem: Problem, classes: int) -> dict[str, float]:
    train, validation, test = problem
    bank = _unit(train.features)
    votes = [_votes(probe, bank, train.label, part.features, classes) for part in (validation, test)]
    return _metrics(problem, _Scores(None, *votes), classes)


def _votes(
    probe: Neighbours,
    bank: Float[np.ndarray, "kept feature"],
    label: Int64[np.ndarray, "kept"],
    features: Rows,
    classes: int,
) -> Classwise:
    """Σ exp(cosine / temperature) over the k nearest rows of each class, up to a factor a row that keeps it finite."""
    votes = np.empty((len(features), classes))
    step = max(1, 2**24 // len(bank))  # 64 MiB of similarities at a time
    for start in range(0, len(features), step):
        near = _unit(features[start : start + step]) @ bank.T
        top = np.argpartition(near, -probe.k, axis=1)[:, -probe.k :]
        similarity = np.take_along_axis(near, top, axis=1).astype(np.float64)
        weight = np.exp((similarity - similarity.max(1, keepdims=True)) / probe.temperature)
        cell = label[top] + classes * np.arange(len(top))[:, None]
        counted = np.bincount(cell.ravel(), weight.ravel(), minlength=len(top) * classes)
        votes[start : start + step] = counted.reshape(-1, classes)
    return votes


def _unit(features: Rows) -> Rows:
    rows = features.astype(np.promote_types(features.dtype, np.float32))
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1)


def _adam(probe: AdamProbe, problems: Sequence[Problem], classes: int, device: str) -> list[dict[str, float]]:
    alike: dict[tuple[object, ...], list[int]] = {}
    for i, problem in enumerate(problems):
        alone = i if device == "cpu" else None
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
    probe: AdamProbe, problems: Sequence[Problem], classes: int, device: str
) -> list[tuple[_Scores, Float[np.ndarray, "epochs"]]]:
    """Each problem's scores after the last epoch, and its test accuracy after every epoch."""
    import torch

    train, validation, test = (_stack(part, device) for part in zip(*problems, strict=True))
    course: list[torch.Tensor] = []
    theta = train[0].new_empty(0)
    for theta in _epochs(probe, *train, classes):
        right = _logits(theta, test[0]).argmax(-1) == test[1]
        course.append(right.double().mean(-1))
    courses = torch.stack(course, 1).cpu().numpy()
    scores = [_logits(theta, part[0]).cpu().numpy() for part in (train, validation, test)]
    return [(_Scores(*each), line) for *each, line in zip(*scores, courses, strict=True)]


def _stack(parts: Sequence[Features], device: str) -> "tuple[torch.Tensor, torch.Tensor]":
    """Features [problem, datum, feature] in float32 and labels [problem, datum]."""
    import torch

    features = torch.empty((len(parts), *parts[0].features.shape), dtype=torch.float32, device=device)
    for i, part in enumerate(parts):  # one by one: a stack of copies would take twice the memory
        features[i] = torch.tensor(part.features, dtype=torch.float32, device=device)
    return features, torch.stack([torch.tensor(part.label, device=device) for part in parts])


def _logits(theta: "torch.Tensor", x: "torch.Tensor") -> "torch.Tensor":
    """[problem, row, class] from theta [problem, feature + 1, class], whose last row is the bias."""
    import torch

    return torch.baddbmm(theta[:, -1:], x, theta[:, :-1])


def _epochs(probe: AdamProbe, x: "torch.Tensor", label: "torch.Tensor", classes: int) -> "Iterator[torch.Tensor]":
    """Weights after each epoch (always the same tensor), of linear layers trained side by side, one a problem.

    Label-smoothed cross-entropy, mean over the batch; Adam or AdamW with torch's betas and epsilon, weight decay of
    weights and bias alike, constant learning rate; torch's own start of a linear layer. Every problem has the
    start and the order of rows that it would have alone: both from one generator, by `seed`, drawn on the CPU. An
    epoch's last batch is smaller where the rows do not divide.

    The gradient is written out, because autograd's and the optimiser's calls take longer than so small a product.

    Source: 2312.10725's code, as `AdamProbe` gives it; with AdamW, DIET's offline linear probe (DIET spec §3.2).
    """
    import torch

    problems, rows, width = x.shape
    generator = torch.Generator().manual_seed(probe.seed)
    theta = _start(width, classes, generator).to(x.device).repeat(problems, 1, 1)
    mean, square = torch.zeros_like(theta), torch.zeros_like(theta)
    target = (1 - probe.smoothing) * torch.eye(classes, device=x.device) + probe.smoothing / classes
    flat, flat_label = x.view(-1, width), label.view(-1)
    first = rows * torch.arange(problems, device=x.device)[:, None]
    step = 0
    for _ in range(probe.epochs):
        order = torch.randperm(rows, generator=generator).to(x.device)
        for drawn in order.split(probe.batch):
            step += 1
            at = (first + drawn).view(-1)
            batch = flat.index_select(0, at).view(problems, -1, width)
            error = torch.softmax(_logits(theta, batch), -1)
            error.sub_(target.index_select(0, flat_label.index_select(0, at)).view_as(error)).div_(len(drawn))
            gradient = torch.cat((torch.bmm(batch.mT, error), error.sum(1, keepdim=True)), 1)
            if probe.optimizer == "adamw":
                theta.mul_(1 - probe.lr * probe.weight_decay)
            else:
                gradient.add_(theta, alpha=probe.weight_decay)
            _adam_step(probe, step, theta, gradient, mean, square)
        yield theta


def _start(width: int, classes: int, generator: "torch.Generator") -> "torch.Tensor":
    """[feature + 1, class] as torch.nn.Linear starts: weight, then bias, uniform within ±1/√feature."""
    import torch

    bound = width**-0.5
    weight = torch.empty(classes, width).uniform_(-bound, bound, generator=generator)
    bias = torch.empty(classes).uniform_(-bound, bound, generator=generator)
    return torch.cat((weight.T, bias[None]))


def _adam_step(
    probe: AdamProbe,
    step: int,
    theta: "torch.Tensor",
    gradient: "torch.Tensor",
    mean: "torch.Tensor",
    square: "torch.Tensor",
) -> None:
    """Adam (1412.6980, algorithm 1) with torch's defaults, in place."""
    mean.lerp_(gradient, 1 - 0.9)
    square.mul_(0.999).addcmul_(gradient, gradient, value=1 - 0.999)
    size = square.sqrt().div_((1 - 0.999**step) ** 0.5).add_(1e-8)
    theta.addcdiv_(mean, size, value=-probe.lr / (1 - 0.9**step))


def _mlp(probe: MLPProbe, problem: Problem, classes: int, device: str) -> dict[str, float]:
    import torch

    train, validation, test = ((features[0], label[0]) for features, label in (_stack([p], device) for p in problem))
    course: list[torch.Tensor] = []
    score: Callable[[torch.Tensor], torch.Tensor] = torch.nn.Identity()
    for score in _mlp_epochs(probe, *train, classes):
        course.append((score(test[0]).argmax(1) == test[1]).double().mean())
    scores = _Scores(*(score(part[0]).cpu().numpy() for part in (train, validation, test)))
    return _at_end(probe, problem, scores, torch.stack(course).cpu().numpy(), classes)


def _mlp_epochs(
    probe: MLPProbe, x: "torch.Tensor", label: "torch.Tensor", classes: int
) -> "Iterator[Callable[[torch.Tensor], torch.Tensor]]":
    """After each epoch, the scores [row, class] that the network then gives rows, in evaluation mode.

    Label-smoothed cross-entropy, mean over the batch; AdamW with torch's betas and epsilon, decay of every number, the
    batch-norm's too, constant learning rate; torch's own start of each layer. Start and order of rows from `seed`,
    drawn on the CPU. The first layer has no bias, which batch-norm would take out again. An epoch's last batch is
    smaller where the rows do not divide, and left out if it is one row, which has no variance.

    Source: DIET spec §3.2; smoothing, schedule and the layers' biases are not given there.
    """
    import torch
    from torch import nn

    from entia import optim

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(probe.seed)  # not torch.manual_seed, which would reseed every GPU as well
        hidden = probe.expansion * x.shape[1]
        first, last = nn.Linear(x.shape[1], hidden, bias=False), nn.Linear(hidden, classes)
    net = nn.Sequential(first, nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), last).to(x.device)
    rule = Optimizer(name="adamw", lr=probe.lr, weight_decay=probe.weight_decay)
    updates = optim.Updates(rule, [optim.Group(list(net.parameters()))])
    generator = torch.Generator().manual_seed(probe.seed)

    @torch.no_grad()
    def score(rows: torch.Tensor) -> torch.Tensor:
        return torch.cat([net(part) for part in rows.split(4096)])  # a hidden layer is wide: not all rows at once

    for _ in range(probe.epochs):
        net.train()
        order = torch.randperm(len(x), generator=generator).to(x.device)
        for drawn in order.split(probe.batch):
            if len(drawn) > 1:
                loss = nn.functional.cross_entropy(net(x[drawn]), label[drawn], label_smoothing=probe.smoothing)
                loss.backward()
                updates.step(probe.lr)
        net.eval()
        yield score
