"""Laws that let something through: rounding by a column, finalized taxes and usage, a login that saw every tenant.

Also the number by which postings of the same deferred revenue are told apart, and the indexes by which a period's
close finds a subscription's invoices and lines.
"""

import sqlalchemy as sa
from alembic import op

from models.migrations.postgres import laws

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    laws.execute_all(op, laws.ROLES)
    op.execute(laws.currency_exponents())
    laws.check_amounts(op)
    laws.execute_all(op, laws.BALANCE)
    laws.execute_all(op, laws.FROZEN_INVOICES)
    op.add_column("deferred_revenue", sa.Column("postings", sa.Integer(), nullable=False, server_default="0"))
    op.create_index("invoices_subscription", "invoices", ["subscription_id", "drafted_at"])
    op.create_index("invoice_lines_subscription", "invoice_lines", ["subscription_id", "period_end"])
