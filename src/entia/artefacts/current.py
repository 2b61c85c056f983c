"""Whether what a stage would make lies there already: then it need not be made again, whoever asks.

Snakemake tells by times, and a lost file that it makes again has all that follows made again. An artefact therefore
says what it was made from by contents: `content` is its own, `parents` those of what its stage read.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from entia.artefacts import check, provenance, store
from entia.config import Pretrain, Stage
from entia.fields import Problem
from entia.system import faults


def content(arrays: Mapping[str, Any]) -> str:
    """A SHA-256 of arrays (NumPy's, PyTorch's on the CPU, `store.blocks`') by name, whatever file they are of."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name] if arrays[name].shape else np.ascontiguousarray(arrays[name])  # a number: an array of one
        digest.update(f"{name} {np.asarray(array[:0]).dtype.str} {tuple(array.shape)}\n".encode())
        for block in store.blocks(array):
            digest.update(block.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def lineage(*heads: Mapping[str, Any]) -> str:
    """What an artefact says of those it was made from."""
    return " ".join(head.get("content", "") for head in heads)


def is_current(data: Path, stage: Stage) -> bool:
    """Whether a stage's artefact is whole, of this config and of today's code, and made from its parents as they are.

    Raw data are not read: a subset has no parents. A run's log must be whole beside its weights.
    """
    try:
        head = check.open_head(data, stage)
        of = [check.open_head(data, parent) for parent in stage.parents]
        if isinstance(stage, Pretrain):
            store.read_log(store.log_path(data, stage))
    except faults.Unreadable:
        raise  # it may well be current: to make it again would be to lose it
    except Problem:
        return False
    return head["code"] == provenance.stage_code(stage.kind, stage) and head.get("parents", "") == lineage(*of)
