"""Whether an output may be linked to an input, by their types."""


def validate_node_input(received_type: str, input_type: str, strict: bool = False) -> bool:
    """Whether a type that is given fits the one that is taken.

    Args:
        strict: Whether all given types must be taken, and not only one of them.
    """
    if not received_type != input_type:
        return True
    if not isinstance(received_type, str) or not isinstance(input_type, str):
        return False
    given, taken = ({t.strip() for t in text.split(",")} for text in (received_type, input_type))
    if "*" in taken:
        return True
    return given <= taken if strict else bool(given & taken)
