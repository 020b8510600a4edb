"""The tables of the queue; migrations bring a database to this form."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

METADATA = MetaData()
Name = Text().with_variant(String(256), "sqlite")  # SQLite's texts are of any length
Bytes = BigInteger().with_variant(Integer, "sqlite")  # SQLite's integers are of any size

jobs = Table(
    "jobs",
    METADATA,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String(256), nullable=False, unique=True),
    Column("status", String(16), nullable=False),  # pending, paused, running, success, error, cancelled
    Column("priority", Integer, nullable=False),  # higher first
    Column("number", Float, nullable=False),  # then lower first
    Column("counted", Boolean, nullable=False),  # whether the number was the server's own, a whole one
    Column("client_id", Name),
    Column("prompt", Text, nullable=False),
    Column("extra_data", Text, nullable=False),
    Column("targets", Text, nullable=False),
    Column("options", Text, nullable=False),
    Column("created", Float, nullable=False),
    Column("started", Float),
    Column("finished", Float),
    Column("attempt", Integer, nullable=False),
    Column("owner", String(128)),
    Column("lease_until", Float),
    Column("cancelling", Boolean, nullable=False),
    Column("ending", Text),  # JSON of what came of it: outputs, meta, messages, error, executed, cached
    Index("jobs_finished", "finished"),
    sqlite_autoincrement=True,
)
Index("jobs_next", jobs.c.status, jobs.c.priority.desc(), jobs.c.number, jobs.c.seq)  # as they run
names = Table(
    "names",
    METADATA,
    Column("seq", Integer, ForeignKey("jobs.seq", ondelete="CASCADE"), primary_key=True),
    Column("path", Text, primary_key=True),
    Column("sha256", String(64), nullable=False),
)
blobs = Table(
    "blobs",
    METADATA,
    Column("hash", String(80), primary_key=True),  # blake3:<hex>
    Column("size", Bytes, nullable=False),
    Column("path", Text, nullable=False),  # in the input folder
    Column("created", Float, nullable=False),
)
uses = Table(
    "uses",
    METADATA,
    Column("seq", Integer, ForeignKey("jobs.seq", ondelete="CASCADE"), primary_key=True),
    Column("hash", String(80), primary_key=True),  # a blob that this job reads
    Index("uses_hash", "hash"),
)
assets = Table(
    "assets",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("hash", String(80)),
    Column("size", Bytes, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("file_path", Text, nullable=False),
    Column("tags", Text, nullable=False),
    Column("created", Float, nullable=False),
    Column("job_id", String(256), ForeignKey("jobs.id", ondelete="CASCADE")),  # none: it was uploaded
    Column("output", Text),  # JSON of an output: type, subfolder, filename; or text
    Index("assets_hash", "hash"),
    Index("assets_job", "job_id"),
)
answers = Table(
    "answers",
    METADATA,
    Column("key", String(256), primary_key=True),
    Column("route", String(64), primary_key=True),
    Column("body", String(64), nullable=False),  # blake3 of the request
    Column("status", Integer),  # none while the first request is under way
    Column("answer", LargeBinary),
    Column("created", Float, nullable=False),
    Index("answers_created", "created"),
)
webhooks = Table(
    "webhooks",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("job_id", String(256), nullable=False),
    Column("event", String(32), nullable=False),
    Column("url", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("secret", Text),
    Column("created", Float, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next", Float),  # none once delivered or given up
    Column("outcome", Text),
    Index("webhooks_next", "next"),
    Index("webhooks_created", "created"),
)
