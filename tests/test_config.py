import json
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import asdict

from entia import config, methods, naming, plan, probes
from entia.config import Augmentation, Embed, Encoder, Optimizer, Pretrain, Projector, Readout, Subset
from entia.forecast import estimate
from entia.methods import BYOL, BarlowTwins, Diet, MoCo, SDiet, Supervised, Untrained
from entia.planning import layering
from entia.probes import Ridge


def cell(**fields) -> Pretrain:
    given = {
        "subset": Subset(dataset="cifar10", fraction=0.5),
        "augmentation": Augmentation(mean=(127.5,), std=(127.5,)),
        "encoder": Encoder(name="narrow_resnet", width=8),
        "projector": Projector(width=256),
        "method": BarlowTwins(weight=0.005),
        "optimizer": Optimizer(),
        "views": 4,
        "epochs": 10,
        "batch": 128,
    }
    return Pretrain(**{**given, **fields})


def readout(pretrain: Pretrain) -> Readout:
    return Readout(embed=Embed(pretrain=pretrain, on=Subset(dataset="cifar10")), probe=Ridge())


def trained(found: plan.Plan) -> list[Pretrain]:
    """A plan's cells without the baselines."""
    return [stage for stage in found.pretrains.values() if not isinstance(stage.method, Untrained)]


def test_equal_configs_have_equal_keys():
    assert naming.key(cell()) == naming.key(cell())


def test_a_stage_names_what_it_is_made_from_and_where_it_lies():
    stages = [readout(cell())]
    while len(stages) < len(config.STAGES) + 1:
        stages += stages[-1].parents[:1] or stages[1].parents[1:]
    assert {type(stage) for stage in stages} == set(config.STAGES)
    for stage in stages:
        held = [getattr(stage, name) for name in stage.__struct_fields__]
        assert list(stage.parents) == [field for field in held if isinstance(field, config.STAGES)]
        assert all(file.startswith(f"{stage.folder}/{naming.name(stage)}.") for file in naming.files(stage))
    assert len({file for stage in set(stages) for file in naming.files(stage)}) == 6
    assert [config.cell_of(stage) for stage in stages[:4]] == [cell(), cell(), cell(), cell().subset]


def test_what_a_stage_is_called_is_in_no_key():
    assert not {"kind", "folder", "suffixes"} & {name for kind in config.STAGES for name in kind.__struct_fields__}


def test_every_field_is_part_of_the_key():
    content = msgspec.to_builtins(cell())
    changed = {
        "views": 2, "epochs": 11, "batch": 64, "drop_last": False, "checkpoint_every": 5, "precision": "bfloat16",
        "threads": 2, "seed": 1, "batch_norm": "per_view", "online_probe": True, "recompute": True, "deterministic": True,
        "subset": {**content["subset"], "seed": 3},
        "augmentation": {**content["augmentation"], "hue": 0.0},
        "encoder": {**content["encoder"], "width": 16},
        "crops": {"views": 6, "size": 32},
        "projector": {**content["projector"], "depth": 3},
        "method": {**content["method"], "weight": 0.006},
        "optimizer": {**content["optimizer"], "lr": 0.002},
    }  # fmt: skip
    assert set(changed) == set(Pretrain.__struct_fields__)
    keys = {naming.key(msgspec.convert({**content, name: value}, Pretrain)) for name, value in changed.items()}
    assert len(keys | {naming.key(cell())}) == len(changed) + 1


class WiderProjector(Projector, frozen=True):
    """As if a field had been added."""

    dropout: float = 0.0


def test_a_new_field_at_its_default_renames_nothing():
    same = cell(projector=WiderProjector(width=256))
    assert naming.name(readout(same)) == naming.name(readout(cell()))
    assert naming.key(cell(projector=WiderProjector(width=256, dropout=0.1))) != naming.key(cell())


def test_no_default_has_changed():
    found = {
        name: {field.name: _plain(field) for field in msgspec.structs.fields(kind) if not field.required}
        for module in (config, methods, probes)
        for name, kind in vars(module).items()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
    }
    pinned = json.loads((Path(__file__).parent / "defaults.json").read_text())
    assert {name: fields for name, fields in found.items() if fields} == pinned, (
        "A name leaves out the fields that are at their default. So under a changed default, cells of the old one and "
        "of the new would have the same name and different results. Give the new value in params.yaml, or add a field "
        "whose default is what was always done; then write that into tests/defaults.json."
    )


def _plain(field: msgspec.structs.FieldInfo) -> object:
    """A field's default, as JSON has it."""
    default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    return json.loads(msgspec.json.encode(default))


def test_a_field_said_at_its_default_is_the_same_as_one_left_out():
    assert naming.key(cell(seed=0, threads=1)) == naming.key(cell())


def test_only_files_are_padded_and_a_data_set_read_out_is_padded_where_it_is_of_files():
    with pytest.raises(ValueError, match="fit: pad: the images of cifar10 are square; leave fit out"):
        Subset(dataset="cifar10", fit="pad")
    assert naming.key(Subset(dataset="pets", fit="pad")) != naming.key(Subset(dataset="pets"))
    for on, fit in (("cub200", "pad"), ("cifar10", "crop"), (None, "pad")):
        of = asdict(cell(subset=Subset(dataset="pets", fit="pad")))
        whole = layering.Cell(**of, embed=layering.EmbedOptions(on=on), probe=Ridge())
        assert layering.readout(whole).embed.on.fit == fit


def test_kinds_with_the_same_fields_have_keys_of_their_own():
    assert len({naming.key(cell(views=2, method=method)) for method in (Diet(), Supervised(), Untrained())}) == 3


def test_a_change_of_the_parent_changes_the_child():
    assert naming.key(readout(cell())) != naming.key(readout(cell(seed=1)))


def test_the_slug_speaks_the_users_words():
    assert naming.name(cell()).rsplit("-", 1)[0] == "barlow_twins-v4-d256-cifar10-50pct-s0"
    assert naming.label(cell()) == "barlow_twins (weight 0.005), 4 views, width 256, cifar10 50 %, seed 0"


def test_baselines_are_named_as_what_they_are():
    fields = {"views": 1, "method": Untrained(), "projector": Projector(depth=0)}
    pixels = cell(encoder=Encoder(name="pixels", width=8), **fields)
    assert naming.label(pixels) == "raw pixels, 8 a side, cifar10 50 %"
    assert naming.label(cell(**fields)) == "untrained narrow_resnet, width 8, cifar10 50 %, seed 0"
    assert naming.name(pixels).startswith("untrained-pixels8-cifar10-50pct-s0-")


def test_a_config_survives_json():
    stage = readout(cell())
    assert msgspec.json.decode(msgspec.json.encode(stage), type=Readout) == stage


def test_nothing_changes_a_config():
    with pytest.raises(AttributeError):
        cell().views = 3  # pyright: ignore


def test_an_unknown_data_set_is_refused_by_name():
    with pytest.raises(msgspec.ValidationError, match=r"'cifar11' is not one of mnist5k, optdigits, cifar10"):
        msgspec.convert({"dataset": "cifar11"}, Subset)


def test_images_in_a_folder_need_a_size():
    with pytest.raises(msgspec.ValidationError, match="needs a number of pixels a side"):
        msgspec.convert({"dataset": "image_folder/flowers"}, Subset)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"views": 1}, "views: 1 leaves barlow_twins nothing to compare"),
        ({"views": 1, "method": BYOL()}, "views: 1 leaves byol nothing to compare"),
        ({"method": MoCo(queue=511)}, "method.queue: 511 is less than a step's 512 keys"),
        ({"method": SDiet()}, "optimizer.name: 'adam', but sdiet's head is trained by adamw"),
        (
            {"method": SDiet(decay_factor=1e6), "optimizer": Optimizer(name="adamw", lr=0.001, weight_decay=0.05)},
            "method.decay_factor: lr × weight decay of the head is 1 or more",
        ),
        ({"optimizer": Optimizer(schedule="diet_ii"), "epochs": 15}, "epochs: 15 end before diet_ii has begun to fall"),
    ],
)
def test_fields_of_a_cell_that_do_not_go_together_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        cell(**fields)
    raw = msgspec.to_builtins(cell()) | {name: msgspec.to_builtins(part) for name, part in fields.items()}
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(raw, Pretrain)


@pytest.mark.parametrize("method", [Diet(), SDiet(), Supervised()])
def test_one_view_is_enough_where_nothing_is_compared(method):
    assert cell(views=1, method=method, optimizer=Optimizer(name="adamw")).views == 1


def test_a_named_schedule_has_its_own_warm_up():
    with pytest.raises(ValueError, match="diet_i has a warm-up and a floor of its own"):
        Optimizer(schedule="diet_i", warmup=3.0)


def test_without_a_projector_no_width_is_named():
    found = cell(views=1, method=Diet(), projector=Projector(depth=0))
    assert naming.name(found).rsplit("-", 1)[0] == "diet-v1-d0-cifar10-50pct-s0"
    assert "1 view, no projector, cifar10" in naming.label(found)


def test_diets_head_needs_what_the_specification_lists():
    """DIET spec §1.3: weight and two moments of 50,000 × 512 and 1,281,167 × 2048, in GiB."""
    for encoder, count, gib in (("resnet18", 50_000, 0.29), ("resnet50", 1_281_167, 29.32)):
        stage = cell(views=1, method=Diet(), projector=Projector(depth=0), encoder=Encoder(name=encoder))
        assert round(estimate.head_bytes(stage, count) / 2**30, 2) == gib
    assert estimate.head_bytes(cell(), 1000) == 0
