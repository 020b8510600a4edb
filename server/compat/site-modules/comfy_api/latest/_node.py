"""The class that nodes with a schema are declared by; it offers what a class of the first kind has."""

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

from comfy_api.latest._schema import HiddenHolder, NodeOutput, Schema
from engine.ports import Blocked


class classproperty:
    """A property of a class."""

    def __init__(self, get: Any) -> None:
        self._get = get

    def __get__(self, instance: Any, owner: type) -> Any:
        return self._get(owner)


class _Locking(type):
    """Refuses to set attributes of a locked class."""

    def __setattr__(cls, name: str, value: Any) -> None:
        if cls.__dict__.get("_locked"):
            raise AttributeError(
                f"{cls.__name__}.{name} cannot be set while the node runs: nodes keep no state on their class"
            )
        super().__setattr__(name, value)


class _ComfyNodeBaseInternal(metaclass=_Locking):
    """What every node with a schema has."""

    IS_SCHEMA_NODE = True
    IS_SCHEMA_BASE = True
    RELATIVE_PYTHON_MODULE: ClassVar[str | None] = None
    SCHEMA: ClassVar[Schema | None] = None
    hidden: ClassVar[HiddenHolder] = HiddenHolder()

    @classmethod
    def define_schema(cls) -> Schema:
        """The schema."""
        raise NotImplementedError(f"{cls.__name__} has no define_schema")

    @classmethod
    def execute(cls, **kwargs: Any) -> Any:
        """Run the node."""
        raise NotImplementedError(f"{cls.__name__} has no execute")

    @classmethod
    def validate_inputs(cls, **kwargs: Any) -> Any:
        """True, or what is wrong with the inputs."""
        raise NotImplementedError

    @classmethod
    def fingerprint_inputs(cls, **kwargs: Any) -> Any:
        """What the result depends on beside the inputs."""
        raise NotImplementedError

    @classmethod
    def check_lazy_status(cls, **kwargs: Any) -> list[str]:
        """The lazy inputs that are needed."""
        return [name for name, value in kwargs.items() if value is None]

    @classmethod
    def FINALIZE_SCHEMA(cls) -> Schema:
        """The schema made anew, for choices that change."""
        schema = cls.define_schema()
        schema.finalize()
        schema.validate()
        return schema

    @classmethod
    def GET_SCHEMA(cls) -> Schema:
        """The schema as it was first made."""
        if "SCHEMA" not in cls.__dict__ or cls.SCHEMA is None:
            cls.SCHEMA = cls.FINALIZE_SCHEMA()
        assert cls.SCHEMA is not None
        return cls.SCHEMA

    @classmethod
    def VALIDATE_CLASS(cls) -> None:
        """Refuse a class that lacks what a node must have."""
        for name in ("define_schema", "execute"):
            if getattr(cls, name).__func__ is getattr(_ComfyNodeBaseInternal, name).__func__:
                raise TypeError(f"{cls.__name__} has no {name}")

    @classmethod
    def GET_BASE_CLASS(cls) -> type:
        """The class that nodes of this version extend."""
        return ComfyNode

    @classmethod
    def PREPARE_CLASS_CLONE(cls, hidden_inputs: Mapping[Any, Any] | None) -> type:
        """A class like this one for one call, which knows what is hidden and keeps no state."""
        body = {"hidden": HiddenHolder.from_dict(hidden_inputs), "SCHEMA": cls.GET_SCHEMA()}
        made: Any = _Locking(cls.__name__, (cls,), {**body, "__module__": cls.__module__})
        type.__setattr__(made, "_locked", True)
        locked: type = made
        return locked

    @classmethod
    def INPUT_TYPES(cls, include_hidden: bool = True, return_schema: bool = False) -> Any:
        """The inputs as a class of the first kind declares them."""
        schema = cls.FINALIZE_SCHEMA()
        declared = schema.input_types(include_hidden)
        return (declared, schema) if return_schema else declared

    @classmethod
    def GET_NODE_INFO_V1(cls) -> dict[str, Any]:
        """The node as `/object_info` shows it."""
        return cls.FINALIZE_SCHEMA().get_v1_info(cls)

    @classmethod
    def EXECUTE_NORMALIZED(cls, *args: Any, **kwargs: Any) -> Any:
        """Run the node; what it gives is an output in any case."""
        return cls._normalized(cls.execute(*args, **kwargs))

    @classmethod
    async def EXECUTE_NORMALIZED_ASYNC(cls, *args: Any, **kwargs: Any) -> Any:
        """The same for a coroutine."""
        return cls._normalized(await cls.execute(*args, **kwargs))

    @classmethod
    def _normalized(cls, returned: Any) -> Any:
        made = returned
        if returned is None:
            made = NodeOutput()
        elif isinstance(returned, tuple):
            made = NodeOutput(*returned)
        elif isinstance(returned, Mapping):
            made = NodeOutput.from_dict(returned)
        elif not isinstance(returned, NodeOutput | Blocked):
            raise TypeError(f"{cls.__name__} returned {type(returned).__name__} and not a NodeOutput")
        if getattr(made, "expand", None) is not None and not cls.GET_SCHEMA().enable_expand:
            raise ValueError(f"{cls.__name__} gives nodes to run, but its schema lacks enable_expand=True")
        return made

    FUNCTION = classproperty(
        lambda cls: (
            "EXECUTE_NORMALIZED_ASYNC" if inspect.iscoroutinefunction(cls.execute) else "EXECUTE_NORMALIZED"
        )
    )
    DESCRIPTION = classproperty(lambda cls: cls.GET_SCHEMA().description)
    CATEGORY = classproperty(lambda cls: cls.GET_SCHEMA().category)
    EXPERIMENTAL = classproperty(lambda cls: cls.GET_SCHEMA().is_experimental)
    DEPRECATED = classproperty(lambda cls: cls.GET_SCHEMA().is_deprecated)
    API_NODE = classproperty(lambda cls: cls.GET_SCHEMA().is_api_node)
    OUTPUT_NODE = classproperty(lambda cls: cls.GET_SCHEMA().is_output_node)
    INPUT_IS_LIST = classproperty(lambda cls: cls.GET_SCHEMA().is_input_list)
    NOT_IDEMPOTENT = classproperty(lambda cls: cls.GET_SCHEMA().not_idempotent)
    OUTPUT_IS_LIST = classproperty(lambda cls: [o.is_output_list for o in cls.GET_SCHEMA().outputs])
    RETURN_TYPES = classproperty(lambda cls: [o.io_type for o in cls.GET_SCHEMA().outputs])
    RETURN_NAMES = classproperty(lambda cls: [o.display_name or o.io_type for o in cls.GET_SCHEMA().outputs])
    OUTPUT_TOOLTIPS = classproperty(lambda cls: [o.tooltip for o in cls.GET_SCHEMA().outputs])


class ComfyNode(_ComfyNodeBaseInternal):
    """A node: extend it with `define_schema` and `execute`."""

    IS_SCHEMA_BASE = True
