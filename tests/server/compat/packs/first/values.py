"""Values, lists, checks, hidden inputs, state."""

import torch
from comfy.comfy_types import IO
from comfy_execution.graph import ExecutionBlocker

LOG = []


class AnyType(str):
    def __ne__(self, other):
        return False


ANY = AnyType("*")


class Anything(dict):
    """A flexible mapping of optional inputs."""

    def __contains__(self, key):
        return True

    def __getitem__(self, key):
        return (ANY,)


class Num:
    RETURN_TYPES = ("INT",)
    FUNCTION = "get"
    CATEGORY = "first"
    DESCRIPTION = "A number."

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("INT", {"default": 0, "min": -9, "max": 99, "tooltip": "which"})}}

    def __init__(self):
        self.calls = 0

    def get(self, value):
        self.calls += 1
        LOG.append(("Num", value, self.calls, torch.is_inference_mode_enabled()))
        return (value,)


class Sum:
    """Declares one input and takes any others."""

    RETURN_TYPES = ("INT",)
    FUNCTION = "add"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"a": ("INT",)}}

    def add(self, a, **others):
        LOG.append(("Sum", a, others))
        return (a + sum(others.values()),)


class Flexible:
    RETURN_TYPES = ("STRING",)
    FUNCTION = "get"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}, "optional": Anything()}

    def get(self, **given):
        return (repr(sorted(given.items())),)


class Show:
    RETURN_TYPES = ()
    FUNCTION = "show"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (ANY, {})}}

    def show(self, value):
        LOG.append(("Show", value))
        return {"ui": {"text": [str(value)]}}


class MakeList:
    RETURN_TYPES = (ANY,)
    OUTPUT_IS_LIST = (True,)
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}, "optional": {f"v{i}": (ANY,) for i in range(5)}}

    def make(self, **values):
        return ([values[k] for k in sorted(values)],)


class Whole:
    """Takes lists whole."""

    RETURN_TYPES = ("STRING",)
    INPUT_IS_LIST = (True,)
    FUNCTION = "get"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"values": (ANY,), "n": ("INT",)}, "hidden": {"me": "UNIQUE_ID"}}

    def get(self, values, n, me):
        return (repr((values, n, me)),)


class Pair:
    RETURN_TYPES = ("STRING",)
    FUNCTION = "get"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"a": (ANY,), "b": (ANY,)}}

    def get(self, a=None, b=None):
        return (f"{a}/{b}",)


class Block:
    RETURN_TYPES = (ANY, "INT")
    FUNCTION = "get"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"a": (ANY,), "bad": ("INT",), "message": ("STRING", {"default": ""})}}

    def get(self, a, bad, message):
        return ExecutionBlocker(message or None) if a == bad else (a, a)


class Hid:
    RETURN_TYPES = ("STRING",)
    FUNCTION = "get"

    @classmethod
    def INPUT_TYPES(cls):
        hidden = {
            "p": "PROMPT", "e": "EXTRA_PNGINFO", "u": "UNIQUE_ID", "d": "DYNPROMPT",
            "t": "AUTH_TOKEN_COMFY_ORG", "k": "API_KEY_COMFY_ORG", "more": ("*",),
        }  # fmt: skip
        return {"required": {}, "hidden": hidden}

    def get(self, p, e, u, d, t, k, more=None):
        assert d.get_original_prompt() == p
        assert d.get_node(u)["class_type"] == "Hid"
        assert type(p) is dict  # as packs may change it
        assert {type(v) for v in e.values()} <= {dict}
        return (repr((sorted(p), sorted(e), u, sorted(d.all_node_ids()), d.has_node("77"), t, k, more)),)


class Changed:
    RETURN_TYPES = ("INT",)
    FUNCTION = "get"
    PRINT = 1

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"a": ("INT",), "n": ("INT",)}, "hidden": {"me": "UNIQUE_ID"}}

    @classmethod
    def IS_CHANGED(cls, a, n, me):
        LOG.append(("IS_CHANGED", a, n, me))
        if cls.PRINT == "raise":
            raise RuntimeError("no print")
        return cls.PRINT

    def get(self, a, n, me):
        LOG.append(("Changed", a))
        return (a + n,)


class Own:
    """A result of its own for each node."""

    NOT_IDEMPOTENT = True
    RETURN_TYPES = ("INT",)
    FUNCTION = "get"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def get(self):
        LOG.append(("Own",))
        return (len(LOG),)


class Widgets:
    RETURN_TYPES = ("STRING",)
    FUNCTION = "get"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "i": ("INT", {"min": 0, "max": 9}),
                "f": ("FLOAT", {"min": 0.0}),
                "s": ("STRING", {}),
                "b": ("BOOLEAN", {}),
                "c": ([1, 2, "three"],),
                "u": ("IMAGE,FLOAT",),
            },
            "optional": {"o": ("INT", {"default": 5})},
        }

    def get(self, i, f, s, b, c, u, o="not given"):
        return (repr((i, f, s, b, c, u, o)),)


class Picky:
    """Checks its inputs itself."""

    RETURN_TYPES = ("STRING",)
    FUNCTION = "get"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"a": ("FLOAT", {"max": 1.0}), "b": ("FLOAT", {"max": 1.0}), "c": (["x"],)}}

    @classmethod
    async def VALIDATE_INPUTS(cls, a, c):
        if c == "raise":
            raise RuntimeError("broken")
        return True if a != 7 else f"7 is refused ({c})"

    def get(self, a, b, c):
        return (repr((a, b, c)),)


class TypedItself:
    """Looks at the types of what is linked."""

    RETURN_TYPES = ("STRING",)
    FUNCTION = "get"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"a": ("IMAGE,FLOAT",)}}

    @classmethod
    def VALIDATE_INPUTS(cls, input_types):
        return input_types.get("a") in (None, "STRING")

    def get(self, a):
        return (repr(a),)


class Listed:
    """Gives and takes the same choices, and a type by name."""

    CHOICES = ("red", "blue")
    RETURN_TYPES = (list(CHOICES), IO.NUMBER)
    FUNCTION = "get"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"c": (list(cls.CHOICES),)}, "optional": {"n": (IO.NUMBER,)}}

    def get(self, c, n=0):
        return (c, n)


class Bad:
    RETURN_TYPES = ()
    FUNCTION = "get"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        raise RuntimeError("no interface")


class LatentTwice:
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "get"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"samples": ("LATENT",), "how": (["dict", "nothing", "bare"],)}}

    def get(self, samples, how):
        LOG.append(("LatentTwice", type(samples).__name__, sorted(samples)))
        if how == "nothing":
            return None
        return ({"samples": samples["samples"] * 2, "mine": 1},) if how == "dict" else samples["samples"]


classes = (
    Num, Sum, Flexible, Show, MakeList, Whole, Pair, Block, Hid, Changed, Own, Widgets, Picky, TypedItself,
    Listed, Bad, LatentTwice,
)  # fmt: skip
VALUES = {cls.__name__: cls for cls in classes}
