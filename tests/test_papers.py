"""The paper scale against the papers' numbers, written out here a second time from what their code ran."""

import pytest

from entia import plan
from entia.methods import BarlowTwins, VICReg
from entia.probes import AdamProbe


@pytest.fixture(scope="module")
def paper():
    return plan.load("params.yaml", "paper")


def told(paper, experiment, **fixed):
    """(width, views, fraction, epochs, weight) of an experiment's readouts, once all else is as given."""
    found = set()
    for row in paper.experiments[experiment]:
        readout = paper.readouts[row.readout]
        cell = readout.embed.pretrain
        seen = {
            "batch": cell.batch,
            "dataset": cell.subset.dataset,
            "encoder": cell.encoder.name,
            "averaged": readout.embed.views,
            "probe": readout.probe.batch,
            "every": cell.checkpoint_every,
        }
        assert {name: seen[name] for name in fixed} == fixed, row
        assert (cell.optimizer.name, cell.optimizer.lr, cell.optimizer.weight_decay) == ("adam", 0.001, 0.000001)
        assert cell.optimizer.schedule == "constant" and not cell.drop_last and not cell.encoder.stem_relu
        assert (readout.probe.epochs, readout.probe.smoothing, readout.probe.lr) == (200, 0.1, 0.001)
        weight = cell.method.weight if isinstance(cell.method, BarlowTwins) else cell.method.invariance
        assert not isinstance(cell.method, VICReg) or (cell.method.variance, cell.method.covariance) == (weight, 1)
        arm = row.arm if row.arm in ("fixed", "tuned") else ""
        found.add((arm, cell.projector.width, cell.views, cell.subset.fraction, cell.epochs, weight))
    return found


def widths(arm, epochs, weights):
    return {(arm, width, 2, 1.0, epochs, weight) for width, weight in weights.items()}


CIFAR = {64: 0.04, 128: 0.04, 256: 0.02, 512: 0.01, 768: 0.002, 1024: 0.002, 1536: 0.001, 2048: 0.001, 2304: 0.001,
         2560: 0.0008, 3072: 0.001, 4096: 0.0004, 6144: 0.001, 8192: 0.0008}  # fmt: skip
VICREG = {64: 20, 128: 20, 256: 25, 512: 25, 1024: 25, 2048: 75, 4096: 200, 8192: 750}
STL_50 = {64: 0.04, 128: 0.04, 256: 0.008, 512: 0.001, 1024: 0.0008, 2048: 0.0008, 4096: 0.0004, 8192: 0.0004}
STL_100 = {64: 0.04, 128: 0.02, 256: 0.008, 512: 0.001, 1024: 0.002, 2048: 0.001, 4096: 0.0008, 8192: 0.0004}
IMAGENET = {128: 0.07, 256: 0.02, 512: 0.02, 1024: 0.005, 2048: 0.007, 4096: 0.003, 8192: 0.001}


def test_the_width_studies_have_the_papers_weights_epochs_and_batches(paper):
    table = (64, 256, 1024, 8192)
    cifar = {"batch": 512, "dataset": "cifar10", "encoder": "resnet50", "averaged": 1, "probe": 512}
    for experiment, chosen, fixed in (("barlow_twins", CIFAR, 0.0004), ("vicreg", VICREG, 750)):
        for name, kept in (("width", table), ("width_curve", tuple(chosen))):
            expected = widths("fixed", 100, dict.fromkeys(kept, fixed))
            expected |= widths("tuned", 100, {width: chosen[width] for width in kept})
            assert told(paper, f"{name}_{experiment}", **cifar) == expected
    expected = widths("tuned", 50, STL_50) | widths("tuned", 100, STL_100)
    for epochs in (50, 100):
        expected |= widths("fixed", epochs, dict.fromkeys(STL_50, 0.0004))
    assert told(paper, "width_stl10", batch=400, dataset="stl10", encoder="resnet50", averaged=1, probe=400) == expected
    found = told(
        paper, "width_imagenet100", batch=512, dataset="imagenet100", encoder="resnet18", averaged=1,
        probe=256, every=10,
    )  # fmt: skip
    assert found == widths("fixed", 100, dict.fromkeys(IMAGENET, 0.001)) | widths("tuned", 100, IMAGENET)


def test_the_studies_of_views_have_the_papers_weights_epochs_and_batches(paper):
    cifar = {"batch": 128, "dataset": "cifar10", "encoder": "resnet50", "averaged": 16, "every": 5}
    small = {("", 256, 2, 1.0, 100, 0.02), ("", 256, 4, 1.0, 100, 0.01), ("", 256, 8, 1.0, 100, 0.01)}
    wide = {("", 8192, 2, 1.0, 100, 0.0008), ("", 8192, 4, 1.0, 100, 0.0004), ("", 8192, 8, 1.0, 100, 0.0004)}
    assert told(paper, "views_barlow_twins", probe=512, **cifar) == small | wide
    less = {("", 256, 2, 1.0, 100, 0.02), ("", 256, 4, 0.5, 100, 0.01), ("", 256, 8, 0.25, 100, 0.006)}
    less |= {("", 8192, 2, 1.0, 100, 0.0008), ("", 8192, 4, 0.5, 100, 0.0008), ("", 8192, 8, 0.25, 100, 0.0004)}
    assert told(paper, "data_barlow_twins", probe=512, **cifar) == less
    expected = {("", 256, 2, 1.0, 100, 25), ("", 256, 4, 1.0, 100, 25), ("", 8192, 2, 1.0, 100, 750)}
    assert told(paper, "views_vicreg", probe=128, **cifar) == expected
    expected = {("", 256, 2, 1.0, 100, 25), ("", 256, 4, 0.5, 100, 5), ("", 256, 8, 0.25, 100, 75)}
    assert told(paper, "data_vicreg", probe=128, **cifar) == expected
    stl = {"batch": 100, "dataset": "stl10", "encoder": "resnet50", "averaged": 16, "every": 5, "probe": 100}
    expected = {("", 256, 2, 1.0, 50, 0.008), ("", 256, 4, 1.0, 50, 0.002), ("", 8192, 2, 1.0, 50, 0.0004)}
    expected |= {("", 256, 2, 1.0, 100, 0.008), ("", 256, 4, 1.0, 100, 0.001), ("", 8192, 2, 1.0, 100, 0.0004)}
    assert told(paper, "views_stl10", **stl) == expected
    expected = {("", 256, 2, 1.0, 50, 0.008), ("", 256, 4, 0.5, 50, 0.001), ("", 256, 8, 0.25, 50, 0.004)}
    expected |= {("", 256, 2, 1.0, 100, 0.008), ("", 256, 4, 0.5, 100, 0.002), ("", 256, 8, 0.25, 100, 0.006)}
    assert told(paper, "data_stl10", **stl) == expected
    for experiment, dataset in (("long_barlow_twins", "cifar10"), ("long_cifar100", "cifar100")):
        expected = {("", 256, 2, 1.0, 400, 0.02), ("", 256, 4, 1.0, 400, 0.01), ("", 256, 8, 1.0, 400, 0.01)}
        assert told(paper, experiment, **cifar | {"dataset": dataset, "every": 20}) == expected


def test_imagenet100_has_batches_of_256_and_of_250_with_eight_views_of_all_images(paper):
    of = {"dataset": "imagenet100", "encoder": "resnet18", "averaged": 1, "probe": 128, "every": 5}
    views = {("", 512, 2, 1.0, 100, 0.02), ("", 512, 4, 1.0, 100, 0.01), ("", 512, 8, 1.0, 100, 0.01)}
    wide = {("", 8192, 2, 1.0, 100, 0.001)}
    assert told(paper, "views_imagenet100", **of) == views | wide
    less = {("", 512, 2, 1.0, 100, 0.02), ("", 512, 4, 0.5, 100, 0.004), ("", 512, 8, 0.25, 100, 0.01)}
    assert told(paper, "data_imagenet100", batch=256, **of) == less | wide
    cells = [paper.readouts[row.readout].embed.pretrain for row in paper.experiments["views_imagenet100"]]
    assert {cell.views: cell.batch for cell in cells} == {2: 256, 4: 256, 8: 250}


def test_small_crops_have_a_batch_a_length_and_a_pass_a_view_of_their_own(paper):
    found = told(paper, "crops_stl10", batch=256, dataset="stl10", encoder="resnet50", averaged=16, probe=256)
    assert found == {("", 256, 2, 1.0, 100, weight) for weight in (0.001, 0.002, 0.004)}
    cells = [paper.readouts[row.readout].embed.pretrain for row in paper.experiments["crops_stl10"]]
    assert {(cell.crops.views, cell.crops.size, cell.augmentation.size) for cell in cells} == {(6, 32, 64)}
    assert {cell.batch_norm for cell in cells} == {"per_view"} and {cell.seed for cell in cells} == {0, 1, 2}


def test_diets_readouts_take_the_scripts_probe_which_needs_no_image_held_out(paper):
    rows = {row.readout for name, part in paper.experiments.items() if name.startswith("diet_") for row in part}
    linear = AdamProbe(optimizer="adamw", lr=0.001, weight_decay=0.00001, batch=256, epochs=100, smoothing=0.0)
    assert {paper.readouts[name].embed.on.validation for name in rows} == {0}
    others = {paper.readouts[name].probe.__struct_config__.tag for name in rows if paper.readouts[name].probe != linear}
    assert others == {"mlp"}  # the transfer table's second one


DIET = {  # encoder → (lr, weight decay)
    "resnet18": (0.001, 0.05), "alexnet": (0.001, 0.05), "convnext_tiny": (0.001, 0.05), "densenet121": (0.001, 0.05),
    "swin_t": (0.0002, 0.01), "swin_s": (0.0002, 0.01), "vit_b_16": (0.0002, 0.01), "mlp_mixer_12": (0.0002, 0.01),
}  # fmt: skip
GRIDS = {  # experiment → (batch, epochs, label smoothings) of DIET's own runs
    "diet_encoders_cifar100": ({256}, {4000, 10000}, {0.8}),
    "diet_encoders_cifar10": ({256}, {4000}, {0.8}),
    "diet_encoders_tinyimagenet": ({256}, {3000}, {0.8}),
    "diet_encoders_imagenet100": ({256}, {7000}, {0.8}),
    "diet_epochs": ({256}, {50, 100, 200, 500, 1000, 5000, 10000}, {0.1, 0.4, 0.8}),
    "diet_batch_tinyimagenet": ({8, 16, 32, 64, 128, 256, 512, 1024, 2048}, {2000}, {0.8}),
    "diet_batch": ({32, 64, 128, 256, 512, 1024, 2048}, {4000}, {0.8}),
    "diet_levels": ({256}, {3000}, {0.8}),
    "diet_small": ({64}, {200}, {0.8, 0.95}),
    "diet_large": ({128}, {100, 500, 1000}, {0.1, 0.8}),
    "diet_head": ({128}, {100}, {0.1, 0.9}),
    "diet_supervised": ({128}, {100000, 50000, 25000, 10000, 5000, 1666}, {0.8}),
    "diet_supervised_more": ({128}, {100000, 50000, 25000, 10000, 5000, 1666}, {0.8}),
}


@pytest.mark.parametrize("experiment", GRIDS)
def test_diets_grids_have_the_scripts_batches_epochs_and_smoothings(experiment, paper):
    cells = [paper.readouts[row.readout].embed.pretrain for row in paper.experiments[experiment]]
    own = [cell for cell in cells if cell.method.__struct_config__.tag == "diet"]
    found = ({cell.batch for cell in own}, {cell.epochs for cell in own}, {cell.method.smoothing for cell in own})
    assert found == GRIDS[experiment]
    for cell in own:
        assert cell.optimizer.name == "adamw" and cell.projector.depth in (0, 2) and cell.views == 1
        assert cell.optimizer.schedule == ("diet_i" if cell.epochs > 100 else "step")
        if experiment != "diet_head" and cell.encoder.name in DIET:
            assert (cell.optimizer.lr, cell.optimizer.weight_decay) == DIET[cell.encoder.name]


def test_diets_head_grid_holds_the_cells_whose_decay_diverges_as_the_scripts_do(paper):
    cells = [paper.readouts[row.readout].embed.pretrain for row in paper.experiments["diet_head"]]
    decay = [
        cell.optimizer.lr * cell.method.lr_factor * cell.optimizer.weight_decay * cell.method.decay_factor
        for cell in cells
    ]
    assert len(decay) == 3 * 2 * 2 * 6 * 9 and sum(each > 2 for each in decay) == 70
