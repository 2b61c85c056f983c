import msgspec
import pytest

from entia import config
from entia.config import (
    Augmentation,
    BarlowTwins,
    Embed,
    Encoder,
    Optimizer,
    Pretrain,
    Projector,
    Readout,
    Ridge,
    Subset,
)


def cell(**fields) -> Pretrain:
    given = {
        "subset": Subset(dataset="cifar10", fraction=0.5),
        "augmentation": Augmentation(),
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


def test_equal_configs_have_equal_keys():
    assert config.key(cell()) == config.key(cell())


def test_every_field_is_part_of_the_key():
    content = msgspec.to_builtins(cell())
    changed = {
        "views": 2, "epochs": 11, "batch": 64, "drop_last": False, "checkpoint_every": 5, "precision": "bfloat16",
        "threads": 2, "seed": 1, "batch_norm": "per_view",
        "subset": {**content["subset"], "seed": 3},
        "augmentation": {**content["augmentation"], "hue": 0.0},
        "encoder": {**content["encoder"], "width": 16},
        "projector": {**content["projector"], "depth": 3},
        "method": {**content["method"], "weight": 0.006},
        "optimizer": {**content["optimizer"], "lr": 0.002},
    }  # fmt: skip
    assert set(changed) == set(Pretrain.__struct_fields__)
    keys = {config.key(msgspec.convert({**content, name: value}, Pretrain)) for name, value in changed.items()}
    assert len(keys | {config.key(cell())}) == len(changed) + 1


def test_a_change_of_the_parent_changes_the_child():
    assert config.key(readout(cell())) != config.key(readout(cell(seed=1)))


def test_the_slug_speaks_the_users_words():
    assert config.name(cell()).rsplit("-", 1)[0] == "barlow_twins-v4-d256-cifar10-50pct-s0"
    assert config.label(cell()) == "barlow_twins 0.005, 4 views, width 256, cifar10 50 %, seed 0"


def test_a_config_survives_json():
    stage = readout(cell())
    assert msgspec.json.decode(msgspec.json.encode(stage), type=Readout) == stage


def test_nothing_changes_a_config():
    with pytest.raises(AttributeError):
        cell().views = 3  # pyright: ignore


def test_an_unknown_data_set_is_refused_by_name():
    with pytest.raises(msgspec.ValidationError, match=r"'cifar11' is not one of mnist5k, cifar10"):
        msgspec.convert({"dataset": "cifar11"}, Subset)


def test_images_in_a_folder_need_a_size():
    with pytest.raises(msgspec.ValidationError, match="needs a number of pixels a side"):
        msgspec.convert({"dataset": "image_folder/flowers"}, Subset)
