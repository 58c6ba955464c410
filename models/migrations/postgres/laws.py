"""What the database itself enforces, for migrations to call: row-level security, exponents, balance, immutability.

A new table is protected by `protect(op, name)` in the migration that creates it; a test fails while one is not.
"""

from typing import Any

from iso4217 import Currency

ROLES = (
    """
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'durabill_app') THEN CREATE ROLE durabill_app NOLOGIN; END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'durabill_system') THEN
    CREATE ROLE durabill_system NOLOGIN;
  END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;  -- another database of this server was faster
END $$
""",
    """
GRANT durabill_app, durabill_system TO CURRENT_USER
""",
    """
GRANT USAGE ON SCHEMA public TO durabill_app, durabill_system
""",
)

BALANCE = (
    """
CREATE FUNCTION ledger_transaction_balances() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE difference numeric;
BEGIN
  SELECT sum(debit) - sum(credit) INTO difference FROM ledger_entries WHERE transaction_id = NEW.transaction_id;
  IF difference <> 0 THEN
    RAISE EXCEPTION 'ledger transaction % does not balance: debits exceed credits by %', NEW.transaction_id, difference
      USING ERRCODE = 'check_violation';
  END IF;
  RETURN NULL;
END $$
""",
    """
CREATE CONSTRAINT TRIGGER ledger_balances AFTER INSERT OR UPDATE ON ledger_entries
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_transaction_balances()
""",
)

APPEND_ONLY = (
    """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is append-only; correct it by adding a reversing row', TG_TABLE_NAME
    USING ERRCODE = 'restrict_violation';
END $$
""",
    """
CREATE TRIGGER ledger_entries_append_only BEFORE UPDATE OR DELETE ON ledger_entries
  FOR EACH ROW EXECUTE FUNCTION refuse_change()
""",
    """
CREATE TRIGGER ledger_transactions_append_only BEFORE UPDATE OR DELETE ON ledger_transactions
  FOR EACH ROW EXECUTE FUNCTION refuse_change()
""",
)

FROZEN_INVOICES = (
    """
CREATE FUNCTION refuse_change_of_finalized_invoice() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' AND OLD.invoice_status <> 'DRAFT' THEN
    RAISE EXCEPTION 'invoice % is %: it can be voided, never deleted', OLD.id, OLD.invoice_status
      USING ERRCODE = 'restrict_violation';
  END IF;
  IF TG_OP = 'UPDATE' AND OLD.invoice_status IN ('FINALIZED', 'VOIDED')
    AND OLD.invoice_number IS NOT NULL AND ROW(NEW.customer_id, NEW.subscription_id, NEW.currency, NEW.period_start,
    NEW.period_end, NEW.invoice_number, NEW.finalized_at, NEW.subtotal, NEW.total_discount, NEW.total_tax, NEW.total)
    IS DISTINCT FROM ROW(OLD.customer_id, OLD.subscription_id, OLD.currency, OLD.period_start, OLD.period_end,
    OLD.invoice_number, OLD.finalized_at, OLD.subtotal, OLD.total_discount, OLD.total_tax, OLD.total) THEN
    RAISE EXCEPTION 'invoice % is finalized and never changes; use a credit note or void it', OLD.id
      USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END $$
""",
    """
CREATE TRIGGER invoices_frozen BEFORE UPDATE OR DELETE ON invoices
  FOR EACH ROW EXECUTE FUNCTION refuse_change_of_finalized_invoice()
""",
    """
CREATE FUNCTION refuse_change_of_finalized_line() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE state text;
BEGIN
  SELECT invoice_status INTO state FROM invoices WHERE id = OLD.invoice_id;
  IF state IN ('FINALIZED', 'VOIDED') AND (TG_OP = 'DELETE'
    OR ROW(NEW.invoice_id, NEW.quantity, NEW.amount, NEW.period_start, NEW.period_end, NEW.derivation)
    IS DISTINCT FROM ROW(OLD.invoice_id, OLD.quantity, OLD.amount, OLD.period_start, OLD.period_end, OLD.derivation))
  THEN
    RAISE EXCEPTION 'line % belongs to a finalized invoice and never changes', OLD.id
      USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END $$
""",
    """
CREATE TRIGGER invoice_lines_frozen BEFORE UPDATE OR DELETE ON invoice_lines
  FOR EACH ROW EXECUTE FUNCTION refuse_change_of_finalized_line()
""",
)

AMOUNTS = {
    "invoices": ("subtotal", "total_discount", "total_tax", "exclusive_tax", "total", "amount_due", "amount_paid"),
    "invoice_lines": ("amount", "line_item_discount", "invoice_level_discount"),
    "invoice_taxes": ("taxable_amount", "tax_amount"),
    "payments": ("amount",),
    "payment_attempts": ("amount",),
    "ledger_entries": ("debit", "credit"),
    "deferred_revenue": ("amount", "released", "reversed"),
}


def execute_all(op: Any, statements: tuple[str, ...]) -> None:
    """Runs statements one by one: the driver prepares each and takes only one at a time."""
    for statement in statements:
        op.execute(statement)


def protect(op: Any, table: str, *, environment: bool = True) -> None:
    """Row-level security for one table: an application transaction sees its own scope, the system role sees all."""
    own = "tenant_id = current_setting('durabill.tenant_id', true)"
    if environment:
        own += " AND environment_id = current_setting('durabill.environment_id', true)"
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY own_scope ON {table} TO durabill_app USING ({own}) WITH CHECK ({own})")
    op.execute(f"CREATE POLICY every_scope ON {table} TO durabill_system USING (true) WITH CHECK (true)")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO durabill_app, durabill_system")


def currency_exponents() -> str:
    """A function that knows how many decimals each currency has (ISO 4217), for CHECKs on amounts."""
    other = {c.code.lower(): c.exponent for c in Currency if c.exponent is not None and c.exponent != 2}
    cases = " ".join(f"WHEN '{code}' THEN {exponent}" for code, exponent in sorted(other.items()))
    return (
        "CREATE FUNCTION currency_exponent(currency text) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE"
        f" RETURN CASE currency {cases} ELSE 2 END"
    )


def check_amounts(op: Any) -> None:
    """No amount may have more decimals than its currency."""
    for table, columns in AMOUNTS.items():
        rule = " AND ".join(f"{column} = round({column}, currency_exponent(currency))" for column in columns)
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {table}_in_minor_units CHECK ({rule})")
