with recursive up(product) as (
  select unnest($1::integer[])
{{>above.sql}}