, origin as (
  select split_part(m.origin, ',', 1) as model, split_part(m.origin, ',', 2)::int as id
    from shipped s
    join stock_move m on m.shipment = s.shipment
   where m.origin ~ '^sale[.]line([.]component)?,[0-9]+$'
)
{{>of_origins.sql}}
