"""The rules of billing, pure: values in, values out.

Owns every sum, period and decision. Does not know clocks, databases, networks or Temporal: whatever cannot be computed
(`now`, usage, ids, what was billed before) is an argument. Amounts are exact (`Decimal`, `Fraction`) and are rounded by
`billing.money` only.

Every value is immutable. What is agreed is a frozen dataclass; what is computed from it by the thousand (lines, steps,
derivations) is a frozen `msgspec.Struct`, which costs a tenth to make: change a copy of one with
`msgspec.structs.replace`.
"""
