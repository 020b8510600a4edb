"""Lazy inputs, coroutines, added nodes, loops, progress, interruption."""

import asyncio

import comfy.model_management
import comfy.utils
import torch
from comfy_api.v0_0_2 import ComfyAPI, ComfyAPISync
from comfy_execution.graph import ExecutionBlocker
from comfy_execution.graph_utils import GraphBuilder, is_link
from comfy_execution.utils import get_executing_context
from PIL import Image

import nodes

from .values import ANY, LOG

api, api_sync = ComfyAPI(), ComfyAPISync()


class Pick:
    RETURN_TYPES = (ANY,)
    FUNCTION = "get"

    @classmethod
    def INPUT_TYPES(cls):
        lazy = {"lazy": True}
        return {"required": {"which": ("STRING",)}, "optional": {"a": (ANY, lazy), "b": (ANY, lazy)}}

    def check_lazy_status(self, which, a=None, b=None):
        LOG.append(("asked", which, a, b))
        return [which] if which not in ("none", "both") else (["a", "b"] if which == "both" else [])

    def get(self, which, a=None, b=None):
        return ({"a": a, "b": b, "both": (a, b)}.get(which),)


class PickAsync(Pick):
    async def check_lazy_status(self, which, a=None, b=None):
        await asyncio.sleep(0)
        return [which]


class NeverAsks(Pick):
    check_lazy_status = None


class Meet:
    """Two calls that can end only together."""

    RETURN_TYPES = ("STRING",)
    FUNCTION = "get"
    barrier = None

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"a": (ANY,)}}

    async def get(self, a):
        Meet.barrier = Meet.barrier or asyncio.Barrier(2)
        await asyncio.wait_for(Meet.barrier.wait(), 30)
        where = get_executing_context()
        return (f"{a} {where.prompt_id} {where.list_index} {torch.is_inference_mode_enabled()}",)


class AsyncFail:
    RETURN_TYPES = ("STRING",)
    FUNCTION = "get"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"how": ("STRING",)}}

    async def get(self, how):
        await asyncio.sleep(0)
        if how == "endless":
            LOG.append("begun")
            try:
                await api.execution.set_progress(1, 2)
                await asyncio.Event().wait()
            finally:
                LOG.append("ended")
        if how == "timeout":
            await asyncio.wait_for(asyncio.Event().wait(), 0.001)
        raise RuntimeError("out of order")


class Adds:
    """Gives nodes to run: a sum of its input and 10, and 100 as it is."""

    RETURN_TYPES = ("INT", "INT")
    FUNCTION = "get"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"a": ("INT",), "how": ("STRING", {"default": ""})}}

    def get(self, a, how):
        if how == "plain" or (how == "mixed" and a % 2):
            return (a, 1)
        graph = GraphBuilder()
        ten = graph.node("Num", value=10)
        other = GraphBuilder().node("Num", "named", value=a)
        total = graph.node("Sum", a=ten.out(0), extra=other.out(0))
        graph.nodes[other.id] = other
        if how == "cycle":
            ten.set_input("value", total.out(0))
        if how == "blocked":
            return {"result": ExecutionBlocker("no"), "expand": graph.finalize()}
        return {"result": (total.out(0), 100), "expand": graph.finalize(), "ui": {"text": ["expanded"]}}


class Given:
    """Adds a node with inputs that are no JSON, and lists that are no links."""

    RETURN_TYPES = ("STRING",)
    FUNCTION = "get"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def get(self):
        graph = GraphBuilder()
        pair = graph.node("Pair", a=[1, 2, 3], b={"__value__": (4, 5)})
        return {"result": (pair.out(0),), "expand": graph.finalize()}


class LoopOpen:
    RETURN_TYPES = ("FLOW_CONTROL", ANY, "INT")
    FUNCTION = "get"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (ANY,), "left": ("INT",)}}

    def get(self, value, left):
        return ("open", value, left)


class LoopClose:
    """Repeats the nodes between itself and the open node by adding copies of them."""

    RETURN_TYPES = (ANY,)
    FUNCTION = "get"

    @classmethod
    def INPUT_TYPES(cls):
        required = {"flow": ("FLOW_CONTROL", {"rawLink": True}), "value": (ANY,), "left": ("INT",)}
        return {"required": required, "hidden": {"prompt": "DYNPROMPT", "me": "UNIQUE_ID"}}

    def get(self, flow, value, left, prompt, me):
        if left <= 1:
            return (value,)
        start = flow[0]
        body, stack = {me, start}, [me]
        upstream = {}
        while stack:
            id = stack.pop()
            for link in filter(is_link, prompt.get_node(id)["inputs"].values()):
                upstream.setdefault(link[0], set()).add(id)
                stack.append(link[0])
        stack = [start]
        while stack:
            for id in upstream.get(stack.pop(), ()):
                if id not in body:
                    body.add(id)
                    stack.append(id)
        graph = GraphBuilder()
        name = {id: "Recurse" if id == me else id for id in body}
        for id in sorted(body):
            node = graph.node(prompt.get_node(id)["class_type"], name[id])
            node.set_override_display_id(id)
        for id in body:
            for key, old in prompt.get_node(id)["inputs"].items():
                inner = is_link(old) and old[0] in body
                new = graph.lookup_node(name[old[0]]).out(old[1]) if inner else old
                graph.lookup_node(name[id]).set_input(key, new)
        graph.lookup_node(start).set_input("value", value)
        graph.lookup_node(name[me]).set_input("left", left - 1)
        return {"result": (graph.lookup_node("Recurse").out(0),), "expand": graph.finalize()}


class Slow:
    """Tells progress; goes on until stopped where `how` says so."""

    RETURN_TYPES = ("STRING",)
    FUNCTION = "get"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"how": ("STRING",)}, "hidden": {"me": "UNIQUE_ID"}}

    def get(self, how, me):
        LOG.append(how)
        if how == "interrupt":
            nodes.interrupt_processing()
            return (me,)
        if how == "raise":
            raise comfy.model_management.InterruptProcessingException()
        bar = comfy.utils.ProgressBar(4)
        bar.update(1)
        bar.update_absolute(3, 6, ("JPEG", Image.new("RGB", (2, 2)), 64))
        api_sync.execution.set_progress(0.5, 1.0)
        while how == "endless":
            bar.update(1)
        return (me,)


classes = (Pick, PickAsync, NeverAsks, Meet, AsyncFail, Adds, Given, LoopOpen, LoopClose, Slow)
FLOW = {cls.__name__: cls for cls in classes}
