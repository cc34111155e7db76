with shipped as (
  select 'stock.shipment.out,' || s.id as shipment
    from stock_shipment_out s
   where (to_jsonb(s) ->> 'carrier')::int = any($1)
)
{{>of_shipments.sql}}
