"""What artefacts are called: a config's key, its name, its files, and its label in the user's words.

`key` hashes a config's canonical JSON and `name` puts a readable slug before it; the slug is for people and is never
parsed.
"""

import functools
import hashlib
import re

import msgspec
from msgspec import Struct

from entia.config import Embed, Encoder, Pretrain, Projector, Readout, Stage, Subset
from entia.fields import tag
from entia.methods import Method, Untrained


@functools.cache  # a plan names a cell once for every artefact, embedding and readout of it
def key(config: Stage) -> str:
    """Ten hex digits of the SHA-256 of the config's canonical JSON: sorted keys, without the fields at their default.

    So a new field renames nothing as long as its default is what was done before.
    """
    return hashlib.sha256(msgspec.json.encode(_said(config), order="sorted")).hexdigest()[:10]


def _said(config: Struct) -> dict[str, object]:
    """A config's fields that differ from their default, and its tag where it has one."""
    kind = config.__struct_config__
    said: dict[str, object] = {kind.tag_field: kind.tag} if kind.tag_field else {}
    for name, default in _defaults(type(config)):
        value = getattr(config, name)
        if value != default:
            said[name] = _said(value) if isinstance(value, Struct) else value
    return said


@functools.cache
def _defaults(kind: type[Struct]) -> list[tuple[str, object]]:
    """A struct's fields and their defaults, where a field has none one that no value equals."""
    return [(field.name, field.default) for field in msgspec.structs.fields(kind)]


def name(config: Stage) -> str:
    """The artefact's name: a readable slug and the key, such as `barlow_twins-v4-d256-cifar10-50pct-s0-1f0c9a77de`."""
    return f"{_slug(config)}-{key(config)}"


def label(config: Stage) -> str:
    """The config in the user's words: `barlow_twins (weight 0.005), 4 views, width 256, cifar10 50 %, seed 0`."""
    match config:
        case Subset():
            return f"{config.source} {_percent(config)} %"
        case Pretrain(method=Untrained(), encoder=Encoder(name="pixels", width=width)):
            return f"raw pixels, {width} a side, {label(config.subset)}"
        case Pretrain(method=Untrained(), encoder=encoder):
            return f"untrained {encoder.name}, width {encoder.width}, {label(config.subset)}, seed {config.seed}"
        case Pretrain():
            return (
                f"{_method(config.method)}, {config.views} view{'s' * (config.views > 1)}{_crops(config)}, "
                f"{_projector(config.projector)}, {label(config.subset)}, seed {config.seed}"
            )
        case Embed():
            return label(config.pretrain) + (f", on {config.on.dataset}" if _is_transfer(config) else "")
        case Readout():
            return f"{label(config.embed)}, {tag(config.probe)}"


def _slug(config: Stage) -> str:
    match config:
        case Subset():
            return f"{_plain(config.source)}-{_percent(config)}pct"
        case Pretrain(method=Untrained(), encoder=encoder):
            return f"untrained-{encoder.name}{encoder.width}-{_slug(config.subset)}-s{config.seed}"
        case Pretrain():
            width = config.projector.width if config.projector.depth else 0
            views = f"v{config.views}" + (f"c{config.crops.views}" if config.crops else "")
            parts = (tag(config.method), views, f"d{width}")
            return "-".join((*parts, _slug(config.subset), f"s{config.seed}"))
        case Embed():
            return _slug(config.pretrain) + (f"-on-{_slug(config.on)}" if _is_transfer(config) else "")
        case Readout():
            return f"{_slug(config.embed)}-{tag(config.probe)}"


def _plain(dataset: str) -> str:
    """A data set's name as file systems and shells take it, and short: two such, beside the rest, stay below 255."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", dataset)[:50]


def _is_transfer(config: Embed) -> bool:
    return config.on.dataset != config.pretrain.subset.dataset


def files(stage: Stage) -> tuple[str, ...]:
    """Where a config's artefact lies below data/: all its files, the artefact itself first."""
    return tuple(f"{stage.folder}/{name(stage)}{suffix}" for suffix in stage.suffixes)


def _crops(config: Pretrain) -> str:
    return f" and {config.crops.views} of {config.crops.size} pixels" if config.crops else ""


def _projector(config: Projector) -> str:
    return f"width {config.width}" if config.depth else "no projector"


def _method(config: Method) -> str:
    """A method's tag, and its numbers where they are not its defaults."""
    numbers = [
        f"{field.name} {getattr(config, field.name):g}"
        for field in msgspec.structs.fields(config)
        if type(getattr(config, field.name)) in (int, float) and getattr(config, field.name) != field.default
    ]
    return tag(config) + (f" ({', '.join(numbers)})" if numbers else "")


def _percent(config: Subset) -> str:
    return f"{100 * config.fraction:.4g}"
