"""Why this amount: a line or an invoice in words, numbers and tables that a finance person can follow.

Every number comes from what was stored with the invoice. One file a subject: `usage`, `rating`, `shares`,
`commitments`, `discounts`, `taxes`, `credits`, `adjustments`; `lines` puts them together for each kind of line.
"""

from billing.explain.document import document_of as document_of
from billing.explain.invoice import explain_invoice as explain_invoice
from billing.explain.invoice import explain_sums as explain_sums
from billing.explain.invoice import explanations as explanations
from billing.explain.lines import explain_line as explain_line
from billing.explain.parts import Figure as Figure
from billing.explain.parts import LineExplanation as LineExplanation
from billing.explain.parts import Part as Part
from billing.explain.parts import Section as Section
