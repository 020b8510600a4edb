"""The options that packs look at, as `args`."""

from argparse import Namespace
from enum import Enum

from server.compat.host import host


class LatentPreviewMethod(Enum):
    """How steps are previewed."""

    NoPreviews = "none"
    Auto = "auto"
    Latent2RGB = "latent2rgb"
    TAESD = "taesd"


def _arguments() -> Namespace:
    here = host()
    found = Namespace(
        listen="127.0.0.1",
        port=8188,
        cpu=here.device == "cpu",
        preview_method=LatentPreviewMethod.NoPreviews,
        preview_size=512,
        disable_metadata=False,
        base_directory=str(here.base),
        output_directory=str(here.files.folders["output"][0]),
        input_directory=str(here.files.folders["input"][0]),
        temp_directory=str(here.files.folders["temp"][0]),
        user_directory=str(here.base / "user"),
        extra_model_paths_config=None,
        enable_cors_header=None,
        tls_keyfile=None,
        tls_certfile=None,
        multi_user=False,
        verbose="INFO",
        lowvram=False,
        novram=False,
        highvram=False,
        gpu_only=False,
        force_fp16=False,
        force_fp32=False,
        deterministic=False,
        fast=set(),
        dont_print_server=True,
        windows_standalone_build=False,
        disable_all_custom_nodes=False,
        front_end_root=None,
    )
    vars(found).update(here.arguments)
    return found


args = _arguments()
