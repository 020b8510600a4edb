"""Version 0_0_1 of the API: the same as the next one, and as the newest."""

from comfy_api.v0_0_2 import *
