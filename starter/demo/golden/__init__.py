"""The invoices of the demo, worked out without the engine, and the sheet that shows every step of the sums."""
