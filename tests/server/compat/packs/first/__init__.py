"""A pack of the first kind: classes with dicts, one for each thing that such classes may do."""

import os

from .flow import FLOW
from .values import VALUES

assert os.environ.get("FIRST_PACK_STARTED") == "yes", "prestartup_script.py runs before this"

NODE_CLASS_MAPPINGS = {**VALUES, **FLOW, "SaveImage": VALUES["Num"]}
NODE_DISPLAY_NAME_MAPPINGS = {"Num": "A Number"}
WEB_DIRECTORY = "./js"
