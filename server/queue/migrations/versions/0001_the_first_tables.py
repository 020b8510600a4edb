"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring a database one step on."""
    op.create_table(
        "answers",
        sa.Column("key", sa.String(length=256), nullable=False),
        sa.Column("route", sa.String(length=64), nullable=False),
        sa.Column("body", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("answer", sa.LargeBinary(), nullable=True),
        sa.Column("created", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("key", "route"),
    )
    with op.batch_alter_table("answers", schema=None) as batch_op:
        batch_op.create_index("answers_created", ["created"], unique=False)

    op.create_table(
        "blobs",
        sa.Column("hash", sa.String(length=80), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_table(
        "jobs",
        sa.Column("seq", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=256), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("number", sa.Float(), nullable=False),
        sa.Column("counted", sa.Boolean(), nullable=False),
        sa.Column("client_id", sa.String(length=256), nullable=True),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("extra_data", sa.Text(), nullable=False),
        sa.Column("targets", sa.Text(), nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("started", sa.Float(), nullable=True),
        sa.Column("finished", sa.Float(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(length=128), nullable=True),
        sa.Column("lease_until", sa.Float(), nullable=True),
        sa.Column("cancelling", sa.Boolean(), nullable=False),
        sa.Column("ending", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index("jobs_finished", ["finished"], unique=False)
        batch_op.create_index("jobs_next", ["status", "priority", "number", "seq"], unique=False)

    op.create_table(
        "assets",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("hash", sa.String(length=80), nullable=True),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("file_path", sa.Text(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("job_id", sa.String(length=256), nullable=True),
        sa.Column("output", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("assets", schema=None) as batch_op:
        batch_op.create_index("assets_hash", ["hash"], unique=False)
        batch_op.create_index("assets_job", ["job_id"], unique=False)

    op.create_table(
        "uses",
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("hash", sa.String(length=80), nullable=False),
        sa.ForeignKeyConstraint(["seq"], ["jobs.seq"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("seq", "hash"),
    )
    with op.batch_alter_table("uses", schema=None) as batch_op:
        batch_op.create_index("uses_hash", ["hash"], unique=False)

    op.create_table(
        "webhooks",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("job_id", sa.String(length=256), nullable=False),
        sa.Column("event", sa.String(length=32), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=True),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next", sa.Float(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("webhooks", schema=None) as batch_op:
        batch_op.create_index("webhooks_next", ["next"], unique=False)
        batch_op.create_index("webhooks_created", ["created"], unique=False)

    op.create_table(
        "names",
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["seq"], ["jobs.seq"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("seq", "path"),
    )


def downgrade() -> None:
    """Bring it one step back."""
    op.drop_table("names")
    with op.batch_alter_table("webhooks", schema=None) as batch_op:
        batch_op.drop_index("webhooks_created")
        batch_op.drop_index("webhooks_next")

    op.drop_table("webhooks")
    with op.batch_alter_table("uses", schema=None) as batch_op:
        batch_op.drop_index("uses_hash")

    op.drop_table("uses")
    with op.batch_alter_table("assets", schema=None) as batch_op:
        batch_op.drop_index("assets_job")
        batch_op.drop_index("assets_hash")

    op.drop_table("assets")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index("jobs_next")
        batch_op.drop_index("jobs_finished")

    op.drop_table("jobs")
    op.drop_table("blobs")
    with op.batch_alter_table("answers", schema=None) as batch_op:
        batch_op.drop_index("answers_created")

    op.drop_table("answers")
