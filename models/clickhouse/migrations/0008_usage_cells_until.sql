-- A period to date is known by its end as well: one that a dead sealer wrote and nobody vouched for must not take the
-- place of the one before. Hours and days have none.
ALTER TABLE {database}.usage_cells
    ADD COLUMN until DateTime('UTC'),
    MODIFY ORDER BY (tenant_id, environment_id, external_customer_id, series, level, span, until)
