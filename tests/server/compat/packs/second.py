"""A pack of the second kind: classes with a schema, in one file."""

import asyncio

from comfy_api.latest import ComfyExtension, io, ui

LOADED = []


class Scale(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Scale",
            display_name="Scale It",
            category="second",
            inputs=[io.Image.Input("image"), io.Float.Input("by", default=1.0, min=0.0, max=4.0)],
            outputs=[io.Image.Output(), io.Float.Output("factor", display_name="Factor")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, image, by):
        try:
            cls.kept = 1
        except AttributeError:
            return io.NodeOutput(image * by, by, ui=ui.PreviewText(f"{cls.hidden.unique_id} {by}"))
        raise AssertionError("a class cannot be changed while it runs")


class Prompted(io.ComfyNode):
    """An input that has the name of something hidden."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Prompted",
            inputs=[io.String.Input("prompt"), io.Combo.Input("mode", options=["a", "b"], optional=True)],
            is_output_node=True,
        )

    @classmethod
    async def execute(cls, prompt, mode=None):
        await asyncio.sleep(0)
        return {"ui": {"text": [f"{prompt} {mode} {sorted(cls.hidden.prompt)} {cls.hidden.dynprompt}"]}}


class Guarded(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        many = io.MultiType.Input(io.Int.Input("n", default=3, min=0, max=9), [io.Float])
        return io.Schema(node_id="Guarded", inputs=[many], outputs=[io.AnyType.Output()])

    @classmethod
    def validate_inputs(cls, n):
        return True if n != 7 else "no sevens"

    @classmethod
    def fingerprint_inputs(cls, n):
        return float("nan") if n == 8 else 0

    @classmethod
    def execute(cls, n):
        return (n,)


class Chosen(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        lazy = [io.AnyType.Input(name, lazy=True, optional=True) for name in ("a", "b")]
        return io.Schema(
            node_id="Chosen",
            inputs=[io.String.Input("which"), *lazy],
            outputs=[io.AnyType.Output(is_output_list=True)],
            is_input_list=True,
        )

    @classmethod
    def check_lazy_status(cls, which, a=None, b=None):
        return which

    @classmethod
    def execute(cls, which, a=None, b=None):
        return io.NodeOutput(a if which == ["a"] else b)


class Expands(io.ComfyNode):
    ENABLED = True

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Expands",
            inputs=[io.Int.Input("n")],
            outputs=[io.Int.Output()],
            enable_expand=cls.ENABLED,
        )

    @classmethod
    def execute(cls, n):
        nodes = {"inner": {"class_type": "Guarded", "inputs": {"n": n}}}
        return io.NodeOutput(["inner", 0], expand=nodes)


class ExpandsUnasked(Expands):
    ENABLED = False

    @classmethod
    def define_schema(cls):
        schema = super().define_schema()
        schema.node_id = "ExpandsUnasked"
        return schema


class Blocks(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        outputs = [io.Int.Output(), io.Combo.Output(options=["a", "b"])]
        return io.Schema(node_id="Blocks", inputs=[], outputs=outputs)

    @classmethod
    def execute(cls):
        return io.NodeOutput(block_execution="closed")


class Previews(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="Previews", inputs=[io.Image.Input("image")], is_output_node=True)

    @classmethod
    def execute(cls, image):
        return io.NodeOutput(ui=ui.PreviewImage(image, cls=cls))


class Grows(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        rows = io.Autogrow.TemplatePrefix(io.Int.Input("n", min=0, max=9), prefix="n", min=1, max=4)
        scale = io.DynamicCombo.Option("scale", [io.Float.Input("by"), io.String.Input("why", optional=True)])
        same = io.MatchType.Template("same", [io.Int, io.Float])
        return io.Schema(
            node_id="Grows",
            inputs=[
                io.Autogrow.Input("rows", template=rows),
                io.DynamicCombo.Input("mode", options=[scale, io.DynamicCombo.Option("none", [])]),
                io.MatchType.Input("same", template=same, optional=True),
            ],
            outputs=[io.MatchType.Output(same, display_name="same")],
        )

    @classmethod
    def validate_inputs(cls, mode):
        return True if mode.get("by") != 7 else "not by seven"

    @classmethod
    def execute(cls, rows, mode, same=None):
        return io.NodeOutput(repr((rows, mode, same)))


class Second(ComfyExtension):
    async def on_load(self):
        LOADED.append(self)

    async def get_node_list(self):
        return [Scale, Prompted, Guarded, Chosen, Expands, ExpandsUnasked, Blocks, Previews, Grows]


async def comfy_entrypoint():
    return Second()
