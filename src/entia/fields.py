"""What all configs are made of: the struct that refuses unknown keys, and the kinds of numbers it may hold."""

from typing import Annotated

from msgspec import Meta, Struct

Count = Annotated[int, Meta(ge=1, description="a positive whole number")]
Several = Annotated[int, Meta(ge=2, description="a whole number, two or more")]
Whole = Annotated[int, Meta(ge=0, description="a whole number, zero or more")]
Seed = Annotated[int, Meta(ge=0, lt=2**32, description="a whole number from 0 to 4294967295")]
"""PyTorch's generator takes 32 bits of a seed: a larger one would repeat a smaller one's numbers."""
Share = Annotated[float, Meta(gt=0, le=1, description="a number above 0, at most 1")]
Held = Annotated[float, Meta(ge=0, lt=1, description="a number from 0 to below 1")]
Probability = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]
Positive = Annotated[float, Meta(gt=0, description="a positive number")]
NonNegative = Annotated[float, Meta(ge=0, description="a number, zero or more")]


class Problem(Exception):
    """Something the user can mend. Printed as it is, without a stack trace: it names the place and the remedy."""


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A frozen struct that refuses unknown keys."""


def tag(config: Struct | type[Struct]) -> str:
    """The name that params.yaml gives a struct of several of its kind: a method, a probe."""
    return str(config.__struct_config__.tag)
