"""Changes of how a UNet computes, for variants that share its weights: FreeU, smaller deep layers."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, cat, nn

from nodes.diffusion.guiding_direction import scaled_frequencies
from nodes.diffusion.resize import resized

ALWAYS_FORWARDED = 63
"""As a UNet's number of upsamplers it makes each go to the size of the skip connection that follows."""


def input_blocks(unet: Any) -> list[list[nn.Module]]:
    """The modules of each input block of a diffusers UNet, in order, as latent-diffusion code counts them."""
    blocks: list[list[nn.Module]] = [[unet.conv_in]]
    for down in unet.down_blocks:
        blocks += _layers(down)
        blocks += [[each] for each in down.downsamplers or ()]
    return blocks


def output_blocks(unet: Any) -> list[list[nn.Module]]:
    """Likewise each output block's, but for the upsamplers at their ends."""
    return [layer for up in unet.up_blocks for layer in _layers(up)]


def _layers(block: Any) -> list[list[nn.Module]]:
    attentions = getattr(block, "attentions", None)
    if attentions is None:
        return [[resnet] for resnet in block.resnets]
    return [list(layer) for layer in zip(block.resnets, attentions, strict=True)]


@dataclass(frozen=True)
class FreeU:
    """A decoder that trusts its backbone more and its skip connections less (Si et al. 2023, "FreeU").

    Blocks whose backbone has four times the network's first channel count take the first of each pair of
    factors, those with twice as many the second.

    Args:
        backbone: b1 and b2, factors on the first half of the backbone's channels.
        skip: s1 and s2, factors on the lowest frequencies of the skip connections.
        adaptive: Whether b follows the mean over the channels, scaled to 0..1 in each picture (the paper's
            equation 4); a constant mean, which has no such scale, leaves the backbone as it is.
    """

    backbone: tuple[float, float]
    skip: tuple[float, float]
    adaptive: bool = False

    def install(self, module: Any) -> None:
        """See `weights.Structure`."""
        width: int = module.config.block_out_channels[0]
        factors = {4 * width: (self.backbone[0], self.skip[0]), 2 * width: (self.backbone[1], self.skip[1])}
        skips = [_channels(block) for block in input_blocks(module)]
        for (resnet, *_), skipped in zip(output_blocks(module), reversed(skips), strict=True):
            channels = int(resnet.in_channels) - skipped  # type: ignore[arg-type]
            if channels in factors:
                resnet.register_forward_pre_hook(partial(self._before, channels, *factors[channels]))

    def _before(self, channels: int, b: float, s: float, _: nn.Module, inputs: tuple[Any, ...]) -> Any:
        both, *rest = inputs
        backbone, skip = both[:, :channels], both[:, channels:]
        half = channels // 2
        raised = backbone[:, :half] * (self._factor(backbone, b) if self.adaptive else b)
        return (cat([raised, backbone[:, half:], scaled_frequencies(skip, 1, s)], dim=1), *rest)

    def _factor(self, backbone: Tensor, b: float) -> Tensor:
        mean = backbone.mean(dim=1, keepdim=True)
        low, high = mean.amin(dim=(-2, -1), keepdim=True), mean.amax(dim=(-2, -1), keepdim=True)
        share = ((mean - low) / (high - low)).nan_to_num(0.0, 0.0, 0.0)
        return share * (b - 1) + 1


@dataclass(frozen=True)
class Shrunk:
    """A UNet whose layers after an input block work at another size (kohya-ss 2023, "deep shrink").

    Pictures larger than those of training then keep one composition. Decoder states are brought to the size
    of the skip connections that they meet.

    Args:
        block: The input block, counted from 0.
        factor: How many times smaller.
        after_skip: Whether the skip connection from the block keeps its size.
        down: Method of making smaller; see `resize.resized`.
        up: Of making larger again.
    """

    block: int
    factor: float
    after_skip: bool
    down: str
    up: str

    def install(self, module: Any) -> None:
        """See `weights.Structure`."""
        module.num_upsamplers = ALWAYS_FORWARDED
        _Residuals(module)
        blocks = [*input_blocks(module), [module.mid_block.resnets[0]]]
        if self.block < len(blocks) - 1:
            if self.after_skip:
                blocks[self.block + 1][0].register_forward_pre_hook(self._before)
            else:
                blocks[self.block][-1].register_forward_hook(self._after)
        for up in module.up_blocks:
            _Fitted(up, self.up)

    def _before(self, _: nn.Module, inputs: tuple[Any, ...]) -> Any:
        return (self._shrunk(inputs[0]), *inputs[1:])

    def _after(self, _: nn.Module, __: object, output: Any) -> Any:
        return _mapped(output, self._shrunk)

    def _shrunk(self, states: Tensor) -> Tensor:
        height, width = (max(1, round(side / self.factor)) for side in states.shape[-2:])
        return resized(states, width, height, self.down)


class _Fitted:
    """Hooks that bring the states in an up block to the size of the skip connection each meets next."""

    def __init__(self, block: Any, method: str) -> None:
        self._method = method
        self._sizes: list[Any] = []  # of the skips that are still to come in this pass, the next one last
        block.register_forward_pre_hook(self._enter, with_kwargs=True)
        for layer in _layers(block)[:-1]:
            layer[-1].register_forward_hook(self._leave)

    def _enter(self, _: nn.Module, inputs: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        self._sizes = [skip.shape[-2:] for skip in options["res_hidden_states_tuple"]]
        return inputs, {**options, "hidden_states": self._fitted(options["hidden_states"])}

    def _leave(self, _: nn.Module, __: object, output: Any) -> Any:
        return _mapped(output, self._fitted)

    def _fitted(self, states: Tensor) -> Tensor:
        height, width = self._sizes.pop()
        if (height, width) == tuple(states.shape[-2:]):
            return states
        return resized(states, width, height, self._method)


class _Residuals:
    """Hooks that add what ControlNets and adapters give where it has the size of what it is added to only."""

    def __init__(self, unet: Any) -> None:
        self._down: list[Tensor] = []
        self._middle: Tensor | None = None
        self._levels: list[Tensor] = []
        unet.register_forward_pre_hook(self._enter, with_kwargs=True)
        unet.mid_block.register_forward_hook(self._leave_middle)
        for down in unet.down_blocks:
            if hasattr(down, "attentions"):
                down.attentions[-1].register_forward_hook(self._leave_level)
            else:
                down.register_forward_hook(self._leave_plain_level)
        for up in unet.up_blocks:
            up.register_forward_pre_hook(self._enter_up, with_kwargs=True)

    def _enter(self, _: nn.Module, inputs: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        self._down = list(options.get("down_block_additional_residuals") or ())
        self._middle = options.get("mid_block_additional_residual")
        self._levels = list(options.get("down_intrablock_additional_residuals") or ())
        held = ("down_block_additional_residuals", "mid_block_additional_residual")
        return inputs, {**options, **dict.fromkeys((*held, "down_intrablock_additional_residuals"))}

    def _leave_level(self, _: nn.Module, __: object, output: Any) -> Any:
        residual = self._levels.pop(0) if self._levels else None
        return _mapped(output, lambda states: _added(states, residual))

    def _leave_plain_level(self, _: nn.Module, __: object, output: Any) -> None:
        if self._levels:  # in place, as the states are a skip connection too
            output[0].copy_(_added(output[0], self._levels.pop(0)))

    def _leave_middle(self, _: nn.Module, __: object, output: Tensor) -> Tensor:
        return _added(output, self._middle)

    def _enter_up(self, _: nn.Module, inputs: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        skips = options["res_hidden_states_tuple"]
        start = len(self._down) - len(skips)
        if start < 0:
            return None
        mine, self._down = self._down[start:], self._down[:start]
        added = tuple(_added(skip, residual) for skip, residual in zip(skips, mine, strict=True))
        return inputs, {**options, "res_hidden_states_tuple": added}


def _added(states: Tensor, residual: Tensor | None) -> Tensor:
    return states if residual is None or residual.shape != states.shape else states + residual


def _mapped(output: Any, change: Any) -> Any:
    """A module's output changed; diffusers' transformers give it as a tuple of one."""
    return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)


def _channels(block: list[nn.Module]) -> int:
    return int(block[0].out_channels)  # type: ignore[arg-type]
