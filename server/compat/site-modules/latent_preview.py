"""Previews of a latent while it is sampled; here the engine makes them."""

from typing import Any

from comfy.utils import ProgressBar

MAX_PREVIEW_RESOLUTION = 512


class LatentPreviewer:
    """Makes a preview of a latent estimate."""

    def decode_latent_to_preview(self, x0: Any) -> Any:
        """The preview as a picture."""
        raise NotImplementedError

    def decode_latent_to_preview_image(self, preview_format: str, x0: Any) -> tuple[str, Any, int]:
        """The preview as progress bars take it."""
        return preview_format, self.decode_latent_to_preview(x0), MAX_PREVIEW_RESOLUTION


def get_previewer(device: Any, latent_format: Any) -> LatentPreviewer | None:
    """None: there are no models for previews here."""
    del device, latent_format
    return None


def prepare_callback(model: Any, steps: int, x0_output_dict: dict[str, Any] | None = None) -> Any:
    """A sampler's callback (step, x0, x, total steps) that tells progress."""
    del model
    bar = ProgressBar(steps)

    def callback(step: int, x0: Any, x: Any, total_steps: int) -> None:
        del x
        if x0_output_dict is not None:
            x0_output_dict["x0"] = x0
        bar.update_absolute(step + 1, total_steps)

    return callback
