"""The API that packs declare nodes by."""
