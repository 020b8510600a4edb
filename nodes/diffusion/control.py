"""ControlNets: the network, and one use of it on a conditioning."""

from dataclasses import dataclass, field

from torch import Tensor

from engine.devices import Devices
from engine.ports import Port
from nodes.diffusion.weights import Recipe


@Port("CONTROL_NET")
@dataclass(frozen=True)
class ControlNet:
    """A network that steers a diffusion model by a picture.

    `recipe.module(devices)` is a diffusers `ControlNetModel`: called with the noisy input, the timestep, the
    embeddings and the hint at 8 times the latent's size, it returns what to add to the denoiser's skip
    connections and to its middle block.
    """

    recipe: Recipe
    devices: Devices = field(compare=False, repr=False)


@dataclass(frozen=True, eq=False)
class ControlUse:
    """One ControlNet at work; a conditioning's option "control" is a tuple of these, first applied first.

    Args:
        hint: [B, H, W, 3], 0..1; of any size, resized to 8 times the latent when the model is asked.
        strength: Factor on what the network adds.
        start_percent: Share of the sampling after which it begins, 0..1.
        end_percent: Share of the sampling after which it ends, 0..1.
    """

    net: ControlNet
    hint: Tensor
    strength: float = 1.0
    start_percent: float = 0.0
    end_percent: float = 1.0
