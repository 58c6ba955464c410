"""What the database itself enforces, for migrations to call: row-level security, exponents, balance, immutability.

A new table is protected by `protect(op, name)` in the migration that creates it; a test fails while one is not.
Each law may be applied again: a migration that changes one applies it anew, so this file shows the law in force.
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
    # Without taking on a role the login sees nothing: were membership inherited, every policy of the system role would
    # be its own. Before PostgreSQL 16 that is no matter of the grant but of the login: ALTER ROLE ... NOINHERIT.
    """
DO $$ BEGIN
  IF current_setting('server_version_num')::int >= 160000 THEN
    EXECUTE 'GRANT durabill_app, durabill_system TO CURRENT_USER WITH INHERIT FALSE';
  END IF;
END $$
""",
    """
GRANT USAGE ON SCHEMA public TO durabill_app, durabill_system
""",
)

BALANCE = (
    """
CREATE OR REPLACE FUNCTION ledger_transaction_balances() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE wrong record;
BEGIN
  IF NOT EXISTS (SELECT FROM ledger_transactions WHERE id = NEW.transaction_id
    AND tenant_id = NEW.tenant_id AND environment_id = NEW.environment_id) THEN
    RAISE EXCEPTION 'ledger transaction % is of another tenant or environment than its entry', NEW.transaction_id
      USING ERRCODE = 'check_violation';
  END IF;
  SELECT currency, sum(debit) - sum(credit) AS difference INTO wrong FROM ledger_entries
    WHERE transaction_id = NEW.transaction_id GROUP BY currency HAVING sum(debit) <> sum(credit) LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'ledger transaction % does not balance: debits exceed credits by % %',
      NEW.transaction_id, wrong.difference, wrong.currency USING ERRCODE = 'check_violation';
  END IF;
  RETURN NULL;
END $$
""",
    """
DROP TRIGGER IF EXISTS ledger_balances ON ledger_entries
""",
    """
CREATE CONSTRAINT TRIGGER ledger_balances AFTER INSERT OR UPDATE ON ledger_entries
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_transaction_balances()
""",
)

APPEND_ONLY = (
    """
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is append-only; correct it by adding a reversing row', TG_TABLE_NAME
    USING ERRCODE = 'restrict_violation';
END $$
""",
    """
CREATE OR REPLACE TRIGGER ledger_entries_append_only BEFORE UPDATE OR DELETE ON ledger_entries
  FOR EACH ROW EXECUTE FUNCTION refuse_change()
""",
    """
CREATE OR REPLACE TRIGGER ledger_transactions_append_only BEFORE UPDATE OR DELETE ON ledger_transactions
  FOR EACH ROW EXECUTE FUNCTION refuse_change()
""",
)

CORRECTIONS_APPEND_ONLY = (
    """
CREATE OR REPLACE FUNCTION refuse_change_of_correction() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND OLD.applied_at IS NULL
    AND to_jsonb(NEW) - '{applied_at,updated_at}'::text[] = to_jsonb(OLD) - '{applied_at,updated_at}'::text[] THEN
    RETURN NEW;
  END IF;
  RAISE EXCEPTION 'event_corrections is append-only; correct the event once more' USING ERRCODE = 'restrict_violation';
END $$
""",
    """
CREATE OR REPLACE TRIGGER event_corrections_append_only BEFORE UPDATE OR DELETE ON event_corrections
  FOR EACH ROW EXECUTE FUNCTION refuse_change_of_correction()
""",
)

# Told by the table: a statement of its own would cost every transaction that adds rows, five in a billing period.
OUTBOX = (
    """
CREATE OR REPLACE FUNCTION announce_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('durabill_outbox', '');
  RETURN NULL;
END $$
""",
    """
CREATE OR REPLACE TRIGGER outbox_announced AFTER INSERT ON outbox
  FOR EACH STATEMENT EXECUTE FUNCTION announce_outbox()
""",
)

WALLETS = (
    """
CREATE OR REPLACE FUNCTION wallet_lot_adds_up() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  moved numeric;
  stored numeric;
BEGIN
  SELECT remaining INTO stored FROM wallet_lots WHERE id = NEW.id;
  SELECT coalesce(sum(credits), 0) INTO moved FROM wallet_transactions WHERE lot_id = NEW.id;
  IF stored <> moved THEN
    RAISE EXCEPTION 'wallet lot % has % credits left, but its transactions add up to %', NEW.id, stored, moved
      USING ERRCODE = 'check_violation';
  END IF;
  RETURN NULL;
END $$
""",
    """
DROP TRIGGER IF EXISTS wallet_lots_add_up ON wallet_lots
""",
    """
CREATE CONSTRAINT TRIGGER wallet_lots_add_up AFTER INSERT OR UPDATE ON wallet_lots
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wallet_lot_adds_up()
""",
    """
CREATE OR REPLACE TRIGGER wallet_transactions_append_only BEFORE UPDATE OR DELETE ON wallet_transactions
  FOR EACH ROW EXECUTE FUNCTION refuse_change()
""",
)

# What may still change on a finalized invoice and on its lines; every other column, a new one too, is frozen.
INVOICE_MAY_CHANGE = (
    "status,updated_at,updated_by,version,invoice_status,payment_status,uncollectible,paid_at,voided_at,next_action_at,"
    "amount_paid,adjustment_amount,refunded_amount,document_key,document_sha256,receipt_key,needs_attention,"
    "seen_commands,invoice_metadata"
)
LINE_MAY_CHANGE = "updated_at,updated_by,credited_amount,line_metadata"
BOOKKEEPING_MAY_CHANGE = "updated_at,updated_by"

FROZEN_INVOICES = (
    """
CREATE OR REPLACE FUNCTION refuse_change_of_finalized_invoice() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  may_change text[] := string_to_array(TG_ARGV[0], ',');
  changed text;
BEGIN
  IF TG_OP = 'DELETE' THEN
    IF OLD.invoice_status <> 'DRAFT' THEN
      RAISE EXCEPTION 'invoice % is %: it can be voided, never deleted', OLD.id, OLD.invoice_status
        USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN OLD;
  END IF;
  IF OLD.invoice_status NOT IN ('FINALIZED', 'VOIDED') THEN RETURN NEW; END IF;
  IF NEW.invoice_status <> OLD.invoice_status AND NEW.invoice_status <> 'VOIDED' THEN
    RAISE EXCEPTION 'invoice % is % and never becomes %', OLD.id, OLD.invoice_status, NEW.invoice_status
      USING ERRCODE = 'restrict_violation';
  END IF;
  IF to_jsonb(NEW) - may_change IS DISTINCT FROM to_jsonb(OLD) - may_change THEN
    SELECT string_agg(key, ', ') INTO changed FROM jsonb_each(to_jsonb(NEW) - may_change)
      WHERE value IS DISTINCT FROM to_jsonb(OLD) -> key;
    RAISE EXCEPTION 'invoice % is finalized and never changes (%); use a credit note or void it', OLD.id, changed
      USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$
""",
    f"""
CREATE OR REPLACE TRIGGER invoices_frozen BEFORE UPDATE OR DELETE ON invoices
  FOR EACH ROW EXECUTE FUNCTION refuse_change_of_finalized_invoice('{INVOICE_MAY_CHANGE}')
""",
    """
CREATE OR REPLACE FUNCTION refuse_change_of_finalized_part() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  may_change text[] := string_to_array(TG_ARGV[0], ',');
BEGIN
  IF TG_OP = 'UPDATE' AND to_jsonb(NEW) - may_change = to_jsonb(OLD) - may_change THEN RETURN NEW; END IF;
  IF EXISTS (SELECT FROM invoices WHERE invoice_status IN ('FINALIZED', 'VOIDED')
    AND (TG_OP <> 'INSERT' AND id = OLD.invoice_id OR TG_OP <> 'DELETE' AND id = NEW.invoice_id)) THEN
    RAISE EXCEPTION '% of row % in % is refused: it belongs to a finalized invoice and never changes',
      TG_OP, CASE WHEN TG_OP = 'INSERT' THEN NEW.id ELSE OLD.id END, TG_TABLE_NAME
      USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END $$
""",
    f"""
CREATE OR REPLACE TRIGGER invoice_lines_frozen BEFORE INSERT OR UPDATE OR DELETE ON invoice_lines
  FOR EACH ROW EXECUTE FUNCTION refuse_change_of_finalized_part('{LINE_MAY_CHANGE}')
""",
    f"""
CREATE OR REPLACE TRIGGER invoice_taxes_frozen BEFORE INSERT OR UPDATE OR DELETE ON invoice_taxes
  FOR EACH ROW EXECUTE FUNCTION refuse_change_of_finalized_part('{BOOKKEEPING_MAY_CHANGE}')
""",
    f"""
CREATE OR REPLACE TRIGGER usage_snapshots_frozen BEFORE INSERT OR UPDATE OR DELETE ON usage_snapshots
  FOR EACH ROW EXECUTE FUNCTION refuse_change_of_finalized_part('{BOOKKEEPING_MAY_CHANGE}')
""",
    """
DROP FUNCTION IF EXISTS refuse_change_of_finalized_line()
""",
)

USAGE_CORRECTIONS_APPEND_ONLY = (
    """
CREATE OR REPLACE TRIGGER usage_corrections_append_only BEFORE UPDATE OR DELETE ON usage_corrections
  FOR EACH ROW EXECUTE FUNCTION refuse_change()
""",
)

CREDIT_NOTES = (
    """
CREATE OR REPLACE FUNCTION refuse_change_of_credit_note() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  bookkeeping text[] := '{status,updated_at,updated_by,note_metadata,document_key,document_sha256}';
  by_command text[] := '{credit_note_status,voided_at}';
BEGIN
  IF TG_OP = 'DELETE' THEN
    RAISE EXCEPTION 'credit note % is never deleted; void it', OLD.id USING ERRCODE = 'restrict_violation';
  END IF;
  IF OLD.credit_note_status = 'DRAFT' THEN
    by_command := by_command || '{credit_note_number,finalized_at,tax_amount}'::text[];
  END IF;
  IF OLD.credit_note_status = 'VOIDED' THEN by_command := '{}'; END IF;
  IF NEW.credit_note_status = 'DRAFT' AND OLD.credit_note_status <> 'DRAFT'
    OR to_jsonb(NEW) - bookkeeping - by_command IS DISTINCT FROM to_jsonb(OLD) - bookkeeping - by_command THEN
    RAISE EXCEPTION 'credit note % is % and append-only: nothing of what it says changes',
      OLD.id, OLD.credit_note_status USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NEW;
END $$
""",
    """
CREATE OR REPLACE TRIGGER credit_notes_frozen BEFORE UPDATE OR DELETE ON credit_notes
  FOR EACH ROW EXECUTE FUNCTION refuse_change_of_credit_note()
""",
    """
CREATE OR REPLACE FUNCTION refuse_line_of_finalized_note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM credit_notes WHERE id = NEW.credit_note_id AND credit_note_status = 'DRAFT'
    AND tenant_id = NEW.tenant_id AND environment_id = NEW.environment_id AND currency = NEW.currency) THEN
    RAISE EXCEPTION 'credit note % takes no further line: it is no draft of the same scope and currency',
      NEW.credit_note_id USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NULL;
END $$
""",
    """
CREATE OR REPLACE TRIGGER credit_note_lines_of_drafts AFTER INSERT ON credit_note_lines
  FOR EACH ROW EXECUTE FUNCTION refuse_line_of_finalized_note()
""",
    """
CREATE OR REPLACE TRIGGER credit_note_lines_append_only BEFORE UPDATE OR DELETE ON credit_note_lines
  FOR EACH ROW EXECUTE FUNCTION refuse_change()
""",
    """
CREATE OR REPLACE FUNCTION credit_note_adds_up() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  lines numeric;
  adjusted numeric;
  invoice record;
BEGIN
  SELECT coalesce(sum(amount), 0) INTO lines FROM credit_note_lines WHERE credit_note_id = NEW.id;
  IF lines <> NEW.total_amount THEN
    RAISE EXCEPTION 'credit note % is for %, its lines come to %', NEW.id, NEW.total_amount, lines
      USING ERRCODE = 'check_violation';
  END IF;
  SELECT currency, adjustment_amount INTO invoice FROM invoices WHERE id = NEW.invoice_id
    AND tenant_id = NEW.tenant_id AND environment_id = NEW.environment_id AND customer_id = NEW.customer_id;
  SELECT coalesce(sum(total_amount), 0) INTO adjusted FROM credit_notes WHERE invoice_id = NEW.invoice_id
    AND credit_note_type = 'ADJUSTMENT' AND credit_note_status = 'FINALIZED';
  IF invoice.currency IS DISTINCT FROM NEW.currency OR invoice.adjustment_amount <> adjusted THEN
    RAISE EXCEPTION 'credit note % does not fit its invoice: adjusted by %, its notes come to %',
      NEW.id, invoice.adjustment_amount, adjusted USING ERRCODE = 'check_violation';
  END IF;
  RETURN NULL;
END $$
""",
    """
DROP TRIGGER IF EXISTS credit_notes_add_up ON credit_notes
""",
    """
CREATE CONSTRAINT TRIGGER credit_notes_add_up AFTER INSERT OR UPDATE ON credit_notes
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION credit_note_adds_up()
""",
    """
CREATE OR REPLACE FUNCTION adjustment_has_notes() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE adjusted numeric;
BEGIN
  SELECT coalesce(sum(total_amount), 0) INTO adjusted FROM credit_notes WHERE invoice_id = NEW.id
    AND credit_note_type = 'ADJUSTMENT' AND credit_note_status = 'FINALIZED';
  IF (SELECT adjustment_amount FROM invoices WHERE id = NEW.id) <> adjusted THEN
    RAISE EXCEPTION 'invoice % is adjusted by %, its credit notes come to %', NEW.id, NEW.adjustment_amount, adjusted
      USING ERRCODE = 'check_violation';
  END IF;
  RETURN NULL;
END $$
""",
    """
DROP TRIGGER IF EXISTS invoices_adjusted_by_notes ON invoices
""",
    """
CREATE CONSTRAINT TRIGGER invoices_adjusted_by_notes AFTER UPDATE ON invoices
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
  WHEN (NEW.adjustment_amount IS DISTINCT FROM OLD.adjustment_amount) EXECUTE FUNCTION adjustment_has_notes()
""",
)

AMOUNTS = {
    "invoices": (
        *("subtotal", "total_discount", "total_tax", "exclusive_tax", "total_prepaid_credits_applied", "total"),
        *("amount_due", "amount_paid", "adjustment_amount", "refunded_amount", "carried_credit"),
    ),
    "invoice_lines": (
        *("amount", "line_item_discount", "invoice_level_discount", "prepaid_credits_applied", "credited_amount"),
    ),
    "invoice_taxes": ("taxable_amount", "tax_amount"),
    "prices": ("maximum_amount",),
    "payments": ("amount",),
    "payment_attempts": ("amount",),
    "ledger_entries": ("debit", "credit"),
    "deferred_revenue": ("amount", "released", "reversed"),
}
WALLET_AMOUNTS: dict[str, tuple[str, ...]] = {"wallet_transactions": ("amount",)}


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
        "CREATE OR REPLACE FUNCTION currency_exponent(currency text) RETURNS int LANGUAGE sql IMMUTABLE PARALLEL SAFE"
        f" RETURN CASE lower(currency) {cases} ELSE 2 END"
    )


CREDITED: dict[str, tuple[str, ...]] = {
    "credit_notes": ("total_amount", "tax_amount"), "credit_note_lines": ("amount",)
}  # fmt: skip
REFUNDS: dict[str, tuple[str, ...]] = {"refunds": ("amount",), "disputes": ("amount",)}


def check_amounts(op: Any, amounts: dict[str, tuple[str, ...]] = AMOUNTS) -> None:
    """No amount has more decimals than its currency, and each is a number: neither NaN nor infinite.

    The columns keep every digit that they are given. A scale of their own would round what is too fine before any CHECK
    could see it.
    """
    for table, columns in amounts.items():
        for column in columns:
            op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE numeric")
        rule = " AND ".join(
            f"{column} = round({column}, currency_exponent(currency)) AND abs({column}) < 1e24" for column in columns
        )
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {table}_in_minor_units")
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {table}_in_minor_units CHECK ({rule})")
