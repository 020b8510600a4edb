"""Migrations of the queue's database, run by Alembic when it is opened."""
