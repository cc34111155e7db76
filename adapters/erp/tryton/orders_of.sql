with origin as (
  select split_part(o, ',', 1) as model, split_part(o, ',', 2)::int as id
    from unnest($1::text[]) o
   where o ~ '^sale[.]line([.]component)?,[0-9]+$'
)
{{>of_origins.sql}}
