"""The outbox announces its new rows itself, when the transaction commits: relays hear of them without being told."""

from alembic import op

from models.migrations.postgres import laws

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    laws.execute_all(op, laws.OUTBOX)
