"""Sizes of files in 64 bits, names of clients of any length; SQLite's were so."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring a database one step on."""
    _change(sa.BigInteger(), sa.Text())


def downgrade() -> None:
    """Bring it one step back."""
    _change(sa.Integer(), sa.String(256))


def _change(size: sa.Integer, name: sa.String) -> None:
    if op.get_bind().dialect.name != "sqlite":
        for table in ("blobs", "assets"):
            op.alter_column(table, "size", type_=size, existing_nullable=False)
        op.alter_column("jobs", "client_id", type_=name, existing_nullable=True)
