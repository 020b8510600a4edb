import os

os.environ["FIRST_PACK_STARTED"] = "yes"
