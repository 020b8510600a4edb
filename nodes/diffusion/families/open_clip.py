"""OpenCLIP's key layout of text and picture encoders (Ilharco et al. 2021), in terms of transformers'."""

import re
from collections.abc import Mapping

from torch import Tensor

from nodes.diffusion.tensors import Shapes

TELLING = "token_embedding.weight"
"""A key of this layout."""

_ENDS = {
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
    "text_projection": "text_projection.weight",
    "text_projection.weight": "text_projection.weight",
    "class_embedding": "embeddings.class_embedding",
    "conv1.weight": "embeddings.patch_embedding.weight",
    "ln_pre.weight": "pre_layrnorm.weight",
    "ln_pre.bias": "pre_layrnorm.bias",
    "ln_post.weight": "post_layernorm.weight",
    "ln_post.bias": "post_layernorm.bias",
    "proj": "visual_projection.weight",
}
_INNER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
_TURNED = ("text_projection", "proj")
_BLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.(.+?)\.?(weight|bias)$")
_JOINT = "attn.in_proj_"


def names(key: str) -> tuple[str, ...]:
    """Transformers' names for one tensor: three for joint projections, none for what it has not."""
    if key in _ENDS:
        return (_ENDS[key],)
    if (match := _BLOCK.match(key)) is None:
        return ()
    layer, inner, leaf = f"encoder.layers.{match[1]}", match[2], match[3]
    if inner + leaf == _JOINT + leaf:
        return tuple(f"{layer}.self_attn.{x}_proj.{leaf}" for x in "qkv")
    return (f"{layer}.{_INNER[inner]}.{leaf}",) if inner in _INNER else ()


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under transformers' names; joint projections are split, the last projection is turned."""
    own: dict[str, Tensor] = {}
    for key, value in state.items():
        found = names(key)
        if key in _TURNED:
            own[found[0]] = value.T.contiguous()
        elif len(found) == 3:
            own |= dict(zip(found, value.chunk(3), strict=True))
        elif found:
            own[found[0]] = value
    return own


def plain_shapes(found: Shapes) -> dict[str, tuple[int, ...]]:
    """The shapes under transformers' names, for a network's configuration."""
    own: dict[str, tuple[int, ...]] = {}
    for key, shape in found.items():
        theirs = names(key)
        split = (shape[0] // 3, *shape[1:]) if len(theirs) == 3 else shape
        own |= dict.fromkeys(theirs, tuple(reversed(split)) if key in _TURNED else split)
    return own
