"""What packs import of the ecosystem's library."""
